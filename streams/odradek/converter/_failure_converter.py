"""Exceptions to `Failure` records and back.

Any exception crosses a boundary as one link of a failure chain: its message, type, stack as
text, details and, as the next link, what it was raised from. It comes back as one of the
`FailureError` classes, never as the original class.
"""

from __future__ import annotations

import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

import msgspec

from odradek import exceptions
from odradek.converter._payload_converter import PayloadConverter
from odradek.wire import payload as wire
from odradek.wire.clean import clean_link
from odradek.wire.payload import Failure, Payload

logger = logging.getLogger("odradek.converter")

_MILLISECOND = timedelta(milliseconds=1)
_CHAIN_LIMIT = 100
_E = TypeVar("_E", bound=IntEnum)


class FailureConverter(ABC):
    """Converts exceptions to failures and back. Must not change what it is given, but for the
    `failure` it fills in.

    Of the exceptions of workflow code only `FailureError`s come here; any other fails the
    workflow task.
    """

    default: ClassVar[FailureConverter]
    """The default one."""

    @abstractmethod
    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Fill in `failure`, an empty record, from an exception."""

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception of a failure."""


class DefaultFailureConverter(FailureConverter):
    """The default. With `encode_common_attributes` message and stack travel in a payload, where
    a codec reaches them.
    """

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        super().__init__()
        self._encode_common_attributes = encode_common_attributes

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """See base class."""
        if isinstance(exception, exceptions.FailureError) and exception.failure is not None:
            _copy(exception.failure, failure)
        else:
            self._describe(exception, payload_converter, failure)
            cause = _cause(exception)
            if cause is not None:
                failure.cause = Failure()
                self.to_failure(cause, payload_converter, failure.cause)
        clean_link(failure)
        if self._encode_common_attributes:
            attributes = {"message": failure.message, "stack_trace": failure.stack_trace}
            failure.encoded_attributes = payload_converter.to_payloads([attributes])[0]
            failure.message, failure.stack_trace = "Encoded failure", ""

    def _describe(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        failure.message = (
            exception.message if isinstance(exception, exceptions.FailureError) else str(exception)
        )
        if exception.__traceback__ is not None:
            failure.stack_trace = "\n".join(traceback.format_tb(exception.__traceback__))

        def payloads(values: Sequence[Any]) -> list[Payload]:
            return payload_converter.to_payloads(values) if values else []

        match exception:
            case exceptions.ApplicationError():
                failure.kind, failure.type = wire.APPLICATION, exception.type or ""
                failure.non_retryable = exception.non_retryable
                failure.details = payloads(exception.details)
                if exception.next_retry_delay:
                    failure.next_retry_delay_ms = exception.next_retry_delay // _MILLISECOND
                failure.category = exception.category.name if exception.category else ""
            case exceptions.TimeoutError():
                failure.kind, failure.timeout_type = wire.TIMEOUT, _name(exception.type)
                failure.details = payloads(exception.last_heartbeat_details)
            case exceptions.CancelledError():
                failure.kind, failure.details = wire.CANCELED, payloads(exception.details)
            case exceptions.TerminatedError():
                failure.kind, failure.details = wire.TERMINATED, payloads(exception.details)
            case exceptions.ServerError():
                failure.kind, failure.non_retryable = wire.SERVER, exception.non_retryable
            case exceptions.ActivityError():
                failure.kind, failure.retry_state = wire.ACTIVITY, _name(exception.retry_state)
                failure.scheduled_event_id, failure.started_event_id = (
                    exception.scheduled_event_id,
                    exception.started_event_id,
                )
                failure.identity = exception.identity
                failure.activity_type, failure.activity_id = (
                    exception.activity_type,
                    exception.activity_id,
                )
            case exceptions.ChildWorkflowError():
                failure.kind, failure.retry_state = (
                    wire.CHILD_WORKFLOW,
                    _name(exception.retry_state),
                )
                failure.namespace, failure.workflow_id, failure.run_id = (
                    exception.namespace,
                    exception.workflow_id,
                    exception.run_id,
                )
                failure.workflow_type = exception.workflow_type
                failure.initiated_event_id, failure.started_event_id = (
                    exception.initiated_event_id,
                    exception.started_event_id,
                )
            case _:
                # Any other exception, and the failure errors that have no form of their own on the
                # wire.
                failure.kind, failure.type = wire.APPLICATION, type(exception).__name__

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """See base class. The exception's `failure` is the record, with encoded attributes
        decoded.
        """
        failure = _with_decoded_attributes(failure, payload_converter)
        details = payload_converter.from_payloads(failure.details) if failure.details else []
        error = _error(failure, details)
        error._failure = failure
        if failure.cause is not None:
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        return error


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """`DefaultFailureConverter` with message and stack in a payload, so that a codec encrypts
    them too.
    """

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


def _error(failure: Failure, details: list[Any]) -> exceptions.FailureError:
    match failure.kind:
        case wire.TIMEOUT:
            timeout_type = _member(exceptions.TimeoutType, failure.timeout_type)
            return exceptions.TimeoutError(
                failure.message or "Timeout", type=timeout_type, last_heartbeat_details=details
            )
        case wire.CANCELED:
            return exceptions.CancelledError(failure.message or "Cancelled", *details)
        case wire.TERMINATED:
            return exceptions.TerminatedError(failure.message or "Terminated", *details)
        case wire.SERVER:
            return exceptions.ServerError(
                failure.message or "Server error", non_retryable=failure.non_retryable
            )
        case wire.ACTIVITY:
            return exceptions.ActivityError(
                failure.message or "Activity error",
                scheduled_event_id=failure.scheduled_event_id,
                started_event_id=failure.started_event_id,
                identity=failure.identity,
                activity_type=failure.activity_type,
                activity_id=failure.activity_id,
                retry_state=_member(exceptions.RetryState, failure.retry_state),
            )
        case wire.CHILD_WORKFLOW:
            return exceptions.ChildWorkflowError(
                failure.message or "Child workflow error",
                namespace=failure.namespace,
                workflow_id=failure.workflow_id,
                run_id=failure.run_id,
                workflow_type=failure.workflow_type,
                initiated_event_id=failure.initiated_event_id,
                started_event_id=failure.started_event_id,
                retry_state=_member(exceptions.RetryState, failure.retry_state),
            )
        case wire.APPLICATION:
            return exceptions.ApplicationError(
                failure.message or "Application error",
                *details,
                type=failure.type or None,
                non_retryable=failure.non_retryable,
                next_retry_delay=None
                if failure.next_retry_delay_ms is None
                else failure.next_retry_delay_ms * _MILLISECOND,
                category=_member(exceptions.ApplicationErrorCategory, failure.category)
                or exceptions.ApplicationErrorCategory.UNSPECIFIED,
            )
        case _:  # a kind that a newer version wrote
            return exceptions.FailureError(failure.message or "Failure error")


def _name(member: IntEnum | None) -> str:
    return "" if member is None else member.name


def _member(enum: type[_E], name: str) -> _E | None:
    return enum.__members__.get(name)


def _cause(exception: BaseException) -> BaseException | None:
    """What `exception` was raised from, by Python's own rule for tracebacks; `None` where the
    chain comes back to it.
    """
    cause = exception.__cause__
    if cause is None and not exception.__suppress_context__:
        cause = exception.__context__
    link, steps = cause, 0
    while link is not None:
        if link is exception or steps == _CHAIN_LIMIT:
            return None
        link, steps = (
            link.__cause__ or (None if link.__suppress_context__ else link.__context__),
            steps + 1,
        )
    return cause


def _copy(source: Failure, target: Failure) -> None:
    """Copy a chain. Links and lists are new, payloads are shared: nobody changes those."""
    for name in Failure.__struct_fields__:
        setattr(target, name, getattr(source, name))
    target.details = list(source.details)
    if source.cause is not None:
        target.cause = Failure()
        _copy(source.cause, target.cause)
        clean_link(target.cause)


def _with_decoded_attributes(failure: Failure, payload_converter: PayloadConverter) -> Failure:
    if failure.encoded_attributes is None:
        return failure
    try:
        attributes = payload_converter.from_payloads([failure.encoded_attributes])[0]
    except (
        Exception
    ) as err:  # most often a codec that this process does not have; the failure itself matters more
        logger.debug(
            "The encoded attributes of a failure cannot be decoded, its message stays hidden: %s",
            err,
        )
        return failure
    if not isinstance(attributes, dict):
        return failure
    found = {
        name: attributes[name]
        for name in ("message", "stack_trace")
        if isinstance(attributes.get(name), str)
    }
    return msgspec.structs.replace(failure, **found)
