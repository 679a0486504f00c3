"""Metrics that workflow and activity code records itself: `workflow.metric_meter()`,
`activity.metric_meter()`, shown at `/metrics` under the names that the code gives.

Workflow code records nothing at replay (`odradek.activation.metrics` sees to that). Attributes
are labels: whoever records keeps them bounded.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Self

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

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

#: Bounds of integers and milliseconds.
WHOLE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6)
FRACTIONS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 50, 100, 500, 1_000)


class Families(Collector):
    """What was recorded in this process. One name may be used with several sets of labels, which
    `prometheus_client` does not allow: one metric is kept for each set, one family is shown.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, dict[tuple[str, ...], Any]] = {}

    def metric(
        self, kind: type[Any], name: str, help: str, labels: Mapping[str, str], **options: Any
    ) -> Any:
        """The metric of a name with these labels. `ValueError`: it is of another kind already."""
        name, names = _name(name), tuple(sorted(labels))
        with self._lock:
            family = self._found.setdefault(name, {})
            for other in family.values():
                if type(other) is not kind:
                    kinds = type(other).__name__.lower(), kind.__name__.lower()
                    raise ValueError(f"metric {name} is a {kinds[0]} and cannot be a {kinds[1]}")
            if names not in family:
                family[names] = kind(name, help, names, registry=None, **options)
        return family[names].labels(**labels) if labels else family[names]

    def describe(self) -> Iterable[Metric]:
        """Nothing: names come with their first use."""
        return []

    def collect(self) -> Iterable[Metric]:
        """A family a name."""
        with self._lock:
            found = [list(family.values()) for family in self._found.values()]
        for first, *others in found:
            [shown] = first.collect()
            shown.samples.extend(
                each for one in others for m in one.collect() for each in m.samples
            )
            yield shown


def _name(text: str) -> str:
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def _labels(attributes: MetricAttributes) -> dict[str, str]:
    for name, value in attributes.items():
        if not isinstance(value, str | int | float):
            raise TypeError(
                f"attribute {name} of a metric must be text, a number or a truth value, not"
                f" {type(value).__name__}"
            )
    return {
        _name(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in attributes.items()
    }


class _Metric(MetricCommon):
    """One metric with its attributes so far."""

    kind: type[Any]
    method: str
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        families: Families,
        name: str,
        description: str | None,
        unit: str | None,
        labels: Mapping[str, str],
    ) -> None:
        self._families = families
        self._named = (name, description, unit)
        self._labels = labels
        self._bound = self._bind(labels)

    @property
    def name(self) -> str:
        return self._named[0]

    @property
    def description(self) -> str | None:
        return self._named[1]

    @property
    def unit(self) -> str | None:
        return self._named[2]

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        labels = {**self._labels, **_labels(additional_attributes)}
        return type(self)(self._families, *self._named, labels)

    def _bind(self, labels: Mapping[str, str]) -> Any:
        name, description, unit = self._named
        help = (description or name) + (f" ({unit})" if unit else "")
        metric = self._families.metric(self.kind, name, help, labels, **self.options)
        return getattr(metric, self.method)

    def _take(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        if value < 0:
            raise ValueError(f"metric {self.name}: {value} is negative")
        bound = self._bound
        if additional_attributes:
            bound = self._bind({**self._labels, **_labels(additional_attributes)})
        bound(value)


class _Counter(_Metric, MetricCounter):
    kind, method = Counter, "inc"
    add = _Metric._take


class _Histogram(_Metric, MetricHistogram):
    kind, method, options = Histogram, "observe", {"buckets": WHOLE}
    record = _Metric._take


class _HistogramFloat(_Metric, MetricHistogramFloat):
    kind, method, options = Histogram, "observe", {"buckets": FRACTIONS}
    record = _Metric._take


class _HistogramTimedelta(_Metric, MetricHistogramTimedelta):
    kind, method, options = Histogram, "observe", {"buckets": WHOLE}

    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        self._take(value // timedelta(milliseconds=1), additional_attributes)


class _Gauge(_Metric, MetricGauge):
    kind, method = Gauge, "set"
    set = _Metric._take


class _GaugeFloat(_Metric, MetricGaugeFloat):
    kind, method = Gauge, "set"
    set = _Metric._take


class PrometheusMeter(MetricMeter):
    """Makes metrics of `families`."""

    def __init__(self, families: Families, labels: Mapping[str, str] | None = None) -> None:
        self._families = families
        self._labels = labels or {}

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _Counter(self._families, name, description, unit, self._labels)

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _Histogram(self._families, name, description, unit, self._labels)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _HistogramFloat(self._families, name, description, unit, self._labels)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        unit = "ms" if unit in (None, "duration") else unit
        return _HistogramTimedelta(self._families, name, description, unit, self._labels)

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _Gauge(self._families, name, description, unit, self._labels)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _GaugeFloat(self._families, name, description, unit, self._labels)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return PrometheusMeter(self._families, {**self._labels, **_labels(additional_attributes)})


#: Of this process.
families = Families()
REGISTRY.register(families)
process_meter = PrometheusMeter(families)
