"""Commands that must not begin any more: their run is closed, their cancellation was requested, their time is over.

A service that comes up late finds commands that nobody waits for; so it reads `control` from its start and remembers whom it names. Time
is the engine's: its timers end an attempt and `control` says so. By a clock of its own that is ahead, a service would refuse everything.
Temporal does not dispatch such tasks; between a request's commit and its arrival here there is a moment in which an attempt may begin.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

BARRED_MAX = 100_000  # the oldest is forgotten: what runs after all is told with its Started

K = TypeVar("K")
V = TypeVar("V")


class Barred(Generic[K, V]):
    """Attempts that were cancelled before their command came, with why. One thread."""

    def __init__(self, limit: int = BARRED_MAX) -> None:
        self._limit = limit
        self._why: OrderedDict[K, V] = OrderedDict()

    def note(self, attempt: K, why: V) -> None:
        """This attempt is not to begin."""
        self._why[attempt] = why
        if len(self._why) > self._limit:
            self._why.popitem(last=False)

    def why(self, attempt: K) -> V | None:
        """Why it must not begin, if it must not."""
        return self._why.get(attempt)

    def __len__(self) -> int:
        return len(self._why)
