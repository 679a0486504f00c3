"""What a worker shows of itself: its hosts at the process' telemetry endpoint, if the settings
name a port.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from odradek.activities import ActivityHost
from odradek.common import MetricMeter
from odradek.config import Settings
from odradek.processor import Processor
from odradek.processor.supervisor import process_number

if TYPE_CHECKING:
    from odradek.telemetry.health import Health
    from odradek.telemetry.sources import Sample


def meter_of(settings: Settings) -> MetricMeter:
    """Where workflow and activity code records its own metrics: nowhere, unless somebody can
    read them.
    """
    if settings.telemetry_port is None:
        return MetricMeter.noop
    from odradek.telemetry.meter import process_meter

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
    from odradek.telemetry.endpoint import process_endpoint
    from odradek.telemetry.health import Health, health_of_activities, health_of_processor
    from odradek.telemetry.sources import activity_samples, disk_samples, processor_samples

    liveness_s = settings.liveness_timeout.total_seconds()

    def samples() -> Iterator[Sample]:
        if processor is not None:
            found = processor.statistics()
            yield from processor_samples(found, health_of_processor(found, liveness_s))
        if activities is not None:
            serving = activities.statistics()
            yield from activity_samples(serving, health_of_activities(serving, liveness_s))

    def health() -> Health:
        found = Health()
        if processor is not None:
            found += health_of_processor(processor.statistics(), liveness_s)
        if activities is not None:
            found += health_of_activities(activities.statistics(), liveness_s)
        return found

    def disk() -> Iterator[Sample]:
        return disk_samples(settings.state_dir)

    port = settings.telemetry_port + process_number() if settings.telemetry_port else 0
    with process_endpoint(settings.telemetry_host, port) as endpoint:
        if not endpoint.sources:
            endpoint.sources.append(disk)  # once a process
        endpoint.sources.append(samples)
        endpoint.checks.append(health)
        try:
            yield
        finally:
            endpoint.sources.remove(samples)
            endpoint.checks.remove(health)
