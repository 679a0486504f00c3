"""`server.properties` of a broker that shares a laptop with the work it serves.

Every value that differs from Kafka's default has its reason beside it; what is not here is
Kafka's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from odradek.broker.ports import HOST

Setting = str | int | float | bool


@dataclass(frozen=True)
class Voter:
    """A node of the KRaft quorum, which here is also a broker."""

    node_id: int
    port: int
    controller_port: int


#: The same for one broker and for three.
LAPTOP: dict[str, Setting] = {
    # A misspelt topic is an error, not a new topic with one partition.
    "auto.create.topics.enable": False,
    # The first member of a group need not wait for others that do not come (default 3 s).
    "group.initial.rebalance.delay.ms": 0,
    # Internal topics: each partition costs files and start time; the defaults (50) are made for
    # hundreds of brokers.
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 8,
    "share.coordinator.state.topic.num.partitions": 4,
    # A share group hands its partitions out at a heartbeat; at the default of 5 s its first record
    # takes 6 s.
    "group.share.min.heartbeat.interval.ms": 1000,
    "group.share.heartbeat.interval.ms": 1000,
    # Threads for two cores (defaults 3, 8, 10).
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 4,
    # The default, 128 MiB, is a quarter of our heap; 16 MiB compacts 600,000 keys in one pass.
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    # Compaction within seconds, so that what it does to a changelog can be seen while one watches
    # (default 15 s).
    "log.cleaner.backoff.ms": 2000,
    # A deleted topic gives its files back after a second, not a minute: test suites delete
    # thousands of partitions.
    "log.segment.delete.delay.ms": 1000,
    # A broker killed with -9 may register again only when its former self counts as dead (default 9
    # s). Not shorter: a single broker whose heartbeat is late on a busy machine would be fenced
    # with nobody to take over.
    "broker.session.timeout.ms": 4000,
    "broker.heartbeat.interval.ms": 1000,
}


def replication(brokers: int) -> dict[str, Setting]:
    """Replication of user topics and of Kafka's own: as many copies as there are brokers, all
    but one must be in sync.
    """
    in_sync = max(1, brokers - 1)
    return {
        "default.replication.factor": brokers,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": brokers,
        "transaction.state.log.replication.factor": brokers,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": brokers,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def server_properties(
    node: Voter, voters: Sequence[Voter], data: Path, overrides: Mapping[str, Setting]
) -> str:
    """The text of `server.properties`; `overrides` win over everything, also over what makes the
    broker findable.
    """
    settings: dict[str, Setting] = {
        "process.roles": "broker,controller",
        "node.id": node.node_id,
        "listeners": f"PLAINTEXT://{HOST}:{node.port},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": ",".join(
            f"{voter.node_id}@{HOST}:{voter.controller_port}" for voter in voters
        ),
        "log.dirs": str(data),
        **LAPTOP,
        **replication(len(voters)),
        **overrides,
    }
    # Java's properties files take a backslash for an escape.
    return "".join(
        f"{key}={setting_text(value)}\n".replace("\\", "\\\\") for key, value in settings.items()
    )


def meta_properties(cluster_id: str, node_id: int, directory_id: str) -> str:
    """`meta.properties` as Kafka's storage tool writes it (format version 1)."""
    return f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n"


def read_properties(file: Path) -> dict[str, str]:
    """Key and value of each line `key=value`; comments dropped."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return dict(
        line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line
    )


def setting_text(value: Setting) -> str:
    """As Kafka reads it: `true` and `false` in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)
