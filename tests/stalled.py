"""A run in which nothing happens any more ends, and says what was under way.

Each test has a timeout of its own, as a signal: it never comes where a call of C does not
return, and pytest-xdist waits for ever for a worker that it believes to have work (a run of the
CI did so for 75 minutes).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

#: More than the longest timeout of a test.
STALLED_S = 2_400.0


class Stalled:
    """Of the process that reports: pytest's only one, or the one that the workers of
    pytest-xdist report to.
    """

    def __init__(
        self, seconds: float = STALLED_S, end: Callable[[str], object] | None = None
    ) -> None:
        self._seconds = seconds
        self._end = end or _end
        self._under_way: dict[str, None] = {}
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalled", daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._under_way[nodeid] = None
        self._news.set()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._under_way.pop(nodeid, None)
        self._news.set()

    def pytest_unconfigure(self) -> None:
        self._over.set()
        self._news.set()

    def _watch(self) -> None:
        while self._news.wait(self._seconds):
            if self._over.is_set():
                return
            self._news.clear()
        tests = ", ".join(self._under_way) or "none (the workers, or the end of the run)"
        self._end(
            f"error: no test has begun or ended for {self._seconds:g} s. Under way: {tests}\n"
        )


def _end(text: str) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{text}".encode())
    os._exit(pytest.ExitCode.INTERNAL_ERROR)
