"""Records about a run that others read: ExecutionSummary (`executions`) and WorkflowResult
(`results`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine.ports import EXECUTIONS
from odradek.engine.sizes import map_bytes
from odradek.wire.outcomes import ExecutionSummary, WorkflowResult

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.payload import Failure, Payload
    from odradek.wire.state import RunRow


def summary_of(namespace: str, task_queue: str, row: RunRow) -> ExecutionSummary:
    """The summary of a run as its row stands."""
    return ExecutionSummary(
        namespace=namespace,
        task_queue=task_queue,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        workflow_type=row.workflow_type,
        status=row.status,
        start_time_ms=row.start_time_ms,
        execution_time_ms=row.execution_time_ms,
        close_time_ms=row.close_time_ms,
        history_length=row.next_event_id - 1,
        history_size_bytes=row.history_size_bytes,
        first_execution_run_id=row.first_execution_run_id,
        parent_workflow_id=row.parent_workflow_id,
        parent_run_id=row.parent_run_id,
        root_workflow_id=row.root_workflow_id,
        root_run_id=row.root_run_id,
        memo=row.memo,
        search_attributes=row.search_attributes,
        quarantine_reason=row.quarantine_reason,
        state_transition_count=row.state_transition_count,
        reported_problems=row.reported_problems,
    )


def emit_summary(step: WorkflowStep, run: LiveRun) -> None:
    """Put the summary out; without memo and search attributes if they make it too large."""
    row = run.row
    record = summary_of(step.context.namespace, step.context.task_queue, row)
    if (record.memo or record.search_attributes) and (
        step.rejected
        or map_bytes(record.memo) + map_bytes(record.search_attributes)
        > step.limits.summary_max_bytes
    ):
        record.memo, record.search_attributes = {}, {}
    step.emit(EXECUTIONS, "", f"{row.workflow_id}/{row.run_id}", record)


def emit_tombstone(step: WorkflowStep, row: RunRow) -> None:
    """The run leaves `executions`. Only the headers of its last summary travel."""
    record = summary_of(step.context.namespace, step.context.task_queue, row)
    record.memo, record.search_attributes = {}, {}
    step.emit(EXECUTIONS, "", f"{row.workflow_id}/{row.run_id}", record, tombstone=True)


def result_of(
    step: WorkflowStep,
    run: LiveRun,
    status: str,
    *,
    result: list[Payload] | None = None,
    failure: Failure | None = None,
    new_run_id: str = "",
    history_length: int,
    close_time_ms: int,
) -> WorkflowResult:
    """The one record that says how a run ended."""
    row = run.row
    return WorkflowResult(
        step.context.namespace,
        step.context.task_queue,
        row.workflow_id,
        row.run_id,
        row.workflow_type,
        status,
        result or [],
        failure,
        row.start_time_ms,
        close_time_ms,
        row.first_execution_run_id,
        new_run_id,
        history_length,
    )
