"""Workflow tasks: one activation for all inputs that a run has not seen, replay before it if
there is no instance, commands after it.

When a task is executed:
- there is something to tell workflow code, the run is open, its first task is not delayed;
- a run whose task failed waits for its back-off, a quarantined one for an operator; new inputs
  only append.

A failed task leaves no trace but its failure: the events that it did not see stay unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import closing, commands, problems
from odradek.engine.activate import activate
from odradek.engine.activation import Activation, FailWorkflow, TaskFailed
from odradek.engine.failures import application
from odradek.engine.jobs import take_jobs
from odradek.engine.ports import FailedTask
from odradek.engine.replay import replay
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
            if not _ready(run):
                continue
            if step.tasks >= step.limits.max_tasks_per_step:
                step.set_task_timer(run, step.now_ms)
                continue
            step.tasks += 1
            more = True
            _execute(step, run)


def _ready(run: LiveRun) -> bool:
    row = run.row
    waits = row.first_task_due_ms or row.task_retry_due_ms or row.quarantine_reason
    return run.is_open and not waits


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
    if row.task_failure is not None or row.crash_count or row.reported_problems:
        run.dirty = True
        row.task_failure, row.task_attempt, row.crash_count = None, 1, 0
        problems.clear(run)


def count_crash(step: WorkflowStep, run: LiveRun) -> None:
    """The process died while code of the run executed. Its next task waits, so that its
    neighbours get on; too many crashes in a row quarantine it.
    """
    row = run.row
    row.crash_count += 1
    run.dirty = True
    if row.crash_count >= step.limits.crashes_before_quarantine:
        quarantine(
            step, run, f"the process died {row.crash_count} times in a row while its code executed"
        )
    elif run.is_open:
        step.set_task_timer(
            run, run.time_ms + step.limits.crash_wait_ms * 2 ** (row.crash_count - 1)
        )


def quarantine(step: WorkflowStep, run: LiveRun, reason: str, cause: str = "") -> None:
    """No code of the run until an operator releases it; its inputs go on to append. `cause`: of
    the failed task, if one did.
    """
    row = run.row
    run.drop_instance()
    run.needs_task = False
    if row.quarantine_reason:
        return
    step.quarantined.append(row.run_id)
    row.quarantine_reason = reason
    run.dirty = run.summary_dirty = True
    if run.is_open:
        step.set_task_timer(run, 0)
        problems.report(step, run, cause)


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
    if failed.crashed:
        row.crash_count += 1
        if row.crash_count >= limits.crashes_before_quarantine:
            quarantine(step, run, f"{failed.cause}: {failed.failure.message}", failed.cause)
            return
    problems.report(step, run, failed.cause)
    step.set_task_timer(run, run.time_ms + min(wait_ms, limits.task_retry_maximum_ms))


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
