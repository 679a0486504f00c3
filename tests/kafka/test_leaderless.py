"""A partition whose leader is away holds what is for itself, and nobody else: timers of other
partitions, records of other partitions.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient

from odradek.broker import QUICK_START, LocalCluster
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.producer import PlainProducer
from tests.support.until import until

PARTITIONS = 6


@dataclass
class Halved:
    """A topic of one replica a partition, after one of three brokers was killed."""

    settings: Settings
    topic: str
    led: list[int]
    leaderless: list[int]


@pytest.fixture(scope="module")
def halved() -> Iterator[Halved]:
    with LocalCluster(jvm_options=QUICK_START) as cluster:
        settings = Settings(address=cluster.bootstrap, partitions=PARTITIONS, replication_factor=1)
        admin = ClusterAdmin(settings)
        topic = admin.topics.events("q")
        admin.ensure([topic])
        asking = AdminClient({"bootstrap.servers": cluster.bootstrap})

        def leaders() -> list[int]:
            return [
                p.leader
                for _, p in sorted(
                    asking.list_topics(topic, timeout=10).topics[topic].partitions.items()
                )
            ]

        until(lambda: len(leaders()) == PARTITIONS and -1 not in leaders())
        victim = leaders()[0]
        pid = cluster.pid(victim)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: leaders()[0] == -1)
        dead = [partition for partition, leader in enumerate(leaders()) if leader in (-1, victim)]
        alive = [partition for partition in range(PARTITIONS) if partition not in dead]
        assert alive
        yield Halved(settings, topic, alive, dead)


@pytest.mark.promise("exactly-once")
@pytest.mark.slow
@pytest.mark.parametrize("limit", [1_048_588, 100], ids=["whole batches", "less than a batch"])
def test_records_of_the_others_leave(halved: Halved, limit: int) -> None:
    producer = PlainProducer(halved.settings)
    producer.limits[halved.topic] = limit
    errors: list[BaseException | None] = []
    try:
        for _ in range(3):
            for partition in halved.leaderless:
                producer.produce(
                    halved.topic, b"k", b"v", partition=partition, on_delivery=errors.append
                )
        for partition in halved.led:
            producer.produce(halved.topic, b"k", b"v", partition=partition)
        until(lambda: producer.statistics().delivered == len(halved.led), 8)
        assert errors == []
    finally:
        producer.close(0.0)
    assert len(errors) == 3 * len(halved.leaderless)


@pytest.mark.slow
def test_the_others_are_purged(halved: Halved) -> None:
    admin = ClusterAdmin(halved.settings, request_timeout_s=4.0)
    producer = PlainProducer(halved.settings)
    for partition in halved.led:
        producer.produce(halved.topic, b"k", b"v", partition=partition)
    until(lambda: producer.statistics().delivered == len(halved.led), 8)
    producer.close(0.0)
    before = {
        (halved.topic, partition): int(partition in halved.led) for partition in range(PARTITIONS)
    }
    with pytest.raises(
        BrokerUnreachableError, match=rf"{halved.topic}/{halved.leaderless[0]}\b.*: no leader"
    ):
        admin.delete_records(before)
    assert admin.start_offsets(halved.topic, halved.led) == dict.fromkeys(halved.led, 1)
