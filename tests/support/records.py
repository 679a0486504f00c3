"""Records of one task queue on a real broker: written as a client writes them, read as committed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config, reader_config, topics_of
from odradek.wire.codec import decode, decode_row, encode
from odradek.wire.headers import headers_for
from odradek.wire.rows import parse_state_key
from odradek.wire.state import Row
from tests.support.settings import settings_for

QUEUE = "q"


class Records:
    """The topics of one queue, `QUEUE`."""

    def __init__(
        self,
        bootstrap: str,
        namespace: str,
        state_dir: Path,
        **changes: Any,
    ) -> None:
        self.settings = settings_for(bootstrap, namespace, state_dir, **changes)
        self.topics = topics_of(self.settings)
        self.admin = ClusterAdmin(self.settings)
        self.events = self.topics.events(QUEUE)
        self.state = self.topics.state(QUEUE)
        self.commands = self.topics.commands(QUEUE)
        self.dead_letters = self.topics.dead_letters(QUEUE)
        self._producer = Producer(producer_config(self.settings))

    def send(self, record: msgspec.Struct, *, partition: int = -1) -> None:
        """An event, as a client would."""
        self.send_raw(
            record.workflow_id.encode(), encode(record), headers_for(record), partition=partition
        )  # type: ignore[attr-defined]

    def send_raw(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Any = (),
        *,
        partition: int = -1,
        topic: str = "",
    ) -> None:
        self._producer.produce(topic or self.events, value, key, partition, headers=list(headers))
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(20) == 0

    def read(self, topic: str) -> list[Message]:
        """All committed records of a topic as it is now."""
        facts = self.admin.describe([topic]).get(topic)
        if facts is None:
            return []
        starts = self.admin.start_offsets(topic, range(facts.partitions))
        ends = self.admin.end_offsets(topic, range(facts.partitions), committed=True)
        consumer = Consumer(
            reader_config(self.settings, partition_eof=True) | {"fetch.wait.max.ms": 20}
        )
        wanted = {p: end for p, end in ends.items() if end > starts[p]}
        messages: list[Message] = []
        deadline = time.monotonic() + 60
        try:
            consumer.assign([TopicPartition(topic, p, starts[p]) for p in wanted])
            while wanted:
                assert time.monotonic() < deadline, f"{topic}: {wanted} not read"
                message = consumer.poll(0.1)
                for place in consumer.position([TopicPartition(topic, p) for p in wanted]):
                    if place.offset >= wanted[place.partition]:
                        del wanted[place.partition]
                if message is None:
                    continue
                if message.error() is None:
                    messages.append(message)
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
        finally:
            consumer.close()
        return messages

    def records(self, topic: str) -> list[Any]:
        return [decode(m.value()) for m in self.read(topic)]

    def rows(self) -> dict[tuple[str, str], Row]:
        """The tables as the changelog has them."""
        rows: dict[tuple[str, str], Row] = {}
        for message in self.read(self.state):
            key = parse_state_key(message.key())
            if message.value() is None:
                rows.pop(key, None)
            else:
                rows[key] = decode_row(message.value())
        return rows


@pytest.fixture
def records(bootstrap: str, namespace: str, tmp_path: Path) -> Records:
    """Records of this test's namespace."""
    return Records(bootstrap, namespace, tmp_path)
