"""What a service writes: Started, heartbeats and outcomes to `events` of the workflow's queue,
dead letters, commands handed on.

One plain producer, used from the loop's and the consumer's thread; delivery reports arrive
wherever `serve` is called, which is the consumer's thread. A record is durable when its report
says so; only then is a command acknowledged. A report that says no is dealt with here: too
large, no such topic, or sent again. Nothing is given up silently. Too large is only what is so
by itself (`odradek.kafka.windows`): an outcome that was refused with its neighbours is sent
again, its activity did what it should. What a topic takes is asked for when it is first used;
where that comes too late (lowered meanwhile), the refusal that tells it may cost the order of a
key (a Completed before its Started, a heartbeat behind its outcome), which the engine takes too.

What the service says of itself is no answer: a status that cannot be written is dropped, the
next one speaks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Producer

from odradek.activities.gathering import Gathering
from odradek.exceptions import ClockError, RecordTooLargeError
from odradek.kafka.closed import Closed
from odradek.kafka.errors import WRONG_TIME, missing_acl
from odradek.kafka.log_filter import RepeatedLines
from odradek.kafka.windows import ANY, BATCH_BYTES, Windows
from odradek.wire.codec import Codec
from odradek.wire.events import ActivityOutcome, ActivityReport
from odradek.wire.headers import Headers, headers_for
from odradek.wire.record_size import record_size

logger = logging.getLogger("odradek.activities")
#: Of records that are sent again: each of them, four times a second, for as long as its cause
#: lasts.
refusals = logging.getLogger("odradek.activities.refused")
refusals.addFilter(RepeatedLines())

_NO_SUCH_TOPIC = {
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
}
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
# a broker that refuses at once would be asked a thousand times a second, and the log filled
AGAIN_S = 0.25
HELD_MAX = 1_000_000  # more than slots and heartbeats make
# How often a record whose topic or partition is not known is sent once more, after a look: the
# topic may have been deleted and made anew with fewer partitions, and a producer that missed it
# once goes on saying so.
LOOKS_MAX = 2
LOOK_TIMEOUT_S = 2.0
_PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}

OnDurable = Callable[[], None]
#: Why a status was dropped.
OnDropped = Callable[[str], None]
#: (size, limit, 0 where it is not known) of the value that did not fit -> what to send instead, or
#: None to give up on it.
OnTooLarge = Callable[[int, int], ActivityOutcome | None]


class _Record:
    """One record on its way. Called by the producer with its delivery report."""

    __slots__ = (
        "answers", "entered", "headers", "key", "looks", "on_dropped", "on_durable", "on_too_large", "place", "topic", "value",
    )  # fmt: skip

    def __init__(
        self,
        answers: Answers,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        on_durable: OnDurable | None,
        on_too_large: OnTooLarge | None,
        partition: int,
    ) -> None:
        self.answers = answers
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.on_durable = on_durable
        self.on_too_large = on_too_large
        self.place = topic, partition
        self.on_dropped: OnDropped | None = None  # of a status
        self.entered = False  # let through by the window of its topic
        self.looks = 0

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        try:
            if error is not None:
                self.answers._not_delivered(self, error)
                return
            self.answers._leave(self)
            self.answers._statuses.discard(self)
            if self.on_durable is not None:
                self.on_durable()
        finally:
            self.answers._go_on(self)


class Answers:
    """The producer side of a service."""

    def __init__(
        self,
        producer: Producer,
        codec: Codec,
        *,
        limit_of: Callable[[str], int],
        undeliverable: Callable[
            [str, bytes | None, bytes | None, Headers, str, OnDurable | None], None
        ],
        on_fatal: Callable[[BaseException], None],
        batch: int = BATCH_BYTES,
    ) -> None:
        """`limit_of(topic)`: bytes the topic takes, 0 when nobody says; may block. Called once
        for a topic, in a thread, and for what was refused.

        `undeliverable`: takes what has no topic to go to. `batch`: bytes that a batch of the
        producer may have.
        """
        self._producer = producer
        self._codec = codec
        self._limit_of = limit_of
        self._undeliverable = undeliverable
        self._on_fatal = on_fatal
        #: Waits for `serve`: what the producer had no room for, and under load what gathers.
        self._overflow: deque[_Record] = deque()
        #: Refused for what passes or may have passed, and when (monotonic).
        self._again: deque[tuple[float, _Record]] = deque()
        self._statuses: set[_Record] = set()  # on their way
        self._doubted: set[str] = (
            set()
        )  # topics that the producer does not know, to be looked at by `serve`, which may block
        self._gathering = Gathering(time.monotonic)
        self._limits: dict[str, int] = {}
        self._unasked: deque[str] = (
            deque()
        )  # a thread asks for them, and is there as long as there are any
        self._unasked_lock = threading.Lock()
        self._windows: Windows[_Record] = Windows(
            _size,
            batch=batch,
            limits=self._limits,
            held_max=HELD_MAX,
            on_topic=self._ask_beforehand,
        )

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
        value = self._codec.encode(record)
        key = record.workflow_id.encode()
        self._send(
            _Record(self, topic, key, value, headers_for(record), on_durable, on_too_large, ANY)
        )

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        on_durable: OnDurable | None = None,
        *,
        partition: int = ANY,
    ) -> None:
        """Send bytes as they are."""
        self._send(_Record(self, topic, key, value, headers, on_durable, None, partition))

    def status(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Headers,
        on_durable: OnDurable | None,
        on_dropped: OnDropped,
    ) -> None:
        """Send what the service says of itself: dropped where an answer would be sent again or
        become a dead letter.
        """
        record = _Record(self, topic, key, value, headers, on_durable, None, ANY)
        record.on_dropped = on_dropped
        self._statuses.add(record)
        self._send(record)

    def _send(self, record: _Record) -> None:
        if self._gathering.waits() or self._overflow:
            self._overflow.append(record)  # order is kept
        elif not self._hand_over(record):
            self._go_on(record)

    def _hand_over(self, record: _Record) -> bool:
        """Produce it, or have it wait for room. False: it was refused at once, and has been
        dealt with.
        """
        try:
            self._produce(record)
        except BufferError:
            self._overflow.append(record)
        except KafkaException as error:
            self._not_delivered(record, error.args[0])
            return False
        return True

    def _produce(self, record: _Record) -> None:
        """Hand it over, or leave it to the window of its topic. Raises BufferError and
        KafkaException.
        """
        if not record.entered:
            if not self._windows.enter(record.place, record):
                return
            record.entered = True
        headers: Any = record.headers
        self._producer.produce(
            record.topic,
            record.value,
            record.key,
            record.place[1],
            on_delivery=record,
            headers=headers,
        )

    def serve(self, timeout: float = 0.0) -> None:
        """Take delivery reports; then send what waits. The consumer's thread calls it every few
        milliseconds.
        """
        self._producer.poll(timeout)
        while self._again and time.monotonic() - self._again[0][0] >= AGAIN_S:
            self._overflow.append(self._again.popleft()[1])
        while self._doubted:
            self._look(self._doubted.pop())
        self._windows.ask_again(self._limit_of)
        if not self._gathering.ripe():
            return
        while self._overflow:
            record = self._overflow[0]
            try:
                self._produce(record)
            except BufferError:
                return
            except KafkaException as error:
                self._overflow.popleft()
                self._not_delivered(record, error.args[0])
                self._go_on(record)
            else:
                self._overflow.popleft()

    def _look(self, topic: str) -> None:
        """Have the producer learn of a topic anew. What it does not learn is told by the next try."""
        try:
            self._producer.list_topics(topic, timeout=LOOK_TIMEOUT_S)
        except KafkaException as error:
            logger.debug("topic %s cannot be looked up: %s", topic, error)

    @property
    def pending(self) -> int:
        """Answers not yet durable."""
        return max(
            0,
            len(self._producer)
            + len(self._overflow)
            + len(self._again)
            + self._windows.held
            - len(self._statuses),
        )

    def close(self) -> None:
        """What is not durable by now is given up: its commands come again. The producer's
        threads end with this.
        """
        self._producer = cast(Producer, Closed())

    @property
    def statuses_pending(self) -> int:
        """Statuses on their way."""
        return len(self._statuses)

    def _leave(self, record: _Record) -> None:
        if record.entered:
            record.entered = False
            self._windows.left(record.place, record)

    def _go_on(self, reported: _Record) -> None:
        """It has its report: those that waited for it go."""
        while ready := self._windows.ready(reported.place):
            for record in ready:
                record.entered = True
                self._hand_over(record)

    def _had_company(self, record: _Record) -> bool:
        """Refused for the batch that it was in: it waits to be sent once more."""
        if not record.entered or not self._windows.refused(record.place, record):
            return False
        record.entered = False
        self._windows.settle(record.topic, self._limit_of)
        return True

    def _ask_beforehand(self, topic: str) -> None:
        """What a topic takes, in a thread: a Started is on its way before much else is, so it is
        known before a batch is refused.
        """
        with self._unasked_lock:
            self._unasked.append(topic)
            if len(self._unasked) == 1:
                threading.Thread(target=self._ask_all, name="odradek-limits", daemon=True).start()

    def _ask_all(self) -> None:
        while True:
            topic = self._unasked[0]
            limit = self._limit_of(topic)
            if limit:
                self._limits[topic] = limit
            with self._unasked_lock:
                self._unasked.popleft()
                if not self._unasked:
                    return

    def _not_delivered(self, record: _Record, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE and self._had_company(record):
            return
        self._leave(record)
        self._statuses.discard(record)
        if record.on_dropped is not None and code not in _NOT_ALLOWED:
            record.on_dropped(error.str())
        elif code == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large(record)
        elif code in _NO_SUCH_TOPIC and record.looks < LOOKS_MAX:
            record.looks += 1
            self._doubted.add(record.topic)
            self._again.append((time.monotonic(), record))
        elif code in _NO_SUCH_TOPIC:
            self._undeliverable(
                record.topic,
                record.key,
                record.value,
                record.headers,
                f"topic {record.topic} cannot be had: {error.str()}",
                record.on_durable,
            )
        elif code in _NOT_ALLOWED:
            self._on_fatal(missing_acl("Write", "topic", record.topic, reason=error.str()))
        elif code in _PURGED:
            # the process is closing; the command is not acknowledged and will be delivered again
            return
        else:
            why = (
                ClockError(record.topic, reason=error.str()) if code in WRONG_TIME else error.str()
            )
            refusals.warning(
                "a record for %s was not delivered (%s), sending it again", record.topic, why
            )
            self._again.append((time.monotonic(), record))

    def _too_large(self, record: _Record) -> None:
        size, limit = _size(record), self._limit_of(record.topic)
        instead = record.on_too_large(size, limit) if record.on_too_large is not None else None
        if instead is None:
            logger.error("dropped: %s", RecordTooLargeError(record.topic, size=size, limit=limit))
            if record.on_durable is not None:
                record.on_durable()
            return
        self.report(record.topic, instead, record.on_durable)


def _size(record: _Record) -> int:
    return record_size(record.key, record.value, record.headers)
