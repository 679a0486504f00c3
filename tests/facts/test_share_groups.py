"""Facts about share groups (Kafka 4.2 and newer; the client calls them a preview)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import AcknowledgeType, Message, ShareConsumer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka


@pytest.fixture
def member(kafka: Kafka) -> Iterator[Callable[[str, str], ShareConsumer]]:
    """`member(group, topic)`: a share consumer that acknowledges each record itself."""
    consumers: list[ShareConsumer] = []

    def join(group: str, topic: str) -> ShareConsumer:
        config = {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": group,
            "share.acknowledgement.mode": "explicit",
            "log_level": 0,
        }
        consumer = ShareConsumer(config)
        consumer.subscribe([topic])
        consumers.append(consumer)
        return consumer

    yield join
    for consumer in consumers:
        consumer.close()


def set_group(kafka: Kafka, group: str, **settings: str) -> None:
    """Settings of a share group; `isolation_level="x"` is `share.isolation.level=x`."""
    entries = [
        ConfigEntry(
            f"share.{name.replace('_', '.')}", value, incremental_operation=AlterConfigOpType.SET
        )
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.GROUP, group, incremental_configs=entries)
    kafka.admin.incremental_alter_configs([resource])[resource].result(timeout=20)


def next_batch(consumer: ShareConsumer, timeout_s: float = 60) -> list[Message]:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        batch = list(consumer.poll(0.2))
        if batch:
            assert [message.error() for message in batch] == [None] * len(batch)
            return batch
    pytest.fail(f"no record within {timeout_s} s")


def test_records_before_the_first_member_are_skipped_unless_the_group_says_earliest(
    kafka: Kafka, member: Callable[[str, str], ShareConsumer]
) -> None:
    topic, plain, told = kafka.topic(), kafka.name("group"), kafka.name("group")
    kafka.produce(topic, b"before")
    set_group(kafka, told, auto_offset_reset="earliest")
    reader = member(told, topic)
    [message] = next_batch(reader)
    assert message.value() == b"before"
    reader.acknowledge(message, AcknowledgeType.ACCEPT)
    reader.commit_sync(20)

    late = member(plain, topic)
    number = 0
    while not (batch := list(late.poll(0.2))):
        # Until the group has its start, each record may still count as "before its first member".
        kafka.produce(topic, b"after-%d" % number)
        number += 1
        assert number < 300
    assert b"before" not in [message.value() for message in batch]
    for message in batch:
        late.acknowledge(message, AcknowledgeType.ACCEPT)


@pytest.fixture
def topic_with_an_aborted_record(kafka: Kafka) -> str:
    topic = kafka.topic()
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    assert producer.flush(10) == 0
    producer.abort_transaction(10)
    kafka.produce(topic, b"plain")
    return topic


def test_a_share_group_reads_uncommitted_unless_the_group_says_otherwise(
    kafka: Kafka, member: Callable[[str, str], ShareConsumer], topic_with_an_aborted_record: str
) -> None:
    careless, careful = kafka.name("group"), kafka.name("group")
    set_group(kafka, careless, auto_offset_reset="earliest")
    set_group(kafka, careful, auto_offset_reset="earliest", isolation_level="read_committed")
    for group, expected in ((careless, b"aborted"), (careful, b"plain")):
        reader = member(group, topic_with_an_aborted_record)
        batch = next_batch(reader)
        assert batch[0].value() == expected
        for message in batch:
            reader.acknowledge(message, AcknowledgeType.ACCEPT)


def test_a_released_record_comes_again_with_a_higher_count(
    kafka: Kafka, member: Callable[[str, str], ShareConsumer]
) -> None:
    topic, group = kafka.topic(), kafka.name("group")
    set_group(kafka, group, auto_offset_reset="earliest")
    kafka.produce(topic, b"work")
    reader = member(group, topic)
    [first] = next_batch(reader)
    assert (first.value(), first.delivery_count()) == (b"work", 1)
    reader.acknowledge(first, AcknowledgeType.RELEASE)
    [again] = next_batch(reader)
    assert (again.value(), again.delivery_count()) == (b"work", 2)
    reader.acknowledge(again, AcknowledgeType.ACCEPT)


def test_every_record_of_a_poll_must_be_acknowledged_before_the_next(
    kafka: Kafka, member: Callable[[str, str], ShareConsumer]
) -> None:
    topic, group = kafka.topic(), kafka.name("group")
    set_group(kafka, group, auto_offset_reset="earliest")
    kafka.produce(topic, b"one")
    reader = member(group, topic)
    [message] = next_batch(reader)
    with pytest.raises(Exception, match=r"(?i)acknowledge"):
        reader.poll(0.2)
    reader.acknowledge(message, AcknowledgeType.ACCEPT)
    assert list(reader.poll(0.2)) == []
