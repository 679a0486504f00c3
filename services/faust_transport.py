"""Faust's Kafka transport with committed records only, none lost in a rebalance, and offsets
committed as far as records are acknowledged. URL scheme `kafka-committed://`.

Faust (0.15.3) by itself reads records of aborted transactions; a rebalance drops what was fetched
on a partition without a committed offset; and it commits past unacknowledged records where
offsets have holes (the markers of transactions). See `docs/wire.md`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import aiokafka
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import Message, ack_lock

SCHEME = "kafka-committed"


class CommittedThread(AIOKafkaConsumerThread):
    """Makes Faust's consumer, then sets the isolation level before it starts; goes back on every
    partition.
    """

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Of each partition, the committed offset; one without goes back to its start. Faust
        asks for it in each rebalance.
        """
        committed: Mapping[TP, int] = await self.call_thread(self._go_back)
        return committed

    async def _go_back(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        committed: Mapping[TP, int] = await consumer.seek_to_committed()
        for place in consumer.assignment():
            if place in committed and not committed[place]:
                consumer.seek(
                    place, 0
                )  # deleted by now: Kafka answers with the reset to the earliest
        return committed


class CommittedConsumer(Consumer):
    """May commit, of each partition, what is below the first record that was handed out and is
    not acknowledged.

    Holds the offsets of those, which Faust's buffers bound, and not of the acknowledged ones
    behind them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open: defaultdict[TP, set[int]] = defaultdict(set)
        self._end: dict[TP, int] = {}  # behind the last one that was handed out
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 Faust's signature
        """Faust's, with a note of each record before it is handed out."""
        async for tp, message in super().getmany(timeout):
            read = self._read_offset[tp]
            # One below it Faust drops: it has been handed out already.
            if (read is None or message.offset >= read) and self.app.topics.acks_enabled_for(
                message.topic
            ):
                self._open[tp].add(message.offset)
                self._end[tp] = message.offset + 1
            yield tp, message

    def ack(self, message: Message) -> bool:
        """Not one that a stream skips in a rebalance or at the end, which Faust acknowledges
        where it runs without its Cython parts.
        """
        current = (
            self.app.flow_control.is_active()
            and message.generation_id == self.app.consumer_generation_id
        )
        if not message.tracked and not current:
            return False
        return super().ack(message)

    async def perform_seek(self) -> None:
        """All that is not committed is handed out again."""
        await super().perform_seek()
        self._open.clear()
        self._end.clear()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget them: what was under way is handed out again, here or elsewhere."""
        for tp in revoked:
            self._open.pop(tp, None)
            self._end.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _new_offset(self, tp: TP) -> int | None:
        # Faust's lists of what was acknowledged since the last time: another thread may be at them
        with ack_lock:
            acknowledged = self._acked[tp]
            self._open[tp].difference_update(acknowledged)
            acknowledged.clear()
            self._acked_index[tp].clear()
        if tp not in self._end:
            return None
        committed = self._committed_offset[tp] or 0  # below it Faust takes no acknowledgements
        return (
            min((offset for offset in self._open[tp] if offset >= committed), default=self._end[tp])
            or None
        )

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: holes have no record to wait for."""


class CommittedTransport(Transport):
    Consumer = CommittedConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:CommittedTransport"

# Of all clients in this process: aiokafka's own has a broker make missing topics, where it may
# (`auto.create.topics.enable`), and has no setting against it.
aiokafka.client.MetadataRequest = partial(
    aiokafka.client.MetadataRequest, allow_auto_topic_creation=False
)
