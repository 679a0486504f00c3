"""Ingest: records of `executions` into the store, by one consumer on the caller's thread.

    poll → decode → one SQLite transaction (rows, statistics, positions) → compare with the ends

The positions of the consumer stand in the store, in the transaction of the rows, so a process
killed anywhere goes on where its rows end. The consumer is assigned every partition by hand: each
instance holds everything, and there is no group whose state could contradict the store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.config import Settings
from odradek.exceptions import OdradekError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import reader_config
from odradek.kafka.errors import UNREACHABLE, translate
from odradek.telemetry import metrics
from odradek.visibility.errors import IngestError, PositionsLostError
from odradek.visibility.store.rows import Change
from odradek.visibility.store.store import VisibilityStore
from odradek.wire.codec import Codec
from odradek.wire.errors import UndecodableRecord, UnknownSchemaError
from odradek.wire.outcomes import ExecutionSummary

logger = logging.getLogger("odradek.visibility")

BATCH_RECORDS = 4_000  # of one transaction of the store
ENDS_EVERY_S = 0.5
_TOPIC_EVERY_S = 30.0
_CAUGHT_UP_EVERY_S = 5.0
_POLL_S = 0.2
_MISSING_MAX = 3  # polls without the topic: a broker that has just started may not know it yet


@dataclass(slots=True)
class Progress:
    """How far the ingest is. `lag`: records of `executions` that are not in the store, None while
    unknown. `ready`: lag was 0 once since the store was opened. `checked_s`: monotonic time at
    which the last comparison with the ends began. `outage`: why no broker answers; "" if one does.
    """

    lag: int | None = None
    partitions: int = 0
    ready: bool = False
    records: int = 0
    batches: int = 0
    undecodable: int = 0
    checked_s: float = 0.0
    outage: str = ""


class Ingest:
    """One consumer from its start to its end. `run` returns when `stopping` is set, and raises
    what ends it before.

    ends: asks for the ends of partitions, with a short timeout. on_progress: called after each
    comparison with the ends.
    """

    def __init__(
        self,
        settings: Settings,
        store: VisibilityStore,
        topic: TopicFacts,
        decoder: SummaryDecoder,
        progress: Progress,
        on_progress: Callable[[], None],
        *,
        new_consumer: Callable[[dict[str, object]], Consumer] = Consumer,
    ) -> None:
        self._settings = settings
        self._store = store
        self._topic = topic
        self._decoder = decoder
        self._progress = progress
        self._on_progress = on_progress
        self._new_consumer = new_consumer
        self._next: dict[int, int] = {}  # by partition, the offset behind all that was read
        self._missing = 0
        self._records = metrics.VISIBILITY_RECORDS.labels(settings.namespace)
        self._noted_s = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Read until `stopping` is set."""
        admin = ClusterAdmin(self._settings, request_timeout_s=5.0)
        consumer = self._new_consumer(reader_config(self._settings, partition_eof=True))
        try:
            consumer.assign(self._places(admin))
            ends_s = topic_s = time.monotonic()
            while not stopping.is_set():
                self._take(consumer)
                now_s = time.monotonic()
                if now_s >= ends_s:
                    self._compare(admin)
                    ends_s = time.monotonic() + ENDS_EVERY_S
                if now_s >= topic_s:
                    self._check_topic(admin)
                    topic_s = time.monotonic() + _TOPIC_EVERY_S
        finally:
            consumer.close()
            admin.close()

    def _places(self, admin: ClusterAdmin) -> list[TopicPartition]:
        name, partitions = self._topic.name, range(self._topic.partitions)
        starts = admin.start_offsets(name, partitions)
        for partition in partitions:
            position = self._store.position(partition)
            self._next[partition] = starts[partition] if position is None else position + 1
        return [TopicPartition(name, partition, at) for partition, at in self._next.items()]

    # --- records

    def _take(self, consumer: Consumer) -> None:
        """Wait for records, and write those that came."""
        first = consumer.poll(_POLL_S)
        if first is None:
            return
        records: dict[int, list[Message]] = {}
        reached: dict[int, int] = {}
        for message in (first, *consumer.consume(BATCH_RECORDS - 1, timeout=0)):
            partition, offset = message.partition() or 0, message.offset() or 0
            error = message.error()
            if error is None:
                records.setdefault(partition, []).append(message)
                reached[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[partition] = offset
            else:
                self._raise(error)
        if records:
            self._write(records)
        self._next.update(reached)

    def _write(self, records: Mapping[int, Sequence[Message]]) -> None:
        changes = [
            change
            for partition, messages in records.items()
            for change in self._decoder.changes(partition, messages)
        ]
        ends = {partition: messages[-1].offset() or 0 for partition, messages in records.items()}
        self._store.apply(changes, ends)
        count = sum(map(len, records.values()))
        self._progress.records += count
        self._records.inc(count)
        self._progress.batches += 1

    def _raise(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise PositionsLostError(
                f"topic {self._topic.name} no longer has the offsets that the store goes on"
                f" from ({error.str()}): the store is built again"
            )
        if error.code() not in UNREACHABLE and not error.retriable():
            raise translate(KafkaException(error), self._settings, topic=self._topic.name)

    # --- how far it is

    def _compare(self, admin: ClusterAdmin) -> None:
        """Note the lag, and whether a broker answers. The store's files may have gone."""
        if self._store.gone():
            raise IngestError("the files of the store were removed: the store is built again")
        began_s = time.monotonic()
        ends = self._ends(admin)
        if ends is None:
            self._progress.lag = None
            self._on_progress()
            return
        lag = sum(max(0, end - self._next.get(partition, 0)) for partition, end in ends.items())
        # Noted first: whoever sees a lag of 0 sees what the store knows of itself then.
        if lag == 0 and (not self._store.complete or began_s - self._noted_s >= _CAUGHT_UP_EVERY_S):
            self._noted_s = began_s
            self._store.caught_up(first=not any(ends.values()))
        progress = self._progress
        progress.partitions, progress.lag, progress.checked_s = len(ends), lag, began_s
        progress.ready = progress.ready or lag == 0
        self._on_progress()

    def _ends(self, admin: ClusterAdmin) -> dict[int, int] | None:
        """None while no broker answers."""
        topic = self._topic
        try:
            ends = admin.end_offsets(topic.name, range(topic.partitions), committed=True)
        except TopicMissingError:  # the next ingest creates it, or says that it may not
            self._missing += 1
            if self._missing >= _MISSING_MAX:
                raise
            return None
        except OdradekError as error:
            if not self._progress.outage:
                logger.warning("no broker answers the read side; lists stay as they are: %s", error)
            self._progress.outage = str(error)
            return None
        self._missing = 0
        if self._progress.outage:
            logger.warning("a broker answers the read side again")
            self._progress.outage = ""
        return ends

    def _check_topic(self, admin: ClusterAdmin) -> None:
        """A topic that was deleted and created again begins at offset 0: all of it would be taken
        for old. One with more partitions is assigned again.
        """
        try:
            found = admin.describe([self._topic.name]).get(self._topic.name)
        except OdradekError:
            return
        if found is None or found.topic_id != self._topic.topic_id:
            raise IngestError(f"topic {self._topic.name} was deleted: the store is built again")
        if found.partitions != self._topic.partitions:
            raise IngestError(
                f"topic {self._topic.name} has {found.partitions} partitions now,"
                f" {self._topic.partitions} before: it is read again from the positions"
            )


class SummaryDecoder:
    """Records of `executions` to changes of the store. A record that nobody can read is counted,
    logged and skipped.
    """

    def __init__(self, codec: Codec, progress: Progress, namespace: str) -> None:
        self._undecodable = metrics.VISIBILITY_UNDECODABLE.labels(namespace)
        self._codec = codec
        self._progress = progress

    def changes(self, partition: int, messages: Sequence[Message]) -> list[Change]:
        """Changes in the order of the records."""
        changes = []
        for message in messages:
            key, value, offset = message.key(), message.value(), message.offset() or 0
            try:
                if key is None:
                    raise UndecodableRecord("a record without a key is no summary of a run")
                summary = None if value is None else self._summary(key, value)
            except UndecodableRecord as error:
                self._progress.undecodable += 1
                self._undecodable.inc()
                logger.error(
                    "executions/%d/%d cannot be read and is left out of lists: %s",
                    partition,
                    offset,
                    error,
                )
                continue
            changes.append(Change(partition, offset, key, summary, max(0, message.timestamp()[1])))
        return changes

    def _summary(self, key: bytes, value: bytes) -> ExecutionSummary:
        try:
            record = self._codec.decode(value)
        except UnknownSchemaError as error:
            if not error.may_come:
                raise
            self._codec.catch_up()
            record = self._codec.decode(value)
        if type(record) is not ExecutionSummary:
            raise UndecodableRecord(
                f"{type(record).__name__} under the key {key!r} is no summary of a run"
            )
        return record
