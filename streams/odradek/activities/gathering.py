"""When answers wait a moment for each other: a request to the broker costs the same with one of
them in it or with ten.

`events` of a queue has several partitions and each is a request of its own, so hundreds of
answers a second that leave one by one are hundreds of requests. Under load they gather for
GATHER_S; an answer that comes alone never waits.
"""

from __future__ import annotations

from collections.abc import Callable

GATHER_S = 0.02
CROWDED_FROM = 8  # answers within that time


class Gathering:
    """Of one producer. clock: monotonic seconds. Called from two threads; a count that is one
    off does no harm.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = 0.0  # of the present stretch of GATHER_S
        self._count = 0
        self._crowded = False
        self._released = 0.0

    def waits(self) -> bool:
        """An answer is here: whether it waits for others."""
        now = self._clock()
        if now - self._began >= GATHER_S:
            # A stretch that was over long ago says nothing about now.
            self._crowded = self._count >= CROWDED_FROM and now - self._began < 2 * GATHER_S
            self._began, self._count = now, 0
        self._count += 1
        return self._crowded

    def ripe(self) -> bool:
        """Whether what has gathered goes now."""
        now = self._clock()
        if self._crowded and now - self._released < GATHER_S:
            return False
        self._released = now
        return True
