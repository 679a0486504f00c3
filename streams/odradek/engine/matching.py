"""Holds the commands of a replayed workflow task against the events that the task wrote the
first time.

The first difference is a NondeterminismError that names the event, the command and the line of
workflow code. Patches follow Temporal: a marker whose call is gone is an error unless it was
deprecated; a deprecated call without a marker is none.
"""

from __future__ import annotations

import json

import msgspec

from odradek.engine.activate import ActivityCancellation, TaskCommand, TimerCancellation
from odradek.engine.activation import (
    CancelWorkflowExecution,
    CommandBase,
    CompleteWorkflow,
    ContinueAsNew,
    FailWorkflow,
    RespondToQuery,
    ScheduleActivity,
    SetPatchMarker,
    StartTimer,
    UpsertMemo,
    UpsertSearchAttributes,
)
from odradek.engine.failures import application
from odradek.engine.run import LiveRun, OpenActivity, OpenTimer
from odradek.wire.history import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    Attributes,
    HistoryEvent,
    MarkerRecorded,
    TimerCanceled,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowPropertiesModified,
)
from odradek.wire.payload import Payload

PATCH_MARKER = "core_patch"
PATCH_DETAIL = "patch-data"
CHANGE_VERSION = "TemporalChangeVersion"

COMMAND_EVENTS = frozenset(
    {
        ActivityTaskScheduled,
        ActivityTaskCancelRequested,
        TimerStarted,
        TimerCanceled,
        MarkerRecorded,
        UpsertWorkflowSearchAttributes,
        WorkflowPropertiesModified,
        WorkflowExecutionCompleted,
        WorkflowExecutionFailed,
        WorkflowExecutionCanceled,
        WorkflowExecutionContinuedAsNew,
    }
)


class NondeterminismError(Exception):
    """Workflow code did not do again what history says it did."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = application(message, "NondeterminismError")


def patch_marker(patch_id: str, deprecated: bool, task_event_id: int) -> MarkerRecorded:
    """The marker of a patch, in the form that Temporal's core gives it."""
    data = json.dumps({"id": patch_id, "deprecated": deprecated}, separators=(",", ":")).encode()
    return MarkerRecorded(
        PATCH_MARKER, {PATCH_DETAIL: [Payload({"encoding": b"json/plain"}, data)]}, task_event_id
    )


def _patch_of(attributes: Attributes) -> tuple[str, bool] | None:
    """Patch id and whether deprecated, if this is the marker of a patch."""
    if not isinstance(attributes, MarkerRecorded) or attributes.marker_name != PATCH_MARKER:
        return None
    data = msgspec.json.decode(attributes.details[PATCH_DETAIL][0].data, type=dict)
    return str(data["id"]), bool(data.get("deprecated", False))


def patch_ids(events: list[HistoryEvent]) -> list[str]:
    """Patches that a task decided, known ahead of its replay."""
    if not any(type(event.attributes) is MarkerRecorded for event in events):
        return []
    patches = [_patch_of(event.attributes) for event in events]
    return [patch[0] for patch in patches if patch is not None]


def match(run: LiveRun, commands: list[TaskCommand], events: list[HistoryEvent]) -> None:
    """Check one task and note what its commands opened. Raises NondeterminismError."""
    pending = [command for command in commands if not _leaves_no_event(command)]
    position = 0
    for number, event in enumerate(events):
        a = event.attributes
        patch = _patch_of(a)
        if patch is not None:
            while position < len(pending) and _is_deprecated_patch(
                pending[position], other_than=patch[0]
            ):
                position += 1
            command = pending[position] if position < len(pending) else None
            if isinstance(command, SetPatchMarker) and command.patch_id == patch[0]:
                position += 1
            elif not patch[1]:
                raise _difference(event, command)
            continue
        if _is_change_version(a) and number and _patch_of(events[number - 1].attributes):
            continue
        while position < len(pending) and _is_deprecated_patch(pending[position]):
            position += 1
        command = pending[position] if position < len(pending) else None
        if command is None or not _same(run, event, command):
            raise _difference(event, command)
        position += 1
    while position < len(pending) and _is_deprecated_patch(pending[position]):
        position += 1
    if position < len(pending):
        raise _difference(None, pending[position])


def _leaves_no_event(command: CommandBase) -> bool:
    return isinstance(command, RespondToQuery) or (
        isinstance(command, ActivityCancellation)
        and command.activity.cancellation_type == "ABANDON"
    )


def _is_deprecated_patch(command: CommandBase, *, other_than: str = "") -> bool:
    return (
        isinstance(command, SetPatchMarker)
        and command.deprecated
        and command.patch_id != other_than
    )


def _is_change_version(a: Attributes) -> bool:
    return isinstance(a, UpsertWorkflowSearchAttributes) and list(a.search_attributes) == [
        CHANGE_VERSION
    ]


_PAIRS: dict[type, tuple[type, ...]] = {
    UpsertMemo: (WorkflowPropertiesModified,),
    UpsertSearchAttributes: (UpsertWorkflowSearchAttributes,),
    FailWorkflow: (WorkflowExecutionFailed,),
    CancelWorkflowExecution: (WorkflowExecutionCanceled,),
    ContinueAsNew: (WorkflowExecutionContinuedAsNew,),
}


def _same(run: LiveRun, event: HistoryEvent, command: TaskCommand) -> bool:
    """Whether the event is what this command writes. What it opens is noted."""
    a = event.attributes
    if isinstance(command, ScheduleActivity):
        if not isinstance(a, ActivityTaskScheduled) or (a.activity_type, a.activity_id) != (
            command.activity_type,
            command.activity_id,
        ):
            return False
        open_activity(run, event.event_id, command)
        return True
    if isinstance(command, StartTimer):
        if not isinstance(a, TimerStarted) or a.timer_id != command.timer_id:
            return False
        open_timer(run, event.event_id, command)
        return True
    if isinstance(command, ActivityCancellation):
        return (
            isinstance(a, ActivityTaskCancelRequested)
            and a.scheduled_event_id == command.activity.scheduled_event_id
        )
    if isinstance(command, TimerCancellation):
        return isinstance(a, TimerCanceled) and a.started_event_id == command.timer.started_event_id
    if isinstance(command, CompleteWorkflow):
        return isinstance(a, WorkflowExecutionCompleted)
    return isinstance(a, _PAIRS.get(type(command), ()))


def open_activity(run: LiveRun, event_id: int, command: ScheduleActivity) -> None:
    """Workflow code waits for this activity."""
    run.open_activities[command.seq] = OpenActivity(
        event_id, command.activity_id, command.activity_type, command.cancellation_type
    )
    run.activity_seqs[event_id] = command.seq


def open_timer(run: LiveRun, event_id: int, command: StartTimer) -> None:
    """Workflow code waits for this timer."""
    run.open_timers[command.seq] = OpenTimer(event_id, command.timer_id)
    run.timer_seqs[event_id] = command.seq


# ---------------------------------------------------------------- the message


def _difference(event: HistoryEvent | None, command: CommandBase | None) -> NondeterminismError:
    if event is None:
        assert command is not None
        text = f"workflow code now makes {_of_command(command)}, for which history holds no event"
    elif command is None:
        text = (
            f"history holds {_of_event(event)}, but workflow code no longer makes a command for it"
        )
    else:
        text = (
            f"history holds {_of_event(event)}, but workflow code now makes {_of_command(command)}"
        )
    return NondeterminismError(
        f"[TMPRL1100] Nondeterminism error: {text}. Workflow code changed in a way that running"
        " workflows do not allow; guard the change with a patch"
    )


def _of_event(event: HistoryEvent) -> str:
    a = event.attributes
    name = type(a).__name__.removesuffix("Event")
    patch = _patch_of(a)
    if isinstance(a, ActivityTaskScheduled):
        name += f" (activity '{a.activity_type}', id '{a.activity_id}')"
    elif isinstance(a, TimerStarted | TimerCanceled):
        name += f" (timer '{a.timer_id}')"
    elif isinstance(a, ActivityTaskCancelRequested):
        name += f" (of event {a.scheduled_event_id})"
    elif patch is not None:
        name += f" (patch '{patch[0]}')"
    elif isinstance(a, MarkerRecorded):
        name += f" ('{a.marker_name}')"
    return f"event {event.event_id} {name}"


def _of_command(command: CommandBase) -> str:
    name = type(command).__name__
    if isinstance(command, ScheduleActivity):
        name += f" (activity '{command.activity_type}', id '{command.activity_id}')"
    elif isinstance(command, StartTimer):
        name += f" (timer '{command.timer_id}')"
    elif isinstance(command, ActivityCancellation):
        name = (
            f"RequestCancelActivity (activity '{command.activity.activity_type}', id"
            f" '{command.activity.activity_id}')"
        )
    elif isinstance(command, TimerCancellation):
        name = f"CancelTimer (timer '{command.timer.timer_id}')"
    elif isinstance(command, SetPatchMarker):
        name += f" (patch '{command.patch_id}')"
    if command.origin is not None:
        file, line, function = command.origin
        name += f" at {file}:{line} in {function}"
    return f"command {name}"
