"""Queries: an activation of their own after the tasks of the step. They change nothing; closed
runs are replayed for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine.activation import Activation, QueryJob, RespondToQuery, TaskFailed
from odradek.engine.failures import application
from odradek.engine.requests import verdict
from odradek.engine.tasks import make_instance
from odradek.engine.writable import failure_problem, payloads_problem
from odradek.wire import outcomes
from odradek.wire.clean import clean_text

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.events import QueryWorkflow
    from odradek.wire.payload import Failure

# Temporal's words, with which its users tell this from an answer of the workflow's; the cause
# behind them is ours.
_NOT_READY = "Unable to query workflow due to Workflow Task in failed state."


def run_queries(step: WorkflowStep) -> None:
    """Answer the queries of the step, all of one run in one activation."""
    by_run: dict[str, tuple[LiveRun, list[QueryWorkflow]]] = {}
    for event, run in step.queries:
        by_run.setdefault(run.row.run_id, (run, []))[1].append(event)
    for run, events in by_run.values():
        _answer(step, run, events)


def _answer(step: WorkflowStep, run: LiveRun, events: list[QueryWorkflow]) -> None:
    row = run.row
    if row.quarantine_reason or (run.is_open and row.task_failure is not None):
        why = row.quarantine_reason or _message(row.task_failure)
        _refuse(
            step,
            run,
            events,
            row.task_failure,
            f"{_NOT_READY} {why}".rstrip(),
            status=outcomes.FAILED_PRECONDITION,
        )
        return
    if not row.last_task_event_id:
        message = (
            "the workflow has not run yet" if run.is_open else "the workflow closed before it ran"
        )
        for event in events:
            verdict(step, event, outcomes.FAILED_PRECONDITION, message, row=row)
        return
    problem = make_instance(step, run)
    if problem is not None:
        _refuse(
            step,
            run,
            events,
            problem.failure,
            f"the workflow cannot be replayed: {problem.failure.message}",
        )
        return
    assert run.instance is not None
    jobs = [
        QueryJob(str(number), event.query_type, event.input, event.headers)
        for number, event in enumerate(events)
    ]
    completion = run.instance.activate(
        Activation(
            run_id=row.run_id,
            time_ms=run.activated_ms,
            is_replaying=False,
            history_length=row.next_event_id - 1,
            history_size_bytes=row.history_size_bytes,
            suggest_continue_as_new=False,
            jobs=list(jobs),
        )
    )
    if isinstance(completion, TaskFailed):
        run.drop_instance()
        _refuse(step, run, events, completion.failure, completion.failure.message)
        return
    responses = {
        command.query_id: command
        for command in completion.commands
        if isinstance(command, RespondToQuery)
    }
    for number, event in enumerate(events):
        response = responses.get(str(number))
        if response is None:
            _refuse(step, run, [event], None, "the query handler gave no answer")
        else:
            _respond(step, run, event, response)


def _respond(
    step: WorkflowStep, run: LiveRun, event: QueryWorkflow, response: RespondToQuery
) -> None:
    if response.failure is not None:
        _refuse(step, run, [event], response.failure, response.failure.message)
        return
    unwritable = payloads_problem(response.result)
    if unwritable:
        message = f"The result of the query cannot be written: {unwritable}"
        _refuse(
            step,
            run,
            [event],
            application(message, "QueryResultUnwritable", non_retryable=True),
            message,
        )
        return
    verdict(step, event, outcomes.OK, row=run.row)
    step.replies[-1].payloads = response.result


def _refuse(
    step: WorkflowStep,
    run: LiveRun,
    events: list[QueryWorkflow],
    failure: Failure | None,
    message: str,
    *,
    status: str = outcomes.QUERY_FAILED,
) -> None:
    """The status, with the failure."""
    message = clean_text(message)
    if failure is not None and failure_problem(failure):  # a failure converter of the user's
        failure = application(failure.message, failure.type)
    for event in events:
        verdict(step, event, status, message, row=run.row)
        step.replies[-1].failure = (
            failure if failure is not None else application(message, "QueryFailed")
        )


def _message(failure: Failure | None) -> str:
    return failure.message if failure is not None else ""
