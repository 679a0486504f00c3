"""What lane tests share: records in, records out, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config, reader_config, topics_of
from odradek.wire.codec import decode, decode_row, encode
from odradek.wire.events import SignalWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.rows import parse_state_key
from odradek.wire.state import Row

QUEUE = "q"
T = TypeVar("T")


def until(condition: Callable[[], T], timeout: float = 30.0, what: str = "") -> T:
    """Wait for a condition; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or condition}"
        time.sleep(0.01)
    return value


class Wire:
    """A client that knows the topics of one queue."""

    def __init__(self, bootstrap: str, namespace: str, state_dir: Path, *, partitions: int = 2, **settings: Any) -> None:
        self.settings = Settings(
            address=bootstrap, namespace=namespace, state_dir=state_dir, partitions=partitions, replication_factor=1, **settings
        )
        self.topics = topics_of(self.settings)
        self.admin = ClusterAdmin(self.settings)
        self.events = self.topics.events(QUEUE)
        self.state = self.topics.state(QUEUE)
        self.commands = self.topics.commands(QUEUE)
        self.dead_letters = self.topics.dead_letters(QUEUE)
        self._producer = Producer(producer_config(self.settings))

    def send(self, record: msgspec.Struct, *, partition: int = -1) -> None:
        """An event, as a client would."""
        self.send_raw(record.workflow_id.encode(), encode(record), headers_for(record), partition=partition)  # type: ignore[attr-defined]

    def send_raw(self, key: bytes | None, value: bytes | None, headers: Any = (), *, partition: int = -1, topic: str = "") -> None:
        self._producer.produce(topic or self.events, value, key, partition, headers=list(headers))
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(20) == 0

    def signals(self, count: int, workflows: int, name: str = "count") -> None:
        """`count` signals in turn over workflows w0, w1, ..."""
        for number in range(count):
            self.send(SignalWorkflow(f"w{number % workflows}", name, request_id=str(number)))
        self.flush()

    def read(self, topic: str) -> list[Message]:
        """All committed records of a topic as it is now."""
        facts = self.admin.describe([topic]).get(topic)
        if facts is None:
            return []
        starts = self.admin.start_offsets(topic, range(facts.partitions))
        ends = self.admin.end_offsets(topic, range(facts.partitions), committed=True)
        consumer = Consumer(reader_config(self.settings, partition_eof=True) | {"fetch.wait.max.ms": 20})
        wanted = {p: end for p, end in ends.items() if end > starts[p]}
        messages: list[Message] = []
        deadline = time.monotonic() + 30
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

    def counts(self) -> dict[str, list[int]]:
        """What the counting engine commanded: workflow id -> activity ids in the order of the topic."""
        found: dict[str, list[int]] = {}
        for task in self.records(self.commands):
            found.setdefault(task.workflow_id, []).append(int(task.activity_id))
        return found

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

    def assert_exactly_once(self, count: int, workflows: int, *, timeout: float = 40.0) -> None:
        """Each of `signals(count, workflows)` was applied once, in order, and the rows agree."""
        until(lambda: sum(map(len, self.counts().values())) >= count, timeout, f"{count} commands")
        counts = self.counts()
        expected = {f"w{w}": list(range(1, len(range(w, count, workflows)) + 1)) for w in range(workflows)}
        assert counts == expected
        rows = self.rows()
        assert {k: r.state_transition_count for (t, k), r in rows.items() if t == "run"} == {w: len(c) for w, c in expected.items()}  # type: ignore[union-attr]
        history = sorted(k for t, k in rows if t == "history")
        assert history == sorted(f"{w}/{n:010d}" for w, ns in expected.items() for n in ns)


def key_for(wire: Wire, partition: int, salt: str = "") -> str:
    """A workflow id of a partition."""
    from odradek.wire.partitioner import partition_for

    return next(k for k in (f"k{salt}{n}" for n in range(10_000)) if partition_for(k.encode(), wire.settings.partitions) == partition)


def first_line(stream: Iterable[str], wanted: str) -> str:
    """The first line of a child's output that begins with `wanted`."""
    seen = []
    for line in stream:
        seen.append(line.rstrip())
        if line.startswith(wanted):
            return line.rstrip()
    raise AssertionError(f"no line {wanted!r} in {seen}")
