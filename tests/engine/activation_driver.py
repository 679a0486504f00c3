"""Drives workflow instances by hand: activations in, commands out, everything recorded so that
it can be replayed into a fresh instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from odradek.activation import PythonActivator
from odradek.converter import DataConverter
from odradek.engine.activation import (
    Activation,
    Activator,
    CancelJob,
    CommandBase,
    Commands,
    CompleteWorkflow,
    Completion,
    FailWorkflow,
    FireTimer,
    InitializeWorkflow,
    Job,
    NotifyHasPatch,
    QueryJob,
    ResolveActivity,
    RespondToQuery,
    SetPatchMarker,
    SignalJob,
    TaskFailed,
)
from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.payload import ACTIVITY, APPLICATION, CANCELED, Failure

CONVERTER = DataConverter.default.payload_converter
START_MS = 1_700_000_000_000


def activator(*workflows: type, **options: Any) -> PythonActivator:
    """An activator for some classes."""
    return PythonActivator(workflows, namespace="default", task_queue="queue", **options)


def signal(name: str, *args: Any) -> SignalJob:
    """A signal job."""
    return SignalJob(name, CONVERTER.to_payloads(args), {})


def query(name: str, *args: Any) -> QueryJob:
    """A query job."""
    return QueryJob("q1", name, CONVERTER.to_payloads(args), {})


def completed(seq: int, *result: Any) -> ResolveActivity:
    """An activity's result."""
    return ResolveActivity(seq, "COMPLETED", CONVERTER.to_payloads(result))


def failed(seq: int, message: str = "boom", type: str = "Boom") -> ResolveActivity:
    """An activity's failure."""
    cause = Failure(message=message, kind=APPLICATION, type=type)
    return ResolveActivity(
        seq,
        "FAILED",
        failure=Failure(
            "Activity task failed", ACTIVITY, cause=cause, activity_type="a", activity_id=str(seq)
        ),
    )


def cancelled(seq: int) -> ResolveActivity:
    """An activity that was cancelled."""
    cause = Failure(message="Cancelled", kind=CANCELED)
    failure = Failure(
        "Activity task failed",
        ACTIVITY,
        cause=cause,
        retry_state="CANCEL_REQUESTED",
        activity_id=str(seq),
    )
    return ResolveActivity(seq, "CANCELED", failure=failure)


class Driver:
    """One run."""

    def __init__(
        self, made_by: Activator | type, workflow_type: str = "", *args: Any, **started: Any
    ) -> None:
        if isinstance(made_by, type):
            workflow_type = workflow_type or made_by.__name__
            made_by = activator(made_by)
        self.activator: Activator = made_by
        self.workflow_type = workflow_type
        self.started = WorkflowExecutionStarted(
            "wf", "run", workflow_type, "queue", input=CONVERTER.to_payloads(args), **started
        )
        self.instance = self._instance()
        self.now_ms = START_MS
        self.recorded: list[tuple[Activation, list[CommandBase]]] = []

    def _instance(self) -> Any:
        return self.activator.create(
            workflow_id="wf", run_id="run", workflow_type=self.workflow_type
        )

    def initialize(self) -> InitializeWorkflow:
        """The first job."""
        return InitializeWorkflow(self.started, 42, START_MS)

    def start(self, *more: Job) -> list[CommandBase]:
        """First activation, with other jobs beside the first."""
        return self.step(self.initialize(), *more)

    def completion(self, *jobs: Job, replaying: bool = False) -> Completion:
        """An activation, whatever comes of it."""
        self.now_ms += 1000
        activation = Activation("run", self.now_ms, replaying, 3, 300, False, list(jobs))
        result: Completion = self.instance.activate(activation)
        if isinstance(result, Commands):
            self.recorded.append((activation, list(result.commands)))
        return result

    def step(self, *jobs: Job, replaying: bool = False) -> list[CommandBase]:
        """An activation that succeeds."""
        result = self.completion(*jobs, replaying=replaying)
        assert isinstance(result, Commands), result
        return list(result.commands)

    def task_failure(self, *jobs: Job) -> TaskFailed:
        """An activation whose task fails."""
        result = self.completion(*jobs)
        assert isinstance(result, TaskFailed), result
        return result

    def answer(self, name: str, *args: Any) -> Any:
        """Result of a query that succeeds."""
        (command,) = self.step(query(name, *args))
        assert isinstance(command, RespondToQuery)
        assert command.failure is None, command.failure
        return CONVERTER.from_payloads(command.result)[0]

    def refusal(self, name: str, *args: Any) -> Failure:
        """Failure of a query that fails."""
        (command,) = self.step(query(name, *args))
        assert isinstance(command, RespondToQuery)
        assert command.failure is not None, command
        return command.failure

    def replay(self) -> Driver:
        """A fresh instance fed with all recorded activations; fails unless it gives the same
        commands.
        """
        self.instance.close()
        self.instance = self._instance()
        for activation, commands in self.recorded:
            if all(isinstance(job, QueryJob) for job in activation.jobs):
                continue  # leaves no trace in a history
            patches: list[Job] = [
                NotifyHasPatch(command.patch_id)
                for command in commands
                if isinstance(command, SetPatchMarker)
            ]
            again = self.instance.activate(
                msgspec.structs.replace(
                    activation, is_replaying=True, jobs=patches + activation.jobs
                )
            )
            assert isinstance(again, Commands), again
            assert shapes(again.commands) == shapes(commands)
        return self


def shapes(commands: Sequence[CommandBase]) -> list[CommandBase]:
    """Commands without what replay does not compare: where they come from, and traces."""
    plain = []
    for command in commands:
        copy = msgspec.structs.replace(command, origin=None)
        if isinstance(copy, FailWorkflow):
            copy.failure = msgspec.structs.replace(copy.failure, stack_trace="")
        plain.append(copy)
    return plain


def result_of(commands: Sequence[CommandBase]) -> Any:
    """Result of the command that completes the workflow, the last one."""
    assert commands and isinstance(commands[-1], CompleteWorkflow), commands
    return CONVERTER.from_payloads(commands[-1].result)[0]


def failure_of(commands: Sequence[CommandBase]) -> Failure:
    """Failure of the command that fails the workflow, the last one."""
    assert commands and isinstance(commands[-1], FailWorkflow), commands
    return commands[-1].failure


def kinds(commands: Sequence[CommandBase]) -> list[str]:
    """Names and numbers: `ScheduleActivity 1`."""
    return [
        f"{type(command).__name__} {getattr(command, 'seq', '')}".strip() for command in commands
    ]


__all__ = [
    "CancelJob",
    "Driver",
    "FireTimer",
    "NotifyHasPatch",
    "activator",
    "cancelled",
    "completed",
    "failed",
    "failure_of",
    "kinds",
    "query",
    "result_of",
    "shapes",
    "signal",
]
