"""Snapshots of a processor for people, metrics and probes. Frozen: whoever holds one may keep it.

Read from other threads than those that count, so figures of one snapshot may be a moment apart.
Reading never waits for a lane or a broker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

from odradek.kafka.producer import ProducerStatistics
from odradek.processor.partition import Partition
from odradek.processor.partition_state import PartitionState
from odradek.processor.tally import Counters, Tally
from odradek.statistics import Distribution
from odradek.wire.history import (
    WorkflowTask,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from odradek.wire.outcomes import LaneStatus


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Live runs of a partition. A miss is a run that had to be loaded, also one that is new."""

    size: int
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What lanes have done since the process began. See `odradek.processor.tally.Counters`."""

    inputs: int = 0
    timers: int = 0
    transactions: int = 0
    records: int = 0
    steps: int = 0
    forwarded: int = 0
    expired: int = 0
    dead_letters: int = 0
    parked: int = 0
    refused: int = 0
    dropped: int = 0
    restored: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )


@dataclass(frozen=True, slots=True)
class PartitionTotals:
    """Everything counted for one partition, by whichever lane of this process owned it."""

    totals: Totals
    cache: CacheStatistics
    restores: int
    restore_seconds: float
    commit_seconds: Distribution
    step_seconds: Distribution
    batch_inputs: Distribution
    input_age_seconds: Distribution
    starts: Mapping[str, int]
    closes: Mapping[tuple[str, str], int]
    run_seconds: Mapping[str, Distribution]
    events: Mapping[str, int]
    dead_letters: Mapping[str, int]
    task_seconds: Mapping[str, Distribution]
    replay_seconds: Distribution


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
    failing_runs: int
    silent_seconds: float
    alive: bool
    error: str


@dataclass(frozen=True, slots=True)
class ProcessorStatistics:
    """A processor of one task queue. `contact_seconds`: since the broker last acknowledged a
    record, None: never yet.

    `workflow_types`: those that are registered. `missing_topic`: the error of a topic of the
    namespace that is gone.
    """

    namespace: str
    task_queue: str
    slot: int
    assigned: bool
    lanes: Mapping[int, LaneStatistics]
    partitions: Mapping[int, PartitionTotals]
    totals: Totals
    replies: int
    replies_failed: int
    group_silent_seconds: float
    group_alive: bool
    producer: ProducerStatistics
    contact_seconds: float | None
    contact_error: str
    fatal: str
    stopping: bool
    workflow_types: tuple[str, ...] = ()
    missing_topic: str = ""


def lane_statistics(partition: Partition, lag: int | None, *, alive: bool) -> LaneStatistics:
    """See `LaneStatistics`. alive: its thread is."""
    timers, figures, state = partition.timers, _figures(partition), partition.state
    return LaneStatistics(
        partition=partition.number,
        state=state.name,
        running=state is PartitionState.RUNNING,
        position=partition.position,
        queued=len(partition.queue),
        lag=lag,
        restore_remaining=_remaining(partition),
        open_runs=partition.open_runs,
        timer_backlog=len(timers) if timers is not None else 0,
        timers_late_seconds=timers.late_ms / 1000 if timers is not None else 0.0,
        waiters=figures.get("waiters", 0),
        failing_runs=figures.get("failing_runs", 0),
        silent_seconds=time.monotonic() - partition.turned_at,
        alive=alive,
        error=str(partition.error) if partition.error else partition.blocked_text(),
    )


def lane_status(partition: Partition) -> LaneStatus:
    """For `members`."""
    timers = partition.timers
    idle_ms = max(0, round((time.monotonic() - partition.progress_at) * 1000))
    return LaneStatus(
        partition=partition.number,
        state=partition.state.wire,
        position=max(0, partition.position),
        restore_remaining=_remaining(partition),
        timer_backlog=len(timers) if timers is not None else 0,
        open_runs=partition.open_runs,
        cached_runs=_figures(partition).get("cached_runs", 0),
        error=str(partition.error) if partition.error else partition.blocked_text(),
        progress_time_ms=time.time_ns() // 1_000_000 - idle_ms,
    )


def _figures(partition: Partition | None) -> dict[str, int]:
    engine = partition.engine if partition is not None else None
    return engine.statistics() if engine is not None else {}


def _remaining(partition: Partition) -> int:
    restoring = partition.state is PartitionState.RESTORING
    return partition.restore_remaining if restoring else 0


#: The row of a workflow task that completed stands for three events
#: (`odradek.engine.history_json.expand`).
_TASK_EVENTS = (WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted)


def _by_event_type(counted: Mapping[type, int]) -> dict[str, int]:
    """Events of histories by Temporal's names."""
    found: dict[str, int] = {}
    for attributes, count in counted.items():
        for kind in _TASK_EVENTS if attributes is WorkflowTask else (attributes,):
            name = kind.__name__.removesuffix("Event")
            found[name] = found.get(name, 0) + count
    return found


def totals_of(counters: Counters) -> Totals:
    """A frozen copy."""
    return Totals(*(getattr(counters, field.name) for field in fields(Totals)))


def partition_totals(tally: Tally, owner: Partition | None) -> PartitionTotals:
    """What has been counted for a partition; `owner`: who has it now."""
    figures = _figures(owner)
    return PartitionTotals(
        totals=totals_of(tally.counters),
        cache=CacheStatistics(
            size=figures.get("cached_runs", 0),
            hits=tally.cache_hits + figures.get("cache_hits", 0),
            misses=tally.cache_misses + figures.get("cache_misses", 0),
            evictions=tally.cache_evictions + figures.get("evictions", 0),
        ),
        restores=tally.restores,
        restore_seconds=tally.restore_seconds,
        commit_seconds=tally.commit_seconds.snapshot(),
        step_seconds=tally.step_seconds.snapshot(),
        batch_inputs=tally.batch_inputs.snapshot(),
        input_age_seconds=tally.input_age_seconds.snapshot(),
        starts=tally.starts.copy(),
        closes=tally.closes.copy(),
        run_seconds=tally.run_seconds.snapshot(),
        events=_by_event_type(tally.events.copy()),
        dead_letters=tally.dead_letters.copy(),
        task_seconds=tally.task_seconds.snapshot(),
        replay_seconds=tally.replay_seconds.snapshot(),
    )
