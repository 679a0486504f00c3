"""Facts about where a key goes: librdkafka's default differs from everybody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.partitioner import DefaultPartitioner

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka

PARTITIONS = 12
KEYS = [f"order-{number}".encode() for number in range(200)]


def partitions_of_keys(kafka: Kafka, **settings: object) -> list[int | None]:
    """Where the broker says that each key went."""
    placed: dict[bytes | None, int | None] = {}
    topic = kafka.topic(PARTITIONS)
    producer = kafka.producer(None, **settings)
    for key in KEYS:
        producer.produce(
            topic,
            b"",
            key,
            on_delivery=lambda _, message: placed.__setitem__(message.key(), message.partition()),
        )
    assert producer.flush(20) == 0
    return [placed[key] for key in KEYS]


def as_java_and_aiokafka() -> list[int]:
    partitioner, all_partitions = DefaultPartitioner(), list(range(PARTITIONS))
    return [partitioner(key, all_partitions, all_partitions) for key in KEYS]


def test_murmur2_random_agrees_with_aiokafka(kafka: Kafka) -> None:
    assert partitions_of_keys(kafka, partitioner="murmur2_random") == as_java_and_aiokafka()


def test_the_default_of_librdkafka_does_not(kafka: Kafka) -> None:
    default, expected = partitions_of_keys(kafka), as_java_and_aiokafka()
    elsewhere = sum(one != other for one, other in zip(default, expected, strict=True))
    # Two independent hashes agree on a twelfth of the keys.
    assert elsewhere > len(KEYS) // 2
