"""Reads what this process has counted."""

from __future__ import annotations

from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from prometheus_client.metrics import MetricWrapperBase

from odradek.processor import Processor
from odradek.telemetry import metrics


def counted(metric: MetricWrapperBase, **labels: str) -> float:
    """The sum of a counter, or the count of a histogram, over all series with these labels."""
    ends = ("_total", "_count")
    return sum(
        sample.value
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith(ends) and labels.items() <= sample.labels.items()
    )


def series(metric: MetricWrapperBase, *names: str) -> dict[Any, float]:
    """Values by these labels, as text if it is one."""
    found: dict[Any, float] = {}
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_sum")):
                key = tuple(sample.labels[name] for name in names)
                found[key if len(key) > 1 else key[0]] = sample.value
    return found


def labels_by_name() -> dict[str, set[str]]:
    """Labels of every metric of Odradek, under the name that it has in expressions."""
    found = {}
    for metric in metrics.METRICS:
        family = next(iter(metric.describe()))
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = set(metric._labelnames)
    return found


class Totals:
    """What the partitions of a processor's queue have counted here, since `since` was taken."""

    _METRICS: ClassVar = {
        "inputs": metrics.PARTITION_INPUTS,
        "timers": metrics.TIMERS_FIRED,
        "transactions": metrics.PARTITION_TRANSACTIONS,
        "forwarded": metrics.PARTITION_FORWARDED,
        "expired": metrics.PARTITION_EXPIRED,
        "parked": metrics.QUARANTINED,
        "refused": metrics.REJECTED_BATCHES,
        "dropped": metrics.RESETS,
        "dead_letters": metrics.DEAD_LETTERS,
        "restored": metrics.RESTORED_ROWS,
    }

    def __init__(self, processor: Processor, since: Totals | None = None) -> None:
        queue = {"namespace": processor._settings.namespace, "task_queue": processor._task_queue}
        for name, metric in self._METRICS.items():
            before = getattr(since, name) if since is not None else 0
            setattr(self, name, int(counted(metric, **queue)) - before)

    def __getattr__(self, name: str) -> int:  # for mypy: `__init__` sets them all
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Totals({vars(self)})"


_since: WeakKeyDictionary[Processor, Totals] = WeakKeyDictionary()


def watched(processor: Processor) -> Processor:
    """`totals` of it begin here: an earlier processor of its queue has counted too."""
    _since[processor] = Totals(processor)
    return processor


def totals(processor: Processor) -> Totals:
    """Of a processor since it was `watched`."""
    return Totals(processor, _since.get(processor))
