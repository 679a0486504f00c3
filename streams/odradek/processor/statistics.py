"""Snapshots of a processor for people, metrics and probes. Frozen: whoever holds one may keep it.

Read from other threads than those that count, so figures of one snapshot may be a moment apart.
Reading never waits for a lane or a broker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from odradek.kafka.producer import ProducerStatistics
from odradek.processor.lane_state import LaneState
from odradek.processor.work import now_ms
from odradek.wire.outcomes import LaneStatus

if TYPE_CHECKING:
    from odradek.processor.lane import Lane

RUNNING = (LaneState.RUNNING, LaneState.RETRYING)


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """One lane that is here now.

    state: see LaneState. position: next input. queued: inputs that wait in memory (lane depth).
    lag: records of `events` behind the position, None while the consumer has not heard of the
    end. timers_late_seconds: how long due timers have waited for the inputs before them.
    silent_seconds: since the lane's thread last said that it goes on. error: why it stands.
    """

    partition: int
    state: str
    running: bool
    position: int
    queued: int
    lag: int | None
    restore_remaining: int
    open_runs: int
    timer_backlog: int
    timers_late_seconds: float
    waiters: int
    cached_runs: int
    failing_runs: int
    silent_seconds: float
    alive: bool
    error: str


@dataclass(frozen=True, slots=True)
class ProcessorStatistics:
    """A processor of one task queue. `contact_seconds`: since the broker last acknowledged a
    record, None: never yet.

    `missing_topic`: the error of a topic of the namespace that is gone.
    """

    namespace: str
    task_queue: str
    slot: int
    assigned: bool
    lanes: Mapping[int, LaneStatistics]
    end_requests: int
    group_silent_seconds: float
    group_alive: bool
    producer: ProducerStatistics
    contact_seconds: float | None
    contact_error: str
    fatal: str
    stopping: bool
    missing_topic: str = ""


def lane_statistics(lane: Lane, lag: int | None) -> LaneStatistics:
    """See `LaneStatistics`."""
    engine, timers = lane._engine, lane._timers
    figures = engine.statistics() if engine is not None else {}
    state = lane.state
    return LaneStatistics(
        partition=lane.partition,
        state=state.name,
        running=state in RUNNING,
        position=lane.position,
        queued=len(lane.intake),
        lag=lag,
        restore_remaining=lane._restore_remaining if state is LaneState.RESTORING else 0,
        open_runs=lane.open_runs,
        timer_backlog=len(timers) if timers is not None else 0,
        timers_late_seconds=timers.late_ms / 1000 if timers is not None else 0.0,
        waiters=figures.get("waiters", 0),
        cached_runs=figures.get("cached_runs", 0),
        failing_runs=figures.get("failing_runs", 0),
        silent_seconds=time.monotonic() - lane.turned_at if lane.turned_at else 0.0,
        alive=lane.is_alive(),
        error=str(lane.error) if lane.error else lane.blocked_text(),
    )


def lane_status(lane: Lane) -> LaneStatus:
    """For `members`."""
    engine, timers = lane._engine, lane._timers
    figures = engine.statistics() if engine is not None else {}
    return LaneStatus(
        partition=lane.partition,
        state=lane.state.wire,
        position=max(0, lane.position),
        restore_remaining=lane._restore_remaining if lane.state is LaneState.RESTORING else 0,
        timer_backlog=len(timers) if timers is not None else 0,
        open_runs=lane.open_runs,
        cached_runs=figures.get("cached_runs", 0),
        error=str(lane.error) if lane.error else lane.blocked_text(),
        progress_time_ms=now_ms() - max(0, round((time.monotonic() - lane.progress_at) * 1000)),
    )
