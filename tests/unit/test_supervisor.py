"""A signal that comes while the supervisor is busy with a child reaches it too. The rest:
`tests/chaos/test_lane_owners.py`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.processor import supervisor as supervisor_module
from odradek.processor.supervisor import Supervisor
from tests.support.until import until

STREAMS = Path(__file__).parents[2] / "streams"
SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
DIES = [sys.executable, "-c", "raise SystemExit(1)"]


class Runs(threading.Thread):
    """A supervisor in a thread (so without signal handlers: `stop` is what they call)."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(daemon=True)
        self.supervisor = supervisor
        self.status: int | None = None
        self.start()

    def run(self) -> None:
        self.status = self.supervisor.run()

    def ended(self) -> int | None:
        self.join(40)
        return self.status


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was started; `hooks` are called before anybody else sees it, in their order."""
    processes: list[Any] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        processes.append(real(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(supervisor_module.subprocess, "Popen", popen)
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def stop_within_the_spawn(
    monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor, *, number: int, times: int = 1
) -> None:
    inner, count = supervisor_module.subprocess.Popen, 0

    def popen(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        process: Any = inner(*arguments, **options)
        if (count := count + 1) == number:
            for _ in range(times):
                supervisor.stop()
        return process

    monkeypatch.setattr(supervisor_module.subprocess, "Popen", popen)


def test_child_that_is_being_started_is_told(
    spawned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(SLEEPS, 3)
    stop_within_the_spawn(monkeypatch, supervisor, number=2)
    assert Runs(supervisor).ended() == 0
    assert [process.returncode for process in spawned] == [-15, -15]  # and the third is not started


def test_second_signal_kills_it(spawned: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
    ]
    supervisor = Supervisor(deaf, 1)
    stop_within_the_spawn(monkeypatch, supervisor, number=1, times=2)
    assert Runs(supervisor).ended() == 143, "as one process without a parent"
    assert spawned[0].returncode in (-9, -15)  # -15: it had not come to its first line


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_status_after_a_second_signal_names_it(second: signal.Signals) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True));"
        " print('deaf', flush=True); [time.sleep(1) for _ in range(60)]"
    )
    command = [
        sys.executable,
        "-m",
        "odradek.processor.supervisor",
        "1",
        sys.executable,
        "-c",
        deaf,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "deaf\n"
        parent.send_signal(signal.SIGTERM)
        assert parent.stdout.readline() == "told\n"  # two signals of a kind at once would be one
        parent.send_signal(second)
        assert parent.wait(20) == 128 + second


def test_child_that_dies_meanwhile_is_not_restarted(
    spawned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes between the look at the dead child and the note that it is to be restarted."""
    supervisor = Supervisor(DIES, 1)
    real = supervisor_module.logger.error

    def error(text: str, *arguments: Any) -> None:
        real(text, *arguments)
        if "died with status" in text and len(spawned) == 2:
            supervisor.stop()

    monkeypatch.setattr(supervisor_module.logger, "error", error)
    began = time.monotonic()
    assert Runs(supervisor).ended() is not None
    assert len(spawned) == 2
    assert time.monotonic() - began < 30


def test_an_end_of_its_own_is_no_signal_of_the_operators(tmp_path: Path) -> None:
    """One child cannot run as it is configured; the other one drains, also when somebody sends
    the one SIGTERM that asks for it.
    """
    drains = (
        "import os, pathlib, signal, sys, time\n"
        f"told = pathlib.Path({str(tmp_path / 'told')!r})\n"
        "if os.environ['_ODRADEK_PROCESS'] == '1':\n"
        f"    while not pathlib.Path({str(tmp_path / 'serves')!r}).exists(): time.sleep(0.01)\n"
        "    raise SystemExit(2)\n"
        "def drain(*_):\n"
        "    told.touch()\n"
        f"    while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, drain)\n"
        f"pathlib.Path({str(tmp_path / 'serves')!r}).touch()\n"
        "while True: time.sleep(1)\n"
    )
    supervisor = Supervisor([sys.executable, "-c", drains], 2)
    running = Runs(supervisor)
    until((tmp_path / "told").exists)
    supervisor.stop()
    (tmp_path / "go").touch()
    assert running.ended() == Supervisor.EXIT_CONFIGURATION
    assert (tmp_path / "told").exists() and supervisor._children[0].told == 1


#: Dies at once, for as often as a file has lines; then serves until it is told to end.
DIES_OFTEN = """
import pathlib, signal, sys, time
starts = pathlib.Path(sys.argv[1])
with starts.open("a") as file:
    file.write("x" * 10)
if starts.stat().st_size <= 10:
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(0.1)
"""


def test_a_log_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    """The parent stood in a line of its log: children were not restarted, and no SIGTERM ended it."""
    starts = tmp_path / "starts"
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * select.PIPE_BUF)
    os.set_blocking(write, True)
    command = [
        sys.executable,
        "-m",
        "odradek.processor.supervisor",
        "1",
        sys.executable,
        "-c",
        DIES_OFTEN,
        str(starts),
    ]
    parent = subprocess.Popen(command, stderr=write, env=os.environ | {"PYTHONPATH": str(STREAMS)})
    try:
        until(lambda: starts.exists() and starts.stat().st_size >= 20)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) in (
            0,
            143,
        )  # 143: the child had not come to its handler, which a second start would have told
    finally:
        parent.kill()
        parent.wait()
        os.close(read)
        os.close(write)


def test_its_lines_are_written_as_ever(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    starts.write_text("")
    command = [
        sys.executable,
        "-m",
        "odradek.processor.supervisor",
        "1",
        sys.executable,
        "-c",
        "raise SystemExit(2)",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(STREAMS)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "process 0 cannot run as it is configured; ending all\n",
    )
