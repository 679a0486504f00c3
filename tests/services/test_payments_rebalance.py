"""Faust puts its consumer back to the committed offsets after a rebalance: what was fetched meanwhile, and dropped, must come again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from services.payments.committed import CommittedThread


class Inline(CommittedThread):
    """The thread that Faust gives its consumer, without the thread."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        return await fun(*args, **kwargs)


@pytest.mark.parametrize("committed", [None, 0, 1], ids=["never", "0", "1"])
def test_records_dropped_in_a_rebalance_come_again(bootstrap: str, namespace: str, committed: int | None) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(namespace, 1, 1)])[namespace].result(20)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for number in range(3):
        producer.produce(namespace, str(number), partition=0)
    assert producer.flush(20) == 0

    async def offsets_after() -> list[int]:
        place = TopicPartition(namespace, 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=f"{namespace}-{secrets.token_hex(4)}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        consumer.assign([place])
        await consumer.start()
        try:
            if committed is not None:
                await consumer.commit({place: committed})
            fetched = (await consumer.getmany(timeout_ms=20_000))[place]
            assert [record.offset for record in fetched][-1] == 2
            answer = await Inline(consumer).seek_to_committed()
            assert answer == {place: committed}
            again = await consumer.getmany(timeout_ms=5_000)
            return [record.offset for record in again.get(place, [])]
        finally:
            await consumer.stop()

    assert asyncio.run(offsets_after()) == list(range(committed or 0, 3))
