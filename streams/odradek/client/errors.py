"""Errors of the client, Temporal's names and texts. All of them are `OdradekError`s;
`service.RPCError` stands beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.client.transport import Owner
from odradek.exceptions import OdradekError
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.outcomes import Reply

if TYPE_CHECKING:
    from odradek.client.description import WorkflowExecutionStatus


class WorkflowFailureError(OdradekError):
    """The workflow did not succeed. `cause` says how: ApplicationError, CancelledError,
    TerminatedError, TimeoutError, ActivityError, …
    """

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Workflow execution failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """How the workflow failed."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowContinuedAsNewError(OdradekError):
    """The run continued as new and `follow_runs` was off."""

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__("Workflow continued as new")
        self._new_execution_run_id = new_execution_run_id

    @property
    def new_execution_run_id(self) -> str:
        """The run that it continued as."""
        return self._new_execution_run_id


class WorkflowQueryRejectedError(OdradekError):
    """The query was not run, since the workflow's status is one that `reject_condition` excludes."""

    def __init__(self, status: WorkflowExecutionStatus | None) -> None:
        super().__init__(f"Query rejected, status: {status}")
        self._status = status

    @property
    def status(self) -> WorkflowExecutionStatus | None:
        """The status that excluded it."""
        return self._status


class WorkflowQueryFailedError(OdradekError):
    """The query handler raised, is unknown, or could not decode its arguments.

    Its message is that of what the handler raised, alone, as in Temporal; `__cause__` is that,
    with its type.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    @property
    def message(self) -> str:
        """What the handler raised."""
        return self._message


class WorkflowUpdateFailedError(OdradekError):
    """The update was rejected or its handler failed. `cause` says how."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Workflow update failed")
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """How the update failed."""
        assert self.__cause__ is not None
        return self.__cause__


class RPCTimeoutOrCancelledError(OdradekError):
    """A call of the client timed out or was cancelled. Says nothing about what it asked for."""


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """Waiting for an update timed out or was cancelled. The update itself goes on."""

    def __init__(self) -> None:
        super().__init__("Timeout or cancellation waiting for update")


class AsyncActivityCancelledError(OdradekError):
    """A heartbeat of an activity completed from outside: its cancellation was requested."""

    def __init__(self, details: object | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


class ScheduleAlreadyRunningError(OdradekError):
    """A schedule with this id exists."""

    def __init__(self) -> None:
        super().__init__("Schedule already running")


class ClientMisuseError(OdradekError, RuntimeError):
    """The client is used where it cannot work: on another event loop, in a forked process, or
    after `close()`.
    """


def rpc_error(status: RPCStatusCode, message: str) -> RPCError:
    """An RPCError; Kafka has no gRPC details to add."""
    return RPCError(message, status, b"")


def never_used(workflow_id: str, task_queue: str) -> RPCError:
    """For a request on a workflow of a queue without topics: it never had one, or was deleted
    with all that it had.
    """
    text = (
        f"workflow not found for ID: {workflow_id}: task queue {task_queue!r} was never used, or"
        " was deleted"
    )
    return rpc_error(RPCStatusCode.NOT_FOUND, text)


class Unanswered(Exception):
    """No reply came in time. Internal: `responses.py` turns it into what the caller gets.

    delivered: Kafka has the request. owner: what is known of its owner. last: the last reply that
    put it off. waited_s: may be less than the deadline when no owner lives. trouble: why no reply
    could come, if known.
    """

    def __init__(
        self, delivered: bool, owner: Owner, last: Reply | None, waited_s: float, trouble: str = ""
    ) -> None:
        super().__init__()
        self.delivered = delivered
        self.owner = owner
        self.last = last
        self.waited_s = waited_s
        self.trouble = trouble
