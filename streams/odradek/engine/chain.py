"""New runs: the one that a start makes, and those that follow a run of the same workflow id
(continue-as-new, retry, cron).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from odradek.engine import cron
from odradek.engine.keys import derived_run_id, event_key, random_seed
from odradek.engine.ports import HISTORY, RUN
from odradek.engine.run import LiveRun
from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.state import HistoryRow, RunRow, WorkflowRow

if TYPE_CHECKING:
    from odradek.engine.step import WorkflowStep
    from odradek.wire.history import WorkflowExecutionContinuedAsNew
    from odradek.wire.payload import Failure, Payload, RetryPolicy


def next_run_id(run: LiveRun) -> str:
    """The id of the run that follows: derived, so that a step done again makes the same."""
    return derived_run_id(f"{run.row.run_id}/{run.row.next_event_id}")


def start_attributes(step: WorkflowStep, run: LiveRun) -> WorkflowExecutionStarted:
    """Event 1 of a run."""
    row = step.get(HISTORY, event_key(run.row.run_id, 1))
    event = cast(HistoryRow, row).events[0] if row is not None else run.new_events[0]
    return cast(WorkflowExecutionStarted, event.attributes)


def create_run(
    step: WorkflowStep, started: WorkflowExecutionStarted, row: RunRow, *, offset: int = -1
) -> LiveRun:
    """Make the current run of the workflow id from its first event and a row that holds what
    only a start knows.
    """
    now = max(step.now_ms, row.start_time_ms)
    started.random_seed = random_seed(row.run_id)
    backoff = started.first_workflow_task_backoff_ms
    current = step.current()
    row.previous_run_id = current.run_id if current is not None else ""
    row.first_execution_run_id = started.first_execution_run_id
    row.attempt = started.attempt
    row.start_time_ms, row.execution_time_ms, row.last_time_ms = now, now + backoff, now
    row.memo, row.search_attributes = started.memo, started.search_attributes
    row.execution_timeout_ms, row.run_timeout_ms = (
        started.execution_timeout_ms,
        started.run_timeout_ms,
    )
    row.cron_schedule = started.cron_schedule
    # The history of a run that is its own root names none, as in Temporal; its row and what lists
    # show do.
    row.root_workflow_id = started.root_workflow_id or row.workflow_id
    row.root_run_id = started.root_run_id or started.first_execution_run_id
    if started.parent is not None:
        row.parent_workflow_id, row.parent_run_id = (
            started.parent.workflow_id,
            started.parent.run_id,
        )
    run = LiveRun(row)
    run.time_ms = now
    _take_over_window(step, run)
    step.add_run(run)
    step.set_current(WorkflowRow(row.workflow_id, row.run_id, row.first_execution_run_id))
    run.append(started, offset=offset)
    if started.execution_timeout_ms:
        row.execution_timeout_due_ms = started.execution_expiration_time_ms
        step.put_timer(run, "EXECUTION_TIMEOUT", row.execution_timeout_due_ms)
    if started.run_timeout_ms:
        row.run_timeout_due_ms = now + backoff + started.run_timeout_ms
        step.put_timer(run, "RUN_TIMEOUT", row.run_timeout_due_ms)
    if backoff:
        row.first_task_due_ms = now + backoff
        step.put_timer(run, "FIRST_TASK", row.first_task_due_ms)
    else:
        run.needs_task = True
    if row.run_id in step.context.crashed_before_start:
        row.crash_count = 1
        step.set_task_timer(run, now + step.limits.crash_wait_ms)
    run.summary_dirty = True
    return run


def _take_over_window(step: WorkflowStep, run: LiveRun) -> None:
    """The deduplication window belongs to the workflow id: its newest run keeps it."""
    current = step.current()
    if current is None:
        run.requests = {}
        return
    live = step.runs.get(current.run_id)
    if live is None:
        before = cast("RunRow | None", step.get(RUN, current.run_id))
        run.row.request_seq = before.request_seq if before is not None else 0
    else:
        run.row.request_seq = live.row.request_seq
        run.requests, live.requests = live.requests, None


def start_next(
    step: WorkflowStep,
    run: LiveRun,
    new_run_id: str,
    *,
    initiator: str,
    backoff_ms: int = 0,
    failure: Failure | None = None,
    last_result: list[Payload] | None = None,
    continued: WorkflowExecutionContinuedAsNew | None = None,
    retry_policy: RetryPolicy | None = None,
    task_timeout_ms: int | None = None,
) -> LiveRun:
    """Start the run that follows `run`, which has just closed."""
    old, row = start_attributes(step, run), run.row
    started = WorkflowExecutionStarted(
        workflow_id=row.workflow_id,
        run_id=new_run_id,
        workflow_type=continued.workflow_type if continued else row.workflow_type,
        task_queue=old.task_queue,
        input=continued.input if continued else old.input,
        headers=continued.headers if continued else old.headers,
        memo=continued.memo if continued else row.memo,
        search_attributes=continued.search_attributes if continued else row.search_attributes,
        execution_timeout_ms=old.execution_timeout_ms,
        run_timeout_ms=continued.run_timeout_ms if continued else old.run_timeout_ms,
        task_timeout_ms=old.task_timeout_ms if task_timeout_ms is None else task_timeout_ms,
        first_workflow_task_backoff_ms=cron.wait_ms(row.cron_schedule, run.time_ms)
        if initiator == "CRON_SCHEDULE"
        else backoff_ms,
        cron_schedule=old.cron_schedule,
        retry_policy=retry_policy if retry_policy is not None else old.retry_policy,
        attempt=row.attempt + 1 if initiator == "RETRY" else 1,
        identity=old.identity,
        first_execution_run_id=row.first_execution_run_id,
        continued_execution_run_id=row.run_id,
        continued_failure=failure,
        last_completion_result=old.last_completion_result if last_result is None else last_result,
        initiator=initiator,
        parent=old.parent,
        # Histories from before name the run itself, where it has no parent.
        root_workflow_id=old.root_workflow_id if old.parent is not None else "",
        root_run_id=old.root_run_id if old.parent is not None else "",
        execution_expiration_time_ms=old.execution_expiration_time_ms,
    )
    new_row = RunRow(row.workflow_id, new_run_id, started.workflow_type, row.first_execution_run_id)
    new_row.start_time_ms = run.time_ms
    new_row.static_summary, new_row.static_details = row.static_summary, row.static_details
    return create_run(step, started, new_row)
