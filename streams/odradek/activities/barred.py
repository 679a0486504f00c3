"""Commands that must not begin any more: their run is closed, their cancellation was requested,
their time is over.

A service that comes up late finds commands that nobody waits for; so it reads `control` from its
start and remembers whom it names. Time is the engine's: its timers end an attempt and `control`
says so. By a clock of its own that is ahead, a service would refuse everything; but `control`
forgets after a day, so what has been over for half of one is refused by any clock. Temporal does
not dispatch such tasks; between a request's commit and its arrival here there is a moment in
which an attempt may begin.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from odradek.wire.tasks import ActivityTask

BARRED_MAX = 100_000  # the oldest is forgotten: what runs after all is told with its Started
#: No clock is wrong by so much, and `control` (kept for a day) still names what has been over for
#: less.
LONG_OVER_MS = 12 * 3_600_000

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


def is_long_over(task: ActivityTask, now_ms: int) -> bool:
    """Its schedule-to-close, or the schedule-to-start of this attempt, passed half a day ago."""
    limits = (
        (task.schedule_to_close_timeout_ms, task.scheduled_time_ms),
        (task.schedule_to_start_timeout_ms, task.current_attempt_scheduled_time_ms),
    )
    return any(
        limit_ms and since_ms and now_ms > since_ms + limit_ms + LONG_OVER_MS
        for limit_ms, since_ms in limits
    )
