"""Exit statuses, and the one line that goes with each error."""

from __future__ import annotations

from enum import IntEnum

from odradek.client import RPCError, RPCStatusCode, WorkflowFailureError, WorkflowQueryFailedError, WorkflowQueryRejectedError
from odradek.exceptions import (
    BrokerUnreachableError,
    ConfigurationError,
    FailureError,
    OdradekError,
    TopicError,
    WorkflowAlreadyStartedError,
)


class Status(IntEnum):
    """What a script can tell from the exit status. Stable."""

    OK = 0
    FAILED = 1
    """The workflow failed, was cancelled, terminated or timed out; a query failed; or something unexpected."""
    USAGE = 2
    """Wrong arguments or settings."""
    UNAVAILABLE = 3
    """No broker, no owner, no answer in time, topics missing: try again later, or start what is missing."""
    NOT_FOUND = 4
    """No such workflow, or it is closed."""
    ALREADY_STARTED = 5
    """The workflow id is taken."""
    INTERRUPTED = 130
    """Ctrl-C."""


HELP = """exit status:
  0 done   1 the workflow (or query) failed   2 wrong usage or settings   3 unavailable: no broker, no worker, no answer
  4 no such workflow   5 the workflow id is taken   130 interrupted"""

_BY_CODE = {
    RPCStatusCode.NOT_FOUND: Status.NOT_FOUND,
    RPCStatusCode.ALREADY_EXISTS: Status.ALREADY_STARTED,
    RPCStatusCode.INVALID_ARGUMENT: Status.USAGE,
    RPCStatusCode.UNAVAILABLE: Status.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED: Status.UNAVAILABLE,
}


class UsageError(Exception):
    """What argparse cannot see: an argument that is not JSON, a module that is not there."""


def status_of(error: BaseException) -> tuple[Status, str]:
    """Exit status and message of an error that a user can cause; re-raises one that is a defect."""
    if isinstance(error, KeyboardInterrupt):
        return Status.INTERRUPTED, "interrupted"
    if isinstance(error, WorkflowFailureError):
        return Status.FAILED, f"workflow failed: {chain(error.cause)}"
    if isinstance(error, WorkflowAlreadyStartedError):
        run = f", run {error.run_id}" if error.run_id else ""
        return Status.ALREADY_STARTED, f"workflow id {error.workflow_id!r} is taken{run}: use another id, or --id-conflict-policy"
    if isinstance(error, RPCError):
        return _BY_CODE.get(error.status, Status.FAILED), f"{error.message} ({error.status.name})"
    if isinstance(error, BrokerUnreachableError | TopicError):
        return Status.UNAVAILABLE, str(error)
    if isinstance(error, ConfigurationError | UsageError):
        return Status.USAGE, str(error)
    if isinstance(error, WorkflowQueryFailedError | WorkflowQueryRejectedError):
        return Status.FAILED, f"query failed: {error}"
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
