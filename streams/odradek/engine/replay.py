"""Replay: builds a live instance from history, one activation for each completed workflow task,
and holds its commands against the events.

Reads Odradek's histories and Temporal's: task boundaries are the WorkflowTask shorthand or
WorkflowTaskStarted followed by Completed; what was written between Started and Completed belongs
to the next task; failed and timed-out tasks never happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from odradek.engine.activate import activate
from odradek.engine.activation import Activation, Activator, FailWorkflow, TaskFailed
from odradek.engine.jobs import take_jobs
from odradek.engine.matching import COMMAND_EVENTS, NondeterminismError, match, patch_ids
from odradek.engine.run import INPUT_EVENTS, LiveRun
from odradek.wire.history import (
    HistoryEvent,
    OtherEvent,
    WorkflowExecutionStarted,
    WorkflowTask,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from odradek.wire.payload import Failure
from odradek.wire.state import RunRow

NON_DETERMINISTIC_ERROR = "NON_DETERMINISTIC_ERROR"


class _Boundary:
    """A completed workflow task: what it saw and what the history says it wrote."""

    __slots__ = ("command_events", "history_length", "inputs", "size_bytes", "suggest", "time_ms")

    def __init__(
        self,
        inputs: list[HistoryEvent],
        *,
        time_ms: int,
        history_length: int,
        size_bytes: int,
        suggest: bool,
    ) -> None:
        self.inputs = inputs
        self.time_ms = time_ms
        self.history_length = history_length
        self.size_bytes = size_bytes
        self.suggest = suggest
        self.command_events: list[HistoryEvent] = []


def replay(
    run: LiveRun, events: Iterable[HistoryEvent], activator: Activator
) -> TaskFailed | FailWorkflow | None:
    """Give `run` an instance that stands after its last completed task, and the events that it
    has not seen.

    Returns what went wrong: TaskFailed, or the FailWorkflow that the workflow's definition wants
    for nondeterminism.
    """
    row = run.row
    run.drop_instance()
    instance = activator.create(
        workflow_id=row.workflow_id, run_id=row.run_id, workflow_type=row.workflow_type
    )
    run.instance = instance
    try:
        failed = _replay(run, events)
    except NondeterminismError as error:
        wanted = instance.nondeterminism(error.failure)
        run.drop_instance()
        return wanted if wanted is not None else TaskFailed(error.failure, NON_DETERMINISTIC_ERROR)
    if failed is not None:
        run.drop_instance()
    return failed


def replay_history(events: list[HistoryEvent], activator: Activator) -> Failure | None:
    """Replay a history on its own, complete or not, ours or Temporal's: what went wrong, or
    None. ValueError if it begins no run.
    """
    first = events[0].attributes if events else None
    if not isinstance(first, WorkflowExecutionStarted):
        raise ValueError("a history must begin with WorkflowExecutionStarted")
    run = LiveRun(
        RunRow(first.workflow_id, first.run_id, first.workflow_type, first.first_execution_run_id)
    )
    problem = replay(run, events, activator)
    run.drop_instance()
    return None if problem is None else problem.failure


def _replay(run: LiveRun, events: Iterable[HistoryEvent]) -> TaskFailed | None:
    inputs: list[HistoryEvent] = []
    boundary: _Boundary | None = None
    started: HistoryEvent | None = None
    seen = 0  # inputs up to `started`
    for event in events:
        a = event.attributes
        kind = type(a)
        following: _Boundary | None = None
        if kind in INPUT_EVENTS:
            inputs.append(event)
        elif kind in COMMAND_EVENTS:
            if boundary is not None:
                boundary.command_events.append(event)
        elif isinstance(a, WorkflowTask):
            following = _Boundary(
                inputs,
                time_ms=a.started_time_ms,
                history_length=event.event_id + 1,
                size_bytes=a.history_size_bytes,
                suggest=a.suggest_continue_as_new,
            )
            inputs = []
        elif kind is WorkflowTaskStarted:
            started, seen = event, len(inputs)
        elif kind is WorkflowTaskFailed or kind is WorkflowTaskTimedOut:
            started = None
        elif kind is WorkflowTaskCompleted and started is not None:
            s = started.attributes
            assert isinstance(s, WorkflowTaskStarted)
            following = _Boundary(
                inputs[:seen],
                time_ms=started.event_time_ms,
                history_length=started.event_id,
                size_bytes=s.history_size_bytes,
                suggest=s.suggest_continue_as_new,
            )
            inputs, started = inputs[seen:], None
        elif isinstance(a, OtherEvent):
            _check_other(event, a)
        if following is not None:
            failed = _activate(run, boundary) if boundary is not None else None
            if failed is not None:
                return failed
            boundary = following
    failed = _activate(run, boundary) if boundary is not None else None
    run.unseen = inputs
    return failed


def _activate(run: LiveRun, boundary: _Boundary) -> TaskFailed | None:
    jobs = take_jobs(run, boundary.inputs, patch_ids(boundary.command_events))
    if not jobs:  # a task that only kept itself alive
        match(run, [], boundary.command_events)
        return None
    commands = activate(
        run,
        Activation(
            run_id=run.row.run_id,
            time_ms=boundary.time_ms,
            is_replaying=True,
            history_length=boundary.history_length,
            history_size_bytes=boundary.size_bytes,
            suggest_continue_as_new=boundary.suggest,
            jobs=jobs,
        ),
    )
    if isinstance(commands, TaskFailed):
        return commands
    match(run, commands, boundary.command_events)
    return None


def _check_other(event: HistoryEvent, other: OtherEvent) -> None:
    """An event of an imported history that this version does not know: harmless, or a reason not
    to go on.
    """
    if not json.loads(other.json).get("workerMayIgnore"):
        raise NondeterminismError(
            f"[TMPRL1100] Nondeterminism error: event {event.event_id} {other.event_type} is not"
            " known to this version"
        )
