"""A Kafka in memory: `SimulatedKafka` is a `KafkaClients` without a broker.

Topics, transactions with markers and fencing, readers of committed records, and classic consumer
groups behave as Kafka's do; facts that our code stands on are compared with a real broker in
tests/facts/test_simulated_broker.py. There is no network, no replication and no compaction.

Nothing in it depends on real time: it takes a clock, and a way to wait. `process(name)` gives
the clients of one process, which a test can then freeze or kill. A fault hook sees every call of
a client, before and after, and may raise, wait, or kill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, Producer, ShareConsumer
from confluent_kafka.admin import AdminClient

from odradek.common.clock import Clock, SystemClock
from odradek.testing.broker_admin import SimulatedAdmin
from odradek.testing.broker_consumer import SimulatedConsumer
from odradek.testing.broker_producer import SimulatedProducer
from odradek.testing.broker_state import Cluster

__all__ = ["Hook", "SimulatedKafka", "Waiter"]

#: (client, name of the call, its arguments, whether it is done)
Hook = Callable[[Any, str, tuple[Any, ...], bool], None]


class Waiter(Protocol):
    """How a client waits: until the event is set, so many seconds of the clock at most."""

    def __call__(self, event: threading.Event, seconds: float) -> None: ...


def _wait(event: threading.Event, seconds: float) -> None:
    event.wait(seconds)


class SimulatedKafka:
    """One cluster. Also the `KafkaClients` of a process without a name."""

    def __init__(self, clock: Clock | None = None, *, wait: Waiter = _wait) -> None:
        self.clock = clock or SystemClock()
        self.cluster = Cluster(self.clock)
        self.wait = wait
        self._members = 0
        self._own = self.process("")

    def process(self, name: str, hook: Hook | None = None) -> Process:
        """The clients of a process. hook: sees their calls."""
        return Process(self, name, hook)

    def next_member_id(self, instance_id: str) -> str:
        self._members += 1
        return f"{instance_id or 'member'}-{self._members:04d}"

    def producer(self, config: Mapping[str, Any]) -> Producer:
        return self._own.producer(config)

    def consumer(self, config: Mapping[str, Any]) -> Consumer:
        return self._own.consumer(config)

    def admin(self, config: Mapping[str, Any]) -> AdminClient:
        return self._own.admin(config)

    def share_consumer(self, config: Mapping[str, Any]) -> ShareConsumer:
        return self._own.share_consumer(config)


class Process:
    """`KafkaClients` of one process."""

    def __init__(self, kafka: SimulatedKafka, name: str, hook: Hook | None) -> None:
        self.kafka = kafka
        self.cluster = kafka.cluster
        self.name = name
        self.hook = hook
        self.clients: list[Any] = []
        self.check: Callable[[], None] = lambda: None  # raises in a process that is dead

    def producer(self, config: Mapping[str, Any]) -> Producer:
        return cast(Producer, SimulatedProducer(self, config))

    def consumer(self, config: Mapping[str, Any]) -> Consumer:
        return cast(Consumer, SimulatedConsumer(self, config))

    def admin(self, config: Mapping[str, Any]) -> AdminClient:
        return cast(AdminClient, SimulatedAdmin(self, config))

    def share_consumer(self, config: Mapping[str, Any]) -> ShareConsumer:
        raise NotImplementedError("share groups are not simulated")

    def silence(self) -> None:
        """It is frozen or dead: no heartbeats from now on. What it had in hand is not sent."""
        self._note_silence(self.kafka.clock.monotonic())

    def resume(self) -> None:
        """A frozen one goes on: members whose session has ended notice when they poll."""
        for client in self.clients:
            if isinstance(client, SimulatedConsumer):
                with self.cluster.lock:
                    client.expire()
        self._note_silence(None)

    def _note_silence(self, since: float | None) -> None:
        for client in self.clients:
            if isinstance(client, SimulatedConsumer):
                client.silence(since)

    def next_member_id(self, instance_id: str) -> str:
        return self.kafka.next_member_id(instance_id)

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.kafka.wait(event, seconds)

    def sleep(self, seconds: float) -> None:
        self.kafka.wait(threading.Event(), seconds)
