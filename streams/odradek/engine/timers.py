"""Timer rows that fell due. The host releases them after the inputs that were before them; each
is checked against what is pending now.

A timer row names a thing and a time; it counts only if that thing still waits for exactly that
time. Any other is stale: its row goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import activities, retention
from odradek.engine.closing import time_out
from odradek.engine.keys import PARKED_DUE_MS, event_key, timer_key
from odradek.engine.ports import TIMER, USER_TIMER
from odradek.engine.task_timer import set_task_timer
from odradek.wire.history import TimerFired

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.state import TimerRow

# Parked runs that fall due together are tried so far apart: each may keep its lane until the
# watchdog ends it (2 s unless set otherwise).
PARKED_APART_MS = 20_000


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
        _retry_task(step, run, timer.due_ms)
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

    Its run, which is parked now, gets it back when it is tried again; what a closed run waits
    for comes an hour later.
    """
    step.delete(TIMER, timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id))
    if removes_rows(timer):
        retention.put_off(step, timer, step.limits.parked_retry_maximum_ms)


def _give_back(step: WorkflowStep, run: LiveRun) -> None:
    """Timer rows of what is overdue in a run that was parked: any of them may have been set
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


def _retry_task(step: WorkflowStep, run: LiveRun, due_ms: int) -> None:
    row = run.row
    if row.parked_reason and due_ms == PARKED_DUE_MS:  # a new owner
        retry_task_now(step, run)
    elif row.task_retry_due_ms == due_ms:
        wait_ms = step.context.parked_tries * PARKED_APART_MS if row.parked_reason else 0
        step.parked_tries += bool(row.parked_reason)
        if wait_ms:
            row.parked_until_ms = run.time_ms + wait_ms
            set_task_timer(step, run, row.parked_until_ms, parked=True)
        else:
            retry_task_now(step, run)


def retry_task_now(step: WorkflowStep, run: LiveRun) -> None:
    """The back-off is over (or an operator says so): the next look at this run executes its task."""
    step.context.clear_failed(run.row.run_id)
    if run.row.parked_reason:
        _give_back(step, run)
    set_task_timer(step, run, 0)
    run.needs_task = True


def dispatch_first_task(step: WorkflowStep, run: LiveRun) -> None:
    """End the wait for the first task: a signal does during the start delay, a cancel request
    always.
    """
    step.delete_timer(run, "FIRST_TASK", run.row.first_task_due_ms)
    run.row.first_task_due_ms = 0
    run.dirty = True
