"""A part of the benchmark that dies early is noticed at once, with the end of its log."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.parts import _process

_DIES = [sys.executable, "-c", "print('the cause', flush=True); raise SystemExit(3)"]
_WAITS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture(autouse=True, params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
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


def test_a_body_that_ends_first_ends_the_process(tmp_path: Path) -> None:
    with _process("slow", _WAITS, tmp_path) as part:
        assert part.resident_bytes() > 0
    assert part._process.is_running() is False


def test_the_bodys_own_interrupt_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), _process("slow", _WAITS, tmp_path):
        raise KeyboardInterrupt
