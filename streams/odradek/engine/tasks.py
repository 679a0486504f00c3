"""Workflow tasks: one activation for all inputs that a run has not seen, replay before it if
there is no instance, commands after it.

When a task is executed:
- there is something to tell workflow code, the run is open, its first task is not delayed;
- a run whose task failed waits for its back-off, a parked one for a longer one (or, held, for an
  operator); new inputs only append. A restart is new code: an engine that has not seen the task
  fail itself tries at once.

A failed task leaves no trace but its failure: the events that it did not see stay unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import closing, commands, problems
from odradek.engine.activate import activate
from odradek.engine.activation import Activation, FailWorkflow, TaskFailed
from odradek.engine.failures import application
from odradek.engine.jobs import take_jobs
from odradek.engine.keys import PARKED_DUE_MS
from odradek.engine.ports import FailedTask
from odradek.engine.replay import replay
from odradek.engine.task_timer import set_task_timer
from odradek.engine.writable import failure_problem
from odradek.wire.clean import clean_failure
from odradek.wire.history import (
    WorkflowTask,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep


def run_tasks(step: WorkflowStep) -> None:
    """Execute the tasks of all runs that need one, also those that tasks make necessary; beyond
    the bound they come with the next batch.
    """
    more = True
    while more:
        more = False
        for run in list(step.runs.values()):
            if not run.needs_task:
                continue
            run.needs_task = False
            if not _ready(step, run):
                continue
            if step.tasks >= step.limits.max_tasks_per_step:
                set_task_timer(step, run, step.now_ms)
                continue
            step.tasks += 1
            more = True
            _execute(step, run)


def _ready(step: WorkflowStep, run: LiveRun) -> bool:
    row = run.row
    if not run.is_open or row.first_task_due_ms:
        return False
    return not (row.task_retry_due_ms and row.run_id in step.context.failed_here)


def make_instance(step: WorkflowStep, run: LiveRun) -> TaskFailed | FailWorkflow | None:
    """Replay, if the run has no instance."""
    if run.instance is not None:
        return None
    context = step.context
    context.replays += 1
    began = context.monotonic()
    problem = replay(run, step.history(run), context.activator)
    step.replay_seconds.append(context.monotonic() - began)
    return problem


def _execute(step: WorkflowStep, run: LiveRun) -> None:
    row = run.row
    if step.rejected:
        failure = application(f"What the workflow made is rejected: {step.rejected}", "Rejected")
        fail_task(step, run, TaskFailed(failure, "UNSPECIFIED"))
        return
    problem = make_instance(step, run)
    if isinstance(problem, FailWorkflow):
        clean_failure(problem.failure)
        closing.fail(step, run, problem.failure, _completed(step, run, suggest=False))
        return
    if problem is not None:
        fail_task(step, run, problem)
        return
    jobs = take_jobs(run, run.unseen)
    run.unseen = []
    if not jobs:
        _succeeded(step, run)
        return
    limits = step.limits
    suggest = (
        row.next_event_id > limits.history_suggest_continue_as_new_events
        or row.history_size_bytes >= limits.history_suggest_continue_as_new_bytes
    )
    activation = Activation(
        row.run_id, run.time_ms, False, row.next_event_id + 1, row.history_size_bytes, suggest, jobs
    )
    began = step.context.monotonic()
    result = activate(run, activation)
    step.task_seconds.append((row.workflow_type, step.context.monotonic() - began))
    if isinstance(result, TaskFailed):
        fail_task(step, run, result)
        return
    wrong = commands.check(step, run, result)
    if wrong is not None:
        fail_task(step, run, wrong)
        return
    task_event_id = _completed(step, run, suggest=suggest)
    commands.apply(step, run, result, task_event_id)


def _completed(step: WorkflowStep, run: LiveRun, *, suggest: bool) -> int:
    """Write the completed task. Returns the id of its WorkflowTaskCompleted."""
    size = run.row.history_size_bytes
    run.append(WorkflowTask(run.time_ms, "", size, suggest))
    run.row.last_task_event_id = run.row.next_event_id - 1
    step.context.tasks += 1
    _succeeded(step, run)
    return run.row.last_task_event_id


def _succeeded(step: WorkflowStep, run: LiveRun) -> None:
    """The task does not fail (any more)."""
    row = run.row
    if row.task_retry_due_ms:
        set_task_timer(step, run, 0)
    if row.task_failure is not None or row.parked_reason or row.reported_problems:
        run.dirty = True
        run.summary_dirty = run.summary_dirty or bool(row.parked_reason)
        row.task_failure, row.task_attempt, row.parked_reason = None, 1, ""
        problems.clear(step, run)
        step.context.clear_failed(row.run_id)


def park(
    step: WorkflowStep, run: LiveRun, reason: str, cause: str = "", *, held: bool = False
) -> None:
    """No code of the run until its back-off, an operator or a restart has it tried again; its
    inputs go on to append.

    `cause`: of the failed task, if one did. `held`: until an operator. A defect met while it
    waits changes nothing of how long.
    """
    row = run.row
    run.drop_instance()
    run.needs_task = False
    step.context.mark_failed(row.run_id)
    waits = bool(row.parked_reason and row.task_retry_due_ms and not cause)
    if waits and row.task_retry_due_ms == PARKED_DUE_MS:
        return
    if not row.parked_reason:
        step.parked.append(row.run_id)
    if row.parked_reason != reason:
        row.parked_reason = reason
        run.summary_dirty = True
    problems.report(step, run, cause, parked=True)
    run.dirty = True
    if held:
        set_task_timer(step, run, PARKED_DUE_MS, parked=True)
    elif not waits:
        set_task_timer(step, run, _parked_until(step, run), parked=True)


def _parked_until(step: WorkflowStep, run: LiveRun) -> int:
    """A minute, doubling to an hour while each parking follows soon on the one before, whether
    or not a task succeeded in between.
    """
    row, limits = run.row, step.limits
    again = row.parked_until_ms > 0 and run.time_ms <= row.parked_until_ms + row.parked_wait_ms
    row.parked_wait_ms = (
        min(2 * row.parked_wait_ms, limits.parked_retry_maximum_ms)
        if again
        else limits.parked_retry_initial_ms
    )
    row.parked_until_ms = run.time_ms + row.parked_wait_ms
    return row.parked_until_ms


def fail_task(step: WorkflowStep, run: LiveRun, failed: TaskFailed) -> None:
    """The task failed: nothing of it counts, the run stays open, the task is tried again after a
    back-off.
    """
    row, limits = run.row, step.limits
    run.drop_instance()
    if failure_problem(failed.failure):  # a failure converter of the user's
        failed.failure = application(failed.failure.message, failed.failure.type)
    if row.task_failure is None:
        scheduled = run.append(WorkflowTaskScheduled(step.context.task_queue))
        started = run.append(
            WorkflowTaskStarted(scheduled, history_size_bytes=row.history_size_bytes)
        )
        run.append(WorkflowTaskFailed(scheduled, started, failed.cause, failed.failure))
    wait_ms = limits.task_retry_initial_ms * 2 ** min(row.task_attempt - 1, 20)
    row.task_attempt += 1
    row.task_failure = failed.failure
    run.dirty = True
    if not failed.logged:
        step.failed_tasks.append(
            FailedTask(
                row.workflow_id, row.run_id, row.workflow_type, failed.cause, failed.failure.message
            )
        )
    if failed.park:
        park(step, run, f"{failed.cause}: {failed.failure.message}", failed.cause, held=failed.held)
        return
    problems.report(step, run, failed.cause)
    set_task_timer(step, run, run.time_ms + min(wait_ms, limits.task_retry_maximum_ms))
    if row.parked_reason:
        row.parked_reason = ""
        run.summary_dirty = True
    step.context.mark_failed(row.run_id)


def enforce_limits(step: WorkflowStep, run: LiveRun) -> None:
    """A history without bound would take the lane with it: the run is terminated, as Temporal's
    server does.
    """
    row, limits = run.row, step.limits
    if (
        row.next_event_id - 1 <= limits.history_max_events
        and row.history_size_bytes <= limits.history_max_bytes
    ):
        return
    if not run.is_open or not run.new_events:
        return
    if row.next_event_id - 1 > limits.history_max_events:
        reason = (
            f"Workflow history count exceeds limit: {row.next_event_id - 1} events, at most"
            f" {limits.history_max_events}"
        )
    else:
        reason = (
            f"Workflow history size exceeds limit: {row.history_size_bytes} bytes, at most"
            f" {limits.history_max_bytes}"
        )
    closing.terminate(step, run, reason + ". Use continue-as-new before", [], "odradek")
