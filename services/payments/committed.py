"""Faust over committed records only.

Faust reads uncommitted records unless it runs exactly_once, and has no setting for it: a command of an aborted transaction would run.
This transport is Faust's own with one thing changed, under the URL scheme `kafka-committed://`.
"""

from __future__ import annotations

from typing import Any

import aiokafka
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

SCHEME = "kafka-committed"


class CommittedThread(AIOKafkaConsumerThread):
    """Makes Faust's consumer, then sets the isolation level before it starts."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(Transport):
    Consumer = CommittedConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:CommittedTransport"
