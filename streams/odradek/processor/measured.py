"""Time that workflow code takes, measured at the activation port: the engine has no clock, and a
replay is told apart here.

An activation of new work is a workflow task and goes into the histogram of its type; activations
that only replay go into another one, a value for each run that was brought back. Costs two
readings of a clock and a call an activation.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

from odradek.engine.activation import (
    Activation,
    Activator,
    Completion,
    FailWorkflow,
    WorkflowInstance,
)
from odradek.statistics import OTHER, SHORT_SECONDS, Histogram, Histograms, Labels
from odradek.wire.payload import Failure


class ActivationTally:
    """Of one partition. `workflow_types`: those that are registered."""

    __slots__ = ("_labels", "replay_activations", "replay_seconds", "task_seconds")

    def __init__(self, workflow_types: Iterable[str]) -> None:
        self._labels = Labels(workflow_types)
        #: by workflow type
        self.task_seconds: Histograms[str] = Histograms(OTHER, SHORT_SECONDS)
        #: of a run brought back
        self.replay_seconds = Histogram(SHORT_SECONDS)
        self.replay_activations = 0

    def tasks_of(self, workflow_type: str) -> Histogram:
        """Where the tasks of a type are counted."""
        return self.task_seconds.of(self._labels.of(workflow_type))


class MeasuringActivator:
    """An activator whose instances are measured."""

    def __init__(self, inner: Activator, tally: ActivationTally) -> None:
        self._inner = inner
        self._tally = tally

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        """See `Activator.create`."""
        inner = self._inner.create(
            workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type
        )
        return _Measured(inner, self._tally, self._tally.tasks_of(workflow_type))


class _Measured:
    __slots__ = ("_inner", "_replay_s", "_tally", "_tasks")

    def __init__(self, inner: WorkflowInstance, tally: ActivationTally, tasks: Histogram) -> None:
        self._inner = inner
        self._tally = tally
        self._tasks = tasks
        self._replay_s = 0.0

    def activate(self, activation: Activation) -> Completion:
        began = perf_counter()
        completion = self._inner.activate(activation)
        took = perf_counter() - began
        if activation.is_replaying:
            self._tally.replay_activations += 1
            self._replay_s += took
        else:
            self._tasks.observe(took)
            if self._replay_s:
                self._replayed()
        return completion

    def _replayed(self) -> None:
        self._tally.replay_seconds.observe(self._replay_s)
        self._replay_s = 0.0

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return self._inner.nondeterminism(failure)

    def close(self) -> None:
        if self._replay_s:  # brought back for something that needed no task, or the replay failed
            self._replayed()
        self._inner.close()
