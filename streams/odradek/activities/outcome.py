"""How an attempt ended, as the record that says so. Rules of Temporal's worker: what counts as
completed, canceled, failed.

Makes records; sends nothing. Whether a failure is retried is the engine's decision.
"""

from __future__ import annotations

import asyncio

import msgspec

from odradek.activities.attempt import Attempt
from odradek.activities.log import logger
from odradek.converter import DataConverter
from odradek.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    RecordTooLargeError,
    TimeoutError,
    TimeoutType,
)
from odradek.wire.clean import clean_failure
from odradek.wire.codec import encode
from odradek.wire.cut import STEPS, cut_failure
from odradek.wire.events import (
    ActivityOutcome,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
)
from odradek.wire.headers import Routing, headers_for
from odradek.wire.payload import Failure, Payload
from odradek.wire.record_size import record_size


class CompleteAsyncError(BaseException):
    """Leaves an activity whose outcome comes from outside, later. Raised by
    `activity.raise_complete_async`.
    """


def completed(attempt: Attempt, result: list[Payload], identity: str) -> ActivityTaskCompleted:
    """The activity returned."""
    task = attempt.task
    return ActivityTaskCompleted(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        result,
        attempt.started_ms,
        identity,
        attempt.owner.partition,
        attempt.cell.offset,
    )


def canceled(attempt: Attempt, identity: str) -> ActivityTaskCanceled:
    """The activity ended because it was asked to."""
    task = attempt.task
    return ActivityTaskCanceled(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        [],
        attempt.started_ms,
        identity,
        attempt.owner.partition,
        attempt.cell.offset,
    )


def failed(attempt: Attempt, failure: Failure, identity: str) -> ActivityTaskFailed:
    """The attempt failed. The newest heartbeat details go with it, those still held back too."""
    clean_failure(failure)
    task = attempt.task
    details = attempt.heartbeats.last if attempt.heartbeats is not None else None
    return ActivityTaskFailed(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        failure,
        details or [],
        attempt.started_ms,
        identity,
        attempt.owner.partition,
        attempt.cell.offset,
    )


def failed_by_routing(
    routing: Routing, failure: Failure, identity: str, started_ms: int, partition: int, offset: int
) -> ActivityTaskFailed:
    """The command at that place could not be read, but its headers say whose attempt it was."""
    return ActivityTaskFailed(
        routing.workflow_id,
        routing.run_id,
        routing.scheduled_event_id,
        routing.activity_id,
        routing.attempt or 1,
        failure,
        [],
        started_ms,
        identity,
        partition,
        offset,
    )


def too_large(
    outcome: ActivityOutcome, attempt: Attempt, topic: str, size: int, limit: int, identity: str
) -> ActivityTaskFailed:
    """What `topic` takes instead of an outcome that it does not take. `limit` 0: not known.

    A result: a failure, not retryable, as trying again would make the same. A failure: itself
    without heartbeat details, and with less text where that is not enough.
    """
    if isinstance(outcome, ActivityTaskFailed):
        return _cut(outcome, topic, size, limit)
    error = RecordTooLargeError(topic, size=size, limit=limit, what="the result of the activity")
    record = failed(
        attempt,
        Failure(message=str(error), type="RecordTooLargeError", non_retryable=True),
        identity,
    )
    record.last_heartbeat_details = []  # they may be large too
    return record


def _cut(outcome: ActivityTaskFailed, topic: str, size: int, limit: int) -> ActivityTaskFailed:
    error = RecordTooLargeError(
        topic,
        size=size,
        limit=limit,
        what="the failure of an activity, with its heartbeat details,",
    )
    logger.warning("A failure is reported with less than was raised: %s", error)
    record = msgspec.structs.replace(outcome, last_heartbeat_details=[])
    if limit and _size(record) <= limit:
        return record
    for room, links in STEPS if limit else STEPS[3:]:
        record.failure = cut_failure(outcome.failure, room, links)
        record.failure.message += (
            f" [{_size(outcome)} bytes; topic {topic} takes {limit or 'less'}"
            " (`max.message.bytes`)]"
        )
        if not limit or _size(record) <= limit:
            break
    return record


def _size(record: ActivityTaskFailed) -> int:
    return record_size(record.workflow_id.encode(), encode(record), headers_for(record))


async def outcome_of(
    error: BaseException, attempt: Attempt, converter: DataConverter, identity: str
) -> ActivityOutcome:
    """The record for an activity that raised. Logs a failure: DEBUG when the error says it is
    benign, WARNING else.
    """
    details = attempt.cancel_details if attempt.heard_cancel else None
    if isinstance(error, asyncio.CancelledError | CancelledError):
        if attempt.heartbeat_error is not None:
            logger.warning(
                "Completing as failure: heartbeat details could not be converted",
                exc_info=attempt.heartbeat_error,
            )
            return await _failure(attempt.heartbeat_error, attempt, converter, identity)
        if details is not None and details.worker_shutdown:
            text = "The worker shut down before the activity completed; it is tried again elsewhere"
            return await _failure(
                ApplicationError(text, type="WorkerShutdown"), attempt, converter, identity
            )
        if details is not None and details.cancel_requested:
            logger.debug("Completing as cancelled")
            return canceled(attempt, identity)
        if details is not None and details.timed_out:
            # By this host's clock alone, if the engine has been away: what it would have said. A
            # cancellation would be final.
            text = "activity StartToClose timeout"
            return await _failure(
                TimeoutError(text, type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]),
                attempt,
                converter,
                identity,
            )
    benign = (
        isinstance(error, ApplicationError) and error.category == ApplicationErrorCategory.BENIGN
    )
    log = logger.debug if benign else logger.warning
    log(
        "Completing activity as failed",
        exc_info=error,
        extra={"__temporal_error_identifier": "ActivityFailure"},
    )
    return await _failure(error, attempt, converter, identity)


async def _failure(
    error: BaseException, attempt: Attempt, converter: DataConverter, identity: str
) -> ActivityTaskFailed:
    failure = Failure()
    try:
        await converter.encode_failure(error, failure)
    except Exception as inner:
        logger.exception("Exception handling failed, original error: %r", error)
        failure = Failure(message=f"Failed building exception result: {inner}")
    return failed(attempt, failure, identity)
