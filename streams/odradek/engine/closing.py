"""How runs end, and what follows an end: the result, the summary, the next run of the chain.

Exactly one close event, one WorkflowResult and one RETENTION timer a run. Nothing of a closed
run is pending any more: activities are told to stop, rows and timers are deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import retry
from odradek.engine.activities import abandon_all
from odradek.engine.chain import next_run_id, start_attributes, start_next
from odradek.engine.failures import (
    canceled,
    terminated,
    workflow_timed_out,
)
from odradek.engine.keys import event_key
from odradek.engine.ports import RESULTS, USER_TIMER
from odradek.engine.summaries import result_of
from odradek.wire import outcomes
from odradek.wire.history import (
    Attributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)

if TYPE_CHECKING:
    from odradek.engine.activation import ContinueAsNew
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.payload import Failure, Payload


def complete(step: WorkflowStep, run: LiveRun, result: list[Payload], task_event_id: int) -> None:
    """The workflow returned. Cron: the next run follows."""
    new_run_id = next_run_id(run) if run.row.cron_schedule else ""
    _close(
        step,
        run,
        outcomes.COMPLETED,
        WorkflowExecutionCompleted(result, task_event_id, new_run_id),
        result=result,
        new_run_id=new_run_id,
        in_task=True,
    )
    if new_run_id:
        start_next(step, run, new_run_id, initiator="CRON_SCHEDULE", last_result=result)


def fail(step: WorkflowStep, run: LiveRun, failure: Failure, task_event_id: int) -> None:
    """The workflow raised a failure: another attempt if its retry policy says so, or the next
    cron run, else the end.
    """
    state, wait_ms = _retry(step, run, failure)
    again = state == retry.IN_PROGRESS
    new_run_id = next_run_id(run) if again or run.row.cron_schedule else ""
    event = WorkflowExecutionFailed(failure, state, task_event_id, new_run_id)
    _close(step, run, outcomes.FAILED, event, failure=failure, new_run_id=new_run_id, in_task=True)
    if again:
        start_next(step, run, new_run_id, initiator="RETRY", failure=failure, backoff_ms=wait_ms)
    elif new_run_id:
        start_next(step, run, new_run_id, initiator="CRON_SCHEDULE", failure=failure)


def cancel(step: WorkflowStep, run: LiveRun, details: list[Payload], task_event_id: int) -> None:
    """The workflow let its cancellation end it."""
    failure = canceled("Workflow cancelled", details)
    event = WorkflowExecutionCanceled(details, task_event_id)
    _close(step, run, outcomes.CANCELED, event, failure=failure, in_task=True)


def terminate(
    step: WorkflowStep, run: LiveRun, reason: str, details: list[Payload], identity: str
) -> None:
    """The run ends without running workflow code."""
    if step.rejected:  # there may be no task to blame
        reason, details = f"{reason[:1_000]} [{step.rejected}]", []
    event = WorkflowExecutionTerminated(reason, details, identity)
    _close(step, run, outcomes.TERMINATED, event, failure=terminated(reason, details))


def time_out(step: WorkflowStep, run: LiveRun, *, whole_chain: bool) -> None:
    """Run or execution timeout. A run timeout is retried under a retry policy (and cron goes
    on); an execution timeout is not.
    """
    state, wait_ms = (retry.EXPIRED if whole_chain else retry.RETRY_POLICY_NOT_SET), 0
    failure = workflow_timed_out()
    if not whole_chain:
        state, wait_ms = _retry(step, run, failure)
    again = state == retry.IN_PROGRESS
    new_run_id = next_run_id(run) if again or (run.row.cron_schedule and not whole_chain) else ""
    _close(
        step,
        run,
        outcomes.TIMED_OUT,
        WorkflowExecutionTimedOut(state, new_run_id),
        failure=failure,
        new_run_id=new_run_id,
    )
    if again:
        start_next(step, run, new_run_id, initiator="RETRY", failure=failure, backoff_ms=wait_ms)
    elif new_run_id:
        start_next(step, run, new_run_id, initiator="CRON_SCHEDULE", failure=failure)


def continue_as_new(
    step: WorkflowStep, run: LiveRun, command: ContinueAsNew, task_event_id: int
) -> None:
    """The workflow goes on as a new run with the same id."""
    row = run.row
    new_run_id = next_run_id(run)
    event = WorkflowExecutionContinuedAsNew(
        new_execution_run_id=new_run_id,
        workflow_type=command.workflow_type or row.workflow_type,
        task_queue=step.context.task_queue,
        input=command.input,
        headers=command.headers,
        memo=row.memo if command.memo is None else command.memo,
        search_attributes=row.search_attributes
        if command.search_attributes is None
        else command.search_attributes,
        run_timeout_ms=row.run_timeout_ms
        if command.run_timeout_ms is None
        else command.run_timeout_ms,
        task_timeout_ms=command.task_timeout_ms or 0,
        backoff_start_interval_ms=command.backoff_start_interval_ms,
        workflow_task_completed_event_id=task_event_id,
    )
    _close(step, run, outcomes.CONTINUED_AS_NEW, event, new_run_id=new_run_id, in_task=True)
    start_next(
        step,
        run,
        new_run_id,
        initiator="WORKFLOW",
        backoff_ms=command.backoff_start_interval_ms,
        continued=event,
        retry_policy=command.retry_policy,
        task_timeout_ms=command.task_timeout_ms,
    )


def _retry(step: WorkflowStep, run: LiveRun, failure: Failure) -> tuple[str, int]:
    row = run.row
    policy = start_attributes(step, run).retry_policy
    return retry.decide(
        retry.normalized(policy) if policy is not None else None,
        failure,
        attempt=row.attempt,
        now_ms=run.time_ms,
        expiration_ms=row.execution_timeout_due_ms,
    )


def _close(
    step: WorkflowStep,
    run: LiveRun,
    status: str,
    event: Attributes,
    *,
    result: list[Payload] | None = None,
    failure: Failure | None = None,
    new_run_id: str = "",
    in_task: bool = False,
) -> None:
    """Close the run."""
    row = run.row
    record = result_of(
        step,
        run,
        status,
        result=result,
        failure=failure,
        new_run_id=new_run_id,
        history_length=row.next_event_id,
        close_time_ms=run.time_ms,
    )
    step.emit(RESULTS, "", row.workflow_id, record)
    run.append(event, offset=step.input.offset if step.input is not None and not in_task else -1)
    abandon_all(step, run)
    for timer in list(run.timers.values()):
        step.delete(USER_TIMER, event_key(row.run_id, timer.started_event_id))
        step.delete_timer(run, "USER", timer.due_ms, timer.started_event_id)
    run.timers.clear()
    step.delete_timer(run, "FIRST_TASK", row.first_task_due_ms)
    step.set_task_timer(run, 0)
    step.delete_timer(run, "RUN_TIMEOUT", row.run_timeout_due_ms)
    step.delete_timer(run, "EXECUTION_TIMEOUT", row.execution_timeout_due_ms)
    row.status = status
    step.opened -= 1
    row.close_time_ms = run.time_ms
    row.new_execution_run_id = new_run_id
    row.first_task_due_ms = 0
    row.quarantine_reason, row.crash_count, row.reported_problems = "", 0, []
    row.task_failure, row.task_attempt = None, 1
    row.retention_due_ms = run.time_ms + step.limits.retention_ms
    step.put_timer(run, "RETENTION", row.retention_due_ms)
    run.needs_task = False
    run.summary_dirty = True
