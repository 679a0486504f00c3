"""Metrics that workflow and activity code records itself: `workflow.metric_meter()`,
`activity.metric_meter()`, shown at `/metrics`.

One meter a process, under the user's own names. Workflow code records nothing at replay
(`odradek.activation.metrics` sees to that). Attributes are labels, so they must be bounded;
beyond SERIES_MAX series of a process new ones are dropped, and the log says so once.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

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
from odradek.statistics import Distribution, Histogram

logger = logging.getLogger("odradek.telemetry")

SERIES_MAX = 5_000
#: Of integers and milliseconds.
WHOLE = (
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
    1e3,
    2e3,
    5e3,
    1e4,
    2e4,
    5e4,
    1e5,
    1e6,
)
FRACTIONS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0)

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """All series of a name. `kind` is Prometheus'."""

    name: str
    kind: str
    help: str
    bounds: tuple[float, ...] = ()
    series: dict[Labels, Any] = field(default_factory=dict)  # a number, or a Histogram


class Families:
    """What was recorded in this process. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Family] = {}
        self._count = 0

    def family(self, name: str, kind: str, help: str, bounds: tuple[float, ...]) -> Family:
        """The family of a name. `ValueError` when it is of another kind already."""
        name = re.sub(r"\W", "_", name, flags=re.ASCII)
        if kind == "counter":
            name = name.removesuffix("_total")
        with self._lock:
            found = self._found.setdefault(name, Family(name, kind, help, bounds))
        if found.kind != kind:
            raise ValueError(f"metric {name} is a {found.kind} already and cannot be a {kind}")
        return found

    def record(self, family: Family, labels: Labels, value: float) -> None:
        """Add to a counter or histogram, set a gauge."""
        with self._lock:
            series = family.series
            if labels not in series:
                if self._count >= SERIES_MAX:
                    if self._count == SERIES_MAX:
                        logger.warning(
                            "more than %d series of metrics: %s%s and later ones are dropped",
                            SERIES_MAX,
                            family.name,
                            dict(labels),
                        )
                        self._count += 1
                    return
                self._count += 1
                series[labels] = Histogram(family.bounds) if family.kind == "histogram" else 0
            if family.kind == "histogram":
                series[labels].observe(value)
            elif family.kind == "counter":
                series[labels] += value
            else:
                series[labels] = value

    def read(self) -> Iterator[tuple[Family, dict[Labels, float | Distribution]]]:
        """Every family with its series now."""
        with self._lock:
            found = [
                (
                    family,
                    {
                        labels: one.snapshot() if isinstance(one, Histogram) else one
                        for labels, one in family.series.items()
                    },
                )
                for family in self._found.values()
            ]
        yield from found


def _labels(attributes: MetricAttributes) -> dict[str, str]:
    for name, value in attributes.items():
        if not isinstance(value, str | int | float):
            raise TypeError(
                f"attribute {name} of a metric must be text, a number or a truth value, not"
                f" {type(value).__name__}"
            )
    return {
        re.sub(r"\W", "_", name, flags=re.ASCII): (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
        for name, value in attributes.items()
    }


class _Metric(MetricCommon):
    """One metric with its attributes so far."""

    def __init__(
        self,
        families: Families,
        family: Family,
        named: tuple[str, str | None, str | None],
        labels: dict[str, str],
    ) -> None:
        self._families = families
        self._family = family
        self._named = named
        self._labels = labels
        self._key: Labels = tuple(sorted(labels.items()))

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
        return type(self)(
            self._families,
            self._family,
            self._named,
            {**self._labels, **_labels(additional_attributes)},
        )

    def _take(self, value: float, attributes: MetricAttributes | None) -> None:
        if value < 0:
            raise ValueError(f"metric {self.name}: {value} is negative")
        key = (
            tuple(sorted({**self._labels, **_labels(attributes)}.items()))
            if attributes
            else self._key
        )
        self._families.record(self._family, key, value)


class _Counter(_Metric, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value, additional_attributes)


class _Histogram(_Metric, MetricHistogram):
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value, additional_attributes)


class _HistogramFloat(_Metric, MetricHistogramFloat):
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value, additional_attributes)


class _HistogramTimedelta(_Metric, MetricHistogramTimedelta):
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        self._take(value // timedelta(milliseconds=1), additional_attributes)


class _Gauge(_Metric, MetricGauge):
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value, additional_attributes)


class _GaugeFloat(_Metric, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        self._take(value, additional_attributes)


class PrometheusMeter(MetricMeter):
    """Makes metrics of `families`."""

    def __init__(self, families: Families, labels: dict[str, str] | None = None) -> None:
        self._families = families
        self._labels = labels or {}

    def _parts(
        self,
        kind: str,
        name: str,
        description: str | None,
        unit: str | None,
        bounds: tuple[float, ...] = (),
    ) -> tuple[Families, Family, tuple[str, str | None, str | None], dict[str, str]]:
        help = (description or name) + (f" ({unit})" if unit else "")
        return (
            self._families,
            self._families.family(name, kind, help, bounds),
            (name, description, unit),
            self._labels,
        )

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _Counter(*self._parts("counter", name, description, unit))

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _Histogram(*self._parts("histogram", name, description, unit, WHOLE))

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _HistogramFloat(*self._parts("histogram", name, description, unit, FRACTIONS))

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        unit = "ms" if unit in (None, "duration") else unit
        return _HistogramTimedelta(*self._parts("histogram", name, description, unit, WHOLE))

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _Gauge(*self._parts("gauge", name, description, unit))

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _GaugeFloat(*self._parts("gauge", name, description, unit))

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return PrometheusMeter(self._families, {**self._labels, **_labels(additional_attributes)})


#: Of this process.
families = Families()
process_meter = PrometheusMeter(families)
