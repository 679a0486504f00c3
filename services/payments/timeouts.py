"""What an attempt's timeouts ask of its service (docs/wire.md). When time is over the engine decides, by its own clock."""

from __future__ import annotations

from typing import Any

STARTED_AFTER_SECONDS = 0.2


def started_after(task: dict[str, Any], now_ms: int) -> float:
    """When a running attempt reports Started: half of the shortest timeout that runs, at most 200 ms."""
    running: list[int] = [left for left in (task["start_to_close_timeout_ms"], task["heartbeat_timeout_ms"]) if left]
    running += [max(0, end_ms - now_ms) for end_ms in _ends_ms(task)]
    return min([STARTED_AFTER_SECONDS, *(left_ms / 2000 for left_ms in running)])


def _ends_ms(task: dict[str, Any]) -> list[int]:
    timeouts = (
        (task["schedule_to_close_timeout_ms"], task["scheduled_time_ms"]),
        (task["schedule_to_start_timeout_ms"], task["current_attempt_scheduled_time_ms"]),
    )
    return [since_ms + limit_ms for limit_ms, since_ms in timeouts if limit_ms and since_ms]
