"""What a worker shows of itself: its hosts at the process' telemetry endpoint, if the settings
name a port.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odradek.activities import ActivityHost
from odradek.activities.statistics import ActivityStatistics
from odradek.common import MetricMeter
from odradek.config import Settings
from odradek.processor import Processor
from odradek.processor.statistics import ProcessorStatistics
from odradek.processor.supervisor import process_number
from odradek.telemetry import metrics
from odradek.telemetry.endpoint import Health, process_endpoint, set_disk_gauges
from odradek.telemetry.meter import process_meter
from odradek.worker._health import health_of_activities, health_of_processor


def meter_of(settings: Settings) -> MetricMeter:
    """Where workflow and activity code records its own metrics: nowhere, unless somebody can
    read them.
    """
    if settings.telemetry_port is None:
        return MetricMeter.noop
    return process_meter


@contextmanager
def telemetry_of(
    settings: Settings, processor: Processor | None, activities: ActivityHost | None
) -> Iterator[None]:
    """Serve for as long as the block runs. Workers of one process share the port.
    `ConfigurationError` when it is taken.
    """
    if settings.telemetry_port is None:
        yield
        return
    liveness_s = settings.liveness_timeout.total_seconds()

    def set_gauges() -> None:
        set_disk_gauges(settings.state_dir)
        if processor is not None:
            found = processor.statistics()
            _set_processor(found, health_of_processor(found, liveness_s))
        if activities is not None:
            serving = activities.statistics()
            _set_activities(serving, health_of_activities(serving, liveness_s))

    def health() -> Health:
        found = Health()
        if processor is not None:
            found += health_of_processor(processor.statistics(), liveness_s)
        if activities is not None:
            found += health_of_activities(activities.statistics(), liveness_s)
        return found

    port = settings.telemetry_port + process_number() if settings.telemetry_port else 0
    with process_endpoint(settings.telemetry_host, port) as endpoint:
        endpoint.gauges.append(set_gauges)
        endpoint.checks.append(health)
        try:
            yield
        finally:
            endpoint.gauges.remove(set_gauges)
            endpoint.checks.remove(health)


def _set_processor(found: ProcessorStatistics, health: Health) -> None:
    queue = (found.namespace, found.task_queue)
    for partition, lane in found.lanes.items():
        where = (*queue, str(partition))
        metrics.PARTITION_STATE.labels(*where, lane.state).set(1)
        if lane.lag is not None:
            metrics.PARTITION_LAG.labels(*where).set(lane.lag)
        for gauge, value in (
            (metrics.PARTITION_RUNNING, lane.running),
            (metrics.PARTITION_QUEUE, lane.queued),
            (metrics.PARTITION_SILENT, lane.silent_seconds),
            (metrics.RESTORE_REMAINING, lane.restore_remaining),
            (metrics.OPEN_RUNS, lane.open_runs),
            (metrics.TIMERS, lane.timer_backlog),
            (metrics.TIMERS_LATE, lane.timers_late_seconds),
            (metrics.FAILING, lane.failing_runs),
            (metrics.WAITERS, lane.waiters),
            (metrics.CACHE_SIZE, lane.cached_runs),
        ):
            gauge.labels(*where).set(value)
    metrics.PRODUCER_PENDING.labels(*queue).set(found.producer.pending)
    _set_member((*queue, "processor"), found.contact_seconds, health)


def _set_activities(found: ActivityStatistics, health: Health) -> None:
    queue = (found.namespace, found.task_queue)
    if found.lag is not None:
        metrics.ACTIVITY_LAG.labels(*queue).inc(found.lag)
    for gauge, value in (  # `inc`: several services of a queue in one process add up
        (metrics.SLOTS, found.slots_total),
        (metrics.SLOTS_USED, found.running),
        (metrics.ACTIVITY_WAITING, found.waiting),
        (metrics.REPORTS_PENDING, found.reports_pending),
    ):
        gauge.labels(*queue).inc(value)
    _set_member((*queue, "activities"), found.contact_seconds, health)


def _set_member(who: tuple[str, ...], contact_seconds: float | None, health: Health) -> None:
    if contact_seconds is not None:
        metrics.CONTACT.labels(*who).set(contact_seconds)
    metrics.READY.labels(*who).set(health.ready)
    metrics.LIVE.labels(*who).set(health.live)
