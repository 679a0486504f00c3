"""A member that ends in the middle of a rebalance and is back at once: the broker takes it back
without another rebalance (KIP-345), and what it had given back is nobody's. It joins once more
then (`kafka/settling.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from odradek.config import Settings
from odradek.wire.topics import Topics
from tests.support.until import until

REPOSITORY = Path(__file__).parents[2]
QUEUE, PARTITIONS = "q", 4

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Start]:
    processes: list[subprocess.Popen[bytes]] = []

    def started(what: str, name: str, **more: str) -> subprocess.Popen[bytes]:
        ours = {
            "ODRADEK_ADDRESS": bootstrap,
            "ODRADEK_NAMESPACE": namespace,
            "ODRADEK_PARTITIONS": str(PARTITIONS),
            "ODRADEK_STATE_DIR": str(tmp_path / name),
            "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
        }
        command = [sys.executable, "-m", "tests.kafka.quick_restart_member", what, QUEUE]
        processes.append(subprocess.Popen(command, env=os.environ | ours | more))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.promise("rebalance")
@pytest.mark.parametrize("what", ["processor", "activities"])
def test_no_partition_stays_without_an_owner(
    start: Start, bootstrap: str, namespace: str, what: str
) -> None:
    names, admin = (
        Topics(namespace, Settings().topic_prefix),
        AdminClient({"bootstrap.servers": bootstrap}),
    )
    group = names.processor_group(QUEUE) if what == "processor" else names.activities_group(QUEUE)

    def shares() -> list[list[int]]:
        """Of the members of the group at rest, the smallest first."""
        try:
            found = admin.describe_consumer_groups([group])[group].result(20)
        except KafkaException:  # no such group yet
            return []
        if found.state is not ConsumerGroupState.STABLE:
            return []
        return sorted(
            (
                sorted(place.partition for place in one.assignment.topic_partitions)
                for one in found.members
            ),
            key=len,
        )

    first = start(what, "first", DIES="yes")
    until(lambda: shares() == [list(range(PARTITIONS))], 60)
    start(what, "second")
    assert first.wait(60) == -signal.SIGKILL
    start(what, "first")

    def shared() -> bool:
        found = shares()
        return [len(share) for share in found] == [2, 2] and sorted(found[0] + found[1]) == list(
            range(PARTITIONS)
        )

    until(shared, 60)
