"""Facts about consumers, offsets and purging."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka

STRICT = {"auto.offset.reset": "error"}


@pytest.mark.parametrize("paused", [False, True])
def test_assigning_without_an_offset_is_an_error_and_seek_then_fails(
    kafka: Kafka, paused: bool
) -> None:
    topic = kafka.topic()
    kafka.produce(topic, b"there")
    consumer = kafka.consumer(**STRICT)
    partition = TopicPartition(topic, 0)
    kafka.wait_for_coordinator(consumer)
    consumer.assign([partition])
    if paused:
        consumer.pause([partition])
    error = kafka.next(consumer).error()
    assert error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET
    with pytest.raises(KafkaException) as failure:
        consumer.seek(TopicPartition(topic, 0, 0))
    assert failure.value.args[0].code() == KafkaError._STATE


def test_assigning_paused_with_an_explicit_offset_then_seek_and_resume_works(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, b"first", b"second")
    consumer = kafka.consumer(**STRICT)
    partition = TopicPartition(topic, 0, 0)
    consumer.assign([partition])
    consumer.pause([partition])
    assert kafka.silent(consumer, 0.5)
    consumer.seek(TopicPartition(topic, 0, 1))
    consumer.resume([partition])
    message = kafka.next(consumer)
    assert (message.error(), message.value()) == (None, b"second")


def purge_below(kafka: Kafka, topic: str, offset: int) -> None:
    partition = TopicPartition(topic, 0, offset)
    assert (
        kafka.admin.delete_records([partition])[partition].result(timeout=20).low_watermark
        == offset
    )


def test_a_purged_reader_gets_one_reset_error_and_then_silence(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, *[b"%d" % n for n in range(10)])
    purge_below(kafka, topic, 5)
    consumer = kafka.consumer(**STRICT)
    consumer.assign([TopicPartition(topic, 0, 2)])
    error = kafka.next(consumer).error()
    assert error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET
    kafka.produce(topic, b"later")
    assert kafka.silent(consumer, 2.0)
    assert consumer.position([TopicPartition(topic, 0)])[0].offset == OFFSET_INVALID


def test_a_purged_reader_under_earliest_jumps_silently(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, *[b"%d" % n for n in range(10)])
    purge_below(kafka, topic, 5)
    consumer = kafka.consumer(**{"auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 2)])
    message = kafka.next(consumer)
    assert (message.error(), message.offset()) == (None, 5)


def test_delete_records_goes_past_an_open_transaction(kafka: Kafka) -> None:
    topic = kafka.topic()
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"open")
    assert producer.flush(10) == 0
    purge_below(kafka, topic, 1)
    producer.abort_transaction(10)


def test_consume_waits_out_its_timeout_for_a_full_batch_poll_does_not(kafka: Kafka) -> None:
    topic = kafka.topic()
    kafka.produce(topic, b"one", b"two")
    consumer = kafka.reader(topic)
    assert kafka.next(consumer).value() == b"one"
    started_s = time.monotonic()
    assert [message.value() for message in consumer.consume(100, timeout=0.5)] == [b"two"]
    assert time.monotonic() - started_s >= 0.45

    kafka.produce(topic, b"three", b"four")
    assert kafka.next(consumer).value() == b"three"
    rest: list[bytes | None] = []
    took_s: list[float] = []

    def four_has_come() -> bool:
        began_s = time.monotonic()
        rest.extend(message.value() for message in consumer.consume(100, timeout=0))
        took_s.append(time.monotonic() - began_s)
        return rest == [b"four"] and len(took_s) >= 5

    kafka.wait_until(four_has_come)
    assert min(took_s) < 0.25, "one of them, where the machine stands still"


def test_names_that_differ_in_dot_and_underscore_cannot_both_be_topics(kafka: Kafka) -> None:
    name = kafka.name("topic")
    kafka.admin.create_topics([NewTopic(f"{name}_a", 1)])[f"{name}_a"].result(timeout=20)
    with pytest.raises(KafkaException) as failure:
        kafka.admin.create_topics([NewTopic(f"{name}.a", 1)])[f"{name}.a"].result(timeout=20)
    assert failure.value.args[0].code() == KafkaError.TOPIC_EXCEPTION
