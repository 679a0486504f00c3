"""When an attempt has to say something without being asked: Started, a held back heartbeat, its
own deadline.

Pure; times are seconds of whatever monotonic clock the host uses. One heap for all attempts of a
service: most attempts are over before their timer is due, and are skipped then.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

from odradek.wire.tasks import ActivityTask

#: An attempt that runs longer says Started after this time at the latest.
STARTED_AFTER_MAX = 0.2
#: A started attempt that outlives its start-to-close timeout by this much is cancelled here too.
#: The engine has timed it out long before: this only gives the slot back, so clocks and delivery
#: get room.
DEADLINE_GRACE = 5.0
#: Share of the heartbeat timeout within which at most one heartbeat is sent (Temporal's rule).
HEARTBEAT_SHARE = 0.8
DEFAULT_HEARTBEAT_INTERVAL = 30.0
MAX_HEARTBEAT_INTERVAL = 60.0


def started_delay(task: ActivityTask, now_ms: int) -> float:
    """Seconds until an attempt that runs must have said Started: 200 ms, or half of the shortest
    timeout that runs.

    These are start-to-close, heartbeat, and what is left of schedule-to-start and
    schedule-to-close at `now_ms` (epoch).
    """
    shortest = 2 * STARTED_AFTER_MAX * 1_000
    if 0 < task.start_to_close_timeout_ms < shortest:
        shortest = task.start_to_close_timeout_ms
    if 0 < task.heartbeat_timeout_ms < shortest:
        shortest = task.heartbeat_timeout_ms
    if task.schedule_to_start_timeout_ms > 0:
        shortest = min(
            shortest,
            task.current_attempt_scheduled_time_ms + task.schedule_to_start_timeout_ms - now_ms,
        )
    if task.schedule_to_close_timeout_ms > 0:
        shortest = min(
            shortest, task.scheduled_time_ms + task.schedule_to_close_timeout_ms - now_ms
        )
    return max(shortest, 0) / 2_000


def heartbeat_interval(
    heartbeat_timeout_ms: int,
    *,
    default: float = DEFAULT_HEARTBEAT_INTERVAL,
    maximum: float = MAX_HEARTBEAT_INTERVAL,
) -> float:
    """Seconds within which at most one heartbeat of an attempt is sent."""
    return min(
        heartbeat_timeout_ms * HEARTBEAT_SHARE / 1_000 if heartbeat_timeout_ms else default, maximum
    )


T = TypeVar("T")


class TimerHeap(Generic[T]):
    """Things with a due time. One thread only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def push(self, due: float, thing: T) -> None:
        """Have `thing` come out of `due` once the clock has reached that time."""
        heapq.heappush(self._heap, (due, next(self._order), thing))

    def due(self) -> Iterator[T]:
        """Everything whose time has come, earliest first; it leaves the heap. What is pushed
        meanwhile comes out too if it is due.
        """
        heap = self._heap
        if not heap:
            return
        now = self._clock()
        while heap and heap[0][0] <= now:
            yield heapq.heappop(heap)[2]

    def delay(self, maximum: float) -> float:
        """Seconds until the next one is due, between 0 and `maximum`."""
        return min(max(self._heap[0][0] - self._clock(), 0.0), maximum) if self._heap else maximum

    def __len__(self) -> int:
        return len(self._heap)
