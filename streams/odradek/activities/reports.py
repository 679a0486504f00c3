"""What a service writes: Started, heartbeats and outcomes to `events` of the workflow's queue,
dead letters, commands handed on, and its status.

Used from the loop's and the consumer's thread; delivery reports come on the consumer's thread,
which calls `serve`. Only what is durable acknowledges a command. A record that was not delivered
is sent again until it is, with three exceptions: it is too large by itself, its topic is gone
(a dead letter), or an ACL is missing (the service ends). A status that cannot be written is
dropped: the next one follows.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from odradek.exceptions import (
    ClockError,
    OdradekError,
    RecordTooLargeError,
    TopicError,
    TopicMissingError,
)
from odradek.kafka.log_filter import RepeatedLines
from odradek.kafka.producer import HASHED, PlainProducer
from odradek.wire.codec import Codec
from odradek.wire.events import ActivityOutcome, ActivityReport
from odradek.wire.headers import Headers, headers_for
from odradek.wire.record_size import record_size

logger = logging.getLogger("odradek.activities")
#: Of records that are sent again, each of them several times a second while its cause lasts.
rejected = logging.getLogger("odradek.activities.rejected")
rejected.addFilter(RepeatedLines())

RETRY_S = 0.25

OnDurable = Callable[[], None]
#: Why a status was dropped.
OnDropped = Callable[[str], None]
#: (size, limit, 0 where it is not known) of the value that did not fit -> what to send instead, or
#: None to give up on it.
OnTooLarge = Callable[[int, int], ActivityOutcome | None]
#: Topic, key, value, headers, why, and what to call when it is dealt with.
Undeliverable = Callable[[str, bytes | None, bytes | None, Headers, str, OnDurable | None], None]


@dataclass(slots=True, eq=False)
class _Record:
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int = HASHED
    on_durable: OnDurable | None = None
    on_too_large: OnTooLarge | None = None
    on_dropped: OnDropped | None = None  # of a status


class Reports:
    """The writing side of a service.

    producer: one whose reports `serve` takes.  limit_of: bytes that a topic takes, 0 when nobody
    says; may block.
    """

    def __init__(
        self,
        producer: PlainProducer,
        codec: Codec,
        *,
        limit_of: Callable[[str], int],
        undeliverable: Undeliverable,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._limit_of = limit_of
        self._undeliverable = undeliverable
        self._on_fatal = on_fatal
        self._waiting: deque[_Record] = deque()  # for room in the client's queue
        self._retries: deque[tuple[float, _Record]] = deque()  # when each is due, monotonic
        self._closed = False
        self.statuses_pending = 0

    def report(
        self,
        topic: str,
        record: ActivityReport,
        on_durable: OnDurable | None = None,
        on_too_large: OnTooLarge | None = None,
    ) -> None:
        """Send an event of a workflow, keyed by its id. Raises `UnencodableRecord` for a record
        of ours that is wrong.
        """
        value, key = self._codec.encode(record), record.workflow_id.encode()
        headers = headers_for(record)
        self._send(
            _Record(topic, key, value, headers, on_durable=on_durable, on_too_large=on_too_large)
        )

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        on_durable: OnDurable | None = None,
        *,
        partition: int = HASHED,
    ) -> None:
        """Send bytes as they are."""
        self._send(_Record(topic, key, value, headers, partition, on_durable))

    def status(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Headers,
        on_durable: OnDurable | None,
        on_dropped: OnDropped,
    ) -> None:
        """Send what the service says of itself; it is dropped where anything else would be sent
        again.
        """
        self.statuses_pending += 1
        self._send(
            _Record(topic, key, value, headers, on_durable=on_durable, on_dropped=on_dropped)
        )

    def serve(self, timeout_s: float = 0.0) -> None:
        """Take delivery reports, then send what waits. The consumer's thread calls it every few
        milliseconds.
        """
        self._producer.serve(timeout_s)
        while self._retries and time.monotonic() >= self._retries[0][0]:
            self._waiting.append(self._retries.popleft()[1])
        while self._waiting:
            record = self._waiting.popleft()
            if not self._handed_over(record):
                self._waiting.appendleft(record)
                return

    @property
    def pending(self) -> int:
        """Records that are not durable yet, statuses aside."""
        total = len(self._producer) + len(self._waiting) + len(self._retries)
        return max(0, total - self.statuses_pending)

    def close(self) -> None:
        """What is not durable by now is given up: its commands are delivered again."""
        self._closed = True
        self._producer.close(0.0)

    def _send(self, record: _Record) -> None:
        # behind what waits, or the order of a key would be lost
        if self._waiting or not self._handed_over(record):
            self._waiting.append(record)

    def _handed_over(self, record: _Record) -> bool:
        """False: the client's queue is full."""

        def delivered(error: BaseException | None) -> None:
            self._delivered(record, error)

        try:
            self._producer.produce(
                record.topic,
                record.key,
                record.value,
                record.headers,
                partition=record.partition,
                on_delivery=delivered,
            )
        except BufferError:
            return False
        except Exception as error:
            self._delivered(record, error)
        return True

    def _delivered(self, record: _Record, error: BaseException | None) -> None:
        status = record.on_dropped is not None
        if status:
            self.statuses_pending -= 1
        if error is None:
            if record.on_durable is not None:
                record.on_durable()
        elif self._closed:
            return  # its command is not acknowledged, and comes again
        elif isinstance(error, TopicError) and not isinstance(
            error, TopicMissingError | ClockError
        ):
            self._on_fatal(error)  # an ACL is missing
        elif record.on_dropped is not None:
            record.on_dropped(str(error))
        elif isinstance(error, RecordTooLargeError) and self._too_large(record):
            return
        elif isinstance(error, TopicMissingError):
            why = f"topic {record.topic} cannot be had: {error.reason}"
            self._undeliverable(
                record.topic, record.key, record.value, record.headers, why, record.on_durable
            )
        else:
            rejected.warning(
                "a record for %s was not delivered, it is sent again: %s", record.topic, error
            )
            self._retries.append((time.monotonic() + RETRY_S, record))

    def _too_large(self, record: _Record) -> bool:
        """False: it fits by itself, and was rejected with the batch that it was in."""
        size = record_size(record.key, record.value, record.headers)
        limit = self._limit_of(record.topic)
        if size <= limit:
            return False
        instead = record.on_too_large(size, limit) if record.on_too_large is not None else None
        if instead is not None:
            self.report(record.topic, instead, record.on_durable)
            return True
        error: OdradekError = RecordTooLargeError(record.topic, size=size, limit=limit)
        logger.error("dropped: %s", error)
        if record.on_durable is not None:
            record.on_durable()
        return True
