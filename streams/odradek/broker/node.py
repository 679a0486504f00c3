"""One Kafka node: its directory, its process under the guard, and whether it answers.

Knows nothing of how many nodes there are or who picked the ports; `local` and `cluster` do.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.broker.archive import archive_options
from odradek.broker.errors import BrokerError, BrokerStartError, DataDirInUseError
from odradek.broker.folder import make_folder
from odradek.broker.jars import KafkaJars, random_uuid
from odradek.broker.java import Java
from odradek.broker.ports import HOST, accepts_connections
from odradek.broker.settings import (
    Setting,
    Voter,
    meta_properties,
    read_properties,
    server_properties,
)

#: A controlled shutdown takes about a second; past this the broker is killed, which Kafka's
#: recovery is made for.
STOP_GRACE = timedelta(seconds=15)

#: How often the start is looked at. The broker needs 1.5 to 3 s, so this adds one per cent.
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True)
class NodeOptions:
    """What all nodes of one start share."""

    java: Java
    jars: KafkaJars
    heap_mb: int
    jvm_options: Sequence[str] = ()
    config: Mapping[str, Setting] = field(default_factory=dict)
    stop_grace: timedelta = STOP_GRACE


class Node:
    """A Kafka broker-and-controller process on a directory.

    Args:
        root: holds `data/`, `server.properties`, `broker.log`. temporary: the directory is
        removed by the guard when we stop or die, and nothing is saved on the way out.
    """

    def __init__(
        self,
        root: Path,
        voter: Voter,
        voters: Sequence[Voter],
        options: NodeOptions,
        *,
        temporary: bool,
    ) -> None:
        self.root = root
        self.voter = voter
        self.log_file = root / "broker.log"
        self._voters = voters
        self._options = options
        self._temporary = temporary
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.voter.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the JVM while it runs."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def launch(self, cluster_id: str | None) -> None:
        """Format the directory if it is new and start the process; does not wait for it.

        Args:
            cluster_id: of a new directory; an existing one keeps its own. None: a new random one.
        """
        if self.running:
            raise BrokerError(f"the broker on {self.bootstrap} runs already")
        data = self.root / "data"
        make_folder(data)
        lock = self._take_lock()
        self._format(data, cluster_id or random_uuid())
        properties = self.root / "server.properties"
        properties.write_text(
            server_properties(self.voter, self._voters, data, self._options.config)
        )
        options = self._options
        java = [
            *(str(options.java.executable), f"-Xmx{options.heap_mb}m", "-Djava.awt.headless=true"),
            *("-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"),
            *(
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
            ),
            *(
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
                "-Dorg.slf4j.simpleLogger.showThreadName=false",
            ),
            *(*archive_options(options.java, options.jars), *options.jvm_options),
            *("-cp", options.jars.classpath, "kafka.Kafka", str(properties)),
        ]
        grace_ms = 0 if self._temporary else int(options.stop_grace.total_seconds() * 1000)
        removal = ["--remove", str(self.root)] if self._temporary else []
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-I",
                    "-S",
                    str(guard),
                    "--log",
                    str(self.log_file),
                    "--cwd",
                    str(self.root),
                ),
                *("--grace-ms", str(grace_ms), *removal, "--", *java),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C in a terminal goes to the whole process group; the broker stops when its
            # starter says so.
            start_new_session=True,
            # The guard holds the lock, so that it lasts as long as the broker, also when we are
            # gone first.
            pass_fds=(lock.fileno(),),
        )
        lock.close()
        assert self._guard.stdout is not None
        announced = self._guard.stdout.readline().split()
        if len(announced) != 2:
            raise self._start_error("could not be started")
        self._pid = int(announced[1])

    def wait_ready(
        self, brokers: int, deadline_s: float, beside: Callable[[], None] = lambda: None
    ) -> None:
        """Until a client gets metadata of our cluster that names a controller and `brokers` live
        brokers.

        Args:
            deadline_s: on the monotonic clock.
            beside: called at each look; raises to give up early (another node died).

        Raises:
            BrokerStartError: the process ended or the time is over.
        """
        while not accepts_connections(self.voter.port):
            self._check_starting(deadline_s)
            beside()
            time.sleep(POLL_INTERVAL_S)
        # A broker that is coming up refuses and resets for a moment; librdkafka would log each
        # time.
        admin = AdminClient(
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100}
        )
        while not self._answers(admin, brokers):
            self._check_starting(deadline_s)
            beside()
            time.sleep(POLL_INTERVAL_S)

    def cluster_id(self) -> str:
        return read_properties(self.root / "data" / "meta.properties")["cluster.id"]

    def stop(self) -> None:
        """End the process (orderly when its data stays, at once when not) and give the directory
        back. Twice is fine.
        """
        self._end_guard()

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would; the data stays, also a temporary one.
        Returns when it is dead.
        """
        self._end_guard(b"kill\n")

    def keep_files(self) -> None:
        """From now on nothing is removed: somebody has to read the log."""
        self._tell(b"keep\n")

    def check_alive(self) -> None:
        """Raises BrokerStartError when the process has ended."""
        if not self.running:
            raise self._start_error("ended while it was starting")

    def log_tail(self, lines: int = 12) -> str:
        try:
            text = self.log_file.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _format(self, data: Path, cluster_id: str) -> None:
        meta = data / "meta.properties"
        if meta.exists():
            return
        checkpoint = data / "bootstrap.checkpoint"
        checkpoint.write_bytes(self._options.jars.bootstrap_checkpoint.read_bytes())
        # Last, and whole: a directory with this file counts as formatted.
        fresh = data / "meta.properties.new"
        fresh.write_text(meta_properties(cluster_id, self.voter.node_id, random_uuid()))
        fresh.rename(meta)

    def _take_lock(self) -> IO[str]:
        lock = (self.root / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DataDirInUseError(
                f"another broker runs on {self.root}. Stop it, or give another --data-dir."
            ) from None
        return lock

    def _answers(self, admin: AdminClient, brokers: int) -> bool:
        try:
            metadata = admin.list_topics(timeout=2)
        except KafkaException:
            return False
        # The port could be another cluster's that was quicker: then this is not us.
        ours = metadata.cluster_id == self.cluster_id()
        return ours and metadata.controller_id >= 0 and len(metadata.brokers) >= brokers

    def _check_starting(self, deadline_s: float) -> None:
        self.check_alive()
        if time.monotonic() > deadline_s:
            raise self._start_error("did not answer in time")

    def _start_error(self, what: str) -> BrokerStartError:
        tail = self.log_tail()
        said = f" It said last:\n{tail}" if tail else ""
        return BrokerStartError(
            f"the Kafka broker on {self.bootstrap} {what}. Its log: {self.log_file}{said}",
            self.log_file,
        )

    def _tell(self, line: bytes) -> None:
        if self._guard is None or self._guard.stdin is None:
            return
        try:
            self._guard.stdin.write(line)
            self._guard.stdin.flush()
        except BrokenPipeError:
            pass  # the guard has ended: there is nobody left to do it to

    def _end_guard(self, line: bytes = b"") -> None:
        guard = self._guard
        if guard is None:
            return
        if line:
            self._tell(line)
            guard.wait()
        assert guard.stdin is not None and guard.stdout is not None
        try:
            guard.stdin.close()
        except BrokenPipeError:
            pass  # as above
        try:
            guard.wait(self._options.stop_grace.total_seconds() + 5)
        except subprocess.TimeoutExpired:
            # A copy of the pipe's end lives in a forked child of ours; the guard takes a signal as
            # well.
            guard.terminate()
            guard.wait()
        guard.stdout.close()
        self._guard = None
        self._pid = None


def owned_by_this_process(owner_pid: int) -> bool:
    """False in a forked child: a copy of a broker object there must not stop the parent's broker."""
    return os.getpid() == owner_pid
