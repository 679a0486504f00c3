"""Errors of the HTTP APIs: a gRPC status and message, as JSON, under the HTTP status that
grpc-gateway gives it.

The one place that knows which of our errors is which status. What nobody foresaw is INTERNAL,
with an id that stands in the log beside its trace; its text never leaves the process.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from odradek.exceptions import (
    BrokerUnreachableError,
    DecodeError,
    OdradekError,
    RecordTooLargeError,
    TopicError,
    TopicMissingError,
    WorkflowAlreadyStartedError,
)
from odradek.log_fields import log_fields
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.errors import TopicNameError, WireError

logger = logging.getLogger(__name__)

_HTTP = {
    RPCStatusCode.OK: 200,
    RPCStatusCode.CANCELLED: 499,
    RPCStatusCode.UNKNOWN: 500,
    RPCStatusCode.INVALID_ARGUMENT: 400,
    RPCStatusCode.DEADLINE_EXCEEDED: 504,
    RPCStatusCode.NOT_FOUND: 404,
    RPCStatusCode.ALREADY_EXISTS: 409,
    RPCStatusCode.PERMISSION_DENIED: 403,
    RPCStatusCode.RESOURCE_EXHAUSTED: 429,
    RPCStatusCode.FAILED_PRECONDITION: 400,
    RPCStatusCode.ABORTED: 409,
    RPCStatusCode.OUT_OF_RANGE: 400,
    RPCStatusCode.UNIMPLEMENTED: 501,
    RPCStatusCode.INTERNAL: 500,
    RPCStatusCode.UNAVAILABLE: 503,
    RPCStatusCode.DATA_LOSS: 500,
    RPCStatusCode.UNAUTHENTICATED: 401,
}

#: Where Temporal's error details are found; each detail names its message after it.
DETAIL_TYPE = "type.googleapis.com/temporal.api.errordetails.v1."


class ApiError(OdradekError):
    """An answer that is no success. `details`: JSON objects with `@type`, as in gRPC's status."""

    def __init__(
        self,
        status: RPCStatusCode,
        message: str,
        *,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = list(details)
        self.headers = dict(headers or {})

    @property
    def http_status(self) -> int:
        """grpc-gateway's HTTP status for it."""
        return _HTTP[self.status]

    def body(self) -> dict[str, Any]:
        """gRPC's status as JSON."""
        return {"code": int(self.status), "message": self.message, "details": self.details}


class ReadSideBuildingError(ApiError):
    """UNAVAILABLE: the read side never was a complete copy yet, and half a list is a wrong one.
    `progress`: how far it is, for people; `percent`: the same as a number, None while that is
    not known.
    """

    def __init__(self, progress: str, percent: int | None = None) -> None:
        super().__init__(RPCStatusCode.UNAVAILABLE, f"the read side is being built: {progress}")
        self.progress = progress
        self.percent = percent


def invalid(message: str) -> ApiError:
    """The request is wrong."""
    return ApiError(RPCStatusCode.INVALID_ARGUMENT, message)


def check_text(text: str, what: str) -> str:
    """The text. INVALID_ARGUMENT, naming `what`, when it holds what no text of a record may:
    NUL, half of a surrogate pair.
    """
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise invalid(f"{what}: holds a character that is not text")
    return text


def not_found(message: str) -> ApiError:
    """There is no such thing."""
    return ApiError(RPCStatusCode.NOT_FOUND, message)


def unavailable(message: str) -> ApiError:
    """Somebody who would have to answer does not; try again."""
    return ApiError(RPCStatusCode.UNAVAILABLE, message)


def unimplemented(what: str) -> ApiError:
    """Temporal's API has this call and this server does not."""
    return ApiError(RPCStatusCode.UNIMPLEMENTED, f"{what} is not supported by Odradek")


def api_error(error: BaseException) -> ApiError:
    """Any error as an answer."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, WorkflowAlreadyStartedError):
        detail = {
            "@type": DETAIL_TYPE + "WorkflowExecutionAlreadyStartedFailure",
            "startRequestId": "",
            "runId": error.run_id or "",
        }
        message = (
            f"Workflow execution is already running. WorkflowId: {error.workflow_id}, RunId:"
            f" {error.run_id or ''}."
        )
        return ApiError(RPCStatusCode.ALREADY_EXISTS, message, details=[detail])
    if isinstance(error, RPCError):
        return ApiError(error.status, error.message)
    if isinstance(error, TimeoutError):
        return ApiError(
            RPCStatusCode.DEADLINE_EXCEEDED,
            str(error) or "the request took longer than this server allows",
        )
    status = _status(error)
    if status is not None:
        return ApiError(status, str(error))
    reference = uuid.uuid4().hex[:12]
    request = log_fields().get("request")
    logger.error(
        "request failed, reference %s%s",
        reference,
        f": {request}" if request else "",
        exc_info=error,
    )
    return ApiError(
        RPCStatusCode.INTERNAL, f"internal error, reference {reference}: the server's log has more"
    )


def _status(error: BaseException) -> RPCStatusCode | None:
    if isinstance(error, TopicMissingError):
        return RPCStatusCode.NOT_FOUND
    if isinstance(error, BrokerUnreachableError | TopicError):
        return RPCStatusCode.UNAVAILABLE
    if isinstance(error, RecordTooLargeError | TopicNameError):
        return RPCStatusCode.INVALID_ARGUMENT
    if isinstance(error, DecodeError | WireError):
        return RPCStatusCode.DATA_LOSS
    # The read side's errors, by name: it is imported only where it runs.
    return (
        _VISIBILITY.get(type(error).__name__)
        if type(error).__module__.startswith("odradek.visibility")
        else None
    )


_VISIBILITY = {
    "QueryError": RPCStatusCode.INVALID_ARGUMENT,
    "PageTokenError": RPCStatusCode.INVALID_ARGUMENT,
    "QueryTimeoutError": RPCStatusCode.DEADLINE_EXCEEDED,
    "StoreNotOpenError": RPCStatusCode.UNAVAILABLE,
    "StoreLockedError": RPCStatusCode.UNAVAILABLE,
    "IngestError": RPCStatusCode.UNAVAILABLE,
}
