"""What becomes of inputs that are not applied here, forwards and dead letters; and log lines of
what the engine did on its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from confluent_kafka import Message

from odradek.engine.ports import CommandWithoutDetails, FailedTask, StepResult
from odradek.kafka.log_filter import RepeatedLines
from odradek.processor.context import PartitionContext
from odradek.processor.decoder import DecodedBatch, Letter
from odradek.processor.records import headers_of, key_of, log_ids, offset_of, value_of
from odradek.processor.topic_limits import Record
from odradek.wire import dead_letters
from odradek.wire.dead_letters import NOT_APPLIED, REJECTED
from odradek.wire.events import ActivityReport
from odradek.wire.headers import FORWARDED_FROM, place
from odradek.wire.outcomes import INTERNAL, Reply
from odradek.wire.partitioner import partition_for

logger = logging.getLogger(__name__)
#: A sender that counts other partitions does so for every record.
forwards = logging.getLogger(f"{__name__}.forwards")
forwards.addFilter(RepeatedLines())
#: Exceptions of workflow code have theirs from `odradek.activation`; these have the same form.
workflow_logger = logging.getLogger("odradek.workflow")

TRACE_BYTES_MAX = 8_192


class _LetterLog:
    """One line a second and reason, with a count of those left out."""

    def __init__(self) -> None:
        self._logged: dict[str, tuple[float, int]] = {}  # reason -> when, left out since

    def letter(self, letter: Letter, where: str) -> None:
        at, left_out = self._logged.get(letter.reason, (float("-inf"), 0))
        now = time.monotonic()
        if now - at < 1.0:
            self._logged[letter.reason] = at, left_out + 1
            return
        self._logged[letter.reason] = now, 0
        more = f" (and {left_out} more)" if left_out else ""
        logger.warning(
            "dead letter: %s: %s: %s%s",
            *(where, letter.reason, letter.text, more),
            extra=log_ids(letter.message),
        )


_log = _LetterLog()


def input_records(
    context: PartitionContext,
    partition: int,
    partitions: int,
    messages: list[Message],
    decoded: DecodedBatch,
    result: StepResult,
) -> list[Record]:
    """Forwards and dead letters, ready to produce. partitions: of `events`."""
    records: list[Record] = []
    for message, workflow_id in decoded.forwards:
        key = workflow_id.encode()
        target = partition_for(key, partitions)
        came_from = place(context.events_topic, partition, offset_of(message))
        headers = [*headers_of(message), (FORWARDED_FROM, came_from)]
        forwards.warning(
            "an event on partition %d of %s belongs on %d, and is forwarded: its sender counts"
            " other partitions",
            *(partition, context.events_topic, target),
            extra={"workflow_id": workflow_id},
        )
        records.append(Record(context.events_topic, key, value_of(message), headers, target))
    letters = list(decoded.letters)
    if result.dead_letters:
        by_offset = {message.offset(): message for message in messages}
        letters += [
            Letter(
                by_offset[each.offset],
                REJECTED if each.rejected else NOT_APPLIED,
                each.reason,
                None,
                each.trace,
            )
            for each in result.dead_letters
        ]
    records.extend(_dead_letter(context, letter, partition) for letter in letters)
    return records


def unapplied(messages: list[Message], decoded: DecodedBatch, reason: str) -> DecodedBatch:
    """The same inputs as dead letters, with answers to whoever waits."""
    first_line = reason.partition("\n")[0]
    letters = decoded.letters or [
        Letter(message, NOT_APPLIED, first_line, None, reason) for message in messages
    ]
    events = [each.event for each in decoded.inputs]
    replies = [
        Reply(e.reply_to, e.request_id, type(e).__name__, INTERNAL, first_line, e.workflow_id)
        for e in events
        if not isinstance(e, ActivityReport) and e.reply_to and e.request_id
    ]
    return DecodedBatch(letters=list(letters), replies=replies)


def _dead_letter(context: PartitionContext, letter: Letter, partition: int) -> Record:
    """An input that will not be applied, as it came, with the reason in headers. Logged."""
    message = letter.message
    where = f"{context.events_topic}/{partition}/{offset_of(message)}"
    _log.letter(letter, where)
    headers = dead_letters.dead_letter_headers(
        letter.reason,
        topic=context.events_topic,
        partition=partition,
        offset=offset_of(message),
        time_ms=context.clock.time_ms(),
        message=letter.text,
        error=letter.error,
        original=headers_of(message),
    )
    if letter.trace:
        headers.append(
            (dead_letters.STACK_TRACE, letter.trace[-TRACE_BYTES_MAX:].encode("utf-8", "replace"))
        )
    return context.encoder.dead_letter(key_of(message), value_of(message), headers)


def log_failed_tasks(failed: Iterable[FailedTask], namespace: str, task_queue: str) -> None:
    """Workflow tasks that the engine failed. Called once their transaction is committed."""
    for each in failed:
        details = {
            "namespace": namespace,
            "task_queue": task_queue,
            "workflow_id": each.workflow_id,
            "run_id": each.run_id,
            "workflow_type": each.workflow_type,
        }
        workflow_logger.warning(
            "Failed workflow task of workflow %s with ID %s and run ID %s: %s: %s",
            *(each.workflow_type, each.workflow_id, each.run_id, each.cause, each.message),
            extra={
                "temporal_workflow": details,
                "__temporal_error_identifier": "WorkflowTaskFailure",
            },
        )


def log_without_details(
    commands: Iterable[CommandWithoutDetails], namespace: str, task_queue: str
) -> None:
    """Heartbeat details that the engine left out. Called once their transaction is committed."""
    for each in commands:
        details = {
            "namespace": namespace,
            "task_queue": task_queue,
            "workflow_id": each.workflow_id,
            "run_id": each.run_id,
            "activity_type": each.activity_type,
            "activity_id": each.activity_id,
            "attempt": each.attempt,
        }
        workflow_logger.warning(
            "Attempt %d of activity %s (id %s) of workflow with ID %s and run ID %s begins without"
            " the last heartbeat details: %s",
            *(each.attempt, each.activity_type, each.activity_id),
            *(each.workflow_id, each.run_id, each.reason),
            extra={"temporal_workflow": details},
        )
