"""What a shop without any of our code does: a plain Kafka producer and consumer that know
`docs/wire.md` only.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from services.demo.plan import PlannedOrder
from services.wire import NotReadable, Schemas, topic

QUEUE = "order-task-queue"


class RawProducer:
    """Places orders as Avro records on `events`, keyed by workflow id, partitioned as Kafka's
    Java client does.
    """

    def __init__(self, address: str, schemas: Schemas, namespace: str = "default") -> None:
        self._events = topic("events", namespace, QUEUE)
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "allow.auto.create.topics": False,  # the queue's topics are its workers' to make
                "log_level": 2,
            }
        )
        self._schemas = schemas

    def place(self, order: PlannedOrder) -> None:
        """Produce one StartWorkflow record and wait until the broker has it."""
        body = {
            "order_no": order.order_no,
            "user_id": order.user_id,
            "items": [{"product": order.product, "quantity": order.quantity}],
            "amount": order.amount,
        }
        identifier = f"order-{order.order_no}"
        record = {
            "workflow_id": identifier,
            "workflow_type": "OrderSaga",
            "request_id": str(uuid.uuid4()),
            "input": [{"metadata": {"encoding": b"json/plain"}, "data": json.dumps(body).encode()}],
        }
        value = self._schemas.encode("StartWorkflow", record)
        self._producer.produce(self._events, key=identifier, value=value)
        if self._producer.flush(10):
            raise TimeoutError(f"order {order.order_no} could not be produced within 10 s")


class TopicReader:
    """All committed records of one topic, from its beginning to its end now."""

    def __init__(self, address: str, topic: str, schemas: Schemas) -> None:
        self._topic = topic
        self._schemas = schemas
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": f"demo-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
            }
        )

    def read(self, timeout_seconds: float = 10.0) -> list[tuple[str, dict[str, Any]]]:
        """`(record name, fields)` of each record."""
        metadata = self._consumer.list_topics(self._topic, timeout=timeout_seconds).topics[
            self._topic
        ]
        ends = {
            number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number))[1]
            for number in metadata.partitions
        }
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in ends])
        records: list[tuple[str, dict[str, Any]]] = []
        deadline = time.monotonic() + timeout_seconds
        while not self._at(ends):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self._topic} could not be read to its end within {timeout_seconds} s"
                )
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None and message.value() is not None:
                try:
                    records.append(self._schemas.decode(message.value() or b""))
                except NotReadable as error:
                    raise RuntimeError(
                        f"{self._topic} {message.partition()}@{message.offset()}: {error}"
                    ) from error
        return records

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _at(self, ends: dict[int, int]) -> bool:
        # A transaction's marker takes an offset that no record has; the position steps over it.
        positions = self._consumer.position(
            [TopicPartition(self._topic, number) for number in ends]
        )
        return all(
            position.offset >= ends[position.partition] or ends[position.partition] == 0
            for position in positions
        )
