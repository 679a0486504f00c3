"""Failures that the engine itself makes, with the messages that Temporal's server and core give
them.
"""

from __future__ import annotations

from odradek.wire.payload import (
    ACTIVITY,
    APPLICATION,
    CANCELED,
    TERMINATED,
    TIMEOUT,
    Failure,
    Payload,
)

# Where a failure made here comes from (Failure.source).
SOURCE = "Server"

TIMEOUT_NAMES = {
    "START_TO_CLOSE": "StartToClose",
    "SCHEDULE_TO_START": "ScheduleToStart",
    "SCHEDULE_TO_CLOSE": "ScheduleToClose",
    "HEARTBEAT": "Heartbeat",
}

# What a cancellation is called, of an activity and of a workflow.
CANCELED_MESSAGE = "Cancelled"


def application(message: str, type: str, *, non_retryable: bool = False) -> Failure:
    """An application failure raised by the engine."""
    return Failure(
        message=message, kind=APPLICATION, source=SOURCE, type=type, non_retryable=non_retryable
    )


def activity_timeout(
    timeout_type: str, *, cause: Failure | None = None, details: list[Payload] | None = None
) -> Failure:
    """A timeout of an activity: "activity StartToClose timeout" and its like."""
    return Failure(
        message=f"activity {TIMEOUT_NAMES[timeout_type]} timeout",
        kind=TIMEOUT,
        source=SOURCE,
        timeout_type=timeout_type,
        details=details or [],
        cause=cause,
    )


def not_started() -> list[Payload]:
    """Details of the cancellation of an activity that no service had begun."""
    return [Payload({"encoding": b"json/plain"}, b'"ACTIVITY_ID_NOT_STARTED"')]


def no_time_for_retry(*, cause: Failure | None, details: list[Payload]) -> Failure:
    """Schedule-to-close passed, or an attempt timed out and the next one would begin after it."""
    return Failure(
        message=(
            "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving"
            " up retrying"
        ),
        kind=TIMEOUT,
        source=SOURCE,
        timeout_type="SCHEDULE_TO_CLOSE",
        details=details,
        cause=cause,
    )


def activity_link(
    message: str,
    cause: Failure,
    *,
    activity_type: str,
    activity_id: str,
    scheduled_event_id: int,
    started_event_id: int,
    identity: str,
    retry_state: str,
) -> Failure:
    """The ACTIVITY link that workflow code sees as an ActivityError."""
    return Failure(
        message=message,
        kind=ACTIVITY,
        source=SOURCE,
        cause=cause,
        activity_type=activity_type,
        activity_id=activity_id,
        scheduled_event_id=scheduled_event_id,
        started_event_id=started_event_id,
        identity=identity,
        retry_state=retry_state,
    )


def canceled(message: str, details: list[Payload] | None = None) -> Failure:
    """A cancellation."""
    return Failure(message=message, kind=CANCELED, source=SOURCE, details=details or [])


def workflow_timed_out() -> Failure:
    """What awaits of a run see when it ends TIMED_OUT."""
    return Failure(
        message="Workflow timed out", kind=TIMEOUT, source=SOURCE, timeout_type="START_TO_CLOSE"
    )


def terminated(reason: str, details: list[Payload]) -> Failure:
    """What awaits of a run see when it was terminated."""
    return Failure(
        message=reason or "Workflow terminated", kind=TERMINATED, source=SOURCE, details=details
    )
