"""The `schemas` topic: a writer publishes its schemas before its first record, a reader finds
those it does not know.

Duties: read the topic in the background and hold what it says (fingerprint -> schema), publish
ours where they are missing, tell since when a fingerprint has been asked for in vain. `find` is
the codec's `SchemaLookup`: it answers at once, so a lane puts a record back and asks again;
after `patience_s` the record counts as undecodable. A topic that was deleted gets all that is
known.

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

# a schema that is not there by then was never published: writers do it before their first record
PATIENCE_S = 30.0
_READY_S = 15.0  # to read the topic once, at start
_POLL_S = 0.2
_AFTER_DEFECT_S = 0.5
_ANEW_S = 5.0  # to publish again what was deleted


class SchemasTopic:
    """Reader and writer of the topic. `open` blocks until the topic is read; `close` ends the
    reader's thread.

    patience_s: how long an unknown fingerprint is waited for.  clock: seconds, monotonic; tests
    give their own.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        admin: ClusterAdmin,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
        clients: KafkaClients | None = None,
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._topic = admin.topics.schemas
        self._patience_s = patience_s
        self._clock = clock
        self._clients = clients or ConfluentKafka()
        self._schemas: dict[bytes, str] = {}
        self._asked_s: dict[bytes, float] = {}
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
        consumer = self._clients.consumer(reader_config(self._settings))
        consumer.assign(
            [TopicPartition(self._topic, partition, offset) for partition, offset in starts.items()]
        )
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
        """The schema of a fingerprint, None while nobody has published it. Never waits."""
        schema = self._schemas.get(fingerprint)
        if schema is None:
            self._asked_s.setdefault(fingerprint, self._clock())
        return schema

    def waited_s(self, fingerprint: bytes) -> float:
        """For how long this fingerprint has been asked for in vain; 0 for one that is known or
        was never asked for.
        """
        asked_s = self._asked_s.get(fingerprint)
        return 0.0 if asked_s is None or fingerprint in self._schemas else self._clock() - asked_s

    def given_up(self, fingerprint: bytes) -> bool:
        """Whether a record with this fingerprint counts as undecodable: asked for, and unknown,
        for longer than the patience.
        """
        return self.waited_s(fingerprint) >= self._patience_s

    def wait_for(self, fingerprint: bytes, timeout_s: float | None = None) -> str | None:
        """As `find`, but waits for it to be published; for hosts that have nothing else to do."""
        self.find(fingerprint)
        with self._changed:
            self._changed.wait_for(
                lambda: fingerprint in self._schemas,
                timeout=self._patience_s if timeout_s is None else timeout_s,
            )
        return self.find(fingerprint)

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
        positions = dict.fromkeys(ends, 0)
        behind = {partition for partition, end in ends.items() if end > 0}
        lacking = False  # whether the topic lacks what we know
        try:
            while not self._closing.is_set():
                try:
                    if self._anew.is_set():
                        ends = self._begin_anew(consumer)
                        positions, lacking = dict.fromkeys(ends, 0), True
                        behind = {partition for partition, end in ends.items() if end > 0}
                    # an end may be a control record or compacted away: ask for the position, do not
                    # count records
                    if behind:
                        for place in consumer.position(
                            [TopicPartition(self._topic, partition) for partition in behind]
                        ):
                            positions[place.partition] = max(
                                positions[place.partition], place.offset
                            )
                        behind = {
                            partition
                            for partition in behind
                            if positions[partition] < ends[partition]
                        }
                    if not behind and not self._caught_up:
                        self._set_caught_up()
                    if not behind and lacking:
                        self._publish_anew()
                        lacking = False
                    self._read_one(consumer, _POLL_S if not behind else 0.01)
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

    def _read_one(self, consumer: Consumer, timeout_s: float) -> None:
        message = consumer.poll(timeout_s)
        if message is None:
            return
        error = message.error()
        if error is not None:
            self._on_error(error)
        else:
            self._take(message.key(), message.value())

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
