"""Read-only requests: describe, pages of history, long polls for results; and the answers that
close long polls.

All are answered after the tasks of the step and from its rows, so that they see everything that
was before them in the partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine.describe import description_of
from odradek.engine.failures import canceled, terminated, workflow_timed_out
from odradek.engine.ports import HISTORY
from odradek.engine.requests import not_found
from odradek.engine.sizes import event_bytes
from odradek.engine.step import last_event_id
from odradek.engine.summaries import result_of
from odradek.engine.waiters import WAIT_DEFAULT_MS, Waiter
from odradek.wire import outcomes
from odradek.wire.events import AwaitResult, DescribeWorkflow, FetchHistory
from odradek.wire.history import (
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from odradek.wire.outcomes import Reply, WorkflowResult
from odradek.wire.state import HistoryRow

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.history import HistoryEvent
    from odradek.wire.payload import Failure, Payload


def answer_reads(step: WorkflowStep) -> None:
    """Answer the read-only requests of the step, or let them wait."""
    for event in step.reads:
        run = step.run(event.run_id) if event.run_id else step.current_run()
        if run is None:
            not_found(step, event)
        elif isinstance(event, DescribeWorkflow):
            answer = _reply(step, run, event.reply_to, event.request_id, "DescribeWorkflow")
            answer.description = description_of(step, run)
            step.replies.append(answer)
        elif isinstance(event, FetchHistory):
            _fetch(step, run, event)
        else:
            _await(step, run, event)


def settle_waiters(step: WorkflowStep) -> list[Waiter]:
    """Answer the long polls that this step ends, new ones too. Returns the old ones that are
    done; new ones left wait in `new_waiters`.
    """
    done: list[Waiter] = []
    if step.context.waiters:
        for run_id, run in step.runs.items():
            done.extend(
                waiter for waiter in step.context.waiters.of(run_id) if _settle(step, run, waiter)
            )
    if step.new_waiters:
        step.new_waiters = [
            waiter
            for waiter in step.new_waiters
            if not _settle(step, step.runs[waiter.run_id], waiter)
        ]
    return done


def _settle(step: WorkflowStep, run: LiveRun, waiter: Waiter) -> bool:
    if waiter.fetch is not None:
        if run.is_open and run.row.next_event_id <= waiter.fetch.from_event_id:
            return False
        step.replies.append(_page(step, run, waiter.fetch))
        return True
    if run.is_open:
        return False
    step.replies.append(_outcome(step, run, waiter.client_id, waiter.request_id))
    return True


def expired_reply(waiter: Waiter, task_queue: str) -> Reply:
    """What a long poll gets at its deadline."""
    return Reply(
        client_id=waiter.client_id,
        request_id=waiter.request_id,
        kind="AwaitResult" if waiter.fetch is None else "FetchHistory",
        status=outcomes.DEADLINE_EXCEEDED,
        message="nothing happened before the deadline; ask again",
        workflow_id=waiter.workflow_id,
        run_id=waiter.run_id,
        task_queue=task_queue,
        next_event_id=waiter.fetch.from_event_id if waiter.fetch is not None else 0,
    )


def _reply(step: WorkflowStep, run: LiveRun, client_id: str, request_id: str, kind: str) -> Reply:
    row = run.row
    return Reply(
        client_id=client_id,
        request_id=request_id,
        kind=kind,
        status=outcomes.OK,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        first_execution_run_id=row.first_execution_run_id,
        task_queue=step.context.task_queue,
        workflow_type=row.workflow_type,
        workflow_status=row.status,
    )


# ---------------------------------------------------------------- results


def _await(step: WorkflowStep, run: LiveRun, event: AwaitResult) -> None:
    if not run.is_open:
        step.replies.append(_outcome(step, run, event.reply_to, event.request_id))
        return
    deadline = event.deadline_ms or step.now_ms + WAIT_DEFAULT_MS
    step.new_waiters.append(
        Waiter(run.row.run_id, event.workflow_id, event.reply_to, event.request_id, deadline)
    )


def _outcome(step: WorkflowStep, run: LiveRun, client_id: str, request_id: str) -> Reply:
    answer = _reply(step, run, client_id, request_id, "AwaitResult")
    # Whole, whatever its size: what `results` took, `replies` takes sixteen times, unless somebody
    # lowered it.
    answer.result = closed_result(step, run)
    return answer


def closed_result(step: WorkflowStep, run: LiveRun) -> WorkflowResult:
    """The outcome of a closed run, from its last event."""
    row = run.row
    result: list[Payload] = []
    failure: Failure | None = None
    new_run_id = row.new_execution_run_id
    for event in _last_events(step, run):
        a = event.attributes
        if isinstance(a, WorkflowExecutionCompleted):
            result = a.result
        elif isinstance(a, WorkflowExecutionFailed):
            failure = a.failure
        elif isinstance(a, WorkflowExecutionCanceled):
            failure = canceled("Workflow cancelled", a.details)
        elif isinstance(a, WorkflowExecutionTerminated):
            failure = terminated(a.reason, a.details)
        elif isinstance(a, WorkflowExecutionTimedOut):
            failure = workflow_timed_out()
    return result_of(
        step,
        run,
        row.status,
        result=result,
        failure=failure,
        new_run_id=new_run_id,
        history_length=row.next_event_id - 1,
        close_time_ms=row.close_time_ms,
    )


def _last_events(step: WorkflowStep, run: LiveRun) -> list[HistoryEvent]:
    prefix = run.row.run_id + "/"
    fresh = [key for table, key in step.changes if table == HISTORY and key.startswith(prefix)]
    # what this step appended is behind all that is stored: most polls are answered by the step that
    # closes the run
    if fresh:
        appended = step.changes[HISTORY, max(fresh)]
        assert isinstance(appended, HistoryRow)
        return appended.events[-1:]
    for _, row in step.scan(HISTORY, prefix, reverse=True, limit=1):
        assert isinstance(row, HistoryRow)
        return row.events[-1:]
    return []


# ---------------------------------------------------------------- history


def _fetch(step: WorkflowStep, run: LiveRun, event: FetchHistory) -> None:
    if event.wait_new_event and run.is_open and run.row.next_event_id <= event.from_event_id:
        deadline = event.deadline_ms or step.now_ms + WAIT_DEFAULT_MS
        step.new_waiters.append(
            Waiter(
                run.row.run_id, event.workflow_id, event.reply_to, event.request_id, deadline, event
            )
        )
        return
    step.replies.append(_page(step, run, event))


def _page(step: WorkflowStep, run: LiveRun, event: FetchHistory) -> Reply:
    """Events from `from_event_id` on, as many as a page takes, at least one."""
    answer = _reply(step, run, event.reply_to, event.request_id, "FetchHistory")
    size = 0
    history: list[HistoryEvent] = []
    for found in step.history(run, from_event_id=max(event.from_event_id, 1)):
        size += event_bytes(found)
        if history and (
            size > step.limits.page_max_bytes or len(history) >= max(event.max_events, 1)
        ):
            answer.next_event_id = found.event_id
            break
        history.append(found)
    answer.history = history
    if not answer.next_event_id and run.is_open:
        answer.next_event_id = (
            last_event_id(history[-1]) + 1 if history else max(event.from_event_id, 1)
        )
    return answer
