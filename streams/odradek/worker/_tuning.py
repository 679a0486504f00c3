"""Tuners, slot suppliers and poller behaviours under Temporal's names.

Of a tuner the number of activity slots counts; the rest is accepted as hints: workflow tasks are
bounded by partitions, not slots, and records come by Kafka's fetches, not by pollers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias


@dataclass(frozen=True)
class PollerBehaviorSimpleMaximum:
    """A hint."""

    maximum: int = 5


@dataclass(frozen=True)
class PollerBehaviorAutoscaling:
    """A hint."""

    minimum: int = 1
    maximum: int = 100
    initial: int = 5


PollerBehavior: TypeAlias = PollerBehaviorSimpleMaximum | PollerBehaviorAutoscaling


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """A fixed number of slots."""

    num_slots: int


@dataclass(frozen=True)
class ResourceBasedTunerConfig:
    """Target shares (0 to 1) of memory and CPU: hints."""

    target_memory_usage: float
    target_cpu_usage: float


@dataclass(frozen=True)
class ResourceBasedSlotConfig:
    """Bounds of a resource based supplier. `maximum_slots` is what counts."""

    minimum_slots: int | None = None
    maximum_slots: int | None = None
    ramp_throttle: timedelta | None = None


@dataclass(frozen=True)
class ResourceBasedSlotSupplier:
    """Slots by resources: here a fixed number, `slot_config.maximum_slots`."""

    slot_config: ResourceBasedSlotConfig
    tuner_config: ResourceBasedTunerConfig


SlotSupplier: TypeAlias = FixedSizeSlotSupplier | ResourceBasedSlotSupplier


class WorkerTuner:
    """How many slots each kind of task gets. Made by the static methods."""

    def __init__(self, activity_supplier: SlotSupplier | None) -> None:
        self._activity_supplier = activity_supplier

    @staticmethod
    def create_fixed(
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
        nexus_slots: int | None = None,
    ) -> WorkerTuner:
        """Fixed numbers; 100 where none is given."""
        return WorkerTuner(
            FixedSizeSlotSupplier(activity_slots if activity_slots is not None else 100)
        )

    @staticmethod
    def create_resource_based(
        *,
        target_memory_usage: float,
        target_cpu_usage: float,
        workflow_config: ResourceBasedSlotConfig | None = None,
        activity_config: ResourceBasedSlotConfig | None = None,
        local_activity_config: ResourceBasedSlotConfig | None = None,
        nexus_config: ResourceBasedSlotConfig | None = None,
    ) -> WorkerTuner:
        """By resources: here the maximum of `activity_config` is what counts."""
        targets = ResourceBasedTunerConfig(target_memory_usage, target_cpu_usage)
        return WorkerTuner(
            ResourceBasedSlotSupplier(activity_config or ResourceBasedSlotConfig(), targets)
        )

    @staticmethod
    def create_composite(
        *,
        workflow_supplier: SlotSupplier,
        activity_supplier: SlotSupplier,
        local_activity_supplier: SlotSupplier,
        nexus_supplier: SlotSupplier | None = None,
    ) -> WorkerTuner:
        """A supplier for each kind."""
        return WorkerTuner(activity_supplier)

    @property
    def activity_slots(self) -> int | None:
        """Slots for activities; `None`: the default."""
        match self._activity_supplier:
            case FixedSizeSlotSupplier(num_slots=slots):
                return slots
            case ResourceBasedSlotSupplier(slot_config=config):
                return config.maximum_slots
        return None
