"""Commands that must not begin any more: their run is closed, their cancellation was requested, their time is over.

A service that comes up late finds commands that nobody waits for; so it reads `control` from its start and remembers whom it names.
Temporal does not dispatch such tasks; between a request's commit and its arrival here there is a moment in which an attempt may begin.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from odradek.wire.tasks import ActivityTask

BARRED_MAX = 100_000  # the oldest is forgotten: what runs after all is told with its Started
#: An attempt whose time is over by this host's clock begins all the same for so long: the engine's clock decides, this only saves work.
CLOCK_MARGIN_MS = 1_000

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


def time_is_over(task: ActivityTask, now_ms: int) -> bool:
    """Its schedule-to-close, or the schedule-to-start of this attempt, has passed: the engine ends it by its own timers."""
    for limit_ms, since_ms in (
        (task.schedule_to_close_timeout_ms, task.scheduled_time_ms),
        (task.schedule_to_start_timeout_ms, task.current_attempt_scheduled_time_ms),
    ):
        if limit_ms and since_ms and now_ms > since_ms + limit_ms + CLOCK_MARGIN_MS:
            return True
    return False
