"""What an attempt's timeouts ask of its service (docs/wire.md). When time is over the engine
decides, by its own clock.
"""

from __future__ import annotations

from typing import Any

STARTED_AFTER_SECONDS = 0.2
LONG_OVER_MS = (
    12 * 3_600_000
)  # `control` tells what is over for a day; no clock is wrong by half of one


def started_after(task: dict[str, Any], now_ms: int) -> float:
    """When a running attempt reports Started: half of the shortest timeout that runs, at most
    200 ms.
    """
    running: list[int] = [
        left for left in (task["start_to_close_timeout_ms"], task["heartbeat_timeout_ms"]) if left
    ]
    running += [max(0, end_ms - now_ms) for end_ms in _ends_ms(task)]
    return min([STARTED_AFTER_SECONDS, *(left_ms / 2000 for left_ms in running)])


def is_long_over(task: dict[str, Any], now_ms: int) -> bool:
    """Its schedule-to-close, or the schedule-to-start of this attempt, passed half a day ago: it
    must not begin.
    """
    return any(now_ms > end_ms + LONG_OVER_MS for end_ms in _ends_ms(task))


def _ends_ms(task: dict[str, Any]) -> list[int]:
    timeouts = (
        (task["schedule_to_close_timeout_ms"], task["scheduled_time_ms"]),
        (task["schedule_to_start_timeout_ms"], task["current_attempt_scheduled_time_ms"]),
    )
    return [since_ms + limit_ms for limit_ms, since_ms in timeouts if limit_ms and since_ms]
