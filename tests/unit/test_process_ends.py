"""How long a process may take that comes to no end by itself: from a signal, or from a fatal
error on.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from odradek.activities import ActivityHost
from odradek.worker import Worker
from tests.unit.test_worker_checks import client, work

ROOT = Path(__file__).parents[2]
WHY = "it took too long"

#: What stands in the way of both: no other end comes.
WORKER_ENDS = f"""
import os, sys, threading
from odradek.processor.ending import Ending
STDERR
Ending(0.0, {WHY!r}, 1).tell()
threading.Event().wait()
"""
ENDS = pytest.mark.parametrize(
    ("code", "why"),
    [
        pytest.param(WORKER_ENDS, f"{WHY}\n", id="worker"),
    ],
)

#: As an activity's module may put it there: a stream to a logger.
TEE = """
class Tee:
    def write(self, text): return len(text)
    def flush(self): pass
sys.stderr = Tee()
"""
RAISES = """
class Odd:
    def fileno(self): raise RuntimeError("no")
sys.stderr = sys.__stderr__ = Odd()
"""


def _run(
    code: str, *, shell: str = 'exec "$0" -c "$1"', folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'streams'}:{ROOT}"}
    command = ["sh", "-c", shell, sys.executable, code]
    return subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@ENDS
@pytest.mark.parametrize(
    ("stderr", "said"),
    [(TEE, True), ("sys.stderr = None", True), (RAISES, False)],
    ids=["tee", "none", "raises"],
)
def test_it_ends_whatever_stands_for_stderr(code: str, why: str, stderr: str, said: bool) -> None:
    done = _run(code.replace("STDERR", stderr))
    assert (done.returncode, done.stderr) == (1, why if said else ""), done


@ENDS
def test_what_took_the_place_of_a_closed_stderr_gets_no_line(
    code: str, why: str, tmp_path: Path
) -> None:
    """The next file that is opened is number 2: it may be a store's."""
    opens = "taken = os.open('store', os.O_CREAT | os.O_WRONLY); assert taken == 2"
    done = _run(code.replace("STDERR", opens), shell='exec "$0" -c "$1" 2>&-', folder=tmp_path)
    assert (done.returncode, (tmp_path / "store").read_bytes()) == (1, b"")


# --- after a fatal error

#: A worker that fails, says so, and waits for an activity that never ends; with as much of the rest
#: as is looked at.
FAILS = """
import asyncio, sys, threading
from datetime import timedelta
from types import SimpleNamespace
import odradek.client, odradek.worker
from odradek.config import Settings
from odradek.exceptions import OdradekError

class Failing:
    def __init__(self, client, *, activity_executor, on_fatal_error=None, **_):
        self._executor, self._on_fatal_error = activity_executor, on_fatal_error

    async def run(self):
        self._executor.submit(threading.Event().wait)
        print("Worker failed: another one has its identity", file=sys.stderr, flush=True)
        if self._on_fatal_error is not None:
            await self._on_fatal_error(OdradekError("another one has its identity"))
        await asyncio.Event().wait()

    async def __aenter__(self):
        self._running = asyncio.create_task(self.run())

    async def __aexit__(self, *_):
        await self._running

async def connect(**_):
    return SimpleNamespace(close=lambda: None)

odradek.worker.Worker, odradek.client.Client.connect = Failing, connect
settings = Settings(task_queue="q", graceful_shutdown_timeout=timedelta(0))
"""
WORKER_FAILS = (
    FAILS
    + """
from odradek.cli import worker
from odradek.converter import DataConverter
worker.AFTER_GRACE_SECONDS = 0.0
sys.exit(asyncio.run(worker._serve(settings, "q", [], [], [], DataConverter.default)))
"""
)


@pytest.mark.parametrize("code", [WORKER_FAILS], ids=["worker"])
def test_a_fatal_error_ends_it_whatever_its_activities_do(code: str) -> None:
    done = _run(code)
    error, why = done.stderr.splitlines()
    assert (
        done.returncode == 1
        and "another one has its identity" in error
        and "not drained within 0 s" in why
    )


class Drains:
    """An activity host's parts, one of whose activities runs until it is let go."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.draining = False
        self.running = {"one"}
        self.alive = True

    def cancel_all(self) -> None: ...

    def start(self) -> None: ...

    def finish(self) -> None: ...

    def join(self) -> None: ...


async def test_an_activity_host_that_fails_is_told_of_before_its_activities_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An activity that never ends kept its worker from saying why it serves nothing any more."""
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def tell(error: BaseException) -> None:
        told.set_result(error)

    worker = Worker(client(), task_queue="q", activities=[work], on_fatal_error=tell)
    host, parts = worker._activity_host, Drains()
    assert host is not None

    built = asyncio.Event()

    def build(self: Any) -> None:
        self._service = self._thread = parts
        built.set()

    monkeypatch.setattr(ActivityHost, "_open", lambda _: None)
    monkeypatch.setattr(ActivityHost, "_build", build)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(built.wait(), 30)
    error = RuntimeError("another one has its identity")
    host._fail(error)
    assert await asyncio.wait_for(told, 30) is error and worker.is_running
    parts.idle.set()
    with pytest.raises(RuntimeError, match="another one has its identity"):
        await running
    assert worker.is_shutdown
