"""What a response, or none, means to the caller: the one place that turns both into values and Temporal's
errors.

With no owner alive a start, signal, cancel or terminate is accepted (it lies in the log and is applied when an
owner comes), a query or describe is UNAVAILABLE. A deadline that the caller set himself ends in
DEADLINE_EXCEEDED as long as an owner seems to be alive.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from odradek.client.encode import single_value
from odradek.client.errors import (
    Unanswered,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    rpc_error,
)
from odradek.client.transport import Owner
from odradek.converter import DataConverter
from odradek.exceptions import (
    CancelledError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from odradek.service import RPCError, RPCStatusCode
from odradek.wire import outcomes
from odradek.wire.outcomes import ALREADY_EXISTS, OK, Reply, WorkflowResult
from odradek.wire.payload import Failure

logger = logging.getLogger(__name__)


def check(reply: Reply, *, task_queue: str) -> Reply:
    """The reply, if its verdict is OK; `RPCError` with Temporal's status otherwise."""
    if reply.status == OK:
        return reply
    status = RPCStatusCode.__members__.get(reply.status, RPCStatusCode.UNKNOWN)
    message = (
        reply.message
        or f"{reply.kind} of workflow {reply.workflow_id!r} on task queue {task_queue!r}: {reply.status}"
    )
    raise rpc_error(status, message)


def check_start(reply: Reply, *, workflow_id: str, workflow_type: str, task_queue: str) -> Reply:
    """As `check`, for a start: `WorkflowAlreadyStartedError` when the id is taken."""
    if reply.status == ALREADY_EXISTS:
        raise WorkflowAlreadyStartedError(
            workflow_id,
            workflow_type,
            run_id=reply.run_id or None,
            first_run_id=reply.first_execution_run_id or None,
        )
    return check(reply, task_queue=task_queue)


T = TypeVar("T")
_pending: ContextVar[list[str] | None] = ContextVar("odradek_pending", default=None)
_outcomes: ContextVar[list[WorkflowResult] | None] = ContextVar("odradek_outcomes", default=None)


@contextlib.contextmanager
def noting_outcomes() -> Iterator[list[WorkflowResult]]:
    """The outcomes that were awaited in this `with`, as their owners told them, run by run:
    which run it was, its payloads as they came.
    """
    with _noting(_outcomes) as noted:
        yield noted


def note_outcome(outcome: WorkflowResult) -> None:
    """Tell who is `noting_outcomes`."""
    if (noted := _outcomes.get()) is not None:
        noted.append(outcome)


@contextlib.contextmanager
def noting_pending() -> Iterator[list[str]]:
    """The task queues whose processors left a request without a verdict in this `with`: those
    requests are accepted, not applied. Whoever uses it tells so, and no warning is logged.
    """
    with _noting(_pending) as noted:
        yield noted


@contextlib.contextmanager
def _noting(variable: ContextVar[list[T] | None]) -> Iterator[list[T]]:
    noted: list[T] = []
    token = variable.set(noted)
    try:
        yield noted
    finally:
        variable.reset(token)


def accept(
    unanswered: Unanswered,
    *,
    what: str,
    workflow_id: str,
    task_queue: str,
    address: str,
    explicit: bool,
) -> None:
    """Return if a request that changes something counts as accepted without an answer; raise
    `RPCError` if not.

    explicit: the caller gave the timeout.
    """
    _check_delivered(unanswered, what, address)
    if unanswered.last is not None:
        check(unanswered.last, task_queue=task_queue)
    why = f", as {unanswered.trouble.rstrip('.')}" if unanswered.trouble else ""
    if explicit and unanswered.owner is Owner.ALIVE:
        raise rpc_error(
            RPCStatusCode.DEADLINE_EXCEEDED,
            f"{what}: not confirmed within {unanswered.waited_s:.3g} s{why}. The request lies in"
            f" the log of task queue {task_queue!r} and will be applied",
        )
    noted = _pending.get()
    if noted is not None:
        noted.append(task_queue)
    level = logging.WARNING if noted is None else logging.DEBUG
    ids = {"workflow_id": workflow_id, "task_queue": task_queue}
    if why:
        text = (
            "%s: no answer came within %.3g s%s. The request lies in the log of task queue %r and"
            " is applied by its processor"
        )
        logger.log(level, text, what, unanswered.waited_s, why, task_queue, extra=ids)
        return
    logger.log(
        level,
        "%s: no processor of task queue %r answered within %.3g s. The request lies in its log and"
        " is applied as soon as one does",
        what,
        task_queue,
        unanswered.waited_s,
        extra=ids,
    )


def unavailable(unanswered: Unanswered, *, what: str, task_queue: str, address: str) -> RPCError:
    """The error of a request that only an owner can answer."""
    try:
        _check_delivered(unanswered, what, address)
        if unanswered.last is not None:
            check(unanswered.last, task_queue=task_queue)
    except RPCError as error:
        return error
    if unanswered.trouble:
        return rpc_error(
            RPCStatusCode.UNAVAILABLE, f"{what}: no answer can come, as {unanswered.trouble}"
        )
    if unanswered.owner is Owner.ALIVE:
        waited = f"{unanswered.waited_s:.3g} s"
        return rpc_error(
            RPCStatusCode.DEADLINE_EXCEEDED,
            f"{what}: task queue {task_queue!r} did not answer within {waited}",
        )
    return rpc_error(
        RPCStatusCode.UNAVAILABLE,
        f"{what}: no processor of task queue {task_queue!r} answers. Start a worker (or `odradek"
        " worker`) for that task queue, or try again if one is restarting",
    )


def _check_delivered(unanswered: Unanswered, what: str, address: str) -> None:
    if not unanswered.delivered:
        raise rpc_error(
            RPCStatusCode.UNAVAILABLE,
            f"{what}: the Kafka brokers at {address} (setting `address`) did not take the request"
            f" within {unanswered.waited_s:.3g} s. It may still arrive",
        )


# Outcomes after which a newer run may carry on: a retry, the next cron run, or continue-as-new.
_FOLLOWED = (outcomes.COMPLETED, outcomes.FAILED, outcomes.TIMED_OUT, outcomes.CONTINUED_AS_NEW)


def next_run(result: WorkflowResult, follow_runs: bool) -> str:
    """The run to wait for instead, "" when this outcome is the one. Raises
    `WorkflowContinuedAsNewError` when it may not be followed.
    """
    if follow_runs and result.new_execution_run_id and result.status in _FOLLOWED:
        return result.new_execution_run_id
    if result.status == outcomes.CONTINUED_AS_NEW:
        raise WorkflowContinuedAsNewError(result.new_execution_run_id)
    return ""


async def value_of(
    result: WorkflowResult, converter: DataConverter, result_type: Any | None
) -> Any:
    """The value of a completed run, decoded as `result_type` (None: as it comes).
    `WorkflowFailureError` for every other outcome.
    """
    if result.status == outcomes.COMPLETED:
        return await single_value(converter, result.result, result_type, "result")
    raise WorkflowFailureError(cause=await _cause(result, converter))


async def _cause(result: WorkflowResult, converter: DataConverter) -> BaseException:
    failure = result.failure
    if result.status == outcomes.CANCELED:
        return CancelledError("Workflow cancelled", *await _details(result, converter))
    if result.status == outcomes.TERMINATED:
        reason = failure.message if failure is not None else ""
        return TerminatedError(reason or "Workflow terminated", *await _details(result, converter))
    if result.status == outcomes.TIMED_OUT:
        return TimeoutError(
            "Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
        )
    if failure is None:
        failure = Failure(message=f"Workflow closed as {result.status}")
    return await converter.decode_failure(failure)


async def query_failed(reply: Reply, converter: DataConverter) -> WorkflowQueryFailedError:
    """The error of a failed query, caused by what its handler raised: the message alone may say
    little (`'oops'` of a KeyError).
    """
    failure = reply.failure
    error = WorkflowQueryFailedError(
        reply.message or (failure.message if failure is not None else "") or "query failed"
    )
    if failure is not None:
        try:
            error.__cause__ = await converter.decode_failure(failure)
        except (
            Exception
        ) as unreadable:  # it has failed all the same, and this is why no more is said
            error.__cause__ = unreadable
    return error


async def _details(result: WorkflowResult, converter: DataConverter) -> list[Any]:
    """Details of a cancellation or termination: with its failure, or where a completed run has
    its result.
    """
    payloads = (result.failure.details if result.failure is not None else []) or result.result
    return await converter.decode(payloads) if payloads else []
