"""One real Kafka broker on this machine, without Docker."""

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

from odradek.broker.errors import BrokerError, BrokerStartError, PortInUseError
from odradek.broker.folder import make_folder
from odradek.broker.jars import kafka_jars
from odradek.broker.java import find_java
from odradek.broker.node import STOP_GRACE, Node, NodeOptions, owned_by_this_process
from odradek.broker.ports import HOST, free_ports, is_free
from odradek.broker.progress import Progress, StderrProgress
from odradek.broker.settings import Setting, Voter

START_TIMEOUT = timedelta(seconds=60)

#: A free port can be taken between our look and the broker's; three times in a row means something
#: else.
PORT_ATTEMPTS = 3

#: The quick compiler only, and the collector without threads beside the work. Starts a third
#: sooner. Broker CPU a saga on two cores (`make bench`): over 8,000 sagas 1.0 ms where the
#: optimizing compiler took 1.6, over 30,000 it was 0.95 against 1.09; the collector 0.65 where G1
#: took 0.76. A broker that lives for hours: `jvm_options=()`.
QUICK_START: tuple[str, ...] = ("-XX:TieredStopAtLevel=1", "-XX:+UseParallelGC")


class LocalBroker:
    """A single Kafka broker in KRaft mode, as a context manager or by `start` and `stop`.

    It ends with this process, however that ends. `kill` followed by `start` is a crash and a
    recovery: same address, same data.

    Args:
        port: where clients connect; None takes the data directory's last one if that is free,
        else any free one. data_dir: keeps data and cluster id over restarts; None is a temporary
        directory, removed at the end. config: broker settings that win over ours, e.g.
        `{"message.max.bytes": 4096}`. heap_mb: the JVM's largest heap; about 350 MB stay
        resident with 512. jvm_options: further options of `java`; `()` for Java's defaults.
        start_timeout: until a client can connect; fetching the jars does not count. stop_grace:
        what an orderly end may take (with a data directory); then the broker is killed, and
        recovers at its next start. progress: told about the fetching of jars; standard error by
        default.
    """

    def __init__(
        self,
        port: int | None = None,
        data_dir: str | Path | None = None,
        *,
        config: Mapping[str, Setting] | None = None,
        heap_mb: int = 512,
        jvm_options: Sequence[str] = QUICK_START,
        start_timeout: timedelta = START_TIMEOUT,
        stop_grace: timedelta = STOP_GRACE,
        progress: Progress | None = None,
    ) -> None:
        self._port = port
        self._data_dir = Path(data_dir).absolute() if data_dir is not None else None
        self._config = dict(config or {})
        self._heap_mb = heap_mb
        self._jvm_options = tuple(jvm_options)
        self._start_timeout = start_timeout
        self._stop_grace = stop_grace
        self._progress = progress if progress is not None else StderrProgress()
        self._node: Node | None = None
        self._owner_pid = os.getpid()

    def start(self) -> Self:
        """Start and wait until a client can really work; returns itself.

        Raises:
            JavaNotFoundError, JarsUnavailableError, PortInUseError, DataDirInUseError,
            BrokerStartError: each names the
                cause and the cure.
        """
        if self._node is not None and self._node.running:
            raise BrokerError(f"the broker on {self.bootstrap} runs already")
        java = find_java()
        options = NodeOptions(
            java,
            kafka_jars(java, self._progress),
            self._heap_mb,
            self._jvm_options,
            self._config,
            self._stop_grace,
        )
        recovers = self._node is not None
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._start_once(options)
                return self
            except BrokerStartError as error:
                if not self._lost_its_port():
                    raise
                if recovers:  # at the same address with its data, or not at all
                    address = (
                        f"{self.bootstrap} or its controller's port"
                        f" {self._running_node().voter.controller_port}"
                    )
                    raise PortInUseError(
                        f"{address} has been taken by another program meanwhile. Its data is kept:"
                        " stop that, start again."
                    ) from error
                if attempt == PORT_ATTEMPTS:
                    raise
                self._forget_node()
        raise AssertionError("unreachable: the last attempt raises")

    def stop(self) -> None:
        """End the broker; a temporary directory goes. Twice is fine."""
        if self._node is None or not owned_by_this_process(self._owner_pid):
            return
        self._node.stop()
        self._forget_node()

    def kill(self) -> None:
        """kill -9. The data stays until `stop`; `start` brings the broker back at the same
        address.
        """
        self._running_node().kill()

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for `bootstrap.servers`."""
        return self._running_node().bootstrap

    @property
    def cluster_id(self) -> str:
        return self._running_node().cluster_id()

    @property
    def pid(self) -> int | None:
        """Process id of the broker's JVM; None while it does not run."""
        return self._node.pid if self._node is not None else None

    @property
    def root(self) -> Path:
        """The directory of its data; a temporary one goes with all that is in it."""
        return self._running_node().root

    @property
    def log_file(self) -> Path:
        """What the broker says (warnings and errors)."""
        return self._running_node().log_file

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_once(self, options: NodeOptions) -> None:
        node = self._node
        if node is None:
            node = self._node = self._new_node(options)
        try:
            node.launch(cluster_id=None)
            node.wait_ready(1, time.monotonic() + self._start_timeout.total_seconds())
        except BrokerStartError:
            node.keep_files()
            node.stop()
            raise
        except BaseException:
            self.stop()
            raise
        (node.root / "port").write_text(f"{node.voter.port}\n")

    def _new_node(self, options: NodeOptions) -> Node:
        if self._port is not None and not is_free(self._port):
            raise PortInUseError(
                f"port {self._port} on {HOST} is in use by another program. Stop that, or give"
                " another --port."
            )
        temporary = self._data_dir is None
        root = self._data_dir or Path(tempfile.mkdtemp(prefix="odradek-broker-"))
        make_folder(root)
        port, controller_port = free_ports(2)
        voter = Voter(
            node_id=1, port=self._port or _last_port(root) or port, controller_port=controller_port
        )
        return Node(root, voter, [voter], options, temporary=temporary)

    def _lost_its_port(self) -> bool:
        node = self._running_node()
        return self._port is None and "Address already in use" in node.log_tail(200)

    def _forget_node(self) -> None:
        node, self._node = self._node, None
        if node is not None and self._data_dir is None:
            # The guard does this too; after `kill` there is no guard any more.
            shutil.rmtree(node.root, ignore_errors=True)

    def _running_node(self) -> Node:
        if self._node is None:
            raise BrokerError(
                "the local broker has not been started: call start(), or use it in a with statement"
            )
        return self._node


def _last_port(root: Path) -> int | None:
    try:
        port = int((root / "port").read_text())
    except (OSError, ValueError):
        return None
    return port if is_free(port) else None
