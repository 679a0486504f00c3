"""How many polls wait: kept by the lane's thread, read by others at any moment."""

from __future__ import annotations

import sys
import threading

from odradek.engine.waiters import Waiter, Waiters

LATE_MS = 10**15


def poll(number: int, *, run_id: str = "r", deadline_ms: int = LATE_MS) -> Waiter:
    return Waiter(run_id, "w", "client", str(number), deadline_ms)


def test_they_are_counted_through_all_that_happens_to_them() -> None:
    waiters = Waiters()
    waiters.begin()
    first, other = poll(1), poll(2, run_id="other")
    waiters.add(first)
    waiters.add(other)
    assert (len(waiters), bool(waiters)) == (2, True)
    again = poll(1)
    waiters.add(again)  # asked again: in the place of the former
    assert len(waiters) == 2
    waiters.remove(first)  # it is not there any more
    assert len(waiters) == 2
    waiters.remove(again)
    assert len(waiters) == 1
    waiters.begin()
    waiters.add(poll(3, deadline_ms=5))
    waiters.remove(other)
    assert len(waiters) == 1
    waiters.revert("other")
    assert len(waiters) == 2
    assert [waiter.request_id for waiter in waiters.expired(5)] == ["3"]
    assert len(waiters) == 1
    waiters.clear()
    assert (len(waiters), bool(waiters)) == (0, False)


def test_another_thread_may_ask_while_they_change() -> None:
    """It ended the thread that reports to `members`: "dictionary changed size during iteration"."""
    waiters, stop = Waiters(), threading.Event()

    def change() -> None:
        while not stop.is_set():
            waiters.begin()
            polls = [poll(1, run_id=str(number)) for number in range(200)]
            for each in polls:
                waiters.add(each)
            for each in polls:
                waiters.remove(each)
            waiters.expired(LATE_MS)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=change)
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        assert all(0 <= len(waiters) <= 200 for _ in range(20_000))
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
