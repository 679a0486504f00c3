"""Cancel requests of the queue's `control` topic.

Every service reads all of it, from its end. One Faust app id would share the partitions among its members, so this is a plain aiokafka
consumer without a group, run as a task of the Faust app.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.avro_wire import NotReadable, Schemas

REMEMBERED = 10_000


class CancelRequests:
    """What has been cancelled lately."""

    def __init__(self, address: str, topic: str, schemas: Schemas) -> None:
        self._address = address
        self._topic = topic
        self._schemas = schemas
        self._requested: OrderedDict[tuple[str, int], None] = OrderedDict()

    def requested(self, task: dict[str, Any]) -> bool:
        """Whether this activity was told to stop."""
        return (task["run_id"], task["scheduled_event_id"]) in self._requested

    async def follow(self) -> None:
        """Read until cancelled."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._address, isolation_level="read_committed", enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = await consumer._client.fetch_all_metadata()  # makes the topic's partitions known without a group
            numbers = partitions.partitions_for_topic(self._topic) or set()
            consumer.assign([TopicPartition(self._topic, number) for number in sorted(numbers)])
            await consumer.seek_to_end()
            async for message in consumer:
                self._note(message.value)
        finally:
            await consumer.stop()

    def _note(self, value: bytes | None) -> None:
        try:
            name, fields = self._schemas.decode(value or b"")
        except NotReadable:
            return
        if name == "CancelActivityTask":
            self._requested[(fields["run_id"], fields["scheduled_event_id"])] = None
            if len(self._requested) > REMEMBERED:
                self._requested.popitem(last=False)
