"""Timer rows that fell due. The host releases them after the inputs that were before them; each
is checked against what is pending now.

A timer row names a thing and a time; it counts only if that thing still waits for exactly that
time. Any other is stale: its row goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import activities, retention
from odradek.engine.closing import time_out
from odradek.engine.keys import event_key, timer_key
from odradek.engine.ports import TIMER, USER_TIMER
from odradek.wire.history import TimerFired

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.state import TimerRow

# A timer that breaks the engine and belongs to a closed run comes again after this.
SET_ASIDE_MS = 3_600_000


def apply_timer(step: WorkflowStep, timer: TimerRow) -> None:
    """Apply one due timer."""
    key = timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id)
    if step.get(TIMER, key) is None:
        return  # deleted by an input of this batch
    step.delete(TIMER, key)
    if timer.kind == "RETENTION":
        retention.retire(step, timer)
        return
    if timer.kind == "FORGET":
        retention.forget(step, timer)
        return
    run = step.run(timer.run_id)
    if run is None or not run.is_open:
        return
    row = run.row
    kind = timer.kind
    if kind == "USER":
        user = run.timers.get(timer.id)
        if user is not None and user.due_ms == timer.due_ms:
            del run.timers[timer.id]
            step.delete(USER_TIMER, event_key(row.run_id, timer.id))
            run.append(TimerFired(user.timer_id, timer.id))
            run.needs_task = True
    elif kind == "ACTIVITY":
        activity = run.activities.get(timer.id)
        if activity is not None and activity.timer_due_ms == timer.due_ms:
            activities.apply_timer(step, run, activity)
    elif kind == "WORKFLOW_TASK":
        if row.task_retry_due_ms == timer.due_ms:
            retry_task_now(step, run)
    elif kind == "FIRST_TASK":
        if row.first_task_due_ms == timer.due_ms:
            row.first_task_due_ms = 0
            run.dirty = run.needs_task = True
    elif kind == "RUN_TIMEOUT":
        if row.run_timeout_due_ms == timer.due_ms:
            time_out(step, run, whole_chain=0 < row.execution_timeout_due_ms <= run.time_ms)
    elif kind == "EXECUTION_TIMEOUT" and row.execution_timeout_due_ms == timer.due_ms:
        time_out(step, run, whole_chain=True)


def removes_rows(timer: TimerRow) -> bool:
    """It is of a run that has closed, and ends what is kept of it: without it that stays for ever."""
    return timer.kind in ("RETENTION", "FORGET")


def set_aside(step: WorkflowStep, timer: TimerRow) -> None:
    """A due timer that breaks the engine: its row goes, or it would break each batch, and
    nothing is lost.

    Its run, which is quarantined now, gets it back when it is released; what a closed run waits
    for comes an hour later.
    """
    step.delete(TIMER, timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id))
    if removes_rows(timer):
        retention.put_off(step, timer, SET_ASIDE_MS)


def _give_back(step: WorkflowStep, run: LiveRun) -> None:
    """Timer rows of what is overdue in a run that was quarantined: any of them may have been set
    aside. They fire with the next batch.
    """
    row = run.row
    for user in run.timers.values():
        _put_overdue(step, run, "USER", user.due_ms, user.started_event_id)
    for activity in run.activities.values():
        _put_overdue(step, run, "ACTIVITY", activity.timer_due_ms, activity.scheduled_event_id)
    _put_overdue(step, run, "FIRST_TASK", row.first_task_due_ms)
    _put_overdue(step, run, "RUN_TIMEOUT", row.run_timeout_due_ms)
    _put_overdue(step, run, "EXECUTION_TIMEOUT", row.execution_timeout_due_ms)


def _put_overdue(step: WorkflowStep, run: LiveRun, kind: str, due_ms: int, id: int = 0) -> None:
    if 0 < due_ms <= run.time_ms:
        step.put_timer(run, kind, due_ms, id)


def retry_task_now(step: WorkflowStep, run: LiveRun) -> None:
    """The back-off is over, or an operator says so: this step executes the task."""
    step.set_task_timer(run, 0)
    run.needs_task = True


def release(step: WorkflowStep, run: LiveRun) -> None:
    """An operator lets a quarantined run go on, with the timers that were set aside."""
    row = run.row
    row.quarantine_reason, row.crash_count = "", 0
    run.dirty = run.summary_dirty = True
    if run.is_open:
        _give_back(step, run)
        retry_task_now(step, run)


def dispatch_first_task(step: WorkflowStep, run: LiveRun) -> None:
    """End the wait for the first task: a signal does during the start delay, a cancel request
    always.
    """
    step.delete_timer(run, "FIRST_TASK", run.row.first_task_due_ms)
    run.row.first_task_due_ms = 0
    run.dirty = True
