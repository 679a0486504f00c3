"""Where Kafka clients come from.

Code that needs a producer, a consumer or an admin client asks a `KafkaClients` for it, and never
imports confluent_kafka's classes for that. `ConfluentKafka` is the real one;
`odradek.testing.broker.SimulatedKafka` answers in the same types without a broker.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, Producer, ShareConsumer
from confluent_kafka.admin import AdminClient

__all__ = ["AdminClient", "ConfluentKafka", "Consumer", "KafkaClients", "Producer"]


class KafkaClients(Protocol):
    """Makes clients from librdkafka's settings."""

    def producer(self, config: Mapping[str, Any]) -> Producer: ...

    def consumer(self, config: Mapping[str, Any]) -> Consumer: ...

    def admin(self, config: Mapping[str, Any]) -> AdminClient: ...

    def share_consumer(self, config: Mapping[str, Any]) -> ShareConsumer: ...


class ConfluentKafka:
    """confluent-kafka's clients. Each opens connections when it is first used."""

    def producer(self, config: Mapping[str, Any]) -> Producer:
        return Producer(dict(config))

    def consumer(self, config: Mapping[str, Any]) -> Consumer:
        return Consumer(dict(config))

    def admin(self, config: Mapping[str, Any]) -> AdminClient:
        return AdminClient(dict(config))

    def share_consumer(self, config: Mapping[str, Any]) -> ShareConsumer:
        return ShareConsumer(dict(config))
