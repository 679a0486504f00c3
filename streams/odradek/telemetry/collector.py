"""Samples as Prometheus' families: a custom collector that asks its sources when it is scraped.

    registry.register(OdradekCollector([lambda: ...]))      # beside metrics of your own

A source that fails is said once in the log and left out of the scrape: one part that is being
closed must not hide all others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from odradek.statistics import Distribution
from odradek.telemetry.catalog import COUNTER, GAUGE, Metric
from odradek.telemetry.meter import Families, families
from odradek.telemetry.sources import Sample, Source

logger = logging.getLogger("odradek.telemetry")

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class OdradekCollector(Collector):
    """Collects from `sources`, a list that may change between scrapes. Samples of several
    sources under the same labels are added.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._failed: set[str] = set()

    def describe(self) -> Iterable[Any]:
        """Nothing: a registry would otherwise scrape once to learn the names."""
        return []

    def collect(self) -> Iterator[_Family]:
        """Families of everything that the sources say now."""
        found: dict[Metric, dict[tuple[str, ...], float | Distribution]] = {}
        for source in list(self._sources):
            for sample in self._read(source):
                values = found.setdefault(sample.metric, {})
                before = values.get(sample.labels)
                values[sample.labels] = (
                    sample.value if before is None else _added(sample.metric, before, sample.value)
                )
        for metric, values in found.items():
            yield _family(metric, values)

    def _read(self, source: Source) -> list[Sample]:
        try:
            return list(source())
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text not in self._failed:
                self._failed.add(text)
                logger.exception("a source of metrics cannot be read and is left out")
            return []


def _added(
    metric: Metric, one: float | Distribution, other: float | Distribution
) -> float | Distribution:
    """Two workers of one queue in one process: counters and most gauges add up; of a yes or no
    and of an age the worse one counts.
    """
    if isinstance(one, Distribution) and isinstance(other, Distribution):
        return one + other
    assert not isinstance(one, Distribution) and not isinstance(other, Distribution)
    if metric.unit == "0 or 1":
        return min(one, other)
    return max(one, other) if metric.kind == GAUGE and metric.unit == "seconds" else one + other


def _family(metric: Metric, values: dict[tuple[str, ...], float | Distribution]) -> _Family:
    if metric.kind == COUNTER:
        counter = CounterMetricFamily(
            metric.name.removesuffix("_total"), metric.help, labels=metric.labels
        )
        for labels, value in values.items():
            assert not isinstance(value, Distribution)
            counter.add_metric(labels, value)
        return counter
    if metric.kind == GAUGE:
        gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values.items():
            assert not isinstance(value, Distribution)
            gauge.add_metric(labels, float(value))
        return gauge
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        assert isinstance(value, Distribution)
        histogram.add_metric(labels, _buckets(value), value.sum)
    return histogram


def _buckets(found: Distribution) -> list[tuple[str, float]]:
    """Cumulated, as Prometheus has them."""
    total, buckets = 0, []
    for bound, count in zip((*map(_bound, found.bounds), "+Inf"), found.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _bound(value: float) -> str:
    return str(float(value))


class MeterCollector(Collector):
    """What workflow and activity code recorded itself."""

    def __init__(self, found: Families) -> None:
        self._families = found

    def describe(self) -> Iterable[Any]:
        """Nothing: see above."""
        return []

    def collect(self) -> Iterator[PrometheusMetric]:
        """A family a name; its series may have different labels."""
        for family, series in self._families.read():
            metric = PrometheusMetric(family.name, family.help, family.kind)
            end = "_total" if family.kind == "counter" else ""
            for key, value in series.items():
                labels = dict(key)
                if isinstance(value, Distribution):
                    for bound, count in _buckets(value):
                        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
                    metric.add_sample(f"{family.name}_count", labels, value.count)
                    metric.add_sample(f"{family.name}_sum", labels, value.sum)
                else:
                    metric.add_sample(family.name + end, labels, value)
            yield metric


def new_registry(sources: Sequence[Source]) -> CollectorRegistry:
    """A registry of its own with the sources and what Python says of the process."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(OdradekCollector(sources))
    registry.register(MeterCollector(families))
    return registry
