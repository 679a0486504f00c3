"""`CancelledError` raised into a thread: at once, after a shield, before the start, and never
after the function returned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from odradek.activities.thread_cancel import ThreadCanceller
from odradek.exceptions import CancelledError


def spin_until(stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0.001)


def run_and_cancel(work: Callable[[ThreadCanceller, threading.Event], Any]) -> Any:
    """Run `work` in a pool thread, cancel once it has set its event, give what it gave."""
    canceller, ready = ThreadCanceller(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(canceller.run, work, canceller, ready)
        assert ready.wait(10)
        canceller.cancel()
        return future.result(10)


def test_interrupts_the_function() -> None:
    def work(_: ThreadCanceller, ready: threading.Event) -> None:
        ready.set()
        spin_until(threading.Event())

    with pytest.raises(CancelledError):
        run_and_cancel(work)


def test_function_may_catch_it_and_return() -> None:
    def work(_: ThreadCanceller, ready: threading.Event) -> str:
        try:
            ready.set()
            spin_until(threading.Event())
        except CancelledError:
            return "cleaned up"
        raise AssertionError

    assert run_and_cancel(work) == "cleaned up"


def test_shield_holds_it_back_until_the_outermost_block_ends() -> None:
    seen: list[str] = []

    def work(canceller: ThreadCanceller, ready: threading.Event) -> None:
        with canceller.shielded():
            with canceller.shielded():
                ready.set()
                deadline = time.monotonic() + 10
                while not canceller._pending and time.monotonic() < deadline:
                    time.sleep(0.001)
            seen.append("after the inner block")
        seen.append("never")

    with pytest.raises(CancelledError):
        run_and_cancel(work)
    assert seen == ["after the inner block"]


def test_shield_wins_over_what_the_block_raises() -> None:
    def work(canceller: ThreadCanceller, ready: threading.Event) -> None:
        with canceller.shielded():
            ready.set()
            while not canceller._pending:
                time.sleep(0.001)
            raise ValueError("inside")

    with pytest.raises(CancelledError):
        run_and_cancel(work)


def test_cancelled_before_it_starts() -> None:
    canceller = ThreadCanceller()
    canceller.cancel()
    ran: list[int] = []
    with pytest.raises(CancelledError):
        canceller.run(lambda: [ran.append(i) or time.sleep(0) for i in range(1_000_000)])
    assert len(ran) < 1_000_000


def test_cancel_after_the_return_changes_nothing() -> None:
    canceller = ThreadCanceller()
    assert canceller.run(lambda: 7) == 7
    canceller.cancel()
    canceller.cancel()
    time.sleep(0)


def test_the_pool_thread_survives_cancels_at_the_very_end() -> None:
    """Races the return many times: the result is the function's or CancelledError, and the
    thread always lives on.
    """
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_ident).result()
        ends = {"returned": 0, "cancelled": 0}
        for number in range(500):
            canceller, started = ThreadCanceller(), threading.Event()

            def work(started: threading.Event = started, number: int = number) -> int:
                started.set()
                for _ in range(number % 50):
                    pass
                return number

            future = pool.submit(canceller.run, work)
            started.wait()
            canceller.cancel()
            try:
                assert future.result(10) == number
                ends["returned"] += 1
            except CancelledError:
                ends["cancelled"] += 1
        assert pool.submit(threading.get_ident).result(10) == thread
        assert sum(ends.values()) == 500


def test_own_cancelled_error_passes_through() -> None:
    def work() -> None:
        raise CancelledError("mine")

    with pytest.raises(CancelledError, match="mine"):
        ThreadCanceller().run(work)
