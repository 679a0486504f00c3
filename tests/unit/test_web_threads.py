"""The server's pools: calls run beside each other up to their number, and a call that hangs
holds nothing up.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from odradek.web.threads import DaemonPool


def test_results_errors_and_at_most_so_many_at_once() -> None:
    pool = DaemonPool(3, "test")
    running, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        if number == 7:
            raise ValueError("seven")
        return number * 2

    futures = [pool.submit(work, number) for number in range(30)]
    assert [future.result(10) for future in futures if future is not futures[7]] == [
        number * 2 for number in range(30) if number != 7
    ]
    with pytest.raises(ValueError, match="seven"):
        futures[7].result(10)
    assert most == 3
    assert list(pool.map(str, range(5), timeout=10)) == ["0", "1", "2", "3", "4"]
    pool.shutdown()


def test_threads_are_used_again() -> None:
    pool = DaemonPool(8, "used-again")
    for _ in range(20):
        pool.submit(lambda: None).result(30)
        deadline = time.monotonic() + 30
        while pool._free < pool._started:  # the thread counts itself free after its result
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert sum(thread.name.startswith("used-again") for thread in threading.enumerate()) == 1
    pool.shutdown()


def test_shutdown_cancels_what_waits() -> None:
    pool, begun, go = DaemonPool(1, "test"), threading.Event(), threading.Event()
    first = pool.submit(lambda: (begun.set(), go.wait(10))[1])
    assert begun.wait(10)
    second = pool.submit(go.wait, 10)
    pool.shutdown(cancel_futures=True)
    go.set()
    assert first.result(10) is True and second.cancelled()
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(int)


def test_a_call_that_hangs_does_not_hold_the_process_up() -> None:
    code = (
        "import time; from odradek.web.threads import DaemonPool; DaemonPool(2,"
        " 'x').submit(time.sleep, 60); time.sleep(0.1)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=50, check=True)
