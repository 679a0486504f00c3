"""From records of `events` to the engine's inputs, and what becomes of those that are none.

Duties: decode (Avro or JSON), see that a record lies on the partition of its workflow, drop
reads that nobody waits for any more, and turn what cannot be decoded but can be routed by its
headers into a failure of its activity or request. No run waits for ever on a record that nobody
could read.

Never: lose a record silently, apply an event where it does not belong, or wait.
"""

from __future__ import annotations

import hashlib
import logging
import typing
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from odradek.engine.keys import derived_run_id
from odradek.engine.ports import Input
from odradek.exceptions import OdradekError
from odradek.processor.records import headers_of
from odradek.wire import dead_letters, headers
from odradek.wire.codec import Codec
from odradek.wire.errors import JsonInputError, UndecodableRecord, UnknownSchemaError
from odradek.wire.events import (
    READ_REQUESTS,
    ActivityReport,
    ActivityTaskFailed,
    AwaitResult,
    CancelWorkflow,
    DeleteWorkflow,
    DescribeWorkflow,
    Event,
    FetchHistory,
    QueryWorkflow,
    ReleaseWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.json_input import decode_json, is_json
from odradek.wire.outcomes import INVALID_ARGUMENT, Reply
from odradek.wire.partitioner import partition_for
from odradek.wire.payload import Failure
from odradek.wire.request_ids import REDRIVEN
from odradek.wire.tracing import TRACER_DATA, tracer_data

logger = logging.getLogger(__name__)

_EVENT_TYPES = frozenset(typing.get_args(Event))
_TRACED = frozenset({StartWorkflow, SignalWorkflow, QueryWorkflow})
_Changing = (
    StartWorkflow
    | SignalWorkflow
    | CancelWorkflow
    | TerminateWorkflow
    | ReleaseWorkflow
    | DeleteWorkflow
)
_CHANGING = frozenset(typing.get_args(_Changing))
_REQUEST_KINDS = frozenset(t.__name__ for t in typing.get_args(Request))
# A heartbeat that cannot be read fails nothing: the next one, or the heartbeat timeout, speaks for
# the attempt.
_FAILING_KINDS = frozenset(t.__name__ for t in typing.get_args(ActivityReport)) - {
    "ActivityTaskHeartbeat"
}

# A read past its deadline is dropped: nobody waits. Its deadline is by its writer's clock, which
# may be behind ours by as much as this.
CLOCKS_APART_MS = 120_000
BACKLOG = (
    100  # records that came at once: then what is late is old, and has its own clock's word alone
)
_TIMEOUT_MS = 10_000  # of a writer whose clock is not known: `rpc_timeout` of our clients

UNDECODABLE_TYPE = (  # `Failure.type` of an activity whose report nobody could read
    "UndecodableRecord"
)


@dataclass(slots=True)
class Letter:
    """A record for `dead-letters`: as it came, and why."""

    message: Message
    reason: str
    text: str
    error: BaseException | None = None
    trace: str = ""


@dataclass(slots=True)
class DecodedBatch:
    """What a list of records came to."""

    inputs: list[Input] = field(default_factory=list)
    # with the workflow id whose partition is the right one
    forwards: list[tuple[Message, str]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    expired: int = 0


class Decoder:
    """Decodes the records of one partition."""

    def __init__(
        self, codec: Codec, *, topic: str, topic_id: str, partition: int, partitions: int
    ) -> None:
        self._decode = codec.decode
        self._partition = partition
        self._partitions = partitions
        self._topic = topic
        self._origin = f"{topic_id}/{partition}/"

    def decode(self, messages: list[Message], now_ms: int) -> DecodedBatch:
        """Deal with `messages` in order."""
        result = DecodedBatch()
        inputs, origin, own, partitions = (
            result.inputs,
            self._origin,
            self._partition,
            self._partitions,
        )
        latest_ms = 0  # when the youngest record so far was written
        for message in messages:
            written_ms = message.timestamp()[1]
            latest_ms = max(latest_ms, min(written_ms, now_ms))
            try:
                event = self._read(message)
            except UnknownSchemaError as error:
                self._undecodable(message, dead_letters.UNKNOWN_SCHEMA, error, result)
            except UndecodableRecord as error:
                self._undecodable(message, dead_letters.UNDECODABLE, error, result)
            except JsonInputError as error:
                self._undecodable(message, dead_letters.INVALID_JSON, error, result)
            except (OdradekError, MemoryError):  # a registry is away: not the record's fault
                raise
            # a defect of ours, found by one record: it must not take its partition along
            except Exception as error:
                logger.exception(
                    "%s/%d/%s: a record could not be decoded",
                    self._topic,
                    self._partition,
                    message.offset(),
                )
                self._undecodable(message, dead_letters.UNDECODABLE, _told(error), result)
            else:
                if type(event) not in _EVENT_TYPES:
                    text = f"{type(event).__name__} does not belong on an events topic"
                    result.letters.append(Letter(message, dead_letters.UNEXPECTED_RECORD, text))
                elif partition_for(event.workflow_id.encode(), partitions) != own:
                    self._misplaced(message, event.workflow_id, result)
                elif isinstance(event, READ_REQUESTS) and _expired(
                    event, message, latest_ms, now_ms, backlog=len(messages) >= BACKLOG
                ):
                    result.expired += 1
                else:
                    if type(event) in _TRACED:
                        _take_trace(event, message)
                    offset = typing.cast(int, message.offset())
                    redriven = type(event) in _CHANGING and _take_redriven(event, message)
                    inputs.append(Input(event, offset, f"{origin}{offset}", written_ms, redriven))
        return result

    def _read(self, message: Message) -> Any:
        value = message.value()
        if value is None:
            raise UndecodableRecord("the record has no value")
        data = value
        if is_json(data):
            return decode_json(data, message.key())
        return self._decode(data)

    def _misplaced(self, message: Message, workflow_id: str, result: DecodedBatch) -> None:
        """Forward once. One that was forwarded already would go round in circles: writers
        disagree on the number of partitions.
        """
        came_from = headers.header(headers_of(message), headers.FORWARDED_FROM)
        if not came_from:
            result.forwards.append((message, workflow_id))
            return
        target = partition_for(workflow_id.encode(), self._partitions)
        text = (
            f"workflow {workflow_id!r} belongs to partition {target}, the record was forwarded here"
            f" from {came_from}"
        )
        result.letters.append(Letter(message, dead_letters.WRONG_PARTITION, text))

    def _undecodable(
        self, message: Message, reason: str, error: Exception, result: DecodedBatch
    ) -> None:
        routing = headers.parse_headers(headers_of(message))
        if (
            routing.workflow_id
            and partition_for(routing.workflow_id.encode(), self._partitions) != self._partition
        ):
            self._misplaced(message, routing.workflow_id, result)
            return
        result.letters.append(Letter(message, reason, str(error), error))
        place = f"{self._topic}/{self._partition}/{message.offset()}"
        text = f"the {routing.kind or 'record'} at {place} cannot be read: {error}"
        if (
            routing.kind in _FAILING_KINDS
            and routing.workflow_id
            and routing.run_id
            and routing.scheduled_event_id
        ):
            offset = typing.cast(int, message.offset())
            failed = ActivityTaskFailed(
                workflow_id=routing.workflow_id,
                run_id=routing.run_id,
                scheduled_event_id=routing.scheduled_event_id,
                activity_id=routing.activity_id,
                attempt=routing.attempt or 1,
                failure=Failure(message=text, type=UNDECODABLE_TYPE),
            )
            result.inputs.append(
                Input(failed, offset, f"{self._origin}{offset}", message.timestamp()[1])
            )
        elif routing.kind in _REQUEST_KINDS and routing.reply_to and routing.request_id:
            result.replies.append(
                Reply(
                    client_id=routing.reply_to,
                    request_id=routing.request_id,
                    kind=routing.kind,
                    status=INVALID_ARGUMENT,
                    message=text,
                    workflow_id=routing.workflow_id,
                )
            )


def _expired(
    event: QueryWorkflow | DescribeWorkflow | FetchHistory | AwaitResult,
    message: Message,
    latest_ms: int,
    now_ms: int,
    *,
    backlog: bool,
) -> bool:
    """Whether nobody waits for its answer any more. If somebody may, its deadline is one of our
    clock afterwards.

    How long the writer waits is told by his own clock, that wrote deadline and record. How long
    the record has lain here is not: at most since the youngest before it was written
    (`latest_ms`), and where little comes, not for long. So a client whose clock is behind is
    answered, and what piled up while a processor was away or slow is not worked off for nobody.
    """
    if not 0 < event.deadline_ms < now_ms:
        return False
    kind, written_ms = message.timestamp()
    timeout_ms = event.deadline_ms - written_ms if kind == TIMESTAMP_CREATE_TIME else _TIMEOUT_MS
    if timeout_ms <= 0:
        return True
    if now_ms - latest_ms > timeout_ms:  # it may be as old as that
        if (
            backlog
            or kind == TIMESTAMP_LOG_APPEND_TIME
            or now_ms - event.deadline_ms > CLOCKS_APART_MS
        ):
            return True
    event.deadline_ms = now_ms + timeout_ms
    return False


def _told(error: Exception) -> UndecodableRecord:
    found = UndecodableRecord(f"{type(error).__name__}: {error}")
    found.__cause__ = error
    return found


def _take_trace(event: StartWorkflow | SignalWorkflow | QueryWorkflow, message: Message) -> None:
    """The trace of a producer that knows record headers alone goes into the payload headers,
    which histories keep.
    """
    if (
        TRACER_DATA not in event.headers
        and (payload := tracer_data(headers_of(message))) is not None
    ):
        event.headers = {**event.headers, TRACER_DATA: payload}
        if type(event) is StartWorkflow and event.signal_name:
            event.signal_headers = {**event.signal_headers, TRACER_DATA: payload}


def _take_redriven(event: _Changing, message: Message) -> bool:
    """Whether it was a dead letter that somebody put back. The ids that nobody gave are then
    those of the letter, not of this record: put back again it is the same request. Of a letter
    that became another one each time the first place counts.
    """
    for name, raw in headers_of(message):
        if name == headers.REDRIVEN_FROM and raw:
            place = raw if isinstance(raw, bytes) else raw.encode()
            break
    else:
        return False
    value = message.value() or b""  # too: places come again where a topic is made anew
    letter = derived_run_id(
        f"redriven/{hashlib.blake2b(place + b'/' + value, digest_size=16).hexdigest()}"
    )
    event.request_id = event.request_id or REDRIVEN + letter
    if type(event) is StartWorkflow:
        event.run_id = event.run_id or letter
    return True
