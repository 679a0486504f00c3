"""A part of the benchmark that dies early is noticed at once, with the end of its log; what it
opened is closed before its broker ends.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmarks import saga_bench
from benchmarks.parts import _process
from odradek.client import Client

_DIES = [sys.executable, "-c", "print('the cause', flush=True); raise SystemExit(3)"]
_WAITS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture(
    autouse=True,
    params=[signal.default_int_handler, signal.SIG_IGN],
    ids=["foreground", "background"],
)
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a shell starts behind a `&` ignores them from the beginning."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


def test_early_death_interrupts_what_waits_and_tells_the_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)quick ended with status 3.*the cause"),
        _process("quick", _DIES, tmp_path),
        _process("slow", _WAITS, tmp_path),
    ):
        asyncio.run(asyncio.sleep(600))  # the test's own timeout is shorter


def test_one_that_dies_before_its_body_begins_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt came out as it was, and ended whoever ran the tests."""
    start = threading.Thread.start

    def slow(self: threading.Thread) -> None:
        start(self)
        time.sleep(600)

    monkeypatch.setattr(threading.Thread, "start", slow)
    with (
        pytest.raises(RuntimeError, match=r"(?s)quick ended with status 3.*the cause"),
        _process("quick", _DIES, tmp_path),
    ):
        raise AssertionError("it had ended before")


def test_a_body_that_ends_first_ends_the_process(tmp_path: Path) -> None:
    with _process("slow", _WAITS, tmp_path) as part:
        assert part.resident_bytes() > 0
    assert part._process.is_running() is False


def test_a_part_gets_nothing_that_the_shell_says_of_another_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODRADEK_ADDRESS", "living:9092")
    shows = [
        sys.executable,
        "-c",
        "import os; raise SystemExit(f'address: {os.environ.get(\"ODRADEK_ADDRESS\")}')",
    ]
    with pytest.raises(RuntimeError, match="address: None"), _process("shows", shows, tmp_path):
        asyncio.run(asyncio.sleep(600))


def test_the_bodys_own_interrupt_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), _process("slow", _WAITS, tmp_path):
        raise KeyboardInterrupt


@pytest.mark.parametrize("fails", [False, True])
def test_the_sagas_client_is_closed_however_they_end(fails: bool) -> None:
    """One that stays open asks for its broker, which is gone, all through the measurements behind."""
    connection = mock.Mock()

    async def execute(self: Client, *_: Any, **__: Any) -> None:
        if fails:
            raise RuntimeError("a saga failed")

    async def connect(*_: Any, **__: Any) -> Client:
        client = Client.__new__(Client)
        client._config = {"service_client": connection}  # nothing else is used
        return client

    with (
        mock.patch.object(Client, "connect", connect),
        mock.patch.object(Client, "execute_workflow", execute),
        mock.patch.multiple(saga_bench, WARM_UP=2, IN_FLIGHT=2),
    ):
        measured = saga_bench.measure("nowhere:1", {}, 3, 2)
        if fails:
            with pytest.raises(RuntimeError, match="a saga failed"):
                asyncio.run(measured)
        else:
            assert asyncio.run(measured)["saga"]["workflows"] == 3
    connection.close.assert_called_once_with()
