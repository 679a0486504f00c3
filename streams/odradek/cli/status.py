"""Exit statuses, and the one line that goes with each error."""

from __future__ import annotations

from enum import IntEnum

from odradek.client import (
    RPCError,
    RPCStatusCode,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.client.locate import NAME_THE_QUEUE
from odradek.exceptions import (
    BrokerUnreachableError,
    ConfigurationError,
    FailureError,
    OdradekError,
    TopicError,
    WorkflowAlreadyStartedError,
)
from odradek.wire.errors import TopicNameError


class Status(IntEnum):
    """What a script can tell from the exit status. Stable."""

    OK = 0
    """Done; or accepted without a verdict, which the output says: the request is durable, as
    with Temporal's `start` without a worker.
    """
    FAILED = 1
    """The workflow failed, was cancelled, terminated or timed out; a query failed; a batch
    failed in part; it was not confirmed; or something unexpected.
    """
    USAGE = 2
    """Wrong arguments, query or settings; a token that the server does not take."""
    UNAVAILABLE = 3
    """No broker, no owner, no server, no answer in time, topics missing: try again later, or
    start what is missing.
    """
    NOT_FOUND = 4
    """No such workflow, or it is closed; no such dead letter."""
    ALREADY_STARTED = 5
    """The workflow id is taken."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Whoever read the output has gone, as with `| head`."""


MEANINGS = {
    Status.OK: "done; or accepted without a verdict yet, and the output says so",
    Status.FAILED: "it failed: the workflow, a query, part of a batch; or it was not confirmed",
    Status.USAGE: "wrong usage, query or settings",
    Status.UNAVAILABLE: "unavailable: no broker, no worker, no server, no answer in time",
    Status.NOT_FOUND: "no such workflow, or it is closed",
    Status.ALREADY_STARTED: "the workflow id is taken",
    Status.INTERRUPTED: "interrupted",
    Status.PIPE_CLOSED: "the reader of the output has gone",
}
#: What every command can end with.
COMMON = (Status.OK, Status.FAILED, Status.USAGE, Status.UNAVAILABLE, Status.INTERRUPTED)
#: Of what serves until a signal ends it, in good order.
SERVING = COMMON[:4]
ONE_WORKFLOW = (*COMMON[:4], Status.NOT_FOUND, Status.INTERRUPTED)


def statuses_text(statuses: tuple[Status, ...] = tuple(Status)) -> str:
    """Exit statuses for a help text."""
    return "exit status:\n" + "\n".join(
        f"  {status.value:<4} {MEANINGS[status]}" for status in statuses
    )


HELP = statuses_text()

_BY_CODE = {
    RPCStatusCode.NOT_FOUND: Status.NOT_FOUND,
    RPCStatusCode.ALREADY_EXISTS: Status.ALREADY_STARTED,
    RPCStatusCode.INVALID_ARGUMENT: Status.USAGE,
    RPCStatusCode.UNAUTHENTICATED: Status.USAGE,
    RPCStatusCode.PERMISSION_DENIED: Status.USAGE,
    RPCStatusCode.UNAVAILABLE: Status.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED: Status.UNAVAILABLE,
}


class UsageError(Exception):
    """What argparse cannot see: an argument that is not JSON, a module that is not there."""


class CommandFailedError(Exception):
    """A command that ends with another status than success, and one line that says why."""

    def __init__(self, message: str, status: Status = Status.FAILED) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: BaseException) -> tuple[Status, str]:
    """Exit status and message of an error that a user can cause; re-raises one that is a defect."""
    if isinstance(error, KeyboardInterrupt):
        return Status.INTERRUPTED, "interrupted"
    if isinstance(error, WorkflowFailureError):
        return Status.FAILED, f"workflow failed: {chain(error.cause)}"
    if isinstance(error, WorkflowAlreadyStartedError):
        run = f", run {error.run_id}" if error.run_id else ""
        return (
            Status.ALREADY_STARTED,
            (
                f"workflow id {error.workflow_id!r} is taken{run}: use another id, or"
                " --id-conflict-policy"
            ),
        )
    if isinstance(error, RPCError):
        message = error.message.replace(
            NAME_THE_QUEUE, "name the queue of the workflow with -t/--task-queue"
        )
        return _BY_CODE.get(error.status, Status.FAILED), f"{message} ({error.status.name})"
    if isinstance(error, BrokerUnreachableError | TopicError):
        return Status.UNAVAILABLE, str(error)
    if isinstance(error, ConfigurationError | UsageError | TopicNameError):
        return Status.USAGE, str(error)
    if isinstance(error, CommandFailedError):
        return error.status, str(error)
    if isinstance(error, WorkflowQueryRejectedError):
        status = (
            error.status.name.title().replace("_", "") if error.status is not None else "unknown"
        )
        return (
            Status.FAILED,
            f"query was rejected (--reject-condition), workflow has status: {status}",
        )
    if isinstance(error, WorkflowQueryFailedError):
        cause = error.__cause__
        return (
            Status.FAILED,
            f"query failed: {chain(cause) if isinstance(cause, FailureError) else error}",
        )
    if isinstance(error, OdradekError):
        return Status.FAILED, str(error)
    raise error


def chain(error: BaseException) -> str:
    """An error with what led to it, on one line."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < 10:
        name = "" if isinstance(seen, FailureError) and str(seen) else f"{type(seen).__name__}: "
        parts.append(f"{name}{' '.join(str(seen).split())}")
        seen = seen.__cause__
    return " <- ".join(parts)
