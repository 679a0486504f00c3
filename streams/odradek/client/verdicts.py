"""What a reply, or none, means to the caller: the one place that turns both into Temporal's errors.

With no owner alive a start, signal, cancel or terminate is accepted (it lies in the log and is applied when an owner comes), a query or
describe is UNAVAILABLE. A deadline that the caller set himself ends in DEADLINE_EXCEEDED as long as an owner seems to be alive.
"""

from __future__ import annotations

import logging

from odradek.client.call import Unanswered
from odradek.client.transport import Owner
from odradek.exceptions import WorkflowAlreadyStartedError
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.outcomes import ALREADY_EXISTS, OK, Reply

logger = logging.getLogger(__name__)


def rpc_error(status: RPCStatusCode, message: str) -> RPCError:
    """An RPCError; Kafka has no gRPC details to add."""
    return RPCError(message, status, b"")


def check(reply: Reply, *, task_queue: str) -> Reply:
    """The reply, if its verdict is OK; `RPCError` with Temporal's status otherwise."""
    if reply.status == OK:
        return reply
    status = RPCStatusCode.__members__.get(reply.status, RPCStatusCode.UNKNOWN)
    message = reply.message or f"{reply.kind} of workflow {reply.workflow_id!r} on task queue {task_queue!r}: {reply.status}"
    raise rpc_error(status, message)


def check_start(reply: Reply, *, workflow_id: str, workflow_type: str, task_queue: str) -> Reply:
    """As `check`, for a start: `WorkflowAlreadyStartedError` when the id is taken."""
    if reply.status == ALREADY_EXISTS:
        raise WorkflowAlreadyStartedError(
            workflow_id, workflow_type, run_id=reply.run_id or None, first_run_id=reply.first_execution_run_id or None
        )
    return check(reply, task_queue=task_queue)


def accept(unanswered: Unanswered, *, what: str, task_queue: str, address: str, timeout_s: float, explicit: bool) -> None:
    """Return if a request that changes something counts as accepted without an answer; raise `RPCError` if not.

    explicit: the caller gave the timeout.
    """
    _check_delivered(unanswered, what, address, timeout_s)
    if unanswered.last is not None:
        check(unanswered.last, task_queue=task_queue)
    if explicit and unanswered.owner is Owner.ALIVE:
        raise rpc_error(
            RPCStatusCode.DEADLINE_EXCEEDED,
            f"{what}: not confirmed within {timeout_s:g} s. The request lies in the log of task queue {task_queue!r} and will be applied",
        )
    logger.warning(
        "%s: no processor of task queue %r answered within %g s. The request lies in its log and is applied as soon as one does",
        what,
        task_queue,
        timeout_s,
    )


def unavailable(unanswered: Unanswered, *, what: str, task_queue: str, address: str, timeout_s: float) -> RPCError:
    """The error of a request that only an owner can answer."""
    try:
        _check_delivered(unanswered, what, address, timeout_s)
        if unanswered.last is not None:
            check(unanswered.last, task_queue=task_queue)
    except RPCError as error:
        return error
    if unanswered.owner is Owner.ALIVE:
        return rpc_error(RPCStatusCode.DEADLINE_EXCEEDED, f"{what}: task queue {task_queue!r} did not answer within {timeout_s:g} s")
    return rpc_error(
        RPCStatusCode.UNAVAILABLE,
        f"{what}: no processor of task queue {task_queue!r} answers. Start a worker (or `odradek worker`) "
        f"for that task queue, or try again if one is restarting",
    )


def _check_delivered(unanswered: Unanswered, what: str, address: str, timeout_s: float) -> None:
    if not unanswered.delivered:
        raise rpc_error(
            RPCStatusCode.UNAVAILABLE,
            f"{what}: the Kafka brokers at {address} (setting `address`) did not take the request within {timeout_s:g} s. "
            f"It may still arrive",
        )
