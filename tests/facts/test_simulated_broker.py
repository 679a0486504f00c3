"""SimulatedKafka behaves as Kafka does: each scenario is played on both, and what it saw is the
same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec

from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.testing.broker import SimulatedKafka

TIMEOUT_S = 30
Seen = list[Any]


class Stage:
    """Clients of one of the two, and names that nobody else has."""

    def __init__(self, clients: KafkaClients, bootstrap: str, name: Callable[[str], str]) -> None:
        self.clients, self.name = clients, name
        self.common: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self.admin = clients.admin(self.common)

    def topic(self, partitions: int = 1, **config: str) -> str:
        name = self.name("topic")
        new = NewTopic(name, partitions, config={k.replace("_", "."): v for k, v in config.items()})
        self.admin.create_topics([new])[name].result(timeout=TIMEOUT_S)
        return name

    def producer(self, transactional_id: str = "", **more: Any) -> Any:
        config = self.common | {"linger.ms": 0, "partitioner": "murmur2_random"} | more
        if not transactional_id:
            return self.clients.producer(config)
        producer = self.clients.producer(config | {"transactional.id": transactional_id})
        producer.init_transactions(TIMEOUT_S)
        return producer

    def write(self, topic: str, *values: bytes) -> None:
        producer = self.producer()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(TIMEOUT_S) == 0

    def consumer(self, **more: Any) -> Any:
        config = {"group.id": self.name("group"), "enable.auto.commit": False}
        return self.clients.consumer(self.common | config | more)

    def reader(self, topic: str, offset: int = 0, **more: Any) -> Any:
        consumer = self.consumer(**{"auto.offset.reset": "error"} | more)
        consumer.assign([TopicPartition(topic, 0, offset)])
        return consumer

    def end(self, topic: str, isolation: IsolationLevel) -> int:
        place = TopicPartition(topic, 0)
        asked = self.admin.list_offsets({place: OffsetSpec.latest()}, isolation_level=isolation)
        return int(asked[place].result(timeout=TIMEOUT_S).offset)

    def member(self, topic: str, group: str, seen: Seen, name: str, **more: Any) -> Any:
        """Of a group; its callbacks are seen."""
        strategy = {"partition.assignment.strategy": "cooperative-sticky"}
        consumer = self.consumer(
            **{"group.id": group, "session.timeout.ms": 6000} | strategy | more
        )

        def noted(kind: str, act: Callable[..., Any]) -> Callable[..., None]:
            def callback(_: Any, partitions: list[TopicPartition]) -> None:
                seen.append((name, kind, len(partitions)))
                act([TopicPartition(p.topic, p.partition, 0) for p in partitions])

            return callback

        consumer.subscribe(
            [topic],
            on_assign=noted("assigned", consumer.incremental_assign),
            on_revoke=noted("revoked", consumer.incremental_unassign),
            on_lost=noted("lost", consumer.incremental_unassign),
        )
        return consumer


def error(call: Callable[[], object]) -> tuple[str, bool, bool, bool]:
    """Name, fatal, retriable and abortable of what it raises."""
    with pytest.raises(KafkaException) as failure:
        call()
    inner = failure.value.args[0]
    return inner.name(), inner.fatal(), inner.retriable(), inner.txn_requires_abort()


def values(consumer: Any, count: int) -> list[tuple[int, bytes]]:
    """(offset, value) of the next records."""
    found = []
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < deadline_s:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append((message.offset(), message.value()))
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


# --- scenarios


def markers_take_offsets(stage: Stage) -> Seen:
    topic = stage.topic()
    producer = stage.producer(stage.name("id"))
    for value, end in ((b"one", "commit"), (b"no", "abort"), (b"two", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        assert producer.flush(TIMEOUT_S) == 0
        getattr(producer, f"{end}_transaction")(TIMEOUT_S)
    until(lambda: stage.end(topic, IsolationLevel.READ_COMMITTED) == 6)
    reader = stage.reader(topic)
    seen: Seen = values(reader, 2)
    place = [TopicPartition(topic, 0)]
    until(lambda: reader.poll(0.05) is None and reader.position(place)[0].offset == 6)
    raw = stage.reader(topic, **{"isolation.level": "read_uncommitted"})
    return [*seen, *values(raw, 3)]


def a_new_owner_fences_the_old_one_and_aborts_its_transaction(stage: Stage) -> Seen:
    topic, name = stage.topic(), stage.name("id")
    old = stage.producer(name)
    old.begin_transaction()
    old.produce(topic, b"never", partition=0)
    assert old.flush(TIMEOUT_S) == 0
    new = stage.producer(name)
    seen: Seen = [error(lambda: old.commit_transaction(TIMEOUT_S))]
    seen.append(error(old.begin_transaction)[1])
    new.begin_transaction()
    new.produce(topic, b"mine", partition=0)
    new.commit_transaction(TIMEOUT_S)
    return [*seen, *values(stage.reader(topic), 1)]


def an_open_transaction_holds_readers_of_committed_records(stage: Stage) -> Seen:
    topic = stage.topic()
    producer = stage.producer(stage.name("id"))
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(TIMEOUT_S) == 0
    stage.write(topic, b"behind")
    ends = [
        stage.end(topic, level)
        for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    ]
    reader = stage.reader(topic)
    silent = reader.poll(0.5) is None
    producer.abort_transaction(TIMEOUT_S)
    return [ends, silent, *values(reader, 1)]


def a_record_over_the_topics_limit_is_abortable(stage: Stage) -> Seen:
    topic = stage.topic(max_message_bytes="1000")
    producer = stage.producer(stage.name("id"))
    producer.begin_transaction()
    producer.produce(topic, b"x" * 5000, partition=0)
    seen: Seen = [error(lambda: producer.commit_transaction(TIMEOUT_S))]
    producer.abort_transaction(TIMEOUT_S)
    for _ in range(2):  # the next one on that partition fails too: sequence numbers lack
        producer.begin_transaction()
        producer.produce(topic, b"small", partition=0)
        try:
            producer.commit_transaction(TIMEOUT_S)
        except KafkaException as failed:
            seen.append((failed.args[0].name(), failed.args[0].txn_requires_abort()))
            producer.abort_transaction(TIMEOUT_S)
    return [*seen, values(stage.reader(topic), 1)[0][1]]


def calls_out_of_turn_are_refused(stage: Stage) -> Seen:
    topic = stage.topic()
    producer = stage.producer(stage.name("id"))
    seen: Seen = [
        error(lambda: producer.produce(topic, b"v"))[0],
        error(lambda: producer.commit_transaction(TIMEOUT_S))[0],
    ]
    producer.begin_transaction()
    return [*seen, error(producer.begin_transaction)[0]]


def a_gap_is_told_once(stage: Stage) -> Seen:
    topic = stage.topic()
    stage.write(topic, b"0", b"1", b"2")
    place = TopicPartition(topic, 0, 2)
    deleted = stage.admin.delete_records([place])[place].result(timeout=TIMEOUT_S)
    reader = stage.reader(topic)
    told = reader.poll(TIMEOUT_S)
    return [deleted.low_watermark, told.error().name(), reader.poll(0.5) is None]


def the_end_is_told_to_who_asks(stage: Stage) -> Seen:
    topic = stage.topic()
    stage.write(topic, b"0")
    reader = stage.reader(topic, **{"enable.partition.eof": True})
    first, end = reader.poll(TIMEOUT_S), reader.poll(TIMEOUT_S)
    return [first.value(), end.error().name(), end.offset()]


def pause_seek_and_resume(stage: Stage) -> Seen:
    topic = stage.topic()
    stage.write(topic, b"0", b"1", b"2")
    reader, place = stage.reader(topic), TopicPartition(topic, 0, 1)
    seen: Seen = values(reader, 3)
    reader.pause([place])
    reader.seek(place)
    seen.append(reader.poll(0.3) is None)
    reader.resume([place])
    return [*seen, *values(reader, 2), error(lambda: reader.seek(TopicPartition(topic, 7, 0)))[0]]


def keys_go_where_murmur2_says(stage: Stage) -> Seen:
    topic = stage.topic(partitions=5)
    seen: Seen = []
    producer = stage.producer()
    for key in (b"a", b"workflow-17", "ü".encode()):
        producer.produce(topic, b"v", key, on_delivery=lambda _, m: seen.append(m.partition()))
        producer.flush(TIMEOUT_S)
    return seen


def a_group_shares_out_and_takes_over(stage: Stage) -> Seen:
    topic, group = stage.topic(partitions=4), stage.name("group")
    seen: Seen = []
    first = stage.member(topic, group, seen, "first")
    until(lambda: first.poll(0.05) is None and len(first.assignment()) == 4)
    second = stage.member(topic, group, seen, "second")

    def shared() -> bool:
        first.poll(0.05)
        second.poll(0.05)
        return len(first.assignment()) == len(second.assignment()) == 2

    until(shared)
    second.close()
    until(lambda: first.poll(0.05) is None and len(first.assignment()) == 4)
    first.close()
    return [each for each in seen if each[2]]


def a_static_member_comes_back_to_what_it_had(stage: Stage) -> Seen:
    topic, group = stage.topic(partitions=2), stage.name("group")
    seen: Seen = []
    static = {"group.instance.id": "it"}
    first = stage.member(topic, group, seen, "first", **static)
    until(lambda: first.poll(0.05) is None and len(first.assignment()) == 2)
    again = stage.member(topic, group, seen, "again", **static)
    until(lambda: again.poll(0.05) is None and len(again.assignment()) == 2)
    place = TopicPartition(topic, 0, 1)
    fenced: Seen = []
    # librdkafka notices with the next heartbeat, the simulation at once.
    until(lambda: bool(_told(first, fenced)))
    again.commit(offsets=[place], asynchronous=False)
    committed = again.committed([place], timeout=TIMEOUT_S)[0].offset
    fenced.append(error(lambda: first.commit(offsets=[place], asynchronous=False)))
    again.close()
    return [[each for each in seen if each[2] and each[1] == "assigned"], fenced, committed]


def _told(consumer: Any, fenced: Seen) -> Seen:
    message = consumer.poll(0.05)
    if message is not None and message.error() is not None:
        fenced.append((message.error().name(), "group.instance.id" in message.error().str()))
    return fenced


SCENARIOS = (
    markers_take_offsets,
    a_new_owner_fences_the_old_one_and_aborts_its_transaction,
    an_open_transaction_holds_readers_of_committed_records,
    a_record_over_the_topics_limit_is_abortable,
    calls_out_of_turn_are_refused,
    a_gap_is_told_once,
    the_end_is_told_to_who_asks,
    pause_seek_and_resume,
    keys_go_where_murmur2_says,
    a_group_shares_out_and_takes_over,
    a_static_member_comes_back_to_what_it_had,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_both_show_the_same(
    scenario: Callable[[Stage], Seen], bootstrap: str, unique_name: Callable[[str], str]
) -> None:
    simulated = scenario(Stage(SimulatedKafka(), "simulated", unique_name))
    assert simulated == scenario(Stage(ConfluentKafka(), bootstrap, unique_name))


def test_a_transaction_that_is_open_for_too_long_is_aborted_and_fences_its_producer() -> None:
    """As `test_transactions.py` shows on Kafka, which looks every ten seconds."""
    clock = _Clock()
    stage = Stage(SimulatedKafka(clock), "simulated", lambda name: name)
    topic = stage.topic()
    slow = stage.producer("id", **{"transaction.timeout.ms": 1000})
    slow.begin_transaction()
    slow.produce(topic, b"too late", partition=0)
    slow.flush(1)
    stage.write(topic, b"behind")
    clock.now_s += 2
    assert values(stage.reader(topic), 1) == [(1, b"behind")]
    assert error(slow.commit_transaction)[:2] == ("_FENCED", True)


class _Clock:
    now_s = 1_000.0

    def time_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s


def test_a_hook_sees_every_call_before_and_after() -> None:
    calls: Seen = []
    process = SimulatedKafka().process(
        "p", lambda client, name, args, done: calls.append((name, done))
    )
    producer = process.producer({"transactional.id": "id"})
    producer.init_transactions(1)
    producer.begin_transaction()
    assert calls == [
        ("init_transactions", False),
        ("init_transactions", True),
        ("begin_transaction", False),
        ("begin_transaction", True),
    ]
