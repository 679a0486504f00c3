"""Ports of the workers of pytest-xdist: each draws from a share of its own.

A broker that a test has killed comes back to its port seconds later, and one that is about to start binds its own as late: until then it
is free, and another worker could draw it.
"""

from __future__ import annotations

import os
import random

from odradek.broker import ports

_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


class _Share(random.SystemRandom):
    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:  # type: ignore[override]
        assert stop is not None
        width = (stop - start) // _WORKERS
        return super().randrange(start + _NUMBER * width, start + (_NUMBER + 1) * width, step)


def share_ports() -> None:
    """In this process."""
    ports._random = _Share()
