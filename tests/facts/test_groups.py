"""Facts about group membership: how soon somebody else has a dead member's partitions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka

SESSION_MS = 6000

#: A member in a process of its own, since only a process can be killed with -9. Says so once it has
#: partitions.
MEMBER = """
import json, sys
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
consumer = Consumer(json.loads(sys.argv[1]))
consumer.subscribe([sys.argv[2]], on_assign=lambda _, partitions: print("assigned", len(partitions), flush=True))
while True:
    consumer.poll(0.1)
"""


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def settings(kafka: Kafka, group: str, **more: object) -> dict[str, object]:
    common: dict[str, object] = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": group,
        "log_level": 0,
        "session.timeout.ms": SESSION_MS,
    }
    return (
        common
        | {"heartbeat.interval.ms": 1000, "partition.assignment.strategy": "cooperative-sticky"}
        | more
    )


def start_member(
    processes: list[subprocess.Popen[str]], config: dict[str, object], topic: str
) -> subprocess.Popen[str]:
    import json

    process = subprocess.Popen(
        [sys.executable, "-c", MEMBER, json.dumps(config), topic], stdout=subprocess.PIPE, text=True
    )
    processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("assigned")
    return process


def seconds_until_assigned(
    consumer: Consumer, topic: str, partitions: int, limit_s: float
) -> float:
    assigned: set[int] = set()
    consumer.subscribe(
        [topic], on_assign=lambda _, new: assigned.update(one.partition for one in new)
    )
    started_s = time.monotonic()
    while len(assigned) < partitions:
        consumer.poll(0.05)
        assert time.monotonic() - started_s < limit_s, f"only {assigned} after {limit_s} s"
    return time.monotonic() - started_s


def test_a_static_member_restarted_after_kill_9_is_reassigned_at_once(
    kafka: Kafka, processes: list[subprocess.Popen[str]]
) -> None:
    session = {"session.timeout.ms": 10 * SESSION_MS}
    topic, config = (
        kafka.topic(4),
        settings(kafka, kafka.name("group"), **{"group.instance.id": "host-0"}, **session),
    )
    start_member(processes, config, topic).kill()
    # Measured 0.1 s: well below the session timeout, which a dynamic member would have to wait out.
    assert (
        seconds_until_assigned(kafka.consumer(**config), topic, 4, limit_s=60)
        < 10 * SESSION_MS / 1000 - 10
    )


def test_a_static_member_does_not_leave_on_close(kafka: Kafka) -> None:
    topic, group = kafka.topic(4), kafka.name("group")
    first = Consumer(settings(kafka, group, **{"group.instance.id": "host-0"}))
    seconds_until_assigned(first, topic, 4, limit_s=60)
    began_s = time.monotonic()  # its last heartbeat is a second old at most
    first.close()
    other = kafka.consumer(**settings(kafka, group, **{"group.instance.id": "host-1"}))
    seconds_until_assigned(other, topic, 4, limit_s=60)
    assert time.monotonic() - began_s > SESSION_MS / 1000 - 2


@pytest.mark.slow
def test_a_survivor_has_the_partitions_of_a_killed_member_after_the_session_timeout(
    kafka: Kafka, processes: list[subprocess.Popen[str]]
) -> None:
    topic, config = kafka.topic(4), settings(kafka, kafka.name("group"))
    start_member(processes, config, topic).kill()
    took_s = seconds_until_assigned(kafka.consumer(**config), topic, 4, limit_s=30)
    assert SESSION_MS / 1000 - 2 < took_s < SESSION_MS / 1000 + 6


def test_the_consumer_protocols_session_is_the_brokers_clock_and_no_group_may_have_less_than_45_seconds(
    kafka: Kafka,
) -> None:
    """KIP-848. Why lanes and services join by the classic protocol, whose session (6 s) is the
    member's own setting.
    """
    group = kafka.name("group")
    with pytest.raises(
        KafkaException,
        match=r"`session\.timeout\.ms` is not supported for `group\.protocol=consumer`",
    ):
        Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": group,
                "group.protocol": "consumer",
                "session.timeout.ms": SESSION_MS,
            }
        )
    shorter = ConfigEntry(
        "consumer.session.timeout.ms", str(SESSION_MS), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ConfigResource.Type.GROUP, group, incremental_configs=[shorter])
    with pytest.raises(
        KafkaException,
        match=r"must be greater than or equal to group\.consumer\.min\.session\.timeout\.ms",
    ):
        kafka.admin.incremental_alter_configs([resource])[resource].result(timeout=20)
    asked = ConfigResource(ConfigResource.Type.GROUP, group)
    assert (
        kafka.admin.describe_configs([asked])[asked]
        .result(timeout=20)["consumer.session.timeout.ms"]
        .value
        == "45000"
    )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_by_the_consumer_protocol_a_survivor_waits_for_45_seconds(
    kafka: Kafka, processes: list[subprocess.Popen[str]]
) -> None:
    topic = kafka.topic(4)
    config: dict[str, object] = {
        "bootstrap.servers": kafka.bootstrap,
        "group.id": kafka.name("group"),
        "group.protocol": "consumer",
    }
    start_member(processes, config, topic).kill()
    took_s = seconds_until_assigned(kafka.consumer(**config), topic, 4, limit_s=70)
    assert 38 < took_s < 55
