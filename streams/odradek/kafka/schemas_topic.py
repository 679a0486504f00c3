"""The `schemas` topic: a writer publishes its schemas before its first record, a reader finds
those it does not know.

Reads the topic in the background and holds what it says (fingerprint -> schema), and publishes
ours where they are missing. It is the codec's `SchemaLookup`. A writer publishes its schema with
`acks=all` before its first record, so reading the topic up to its present end (`catch_up`)
decides whether a record can be read. A topic that was deleted gets all that is known.

Key: the fingerprint as 16 hex digits, its 8 bytes in single-object order. Value:
`PublishedSchema`, always single-object framed (a reader has nobody to ask about this one, so its
schema never changes).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from odradek.exceptions import OdradekError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.errors import unreachable
from odradek.kafka.producer import PlainProducer
from odradek.kafka.settings import KafkaSettings
from odradek.wire.codec import decode, encode
from odradek.wire.errors import UndecodableRecord
from odradek.wire.outcomes import PublishedSchema
from odradek.wire.schema import RecordType, fingerprint, schema_fingerprint, schema_json

logger = logging.getLogger("odradek.kafka")

CATCH_UP_EVERY_S = 0.05  # forged fingerprints cost at most so many questions for the end
CATCH_UP_MAX_S = 5.0
_READY_S = 15.0  # to read the topic once, at start
_POLL_S = 0.2
_AFTER_DEFECT_S = 0.5
_ANEW_S = 5.0  # to publish again what was deleted


class SchemasTopic:
    """Reader and writer of the topic. `open` blocks until the topic is read; `close` ends the
    reader's thread.

    clock: seconds, monotonic; tests give their own.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        admin: ClusterAdmin,
        *,
        clock: Callable[[], float] = time.monotonic,
        clients: KafkaClients | None = None,
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._topic = admin.topics.schemas
        self._clock = clock
        self._clients = clients or ConfluentKafka()
        self._schemas: dict[bytes, str] = {}
        self._positions: dict[int, int] = {}  # everything below was read, by partition
        self._catching_up = threading.Lock()
        self._caught_up_s = -CATCH_UP_EVERY_S  # when the last look at the end began
        self._published: set[bytes] = set()  # that the topic holds as it is now
        self._changed = threading.Condition()
        self._caught_up = False
        self._anew = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Have the topic, read it to its end, go on reading in the background."""
        facts = self._admin.ensure([self._topic])[self._topic].require("Read", "Write")
        starts = self._admin.start_offsets(self._topic, range(facts.partitions))
        ends = self._admin.end_offsets(self._topic, range(facts.partitions), committed=True)
        consumer = self._clients.consumer(reader_config(self._settings, partition_eof=True))
        consumer.assign(
            [TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()]
        )
        self._positions = dict.fromkeys(ends, 0)
        self._thread = threading.Thread(
            target=self._read, args=(consumer, ends), name="odradek-schemas", daemon=True
        )
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._caught_up, timeout=_READY_S):
                raise unreachable(
                    self._settings, f"{self._topic} could not be read in {_READY_S:g} s"
                )

    def made_anew(self) -> None:
        """The topic was deleted and made anew: it is read from its start, and gets what it
        lacks. Any thread; returns at once.
        """
        self._anew.set()

    def close(self) -> None:
        """Stop reading. What is known stays known. Idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> SchemasTopic:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- finding

    def find(self, fingerprint: bytes) -> str | None:
        """The schema of a fingerprint, None while it was not read. Never waits."""
        return self._schemas.get(fingerprint)

    def catch_up(self) -> None:
        """Read all that the topic holds by now, so that `find` knows every schema that was
        published before this call. Any thread; those that call together share one look. Blocks
        for some milliseconds. Raises BrokerUnreachableError or TopicMissingError.
        """
        called_s = self._clock()
        with self._catching_up:
            if self._caught_up_s >= called_s:
                return
            self._closing.wait(max(0.0, self._caught_up_s + CATCH_UP_EVERY_S - self._clock()))
            began_s = self._clock()
            ends = self._admin.end_offsets(self._topic, list(self._positions), committed=True)
            with self._changed:
                if not self._changed.wait_for(
                    lambda: all(self._positions[one] >= end for one, end in ends.items()),
                    timeout=CATCH_UP_MAX_S,
                ):
                    raise unreachable(
                        self._settings,
                        f"{self._topic} could not be read to its end in {CATCH_UP_MAX_S:g} s",
                    )
            self._caught_up_s = began_s

    # --- publishing

    def publish(
        self, producer: PlainProducer, record_types: Iterable[RecordType], timeout_s: float = 10.0
    ) -> int:
        """Publish those of our schemas that the topic lacks, and wait until they are durable:
        before their first record is written.

        Returns how many were missing. Two that start at once may both publish one: the topic is
        compacted, they are equal.
        """
        missing = [
            record_type
            for record_type in record_types
            if fingerprint(record_type) not in self._schemas
        ]
        done = threading.Event()
        failures: list[BaseException] = []
        left = len(missing)

        def on_delivery(error: BaseException | None) -> None:
            nonlocal left
            if error is not None:
                failures.append(error)
            left -= 1
            if left == 0:
                done.set()

        for record_type in missing:
            record = PublishedSchema(
                fingerprint(record_type).hex(), record_type.__name__, schema_json(record_type)
            )
            producer.produce(
                self._topic, record.fingerprint.encode(), encode(record), on_delivery=on_delivery
            )
        if missing and not done.wait(timeout_s):
            raise unreachable(
                self._settings,
                f"schemas could not be published to {self._topic} in {timeout_s:g} s",
            )
        if failures:
            raise failures[0]
        for record_type in missing:
            self._schemas.setdefault(fingerprint(record_type), schema_json(record_type))
        return len(missing)

    # --- the reader's thread

    def _read(self, consumer: Consumer, ends: dict[int, int]) -> None:
        lacking = False  # whether the topic lacks what we know
        try:
            while not self._closing.is_set():
                try:
                    if self._anew.is_set():
                        ends, lacking = self._begin_anew(consumer), True
                    behind = any(self._positions[one] < end for one, end in ends.items())
                    if not behind and not self._caught_up:
                        self._set_caught_up()
                    if not behind and lacking:
                        self._publish_anew()
                        lacking = False
                    self._read_one(consumer)
                except (KafkaException, OdradekError) as error:
                    logger.warning(
                        "%s cannot be read, or get anew what it lacks, yet: %s", self._topic, error
                    )
                    self._closing.wait(_AFTER_DEFECT_S)
                # whatever it is: without this thread no schema that is published from now on is
                # ever seen
                except Exception:
                    logger.exception("%s: a record is skipped", self._topic)
                    self._closing.wait(_AFTER_DEFECT_S)
        finally:
            consumer.close()

    def _begin_anew(self, consumer: Consumer) -> dict[int, int]:
        """Read from the start of the topic as it is now; its ends."""
        facts = self._admin.describe([self._topic]).get(self._topic)
        if facts is None:
            raise TopicMissingError(self._topic, reason="it was deleted")
        starts = self._admin.start_offsets(self._topic, range(facts.partitions))
        ends = self._admin.end_offsets(self._topic, range(facts.partitions), committed=True)
        consumer.assign(
            [TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()]
        )
        self._published.clear()
        with self._changed:
            self._positions = dict.fromkeys(ends, 0)
        self._anew.clear()
        return ends

    def _publish_anew(self) -> None:
        """What this process knows and the topic has not: every record that was written with it
        still lies somewhere.
        """
        lacking = [
            (known, schema)
            for known, schema in list(self._schemas.items())
            if known not in self._published
        ]
        if not lacking:
            return
        failures: list[BaseException] = []
        with PlainProducer(self._settings, clients=self._clients) as producer:
            for known, schema in lacking:
                record = PublishedSchema(known.hex(), str(json.loads(schema)["name"]), schema)
                key = record.fingerprint.encode()
                producer.produce(
                    self._topic,
                    key,
                    encode(record),
                    on_delivery=lambda error: failures.append(error) if error else None,
                )
            left = producer.close(_ANEW_S)
        if failures or left:
            raise (
                failures[0]
                if failures
                else unreachable(self._settings, f"{left} schemas could not be published anew")
            )
        logger.warning("%s was deleted: %d schemas were published anew", self._topic, len(lacking))

    def _read_one(self, consumer: Consumer) -> None:
        message = consumer.poll(_POLL_S)
        if message is None:
            return
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is None:
            self._take(message.key(), message.value())
            self._note_position(partition, (offset or 0) + 1)
        elif error.code() == KafkaError._PARTITION_EOF:  # behind what was compacted away, too
            self._note_position(partition, offset or 0)
        else:
            self._on_error(error)

    def _note_position(self, partition: int | None, position: int) -> None:
        with self._changed:
            if partition is not None and self._positions.get(partition, 0) < position:
                self._positions[partition] = position
                self._changed.notify_all()

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            return
        try:
            record = decode(value)
            if not isinstance(record, PublishedSchema):
                raise UndecodableRecord(f"{type(record).__name__} is no PublishedSchema")
            found = _true_fingerprint(record)
        except UndecodableRecord as error:
            logger.warning("%s: record %r is skipped: %s", self._topic, key, error)
            return
        self._published.add(found)
        with self._changed:
            self._schemas.setdefault(found, record.schema)
            self._changed.notify_all()

    def _set_caught_up(self) -> None:
        with self._changed:
            self._caught_up = True
            self._changed.notify_all()

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            logger.warning(
                "%s was deleted or cut under its reader: it is read from its start", self._topic
            )
            self._anew.set()
        else:
            logger.warning("%s: %s", self._topic, error.str())


def _true_fingerprint(record: PublishedSchema) -> bytes:
    """The fingerprint of the schema itself: a wrong label must not make us misread another
    writer's records.
    """
    try:
        found = schema_fingerprint(json.loads(record.schema))
    except Exception as error:  # fastavro raises many kinds over a schema that is none
        raise UndecodableRecord(f"no Avro schema: {type(error).__name__}: {error}") from error
    if found.hex() != record.fingerprint:
        raise UndecodableRecord(
            f"labelled {record.fingerprint}, but its schema has the fingerprint {found.hex()}"
        )
    return found
