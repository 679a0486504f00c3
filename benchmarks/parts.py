"""The benchmark's processes, and the CPU time that each of them spends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.saga import WORKFLOW_QUEUE
from odradek.broker.environment import without_settings

REPOSITORY = Path(__file__).resolve().parent.parent


class Part:
    """One process under measurement, with its children unless `alone` (this process is the
    parent of all the others).
    """

    def __init__(self, pid: int, *, alone: bool = False) -> None:
        self._process = psutil.Process(pid)
        self._alone = alone

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        return sum(
            times.user + times.system for times in (member.cpu_times() for member in self._family())
        )

    def resident_bytes(self) -> int:
        """Resident memory."""
        return int(sum(member.memory_info().rss for member in self._family()))

    def _family(self) -> list[psutil.Process]:
        return (
            [self._process]
            if self._alone
            else [self._process, *self._process.children(recursive=True)]
        )


@contextmanager
def processor(address: str, folder: Path) -> Iterator[Part]:
    """One stream processor of the benchmark's queue."""
    worker = [sys.executable, "-m", "odradek.cli", "worker", "benchmarks.saga:WORKFLOWS"]
    command = [*worker, "--task-queue", WORKFLOW_QUEUE, "--address", address]
    with _process("processor", command, folder) as part:
        yield part


@contextmanager
def activity_service(address: str, folder: Path) -> Iterator[Part]:
    """One activity service."""
    with _process(
        "activities", [sys.executable, "-m", "benchmarks.activity_process", address], folder
    ) as part:
        yield part


@contextmanager
def work_folder() -> Iterator[Path]:
    """State, logs; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="odradek-bench-") as folder:
        yield Path(folder)


@contextmanager
def _process(name: str, command: list[str], folder: Path) -> Iterator[Part]:
    """Runs beside the body, which is interrupted at once with a RuntimeError when the process
    ends early. Main thread only.
    """
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    environment = {
        **without_settings(os.environ),
        "ODRADEK_STATE_DIR": str(folder / "state"),
        "PYTHONPATH": path,
    }
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    died, ending, deciding = threading.Event(), threading.Event(), threading.Lock()

    def watch() -> None:
        process.wait()
        with deciding:
            if not ending.is_set():
                died.set()
                signal.pthread_kill(
                    main_thread, signal.SIGINT
                )  # whatever it waits for will not come

    main_thread = threading.get_ident()
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts what is behind a `&` with it ignored
    try:
        try:
            try:
                threading.Thread(
                    target=watch, name=f"watch-{name}", daemon=True
                ).start()  # it may interrupt at once
                yield Part(process.pid)
            finally:
                with deciding:
                    ending.set()
        except KeyboardInterrupt:
            if not died.is_set():
                raise
        if died.is_set():
            raise RuntimeError(
                f"{name} ended with status {process.returncode}; its log"
                f" ends:\n{log.read_text(errors='replace')[-3000:]}"
            )
    finally:
        signal.signal(signal.SIGINT, before)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if os.environ.get("BENCH_KEEP_LOGS"):
            Path(os.environ["BENCH_KEEP_LOGS"]).mkdir(parents=True, exist_ok=True)
            (Path(os.environ["BENCH_KEEP_LOGS"]) / f"{name}.log").write_bytes(log.read_bytes())
