"""`workflow.metric_meter()`: metrics of workflow code, which are not recorded at replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odradek.common import (
    MetricAttributes,
    MetricCommon,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)
from odradek.telemetry.metrics import UNKNOWN

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext


def metric_meter(context: WorkflowContext) -> MetricMeter:
    """The meter of a run, made on first use."""
    if context.metric_meter is None:
        attributes = {
            "namespace": context.settings.namespace,
            "task_queue": context.settings.task_queue,
            "workflow_type": context.definition.name or UNKNOWN,
        }
        meter = context.settings.metric_meter
        context.metric_meter = (
            meter
            if meter is MetricMeter.noop
            else _Meter(meter.with_additional_attributes(attributes), context)
        )
    return context.metric_meter


class _Silenced:
    """A metric that passes on what is recorded, but not at replay."""

    def __init__(self, metric: Any, context: WorkflowContext) -> None:
        self._metric = metric
        self._context = context

    @property
    def name(self) -> str:
        return str(self._metric.name)

    @property
    def description(self) -> str | None:
        return self._metric.description  # type: ignore[no-any-return]

    @property
    def unit(self) -> str | None:
        return self._metric.unit  # type: ignore[no-any-return]

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Any:
        return type(self)(
            self._metric.with_additional_attributes(additional_attributes), self._context
        )

    def _pass(self, method: str, value: Any, attributes: MetricAttributes | None) -> None:
        if not self._context.is_replaying:
            getattr(self._metric, method)(value, attributes)


class _Counter(_Silenced, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._pass("add", value, additional_attributes)


class _Recording(_Silenced, MetricCommon):
    def record(self, value: Any, additional_attributes: MetricAttributes | None = None) -> None:
        self._pass("record", value, additional_attributes)


class _Histogram(_Recording, MetricHistogram):
    pass


class _HistogramFloat(_Recording, MetricHistogramFloat):
    pass


class _HistogramTimedelta(_Recording, MetricHistogramTimedelta):
    pass


class _Setting(_Silenced, MetricCommon):
    def set(self, value: Any, additional_attributes: MetricAttributes | None = None) -> None:
        self._pass("set", value, additional_attributes)


class _Gauge(_Setting, MetricGauge):
    pass


class _GaugeFloat(_Setting, MetricGaugeFloat):
    pass


class _Meter(MetricMeter):
    def __init__(self, meter: MetricMeter, context: WorkflowContext) -> None:
        self._meter = meter
        self._context = context

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _Counter(self._meter.create_counter(name, description, unit), self._context)

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _Histogram(self._meter.create_histogram(name, description, unit), self._context)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _HistogramFloat(
            self._meter.create_histogram_float(name, description, unit), self._context
        )

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _HistogramTimedelta(
            self._meter.create_histogram_timedelta(name, description, unit), self._context
        )

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _Gauge(self._meter.create_gauge(name, description, unit), self._context)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _GaugeFloat(self._meter.create_gauge_float(name, description, unit), self._context)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return _Meter(self._meter.with_additional_attributes(additional_attributes), self._context)
