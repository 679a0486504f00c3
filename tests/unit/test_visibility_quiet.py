"""The read side beside a broker that is gone: its log stays readable, and no blocked call holds
up an end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from odradek.visibility.blocking import in_daemon_thread
from odradek.visibility.intake.quiet import OncePerMinute


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def logger(clock: list[float]) -> logging.Logger:
    logger = logging.getLogger("test.quiet")
    logger.filters = [OncePerMinute(60.0, lambda: clock[0])]
    logger.setLevel(logging.WARNING)
    return logger


def test_one_a_minute_of_each_kind_and_how_many_were_held_back(
    logger: logging.Logger, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for node in range(40):
        logger.error("Unable connect to node with id %s: %s", node, "refused")
        logger.error("Unable to update metadata from %s", [node])
    assert [record.getMessage() for record in caplog.records] == [
        "Unable connect to node with id 0: refused",
        "Unable to update metadata from [0]",
    ]
    clock[0] += 61.0
    caplog.clear()
    logger.error("Unable connect to node with id %s: %s", 7, "refused")
    (record,) = caplog.records
    assert (
        record.getMessage()
        == "Unable connect to node with id 7: refused (and 39 more since the last of its kind)"
    )


def test_all_are_logged_for_whoever_debugs(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger.name):
        for _ in range(3):
            logger.error("x")
    assert len(caplog.records) == 3


async def test_a_call_gives_its_result_or_its_error() -> None:
    def fail() -> None:
        raise LookupError("nothing there")

    assert await in_daemon_thread(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(LookupError, match="nothing there"):
        await in_daemon_thread(fail)


def test_a_blocked_call_holds_up_neither_its_waiter_nor_the_loop_s_end() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_daemon_thread(release.wait, 120), 0.05)

    began_s = time.monotonic()
    try:
        asyncio.run(give_up())
        assert time.monotonic() - began_s < 60
    finally:
        release.set()
