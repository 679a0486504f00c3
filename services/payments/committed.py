"""Faust over committed records only, and over all of them.

Faust reads uncommitted records unless it runs exactly_once, and has no setting for it: a command of an aborted transaction would run.
And a rebalance drops what was fetched meanwhile: Faust goes back to the committed offsets, but not where none, or 0, is committed.
This transport is Faust's own with these two things changed, under the URL scheme `kafka-committed://`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiokafka
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

SCHEME = "kafka-committed"


class CommittedThread(AIOKafkaConsumerThread):
    """Makes Faust's consumer, then sets the isolation level before it starts; goes back on every partition."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Of each partition, the committed offset; one without goes back to its start. Faust asks for it in each rebalance."""
        committed: Mapping[TP, int] = await self.call_thread(self._go_back)
        return committed

    async def _go_back(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        committed: Mapping[TP, int] = await consumer.seek_to_committed()
        for place in consumer.assignment():
            if place in committed and not committed[place]:
                consumer.seek(place, 0)  # deleted by now: Kafka answers with the reset to the earliest
        return committed


class CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(Transport):
    Consumer = CommittedConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:CommittedTransport"
