"""The error tree: what is a kind of what, what `str()` says, that every operational error names
its cause and its cure.
"""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta

import pytest

from odradek import exceptions
from odradek.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    OdradekError,
    RetryState,
    TimeoutType,
    is_cancelled_exception,
)


def activity_error(cause: BaseException | None = None) -> ActivityError:
    error = ActivityError(
        "Activity error",
        scheduled_event_id=5,
        started_event_id=6,
        identity="me",
        activity_type="charge",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error


def test_every_public_error_is_in_the_tree_and_drawn() -> None:
    drawing = exceptions.__doc__ or ""
    for name in exceptions.__all__:
        value = getattr(exceptions, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert issubclass(value, OdradekError), name
            assert value.__name__ in drawing, f"{name} is missing in the tree"


def test_temporal_error_is_the_base() -> None:
    assert exceptions.TemporalError is OdradekError
    with pytest.raises(exceptions.TemporalError):
        raise exceptions.ConfigurationError("x")


@pytest.mark.parametrize("name", ["TimeoutError", "CancelledError"])
def test_names_that_shadow_are_unrelated(name: str) -> None:
    ours = getattr(exceptions, name)
    assert not issubclass(ours, TimeoutError | asyncio.CancelledError)


def test_application_error_text_and_attributes() -> None:
    plain = ApplicationError("no stock")
    typed = ApplicationError(
        "no stock", {"left": 0}, 7, type="OutOfStock", non_retryable=True, next_retry_delay=timedelta(seconds=3),
        category=ApplicationErrorCategory.BENIGN,
    )  # fmt: skip
    assert (str(plain), plain.message, plain.type, plain.details) == (
        "no stock",
        "no stock",
        None,
        (),
    )
    assert (str(typed), typed.message, typed.type, typed.details) == (
        "OutOfStock: no stock",
        "no stock",
        "OutOfStock",
        ({"left": 0}, 7),
    )
    assert (
        typed.non_retryable
        and typed.next_retry_delay == timedelta(seconds=3)
        and typed.category is ApplicationErrorCategory.BENIGN
    )


def test_enum_values_are_temporals() -> None:
    assert [member.value for member in TimeoutType] == [1, 2, 3, 4]
    assert {member.name: member.value for member in RetryState} == {
        "IN_PROGRESS": 1,
        "NON_RETRYABLE_FAILURE": 2,
        "TIMEOUT": 3,
        "MAXIMUM_ATTEMPTS_REACHED": 4,
        "RETRY_POLICY_NOT_SET": 5,
        "INTERNAL_SERVER_ERROR": 6,
        "CANCEL_REQUESTED": 7,
    }


def test_is_cancelled_exception() -> None:
    child = ChildWorkflowError(
        "x",
        namespace="n",
        workflow_id="w",
        run_id="r",
        workflow_type="t",
        initiated_event_id=1,
        started_event_id=2,
        retry_state=None,
    )
    assert not is_cancelled_exception(child)
    child.__cause__ = CancelledError()
    cancelled = [
        asyncio.CancelledError(),
        CancelledError(),
        activity_error(CancelledError()),
        child,
    ]
    others = [
        activity_error(),
        activity_error(ApplicationError("x")),
        ApplicationError("x"),
        ValueError("cancelled"),
    ]
    assert all(map(is_cancelled_exception, cancelled))
    assert not any(map(is_cancelled_exception, others))


def test_cause_is_what_it_was_raised_from() -> None:
    reason = ValueError("x")
    with pytest.raises(FailureError) as caught:
        raise FailureError("y") from reason
    assert caught.value.cause is reason


OPERATIONAL = [
    (
        exceptions.BrokerUnreachableError("kafka:9092", reason="refused"),
        ["kafka:9092", "`address`", "refused", "odradek dev"],
    ),
    (
        exceptions.TopicMissingError("t", partitions=8),
        ["topic t", "Create it with 8 partitions and the settings of", "create_topics"],
    ),
    (exceptions.TopicMissingError("t"), ["Create it with the settings of docs/operate.md"]),
    (
        exceptions.PartitionCountError("t", expected=8, found=12),
        ["topic t", "12 partitions", "8 are expected", "`partitions`"],
    ),
    (
        exceptions.PartitionCountError("t", expected=8, found=1, beside_state=False),
        [
            "topic t",
            "1 partitions",
            "8 are expected",
            "auto.create.topics.enable",
            "--alter --topic t --partitions 8",
            "or delete it",
        ],
    ),
    (
        exceptions.PartitionCountError("t", expected=8, found=1, beside_state=True),
        [
            "topic t",
            "made anew",
            "--alter --topic t --partitions 8",
            "from a backup",
            "`odradek task-queue delete`",
        ],
    ),
    (
        exceptions.TopicSettingError(
            "t", setting="cleanup.policy", value="delete", wanted="compact", reason="rows expire"
        ),
        [
            "topic t",
            "cleanup.policy=delete",
            "rows expire",
            "kafka-configs.sh --bootstrap-server ADDRESS --alter",
            "--entity-name t --add-config cleanup.policy=compact",
        ],
    ),
    (
        exceptions.TopicRecreatedError("t", expected_id="A", found_id="B"),
        ["topic t", "made anew", "A", "B", "`state`"],
    ),
    (
        exceptions.ClockError("t", reason="Invalid timestamp"),
        ["topic t", "Invalid timestamp", "clock of this machine", "UTC", "NTP"],
    ),
    (exceptions.LaneFencedError("lost", topic="t", partition=3), ["t[3]", "lost"]),
    (exceptions.TopicMissingError("t", text="never used"), ["never used"]),
    (
        exceptions.InputGapError(position=5, log_start=9, topic="t", partition=0),
        ["t[0]", "5 to 8", "retention"],
    ),
    (
        exceptions.StateStoreError("/x", "locked", topic="t", partition=0),
        ["/x", "locked", "`state_dir`", "Nothing is lost"],
    ),
    (exceptions.StateFormatError(found=3, supported=2), ["format 3", "up to 2"]),
    (exceptions.DiskFullError("/x"), ["no space left", "/x", "`state_dir`", "nothing is lost"]),
    (exceptions.DuplicateIdentityError("me@host"), ["me@host", "`state_dir`"]),
    (
        exceptions.RecordTooLargeError("t", size=10, limit=5),
        ["topic t", "10 bytes", "5 bytes", "max.message.bytes"],
    ),
    (
        exceptions.RecordTooLargeError("t", size=10, limit=0),
        ["10 bytes exceeds what topic t takes", "max.message.bytes"],
    ),
    (
        exceptions.DecodeError("bad marker", topic="t", partition=1, offset=7),
        ["t[1]@7", "bad marker"],
    ),
]


@pytest.mark.parametrize(("error", "parts"), OPERATIONAL, ids=lambda value: type(value).__name__)
def test_operational_errors_name_cause_and_cure(error: OdradekError, parts: list[str]) -> None:
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize(
    "error",
    [*(error for error, _ in OPERATIONAL), activity_error(), ApplicationError("m", 1, type="T")],
    ids=lambda value: type(value).__name__,
)  # not by its text: one tells the time, and workers of one run have to agree on the names of tests
def test_errors_survive_pickling(error: OdradekError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
