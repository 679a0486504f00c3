"""Three brokers, one of them killed: what replication 3 and min.insync.replicas 2 are for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, PartitionMetadata

from odradek.broker import QUICK_START, LocalCluster
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin

TOPIC = "orders"
PARTITIONS = 6
WAITS_S = 60.0


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(jvm_options=QUICK_START) as three:
        yield three


def create_topic(bootstrap: str, partitions: int) -> list[PartitionMetadata]:
    """Create it and wait until the broker that answers has heard of all its partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, partitions)])[TOPIC].result(timeout=20)
    deadline_s = time.monotonic() + 20
    while True:
        known = list(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions.values())
        if len(known) == partitions and all(partition.leader >= 0 for partition in known):
            return known
        assert time.monotonic() < deadline_s, known
        time.sleep(0.05)


def produce(bootstrap: str, values: range) -> None:
    """Every record must be confirmed: acks=all, within librdkafka's own retries."""
    failed: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(
            TOPIC,
            str(value),
            partition=value % PARTITIONS,
            on_delivery=lambda error, _: failed.append(str(error)) if error else None,
        )
    assert producer.flush(60) == 0
    assert failed == []


def read_all(bootstrap: str, count: int) -> list[int]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    values: list[int] = []
    deadline_s = time.monotonic() + 60
    while len(values) < count and time.monotonic() < deadline_s:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            values.append(int(message.value() or b""))
    consumer.close()
    return sorted(values)


def in_sync(bootstrap: str) -> list[int]:
    """For each partition the number of replicas in sync."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return [
        len(partition.isrs)
        for partition in admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions.values()
    ]


def test_one_of_three_killed_produce_and_read_go_on_and_it_comes_back(
    cluster: LocalCluster,
) -> None:
    partitions = create_topic(cluster.bootstrap, PARTITIONS)
    assert {len(partition.replicas) for partition in partitions} == {3}
    produce(cluster.bootstrap, range(600))
    # One that has looked at leaders before, for each question: it is not told of new ones.
    everything, ends = (
        {(TOPIC, number): 0 for number in range(PARTITIONS)},
        dict.fromkeys(range(PARTITIONS), 100),
    )
    settings = Settings(address=cluster.bootstrap)
    purging, asking = ClusterAdmin(settings, request_timeout_s=WAITS_S), ClusterAdmin(settings)
    assert purging.delete_records(everything) == everything
    assert asking.end_offsets(TOPIC, range(PARTITIONS), committed=False) == ends

    victim = partitions[0].leader
    jvm = psutil.Process(cluster.pid(victim))
    cluster.kill(victim)
    assert not jvm.is_running()
    assert cluster.pid(victim) is None

    produce(cluster.bootstrap, range(600, 1200))
    assert read_all(cluster.bootstrap, 1200) == list(range(1200))
    before_s, before = time.monotonic(), psutil.Process().cpu_times()
    assert purging.delete_records(everything) == everything
    assert time.monotonic() - before_s < WAITS_S / 2, "it waited for the broker that is away"
    assert psutil.Process().cpu_times().user - before.user < 1.0
    assert asking.end_offsets(TOPIC, range(PARTITIONS), committed=False) == {
        number: 2 * end for number, end in ends.items()
    }

    cluster.restart(victim)
    deadline_s = time.monotonic() + 60
    while in_sync(cluster.bootstrap) != [3] * PARTITIONS:
        assert time.monotonic() < deadline_s, in_sync(cluster.bootstrap)
        time.sleep(0.1)
    assert read_all(cluster.addresses[victim], 1200) == list(range(1200))

    # Those who come while it is frozen, and before the others know: it may be named to any of them
    # as the one to ask.
    frozen = psutil.Process(cluster.pid(victim))
    frozen.suspend()
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(
                pool.map(
                    lambda _: (
                        ClusterAdmin(Settings(address=cluster.bootstrap))
                        .describe([TOPIC])[TOPIC]
                        .partitions
                    ),
                    range(6),
                )
            )
    finally:
        frozen.resume()
    assert found == [PARTITIONS] * 6


def test_two_of_three_killed_a_write_is_refused_rather_than_kept_by_one(
    cluster: LocalCluster,
) -> None:
    leader = create_topic(cluster.bootstrap, 1)[0].leader
    for node_id in cluster.addresses:
        if node_id != leader:
            cluster.kill(node_id)
    errors: list[object] = []
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "acks": "all",
            "message.timeout.ms": 6000,
            "log_level": 0,
        }
    )
    producer.produce(TOPIC, b"alone", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    assert errors and errors[0] is not None


@pytest.mark.slow
def test_a_cluster_on_a_terminal_prints_its_addresses_and_a_signal_ends_all_of_it() -> None:
    """What `make cluster` runs."""
    command = [sys.executable, "-m", "odradek.broker.dev", "--brokers", "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"bootstrap: (127\.0\.0\.1:\d+,){2}127\.0\.0\.1:\d+\n", line)
        admin = AdminClient({"bootstrap.servers": line.split()[1]})
        assert set(admin.list_topics(timeout=10).brokers) == {1, 2, 3}
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(20) == 0
        assert psutil.wait_procs(children, timeout=20)[1] == []
    finally:
        process.kill()
        process.communicate()
