"""Windows and checkpoints out of the topic: once, from its beginning to its end as of then.
Blocks: on a thread of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import reader_config
from odradek.kafka.errors import translate, unreachable
from odradek.wire.codec import Codec
from odradek.wire.errors import UndecodableRecord, UnknownSchemaError
from odradek.wire.windows import Window, WindowsCheckpoint

logger = logging.getLogger("odradek.visibility")

_BATCH = 1_000
_SILENCE_MAX_S = 30.0


@dataclass(slots=True)
class Restored:
    """What the topic held beside windows. `unreadable`: records that nobody can read; what they
    said is not known.
    """

    checkpoints: dict[str, WindowsCheckpoint] = field(default_factory=dict)
    unreadable: int = 0


class WindowsReader:
    """Reads what was counted from one topic `executions`.

    wait_for_schema: called with the id of a schema that is not known; may block; whether it came.
    """

    def __init__(
        self,
        settings: Settings,
        admin: ClusterAdmin,
        codec: Codec,
        wait_for_schema: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._codec = codec
        self._wait_for_schema = wait_for_schema
        self._given_up: set[str] = set()  # schemas that were waited for in vain

    def read(
        self,
        topic: TopicFacts,
        source: str,
        since_ms: int,
        keep: Callable[[Sequence[Window]], None],
    ) -> Restored:
        """Hands windows of `source` that begin from `since_ms` on to `keep`, some at a time."""
        starts = self._admin.start_offsets(topic.name, range(topic.partitions))
        places = [
            TopicPartition(topic.name, partition, offset) for partition, offset in starts.items()
        ]
        restored = Restored()
        consumer = Consumer(reader_config(self._settings, partition_eof=True))
        try:
            consumer.assign(places)
            behind = set(starts)
            heard_s = time.monotonic()
            while behind:
                messages = consumer.consume(_BATCH, timeout=0.5)
                windows = []
                for message in messages:
                    error = message.error()
                    if error is None:
                        record = self._record(message.value(), restored)
                        if (
                            isinstance(record, Window)
                            and record.source == source
                            and record.start_ms >= since_ms
                        ):
                            windows.append(record)
                        elif isinstance(record, WindowsCheckpoint) and record.source == source:
                            restored.checkpoints[record.store_id] = record
                    elif error.code() == KafkaError._PARTITION_EOF:
                        behind.discard(message.partition() or 0)
                    elif not error.retriable():
                        raise translate(KafkaException(error), self._settings, topic=topic.name)
                if windows:
                    keep(windows)
                if messages:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > _SILENCE_MAX_S:
                    raise unreachable(
                        self._settings,
                        f"{topic.name} could not be read: silent for {_SILENCE_MAX_S:g} s",
                    )
        finally:
            consumer.close()
        return restored

    def _record(self, value: bytes | None, restored: Restored) -> object:
        if value is None:
            return None
        try:
            try:
                return self._codec.decode(value)
            except UnknownSchemaError as error:
                if not self._came(error):
                    raise
                return self._codec.decode(value)
        except UndecodableRecord as error:
            if restored.unreadable == 0:
                logger.error(
                    "a record of %s cannot be read and is left out of statistics: %s",
                    self._admin.topics.windows,
                    error,
                )
            restored.unreadable += 1
            return None

    def _came(self, error: UnknownSchemaError) -> bool:
        if not error.may_come or error.schema_id in self._given_up:
            return False
        if self._wait_for_schema(error.schema_id):
            return True
        self._given_up.add(error.schema_id)
        return False
