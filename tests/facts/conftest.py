"""Small tools for facts: topics, producers and consumers of one test, closed after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

TIMEOUT_S = 40


class Kafka:
    """A test's own corner of the broker."""

    def __init__(self, bootstrap: str, unique_name: Callable[[str], str]) -> None:
        self.bootstrap = bootstrap
        self.name = unique_name
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self._consumers: list[Consumer] = []

    def topic(self, partitions: int = 1, **config: str | int) -> str:
        """A new topic; `max_message_bytes=1000` is the setting `max.message.bytes`."""
        name = self.name("topic")
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, config=settings)])[name].result(
            timeout=TIMEOUT_S
        )
        return name

    def producer(self, transactional_id: str | None = None, **settings: object) -> Producer:
        """A producer; with an id it is transactional, initialised, and quick to retry
        (measurements: 96 ms otherwise).
        """
        config: dict[str, object] = {
            "bootstrap.servers": self.bootstrap,
            "log_level": 0,
            "linger.ms": 0,
            **settings,
        }
        if transactional_id is None:
            return Producer(config)
        config |= {
            "transactional.id": transactional_id,
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 5,
        }
        producer = Producer(config)
        producer.init_transactions(TIMEOUT_S)
        return producer

    def produce(self, topic: str, *values: bytes) -> None:
        """Plain records, confirmed."""
        producer = self.producer()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(TIMEOUT_S) == 0

    def consumer(self, **settings: object) -> Consumer:
        config = {
            "bootstrap.servers": self.bootstrap,
            "log_level": 0,
            "group.id": self.name("group"),
            "enable.auto.commit": False,
        }
        consumer = Consumer(config | settings)
        self._consumers.append(consumer)
        return consumer

    def reader(self, topic: str, offset: int = 0, isolation: str = "read_committed") -> Consumer:
        """A consumer on partition 0 at `offset`."""
        consumer = self.consumer(**{"isolation.level": isolation})
        consumer.assign([TopicPartition(topic, 0, offset)])
        return consumer

    @staticmethod
    def next(consumer: Consumer, timeout_s: float = TIMEOUT_S) -> Message:
        """The next record or error event; fails when none comes."""
        message = consumer.poll(timeout_s)
        assert message is not None, f"nothing within {timeout_s} s"
        return message

    @staticmethod
    def silent(consumer: Consumer, for_s: float) -> bool:
        """Whether nothing at all comes for so long."""
        return consumer.poll(for_s) is None

    @staticmethod
    def wait_for_coordinator(consumer: Consumer) -> None:
        """Until its group is served: a broker that has just begun answers NOT_COORDINATOR, which
        librdkafka passes on at once.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                consumer.committed([TopicPartition("any", 0)], TIMEOUT_S)
                return
            except KafkaException as error:
                if (
                    error.args[0].code() != KafkaError.NOT_COORDINATOR
                    or time.monotonic() > deadline_s
                ):
                    raise
                time.sleep(0.1)

    @staticmethod
    def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not true within {timeout_s} s"
            time.sleep(0.02)

    def end(self, topic: str, isolation: IsolationLevel) -> int:
        """What list_offsets calls the latest offset of partition 0."""
        partition = TopicPartition(topic, 0)
        future = self.admin.list_offsets(
            {partition: OffsetSpec.latest()}, isolation_level=isolation
        )[partition]
        return int(future.result(timeout=TIMEOUT_S).offset)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()


@pytest.fixture
def kafka(bootstrap: str, unique_name: Callable[[str], str]) -> Iterator[Kafka]:
    tools = Kafka(bootstrap, unique_name)
    yield tools
    tools.close()
