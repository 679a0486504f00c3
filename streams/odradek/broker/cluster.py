"""Three real brokers on this machine: replication 3, min.insync.replicas 2, one of them can be
killed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from odradek.broker.errors import BrokerError, BrokerStartError
from odradek.broker.jars import kafka_jars, random_uuid
from odradek.broker.java import find_java
from odradek.broker.local import START_TIMEOUT
from odradek.broker.node import Node, NodeOptions, owned_by_this_process
from odradek.broker.ports import free_ports
from odradek.broker.progress import Progress, StderrProgress
from odradek.broker.settings import Setting, Voter


class LocalCluster:
    """`brokers` nodes, each broker and controller, on one directory each.

    Args:
        brokers: nodes, numbered from 1; an even number gains no safety in the quorum.
        data_dir: keeps the data over restarts; None is a temporary directory, removed at the end.
        config: settings for every broker that win over ours.
        heap_mb: of each node.

    The rest as in `LocalBroker`.
    """

    def __init__(
        self,
        brokers: int = 3,
        data_dir: str | Path | None = None,
        *,
        config: Mapping[str, Setting] | None = None,
        heap_mb: int = 384,
        jvm_options: Sequence[str] = (),
        start_timeout: timedelta = START_TIMEOUT,
        progress: Progress | None = None,
    ) -> None:
        if brokers < 1:
            raise ValueError(f"a cluster has at least one broker, not {brokers}")
        self._size = brokers
        self._data_dir = Path(data_dir).absolute() if data_dir is not None else None
        self._config = dict(config or {})
        self._heap_mb = heap_mb
        self._jvm_options = tuple(jvm_options)
        self._start_timeout = start_timeout
        self._progress = progress if progress is not None else StderrProgress()
        self._nodes: dict[int, Node] = {}
        self._root: Path | None = None
        self._owner_pid = os.getpid()

    def start(self) -> Self:
        """Start all nodes and wait until every one of them knows all others."""
        if self._nodes:
            raise BrokerError(f"the cluster on {self.bootstrap} has been started already")
        java = find_java()
        options = NodeOptions(
            java, kafka_jars(java, self._progress), self._heap_mb, self._jvm_options, self._config
        )
        self._root = self._data_dir or Path(tempfile.mkdtemp(prefix="odradek-cluster-"))
        # Kept as a whole: the quorum's nodes find each other by the ports, so they are chosen once
        # for all.
        ports = free_ports(2 * self._size)
        voters = [Voter(n, ports[2 * n - 2], ports[2 * n - 1]) for n in range(1, self._size + 1)]
        temporary = self._data_dir is None
        self._nodes = {
            v.node_id: Node(
                self._root / f"broker-{v.node_id}", v, voters, options, temporary=temporary
            )
            for v in voters
        }
        try:
            cluster_id = random_uuid()
            for node in self._nodes.values():
                node.launch(cluster_id)
            self._wait_ready(list(self._nodes.values()), self._size)
        except BrokerStartError:
            for node in self._nodes.values():
                node.keep_files()
                node.stop()
            self._nodes = {}
            raise
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End all nodes; a temporary directory goes. Twice is fine."""
        if not owned_by_this_process(self._owner_pid):
            return
        for node in self._nodes.values():
            node.stop()
        self._nodes = {}
        if self._data_dir is None and self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def kill(self, node_id: int) -> None:
        """kill -9 for one broker; its data stays and `restart` brings it back at its address."""
        self._node(node_id).kill()

    def restart(self, node_id: int) -> None:
        """Start a killed broker again on its data and wait until it serves clients."""
        node = self._node(node_id)
        node.launch(cluster_id=None)
        alive = sum(other.running for other in self._nodes.values())
        self._wait_ready([node], alive)

    @property
    def started(self) -> bool:
        """Between `start` and `stop`, whether or not brokers were killed since."""
        return bool(self._nodes)

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers, joined by commas."""
        return ",".join(self.addresses.values())

    @property
    def addresses(self) -> dict[int, str]:
        """`HOST:PORT` by broker id."""
        if not self._nodes:
            raise BrokerError(
                "the local cluster has not been started: call start(), or use it in a with"
                " statement"
            )
        return {node_id: node.bootstrap for node_id, node in self._nodes.items()}

    @property
    def root(self) -> Path:
        """The directory of its data; a temporary one goes with all that is in it."""
        if self._root is None:
            raise BrokerError(
                "the local cluster has not been started: call start(), or use it in a with"
                " statement"
            )
        return self._root

    def pid(self, node_id: int) -> int | None:
        """Process id of a broker's JVM; None while it does not run."""
        return self._node(node_id).pid

    def log_file(self, node_id: int) -> Path:
        return self._node(node_id).log_file

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _node(self, node_id: int) -> Node:
        if node_id not in self._nodes:
            raise BrokerError(
                f"no broker {node_id} here; there are"
                f" {sorted(self._nodes) or 'none: the cluster is not started'}"
            )
        return self._nodes[node_id]

    def _wait_ready(self, nodes: list[Node], brokers: int) -> None:
        deadline_s = time.monotonic() + self._start_timeout.total_seconds()

        def all_alive() -> None:
            for node in nodes:
                node.check_alive()

        for node in nodes:
            node.wait_ready(brokers, deadline_s, all_alive)
