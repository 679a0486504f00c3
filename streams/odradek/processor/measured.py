"""Time that workflow code takes, measured at the activation port: the engine has no clock, and a
replay is told apart here.

An activation of new work is a workflow task and goes into the histogram of its type; activations
that only replay go into another one, a value for each run that was brought back. Costs two
readings of a clock and a call an activation.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from odradek.engine.activation import (
    Activation,
    Activator,
    Completion,
    FailWorkflow,
    WorkflowInstance,
)
from odradek.processor.counters import PartitionCounters
from odradek.wire.payload import Failure


class MeasuringActivator:
    """An activator whose instances are measured."""

    def __init__(self, inner: Activator, counters: PartitionCounters) -> None:
        self._inner = inner
        self._counters = counters

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        """See `Activator.create`."""
        inner = self._inner.create(
            workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type
        )
        return _Measured(inner, self._counters, self._counters.task_seconds(workflow_type))


class _Measured:
    __slots__ = ("_counters", "_inner", "_replay_s", "_tasks")

    def __init__(self, inner: WorkflowInstance, counters: PartitionCounters, tasks: Any) -> None:
        self._inner = inner
        self._counters = counters
        self._tasks = tasks
        self._replay_s = 0.0

    def activate(self, activation: Activation) -> Completion:
        began = perf_counter()
        completion = self._inner.activate(activation)
        took = perf_counter() - began
        if activation.is_replaying:
            self._counters.replay_activations.inc()
            self._replay_s += took
        else:
            self._tasks.observe(took)
            if self._replay_s:
                self._replayed()
        return completion

    def _replayed(self) -> None:
        self._counters.replay_seconds.observe(self._replay_s)
        self._replay_s = 0.0

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return self._inner.nondeterminism(failure)

    def close(self) -> None:
        if self._replay_s:  # brought back for something that needed no task, or the replay failed
            self._replayed()
        self._inner.close()
