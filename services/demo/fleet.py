"""The demo's processes: each with its own log and configuration file, all ended with the demo,
only by the ids that it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from odradek.broker.environment import without_settings
from odradek.broker.ports import accepts_connections

T = TypeVar("T")

READY_SECONDS = 60.0  # for a process to answer, on a busy machine
REPOSITORY = Path(__file__).resolve().parents[2]


class ProcessFailed(Exception):
    """A process ended or did not get ready; the message names its log."""


class Fleet:
    """Starts processes under `folder` (configurations, databases, logs). `environment`: what
    they get beside ours.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        namespace: str = "default",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.address = address
        self.namespace = namespace
        self._environment = dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, Sequence[str]] = {}

    def database(self, service: str) -> Path:
        """A service's SQLite file."""
        return self.folder / f"{service}.sqlite"

    def start_service(self, service: str, **settings: Any) -> None:
        """Start `python -m services.{service}` with the repository's configuration, on this
        broker and folder; `settings` win over it.
        """
        config: dict[str, Any] = yaml.safe_load(
            (REPOSITORY / "services" / service / "config.yaml").read_text()
        )
        config["odradek"] |= {"address": self.address, "namespace": self.namespace}
        if "database" in config:
            config["database"] = str(self.database(service))
        config |= settings
        file = self.folder / f"{service}.yaml"
        file.write_text(yaml.safe_dump(config))
        self.start(service, [sys.executable, "-m", f"services.{service}", "--config", str(file)])

    def start_processor(
        self, name: str, workflows: str = "services.orders.workflow:WORKFLOWS"
    ) -> None:
        """Start a stream processor of the saga's queue."""
        worker = [
            sys.executable,
            "-m",
            "odradek.cli",
            "worker",
            workflows,
            "--task-queue",
            "order-task-queue",
        ]
        self.start(name, [*worker, "--address", self.address, "--namespace", self.namespace])

    def start_order_api(self, port: int) -> str:
        """Start the HTTP order API; its address, once it answers."""
        self.start_service("order_api", port=port)
        self._wait_for("order_api", lambda: accepts_connections(port))
        return f"http://127.0.0.1:{port}"

    def start_server(self, port: int) -> str:
        """Start `odradek server`, lists, HTTP API and UI; its address, once all that was there
        is in its lists.
        """
        server = [sys.executable, "-m", "odradek.cli", "server", "--port", str(port)]
        self.start("server", [*server, "--address", self.address, "--namespace", self.namespace])
        url = self._wait_for("server", lambda: self._said("server", "ui: "))
        self._wait_for("server", lambda: _answers(f"{url}/health/ready"))
        return url

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start or start again."""
        ours = {
            "ODRADEK_STATE_DIR": str(self.folder / "state"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log(name).open("ab") as log, _signals_wait():
            self._processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env={**without_settings(os.environ), **ours, **self._environment},
                start_new_session=True,
            )
        self._commands[name] = command

    def log(self, name: str) -> Path:
        """A process's log file."""
        return self.folder / f"{name}.log"

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The process of `name`, the newest."""
        return self._processes[name]

    def pid(self, name: str) -> int:
        """Process id of `name`."""
        return self._processes[name].pid

    def name_of(self, pid: int) -> str | None:
        """Which process has this id."""
        return next((name for name, process in self._processes.items() if process.pid == pid), None)

    def kill(self, name: str) -> None:
        """kill -9."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def stop_one(self, name: str) -> int:
        """SIGTERM, and its exit status."""
        self._processes[name].terminate()
        return self._processes.pop(name).wait(30)

    def restart(self, name: str) -> None:
        """Start a killed process again, with the same command."""
        self.start(name, self._commands[name])

    def check(self) -> None:
        """Raise ProcessFailed if a process has ended by itself."""
        for name, process in self._processes.items():
            status = process.poll()
            if status not in (None, -signal.SIGKILL):
                raise ProcessFailed(
                    f"{name} ended with status {status}; see {self.log(name)}\n{self._tail(name)}"
                )

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after ten seconds."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + 10
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait_for(self, name: str, ready: Callable[[], T]) -> T:
        deadline = time.monotonic() + READY_SECONDS
        while not (found := ready()):
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{name} was not ready within {READY_SECONDS:.0f} s; see"
                    f" {self.log(name)}\n{self._tail(name)}"
                )
            time.sleep(0.1)
        return found

    def _said(self, name: str, label: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()
        return next((line.removeprefix(label) for line in lines if line.startswith(label)), "")

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-15:])


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back: an interruption between the start of a process and its entry
    in the list would leave it for good.

    Not by the mask of the thread, which the process would inherit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for again in came[:1]:
            signal.raise_signal(again)


def _answers(url: str) -> bool:
    """Whether it is 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:  # 503 is one of these
        return False
