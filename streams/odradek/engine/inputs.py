"""Applies one input of `events` to the runs of its workflow id: history events and pending work,
no workflow code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine import closing
from odradek.engine.activities import apply_report
from odradek.engine.names import problem_of
from odradek.engine.requests import answer_again, not_found, remember, remembered, target, verdict
from odradek.engine.retention import apply_delete
from odradek.engine.signals import add_signal
from odradek.engine.start import apply_start
from odradek.engine.timers import dispatch_first_task, release, retry_task_now
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    CancelWorkflow,
    DeleteWorkflow,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    ReleaseWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.history import WorkflowExecutionCancelRequested

if TYPE_CHECKING:
    from odradek.engine.ports import Input
    from odradek.engine.step import WorkflowStep


def apply_input(step: WorkflowStep, input: Input) -> None:
    """Apply one input."""
    step.input = input
    event = input.event
    if isinstance(event, Request) and (problem := problem_of(event)):
        verdict(step, event, outcomes.INVALID_ARGUMENT, problem)
    elif isinstance(event, StartWorkflow):
        apply_start(step, event)
    elif isinstance(event, SignalWorkflow):
        _signal(step, event)
    elif isinstance(event, QueryWorkflow):
        _query(step, event)
    elif isinstance(event, CancelWorkflow):
        _cancel(step, event)
    elif isinstance(event, TerminateWorkflow):
        _terminate(step, event)
    elif isinstance(event, ReleaseWorkflow):
        _release(step, event)
    elif isinstance(event, DeleteWorkflow):
        apply_delete(step, event)
    elif isinstance(event, DescribeWorkflow | FetchHistory | AwaitResult):
        if event.reply_to and not _expired(step, event.deadline_ms):
            step.reads.append(event)
    else:
        apply_report(step, event)
    step.input = None


def _expired(step: WorkflowStep, deadline_ms: int) -> bool:
    return 0 < deadline_ms < step.now_ms


def _repeated(
    step: WorkflowStep, event: SignalWorkflow | CancelWorkflow | TerminateWorkflow | ReleaseWorkflow
) -> bool:
    entry = remembered(step, event)
    if entry is None:
        return False
    answer_again(step, event, entry)
    return True


def _signal(step: WorkflowStep, event: SignalWorkflow) -> None:
    if _repeated(step, event):
        return
    run = target(step, event, must_be_open=True)
    if run is None:
        return
    offset = step.input.offset if step.input is not None else -1
    add_signal(
        run,
        event.signal_name,
        event.input,
        event.headers,
        event.identity,
        event.request_id,
        offset,
        step,
    )
    remember(step, run, event, outcomes.OK, run_id=run.row.run_id)
    verdict(step, event, outcomes.OK, row=run.row)


def _cancel(step: WorkflowStep, event: CancelWorkflow) -> None:
    """A request, not an order, and a state, not an event: the second one changes nothing, nor
    does one of a closed run (Temporal).
    """
    if _repeated(step, event):
        return
    run = target(step, event, must_be_open=True, closed_is_done=True)
    if run is None:
        return
    if not run.row.cancel_requested:
        run.row.cancel_requested = True
        run.row.cancel_reason = event.reason
        offset = step.input.offset if step.input is not None else -1
        run.append(
            WorkflowExecutionCancelRequested(event.reason, event.identity, event.request_id),
            offset=offset,
        )
        # unlike a signal it ends any wait for the first task, that of cron and of a retry too
        # (Temporal)
        if run.row.first_task_due_ms:
            dispatch_first_task(step, run)
        run.needs_task = True
    remember(step, run, event, outcomes.OK, run_id=run.row.run_id)
    verdict(step, event, outcomes.OK, row=run.row)


def _terminate(step: WorkflowStep, event: TerminateWorkflow) -> None:
    if _repeated(step, event):
        return
    run = target(step, event, must_be_open=True)
    if run is None:
        return
    closing.terminate(step, run, event.reason, event.details, event.identity)
    remember(step, run, event, outcomes.OK, run_id=run.row.run_id)
    verdict(step, event, outcomes.OK, row=run.row)


def _release(step: WorkflowStep, event: ReleaseWorkflow) -> None:
    """A run whose task failed and waits for its next try is tried now as well. Remembered, so
    that a repeated request is no second one.
    """
    if _repeated(step, event):
        return
    run = target(step, event, must_be_open=False)
    if run is None:
        return
    if run.row.quarantine_reason:
        release(step, run)
    elif run.row.task_retry_due_ms:
        retry_task_now(step, run)
    elif not run.is_open:
        verdict(
            step, event, outcomes.NOT_FOUND, "workflow execution already completed", row=run.row
        )
        return
    else:
        problem = (
            f"workflow {event.workflow_id!r} is not quarantined, nor does its workflow task wait to"
            " be tried again: nothing was done"
        )
        verdict(step, event, outcomes.FAILED_PRECONDITION, problem, row=run.row)
        return
    remember(step, run, event, outcomes.OK, run_id=run.row.run_id)
    verdict(step, event, outcomes.OK, row=run.row)


def _query(step: WorkflowStep, event: QueryWorkflow) -> None:
    """Queries run after the tasks of the step, so that they see everything before them. A late
    one is dropped: nobody waits.
    """
    if not event.reply_to or _expired(step, event.deadline_ms):
        return
    run = step.run(event.run_id) if event.run_id else step.current_run()
    if run is None:
        not_found(step, event)
        return
    status = run.row.status
    condition = event.reject_condition
    if (condition == "NOT_OPEN" and status != outcomes.RUNNING) or (
        condition == "NOT_COMPLETED_CLEANLY"
        and status not in (outcomes.RUNNING, outcomes.COMPLETED)
    ):
        verdict(
            step,
            event,
            outcomes.QUERY_REJECTED,
            f"query rejected: workflow is {status}",
            row=run.row,
        )
        return
    step.queries.append((event, run))
