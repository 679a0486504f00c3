"""Ports of the workers of pytest-xdist: each draws from a share of its own, and none twice.

A broker that a test has killed comes back to its port seconds later, and one that is about to
start binds its own as late: until then it is free, and another worker could draw it. What a
process has learnt of an address (ids of a schema registry) it may keep for as long as it lives:
a later test's registry had better be elsewhere.
"""

from __future__ import annotations

import os
import random

from odradek.broker import ports

_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


class _Share(random.SystemRandom):
    """Of a process; `free_ports` asks it for `randrange(first, last)`."""

    def __init__(self) -> None:
        self._drawn: set[int] = set()

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert stop is not None
        width = (stop - start) // _WORKERS
        first = start + _NUMBER * width
        if len(self._drawn) > width // 2:  # hours of tests
            self._drawn.clear()
        while True:
            drawn = super().randrange(first, first + width, step)
            if drawn not in self._drawn:
                self._drawn.add(drawn)
                return drawn


def share_ports() -> None:
    """In this process."""
    ports._random = _Share()
