"""Exceptions to failures and back: every kind, chains of causes, encoded attributes, the codec,
and that records stay untouched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek import exceptions as ex
from odradek.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from odradek.wire import payload as wire
from odradek.wire.payload import Failure

from .test_converter import Zlib

DEFAULT = DataConverter.default


def to_failure(error: BaseException, data_converter: DataConverter = DEFAULT) -> Failure:
    failure = Failure()
    data_converter.failure_converter.to_failure(error, data_converter.payload_converter, failure)
    return failure


def from_failure(failure: Failure, data_converter: DataConverter = DEFAULT) -> BaseException:
    return data_converter.failure_converter.from_failure(failure, data_converter.payload_converter)


def raised(action: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


details = st.lists(
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=3), max_size=3
)
message = st.text(min_size=1, max_size=10)
retry_state = st.none() | st.sampled_from(ex.RetryState)
number = st.integers(0, 2**31)


@st.composite
def leaf(draw: st.DrawFn) -> ex.FailureError:
    text, values = draw(message), draw(details)
    match draw(st.sampled_from(["application", "cancelled", "terminated", "timeout", "server"])):
        case "application":
            return ex.ApplicationError(
                text,
                *values,
                type=draw(st.none() | message),
                non_retryable=draw(st.booleans()),
                next_retry_delay=draw(
                    st.none() | st.integers(1, 10**6).map(lambda ms: timedelta(milliseconds=ms))
                ),
                category=draw(st.sampled_from(ex.ApplicationErrorCategory)),
            )
        case "cancelled":
            return ex.CancelledError(text, *values)
        case "terminated":
            return ex.TerminatedError(text, *values)
        case "timeout":
            return ex.TimeoutError(
                text,
                type=draw(st.none() | st.sampled_from(ex.TimeoutType)),
                last_heartbeat_details=values,
            )
        case _:
            return ex.ServerError(text, non_retryable=draw(st.booleans()))


@st.composite
def wrapper(draw: st.DrawFn, inner: st.SearchStrategy[ex.FailureError]) -> ex.FailureError:
    error: ex.FailureError
    if draw(st.booleans()):
        error = ex.ActivityError(
            draw(message), scheduled_event_id=draw(number), started_event_id=draw(number), identity=draw(message),
            activity_type=draw(message), activity_id=draw(message), retry_state=draw(retry_state),
        )  # fmt: skip
    else:
        error = ex.ChildWorkflowError(
            draw(message), namespace=draw(message), workflow_id=draw(message), run_id=draw(message), workflow_type=draw(message),
            initiated_event_id=draw(number), started_event_id=draw(number), retry_state=draw(retry_state),
        )  # fmt: skip
    error.__cause__ = draw(inner)
    return error


errors = st.recursive(leaf(), wrapper, max_leaves=4)


def seen(error: BaseException | None) -> Any:
    """All that a receiver can see of an error."""
    if error is None:
        return None
    state = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(error).items()
        if name != "_failure"
    }
    return type(error), str(error), state, seen(error.__cause__)


@given(errors)
def test_round_trips(error: ex.FailureError) -> None:
    assert seen(from_failure(to_failure(error))) == seen(error)


@given(errors)
async def test_round_trips_encoded_and_encrypted(error: ex.FailureError) -> None:
    data_converter = dataclasses.replace(
        DEFAULT,
        payload_codec=Zlib(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    failure = Failure()
    await data_converter.encode_failure(error, failure)
    link: Failure | None = failure
    while link is not None:
        assert (link.message, link.stack_trace) == ("Encoded failure", "")
        assert link.encoded_attributes is not None
        for payload in [*link.details, link.encoded_attributes]:
            assert payload.metadata["encoding"] == b"binary/zlib"
        link = link.cause
    before = deepcopy(failure)
    assert seen(await data_converter.decode_failure(failure)) == seen(error)
    assert failure == before
    # Passed on, as a workflow does with the error of its activity: encoded once, not twice.
    again = Failure()
    await data_converter.encode_failure(await data_converter.decode_failure(failure), again)
    assert seen(await data_converter.decode_failure(again)) == seen(error)


def test_a_plain_exception_becomes_an_application_error() -> None:
    failure = to_failure(raised(lambda: 1 / 0))
    assert (failure.kind, failure.type, failure.message, failure.source) == (
        wire.APPLICATION,
        "ZeroDivisionError",
        "division by zero",
        "PythonSDK",
    )
    assert "1 / 0" in failure.stack_trace
    error = from_failure(failure)
    assert isinstance(error, ex.ApplicationError)
    assert (error.type, error.message, str(error)) == (
        "ZeroDivisionError",
        "division by zero",
        "ZeroDivisionError: division by zero",
    )
    assert (error.failure, error.non_retryable, error.next_retry_delay, error.details) == (
        failure,
        False,
        None,
        (),
    )


def test_asyncio_timeout_is_named_timeout_error() -> None:
    assert to_failure(TimeoutError()).type == "TimeoutError"


def chain(how: str) -> None:
    try:
        raise KeyError("inner")
    except KeyError as err:
        if how == "from":
            raise ValueError("outer") from err
        if how == "suppressed":
            raise ValueError("outer") from None
        raise ValueError("outer")  # noqa: B904


def test_causes_follow_pythons_rule() -> None:
    explicit = to_failure(raised(lambda: chain("from")))
    assert explicit.cause is not None and explicit.cause.type == "KeyError"
    assert to_failure(raised(lambda: chain("suppressed"))).cause is None
    implicit = to_failure(raised(lambda: chain("context")))
    assert implicit.cause is not None and implicit.cause.type == "KeyError"


def test_circles_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert to_failure(one).message == "one"
    one.__cause__ = one
    assert to_failure(one).cause is None


def test_a_received_failure_travels_on_unchanged() -> None:
    failure = Failure(
        message="m",
        kind=wire.ACTIVITY,
        stack_trace="far away",
        source="JavaSDK",
        cause=Failure(message="c", type="T"),
    )
    before = deepcopy(failure)
    again = to_failure(from_failure(failure))
    assert again == failure == before
    assert again.cause is not failure.cause


def test_empty_messages_and_unknown_kinds() -> None:
    expected = {
        wire.APPLICATION: "Application error",
        wire.TIMEOUT: "Timeout",
        wire.CANCELED: "Cancelled",
        wire.TERMINATED: "Terminated",
        wire.SERVER: "Server error",
        wire.ACTIVITY: "Activity error",
        wire.CHILD_WORKFLOW: "Child workflow error",
        "FROM_THE_FUTURE": "Failure error",
    }
    for kind, text in expected.items():
        assert str(from_failure(Failure(kind=kind, retry_state="NEW", timeout_type="NEW"))) == text


def test_attributes_of_a_missing_codec_stay_hidden() -> None:
    failure = Failure(
        message="Encoded failure", encoded_attributes=wire.Payload({"encoding": b"secret"}, b"?")
    )
    assert str(from_failure(failure)) == "Encoded failure"


def test_errors_without_a_wire_form_keep_their_name() -> None:
    error = from_failure(to_failure(ex.WorkflowAlreadyStartedError("w", "t")))
    assert isinstance(error, ex.ApplicationError)
    assert (error.type, error.message) == (
        "WorkflowAlreadyStartedError",
        "Workflow execution already started",
    )


def test_defaults() -> None:
    assert FailureConverter.default is DEFAULT.failure_converter
