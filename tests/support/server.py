"""`odradek server` and `odradek dev` as processes, for tests: started with their output in
files, asked over HTTP, ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.until import until

REPOSITORY = Path(__file__).parents[2]


class Command:
    """One `odradek …` process."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.errors = folder / "out", folder / "errors"
        ours = {
            "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
            "PYTHONUNBUFFERED": "1",
            "ODRADEK_PARTITIONS": "2",
        }
        with self.out.open("w") as out, self.errors.open("w") as errors:
            command = [sys.executable, "-m", "odradek.cli", *arguments]
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=errors,
                env=os.environ | ours | environment,
                start_new_session=True,
            )

    def line(self, label: str, timeout_s: float = 60.0) -> str:
        """What stands behind `label: ` on a line of its output, once it is there."""

        def found() -> str:
            assert self.process.poll() is None or label in self.out.read_text(), self.said()
            lines = self.out.read_text().splitlines()
            return next(
                (
                    line.removeprefix(f"{label}: ")
                    for line in lines
                    if line.startswith(f"{label}: ")
                ),
                "",
            )

        return str(until(found, timeout_s))

    def said(self) -> str:
        """The end of what it wrote."""
        return (
            "status"
            f" {self.process.poll()}\n{self.out.read_text()[-1000:]}\n{self.errors.read_text()[-3000:]}"
        )

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60.0) -> float:
        """Send a signal; seconds until it ended."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - began_s


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Command]:
    """The command until the end of the block; then it is gone, whatever happened."""
    command = Command(folder, *arguments, **environment)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
        command.process.wait()


def get(url: str) -> tuple[int, Any]:
    """Status and JSON of an answer; status 0 when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, None


def accepted(
    run: Callable[..., subprocess.CompletedProcess[str]], *arguments: str
) -> tuple[subprocess.CompletedProcess[str], int]:
    """What a command says that asks a queue which nobody serves, with a short deadline, and how
    often it was given: where the machine stands still for as long, Kafka has not taken the
    request in time.
    """
    times = 1
    while "did not take the request within" in (done := run(*arguments)).stderr and times < 20:
        times += 1
    return done, times


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A server of the HTTP API and its pages: a real store, a scripted owner, no Kafka."""
    from tests.unit.web_ui import UiServer  # imports the whole server

    made = UiServer(tmp_path)
    yield made
    made.store.close()
