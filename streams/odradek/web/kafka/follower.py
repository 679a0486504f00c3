"""Follows the namespace's small compacted topics, `members` and `schemas`, on one thread: who
says what of itself, which schemas exist.

Members are a hint (they write every few seconds, outside transactions): what is shown by them
may be seconds old and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.kafka.client_config import reader_config, topics_of
from odradek.kafka.settings import KafkaSettings
from odradek.web.kafka.facts import MemberView, SchemaView
from odradek.web.kafka.reading import key_text
from odradek.wire.codec import Codec
from odradek.wire.errors import WireError
from odradek.wire.outcomes import MemberStatus, PublishedSchema
from odradek.wire.schema import RECORD_TYPES, fingerprint

logger = logging.getLogger(__name__)

# As in the client: three of a member's periods, longer than a takeover.
SILENCE_S = 15.0
# A member that has been silent this long is no longer shown: it died without saying so.
FORGET_S = 3600.0
AGAIN_S = 1.0  # after an error, until the topics are read anew
PROCESSOR, ACTIVITIES = "PROCESSOR", "ACTIVITIES"


class Board:
    """What `members` and `schemas` say. Thread-safe: values are replaced whole.

    on_members: called on the reader's thread after each change of who is there or of what they own.
    """

    def __init__(
        self,
        on_members: Callable[[], None] = lambda: None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._on_members = on_members
        self._clock_s = clock_s
        self._members: dict[str, MemberStatus] = {}
        self._schemas: dict[str, SchemaView] = {}
        self._ours = {fingerprint(record_type).hex() for record_type in RECORD_TYPES}
        self._complete = False
        #: Why the topics cannot be read, with its cure; "" while they can. Who is alive is not
        #: known then.
        self.gone: Callable[[], str] = lambda: ""

    @property
    def complete(self) -> bool:
        """Whether all that the topics hold was read, and they are still there."""
        return self._complete and not self.gone()

    @complete.setter
    def complete(self, complete: bool) -> None:
        self._complete = complete

    def member(self, member_id: str, status: MemberStatus | None) -> None:
        """A member's latest word; None when it has left."""
        before = self._members.get(member_id)
        if status is None:
            if self._members.pop(member_id, None) is not None:
                self._on_members()
            return
        self._members[member_id] = status
        if before is None or _owned(before) != _owned(status):
            self._on_members()

    def schema(self, published: PublishedSchema, time_ms: int) -> None:
        """A schema that was published."""
        known = published.fingerprint in self._ours
        self._schemas[published.fingerprint] = SchemaView(
            published.fingerprint, published.name, published.schema, time_ms, known
        )

    def now_ms(self) -> int:
        """The time by which members are alive or silent, epoch milliseconds."""
        return int(self._clock_s() * 1000)

    def statuses(self, task_queue: str | None = None, *, alive: bool = True) -> list[MemberStatus]:
        """Members, of one queue or all; only those that live unless told otherwise."""
        now_ms = self.now_ms()
        longest_ms = int((SILENCE_S if alive else FORGET_S) * 1000)
        return [
            status
            for status in sorted(
                self._members.values(),
                key=lambda status: (status.task_queue, status.kind, status.member_id),
            )
            if (task_queue is None or status.task_queue == task_queue)
            and now_ms - status.time_ms < longest_ms
        ]

    def living_queues(self) -> set[str]:
        """Task queues with a living processor."""
        return {status.task_queue for status in self.statuses() if status.kind == PROCESSOR}

    def members(self, task_queue: str | None = None) -> list[MemberView]:
        """Members as they are shown, silent ones too."""
        now_ms = self.now_ms()
        return [_view(status, now_ms) for status in self.statuses(task_queue, alive=False)]

    def schemas(self) -> list[SchemaView]:
        """Schemas in use, by name."""
        return sorted(self._schemas.values(), key=lambda schema: (schema.name, schema.published_ms))


def _owned(status: MemberStatus) -> list[tuple[int, str]]:
    return [(lane.partition, lane.state) for lane in status.lanes]


def _view(status: MemberStatus, now_ms: int) -> MemberView:
    return MemberView(
        member_id=status.member_id,
        kind=status.kind,
        task_queue=status.task_queue,
        identity=status.identity,
        host=status.host,
        pid=status.pid,
        alive=now_ms - status.time_ms < SILENCE_S * 1000,
        seen_ms=status.time_ms,
        partitions=[lane.partition for lane in status.lanes],
        activity_types=status.activity_types,
        workflow_types=status.workflow_types,
        slots_total=status.slots_total,
        slots_used=status.slots_used,
        restore_remaining=sum(lane.restore_remaining for lane in status.lanes),
        timer_backlog=sum(lane.timer_backlog for lane in status.lanes),
        open_runs=sum(lane.open_runs for lane in status.lanes),
    )


class BoardReader:
    """The thread that keeps a board. Topics must exist."""

    def __init__(self, settings: KafkaSettings, board: Board, codec: Codec) -> None:
        self._settings = settings
        self._board = board
        self._codec = codec
        topics = topics_of(settings)
        self._members, self._schemas = topics.members, topics.schemas
        self.topics = frozenset({topics.members, topics.schemas})
        self._behind = set(self.topics)
        self._anew = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="odradek-board", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def made_anew(self) -> None:
        """One of the topics was deleted and made anew: read both from their start. Any thread;
        returns at once.
        """
        self._anew.set()

    def close(self) -> None:
        """End the thread; waits for it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except KafkaException as error:
                logger.warning(
                    "members and schemas cannot be read, again in %g s: %s", AGAIN_S, error
                )
                self._stop.wait(AGAIN_S)
            except Exception:  # a defect of ours: without this thread every owner would look silent
                logger.exception(
                    "members and schemas cannot be read, again in %g s: what is shown of them"
                    " grows old",
                    AGAIN_S,
                )
                self._stop.wait(AGAIN_S)

    def _read(self) -> None:
        """From the start, until told to stop or to begin anew."""
        self._anew.clear()
        consumer = Consumer(reader_config(self._settings, partition_eof=True))
        try:
            consumer.assign(
                [TopicPartition(self._members, 0, 0), TopicPartition(self._schemas, 0, 0)]
            )
            while not self._stop.is_set() and not self._anew.is_set():
                message = consumer.poll(0.3)
                if message is not None:
                    self._take(consumer, message)
        finally:
            consumer.close()

    def _take(self, consumer: Consumer, message: Message) -> None:
        error, topic = message.error(), message.topic() or ""
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._behind.discard(topic)
                self._board.complete = not self._behind
            elif (
                error.code() == KafkaError._AUTO_OFFSET_RESET
            ):  # the start was compacted or deleted away: begin at what is there
                low, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=5.0)
                consumer.incremental_unassign([TopicPartition(topic, 0)])
                consumer.incremental_assign([TopicPartition(topic, 0, low)])
            else:
                logger.debug("%s: %s", topic, error)
            return
        raw = message.value()
        value = raw.encode() if isinstance(raw, str) else raw
        try:
            record = self._codec.decode(value) if value else None
        except WireError as problem:
            logger.debug("a record of %s cannot be read: %s", topic, problem)
            return
        if topic == self._members and (record is None or isinstance(record, MemberStatus)):
            self._board.member(key_text(message), record)
        elif isinstance(record, PublishedSchema):
            self._board.schema(record, max(0, message.timestamp()[1]))
