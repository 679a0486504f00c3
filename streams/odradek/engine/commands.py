"""Carries out the commands of a completed workflow task: events, rows, outputs, in the order in
which workflow code asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import activities, closing
from odradek.engine.activate import ActivityCancellation, TaskCommand, TimerCancellation
from odradek.engine.activation import (
    CancelWorkflowExecution,
    CompleteWorkflow,
    ContinueAsNew,
    FailWorkflow,
    ScheduleActivity,
    SetPatchMarker,
    StartTimer,
    TaskFailed,
    UpsertMemo,
    UpsertSearchAttributes,
)
from odradek.engine.failures import application
from odradek.engine.keys import event_key
from odradek.engine.matching import open_timer, patch_marker
from odradek.engine.ports import USER_TIMER
from odradek.engine.retry import problem_of
from odradek.engine.writable import command_problem
from odradek.wire.history import (
    TimerCanceled,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowPropertiesModified,
)
from odradek.wire.state import UserTimerRow

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.payload import Payload


def check(step: WorkflowStep, run: LiveRun, commands: list[TaskCommand]) -> TaskFailed | None:
    """Why the task must fail for what it commands, before anything of it counts."""
    scheduled = 0
    ids: set[str] | None = None
    for command in commands:
        unwritable = command_problem(command)
        if unwritable is not None:
            cause, message = unwritable
            return TaskFailed(application(message, "BadCommand"), cause)
        if isinstance(command, ScheduleActivity):
            scheduled += 1
            if not (command.start_to_close_timeout_ms or command.schedule_to_close_timeout_ms):
                problem = "neither start_to_close_timeout nor schedule_to_close_timeout is set"
            elif not command.activity_id or not command.activity_type:
                problem = "activity id and type must be set"
            else:
                problem = problem_of(command.retry_policy)
            if problem:
                return _bad(
                    "ACTIVITY",
                    f"Activity {command.activity_type} (id {command.activity_id}): {problem}",
                )
            if ids is None:
                ids = {row.activity_id for row in run.activities.values()}
            if command.activity_id in ids:
                message = (
                    f"Activity {command.activity_type}: a pending activity has the id"
                    f" {command.activity_id} already"
                )
                return TaskFailed(
                    application(message, "BadCommand"), "SCHEDULE_ACTIVITY_DUPLICATE_ID"
                )
            ids.add(command.activity_id)
        elif isinstance(command, ContinueAsNew) and command.task_queue not in (
            "",
            step.context.task_queue,
        ):
            return _bad(
                "CONTINUE_AS_NEW",
                f"Continue-as-new to another task queue ({command.task_queue}) is not"
                " supported yet",
            )
    limit = step.limits.pending_activities_max
    if scheduled and len(run.activities) + scheduled > limit:
        message = (
            f"The workflow has {len(run.activities)} pending activities and asks for {scheduled}"
            f" more; the limit is {limit}"
        )
        return TaskFailed(
            application(message, "PendingActivitiesLimitExceeded"),
            "PENDING_ACTIVITIES_LIMIT_EXCEEDED",
        )
    return None


def _bad(what: str, message: str) -> TaskFailed:
    return TaskFailed(
        application(message, "BadCommand"),
        f"BAD_SCHEDULE_{what}_ATTRIBUTES" if what == "ACTIVITY" else f"BAD_{what}_ATTRIBUTES",
    )


def apply(
    step: WorkflowStep, run: LiveRun, commands: list[TaskCommand], task_event_id: int
) -> None:
    """Carry the commands out. `task_event_id`: the task's WorkflowTaskCompleted."""
    for command in commands:
        if isinstance(command, ScheduleActivity):
            activities.schedule(step, run, command, task_event_id)
        elif isinstance(command, StartTimer):
            _start_timer(step, run, command, task_event_id)
        elif isinstance(command, CompleteWorkflow):
            closing.complete(step, run, command.result, task_event_id)
        elif isinstance(command, FailWorkflow):
            closing.fail(step, run, command.failure, task_event_id)
        elif isinstance(command, TimerCancellation):
            _cancel_timer(step, run, command, task_event_id)
        elif isinstance(command, ActivityCancellation):
            activities.cancel(step, run, command, task_event_id)
        elif isinstance(command, CancelWorkflowExecution):
            closing.cancel(step, run, command.details, task_event_id)
        elif isinstance(command, ContinueAsNew):
            closing.continue_as_new(step, run, command, task_event_id)
        elif isinstance(command, SetPatchMarker):
            run.append(patch_marker(command.patch_id, command.deprecated, task_event_id))
        elif isinstance(command, UpsertMemo):
            run.row.memo = _merged(run.row.memo, command.memo)
            run.append(WorkflowPropertiesModified(command.memo, task_event_id))
            run.summary_dirty = True
        elif isinstance(command, UpsertSearchAttributes):
            run.row.search_attributes = _merged(
                run.row.search_attributes, command.search_attributes
            )
            run.append(UpsertWorkflowSearchAttributes(command.search_attributes, task_event_id))
            run.summary_dirty = True


def _merged(old: dict[str, Payload], new: dict[str, Payload]) -> dict[str, Payload]:
    """Upserted fields over the old ones; a null removes its field."""
    merged = {**old, **new}
    return {
        key: value
        for key, value in merged.items()
        if value.data or value.metadata.get("encoding") != b"binary/null"
    }


def _start_timer(step: WorkflowStep, run: LiveRun, command: StartTimer, task_event_id: int) -> None:
    event_id = run.append(
        TimerStarted(command.timer_id, command.duration_ms, task_event_id, command.summary)
    )
    open_timer(run, event_id, command)
    due_ms = run.time_ms + max(command.duration_ms, 0)
    row = UserTimerRow(
        run.row.run_id, step.workflow_id, event_id, command.seq, command.timer_id, due_ms
    )
    run.timers[event_id] = row
    step.put(USER_TIMER, event_key(row.run_id, event_id), row)
    step.put_timer(run, "USER", due_ms, event_id)


def _cancel_timer(
    step: WorkflowStep, run: LiveRun, command: TimerCancellation, task_event_id: int
) -> None:
    event_id = command.timer.started_event_id
    run.append(TimerCanceled(command.timer.timer_id, event_id, task_event_id))
    row = run.timers.pop(event_id, None)
    if row is not None:
        step.delete(USER_TIMER, event_key(row.run_id, event_id))
        step.delete_timer(run, "USER", row.due_ms, event_id)
