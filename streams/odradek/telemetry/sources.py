"""Snapshots of rooms as samples of the catalog's metrics. One function a kind of snapshot; each
takes what it is given and asks nobody.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from odradek.activities.statistics import OUTCOMES, ActivityStatistics
from odradek.processor.statistics import LaneStatistics, PartitionTotals, ProcessorStatistics
from odradek.statistics import NAMES_MAX, Distribution, merged, summed
from odradek.telemetry import catalog as m
from odradek.telemetry.catalog import Metric
from odradek.telemetry.health import Health
from odradek.wire.dead_letters import INPUT_REASONS, SERVICE_REASONS
from odradek.wire.outcomes import CLOSED


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; `labels` in the order of the metric's."""

    metric: Metric
    labels: tuple[str, ...]
    value: float | Distribution


#: What a scrape calls.
Source = Callable[[], Iterable[Sample]]


def processor_samples(found: ProcessorStatistics, health: Health) -> Iterator[Sample]:
    """Of one stream processor."""
    queue = (found.namespace, found.task_queue)
    parts = list(found.partitions.values())
    starts = _of_registered(found.workflow_types) | summed([dict(part.starts) for part in parts])
    yield from _counts(m.WORKFLOW_STARTS, queue, starts)
    yield from _by_type(
        m.WORKFLOW_CLOSES, queue, starts, summed([dict(part.closes) for part in parts]), CLOSED
    )
    yield from _distributions(
        m.WORKFLOW_SECONDS, queue, merged([dict(part.run_seconds) for part in parts])
    )
    yield from _distributions(
        m.TASK_SECONDS, queue, merged([dict(part.task_seconds) for part in parts])
    )
    yield from _counts(m.HISTORY_EVENTS, queue, summed([dict(part.events) for part in parts]))
    letters = dict.fromkeys(INPUT_REASONS, 0) | summed([dict(part.dead_letters) for part in parts])
    yield from _counts(m.DEAD_LETTERS, (*queue, "processor"), letters)
    if parts:
        yield Sample(m.REPLAY_SECONDS, queue, _sum(part.replay_seconds for part in parts))
        yield Sample(m.LANE_BATCH, queue, _sum(part.batch_inputs for part in parts))
        yield Sample(m.LANE_STEP_SECONDS, queue, _sum(part.step_seconds for part in parts))
        yield Sample(m.LANE_COMMIT_SECONDS, queue, _sum(part.commit_seconds for part in parts))
        yield Sample(m.LANE_INPUT_AGE, queue, _sum(part.input_age_seconds for part in parts))
    for partition, part in found.partitions.items():
        yield from _partition_samples((*queue, str(partition)), part)
    for partition, lane in found.lanes.items():
        yield from _lane_samples((*queue, str(partition)), lane)
    yield Sample(m.REPLIES, queue, found.replies)
    yield Sample(m.REPLIES_FAILED, queue, found.replies_failed)
    yield Sample(m.PRODUCER_RECORDS, (*queue, "delivered"), found.producer.delivered)
    yield Sample(m.PRODUCER_RECORDS, (*queue, "failed"), found.producer.failed)
    yield Sample(m.PRODUCER_PENDING, queue, found.producer.pending)
    yield from _member_samples((*queue, "processor"), found.contact_seconds, health)


def _partition_samples(where: tuple[str, ...], part: PartitionTotals) -> Iterator[Sample]:
    totals, cache = part.totals, part.cache
    yield Sample(m.LANE_INPUTS, where, totals.inputs)
    yield Sample(m.LANE_TRANSACTIONS, where, totals.transactions)
    yield Sample(m.LANE_RECORDS, where, totals.records)
    yield Sample(m.LANE_REFUSED, where, totals.refused)
    yield Sample(m.LANE_DROPPED, where, totals.dropped)
    yield Sample(m.LANE_FORWARDED, where, totals.forwarded)
    yield Sample(m.LANE_EXPIRED, where, totals.expired)
    yield Sample(m.TIMERS_FIRED, where, totals.timers)
    yield Sample(m.PARKED, where, totals.parked)
    yield Sample(m.RESTORES, where, part.restores)
    yield Sample(m.RESTORE_SECONDS, where, part.restore_seconds)
    yield Sample(m.RESTORED_ROWS, where, totals.restored)
    yield Sample(m.CACHE_SIZE, where, cache.size)
    yield Sample(m.CACHE_HITS, where, cache.hits)
    yield Sample(m.CACHE_MISSES, where, cache.misses)
    yield Sample(m.CACHE_EVICTIONS, where, cache.evictions)


def _lane_samples(where: tuple[str, ...], lane: LaneStatistics) -> Iterator[Sample]:
    yield Sample(m.LANE_RUNNING, where, lane.running)
    yield Sample(m.LANE_STATE, (*where, lane.state), 1)
    yield Sample(m.LANE_QUEUE, where, lane.queued)
    if lane.lag is not None:
        yield Sample(m.LANE_LAG, where, lane.lag)
    yield Sample(m.LANE_SILENT, where, lane.silent_seconds)
    yield Sample(m.RESTORE_REMAINING, where, lane.restore_remaining)
    yield Sample(m.OPEN_RUNS, where, lane.open_runs)
    yield Sample(m.TIMERS, where, lane.timer_backlog)
    yield Sample(m.TIMERS_LATE, where, lane.timers_late_seconds)
    yield Sample(m.FAILING, where, lane.failing_runs)
    yield Sample(m.WAITERS, where, lane.waiters)


def activity_samples(found: ActivityStatistics, health: Health) -> Iterator[Sample]:
    """Of one activity service."""
    queue = (found.namespace, found.task_queue)
    starts = _of_registered(found.activity_types) | dict(found.starts)
    yield from _counts(m.ACTIVITY_STARTS, queue, starts)
    yield from _by_type(m.ACTIVITY_OUTCOMES, queue, starts, found.outcomes, OUTCOMES)
    yield from _distributions(m.ACTIVITY_SECONDS, queue, found.run_seconds)
    yield from _distributions(m.ACTIVITY_WAIT, queue, found.schedule_to_start_seconds)
    yield Sample(m.SLOTS, queue, found.slots_total)
    yield Sample(m.SLOTS_USED, queue, found.running)
    yield Sample(m.ACTIVITY_WAITING, queue, found.waiting)
    if found.lag is not None:
        yield Sample(m.ACTIVITY_LAG, queue, found.lag)
    yield Sample(m.HEARTBEATS, queue, found.heartbeats)
    yield Sample(m.CANCELLATIONS, queue, found.cancellations)
    yield Sample(m.HANDED_ON, queue, found.handed_on)
    yield Sample(m.COMMANDS_REFUSED, queue, found.refused)
    yield from _counts(
        m.DEAD_LETTERS,
        (*queue, "activities"),
        dict.fromkeys(SERVICE_REASONS, 0) | dict(found.dead_letters),
    )
    yield Sample(m.ANSWERS_PENDING, queue, found.answers_pending)
    yield from _member_samples((*queue, "activities"), found.contact_seconds, health)


def _member_samples(
    who: tuple[str, ...], contact_seconds: float | None, health: Health
) -> Iterator[Sample]:
    if contact_seconds is not None:
        yield Sample(m.CONTACT, who, contact_seconds)
    yield Sample(m.READY, who, health.ready)
    yield Sample(m.LIVE, who, health.live)


def client_samples(namespace: str, found: Mapping[str, float]) -> Iterator[Sample]:
    """Of one client connection (`Client.statistics()`)."""
    where = (namespace,)
    yield Sample(m.CLIENT_REQUESTS, where, found["requests"])
    yield Sample(m.CLIENT_ASKED_AGAIN, where, found["asked_again"])
    yield Sample(m.CLIENT_UNMATCHED, where, found["unmatched_replies"])
    yield Sample(m.CLIENT_WAITING, where, found["waiting"])
    yield Sample(m.CLIENT_RESPONSE, where, found["response_ms"] / 1000)


def disk_samples(state_dir: Path) -> Iterator[Sample]:
    """Of the file system that the state directory lies on, or will."""
    folder = state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    yield Sample(m.DISK_FREE, (), usage.free)
    yield Sample(m.DISK_SIZE, (), usage.total)


def _of_registered(names: Iterable[str]) -> dict[str, int]:
    """Types before any of them has begun: start and first end may lie between two scrapes. As
    many names as are ever counted.
    """
    return dict.fromkeys(islice(names, NAMES_MAX), 0)


def _counts(metric: Metric, where: tuple[str, ...], counts: Mapping[str, int]) -> Iterator[Sample]:
    for name, count in counts.items():
        yield Sample(metric, (*where, name), count)


def _by_type(
    metric: Metric,
    where: tuple[str, ...],
    begun: Iterable[str],
    ended: Mapping[tuple[str, str], int],
    ends: Iterable[str],
) -> Iterator[Sample]:
    """Every end of every type that is registered, has begun or ended, at 0 where none was: a
    series that is born at 1 shows no increase.
    """
    kinds = dict.fromkeys([*begun, *(kind for kind, _ in ended)])
    for (kind, end), count in (
        {(kind, end): 0 for kind in kinds for end in ends} | dict(ended)
    ).items():
        yield Sample(metric, (*where, kind, end), count)


def _distributions(
    metric: Metric, where: tuple[str, ...], found: Mapping[str, Distribution]
) -> Iterator[Sample]:
    for name, distribution in found.items():
        yield Sample(metric, (*where, name), distribution)


def _sum(parts: Iterable[Distribution]) -> Distribution:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
