"""Disks that fill up, processes that die, interpreters that are kept: the partition goes on, or
says clearly why not.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from odradek.processor.group import STOP_SECONDS
from odradek.processor.supervisor import PIPE_VARIABLE
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import host_arguments
from tests.kafka.lane_records import STREAMS, Host, Wire, key_for
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path)


def _supervised(wire: Wire, processes: int, log: Path, **more: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(STREAMS)}
    command = [
        sys.executable,
        "-m",
        "odradek.processor.supervisor",
        str(processes),
        *host_arguments(wire.settings, QUEUE, **more),
    ]
    with open(log, "w") as stderr:
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )


def _end(supervisor: subprocess.Popen[str]) -> None:
    children = psutil.Process(supervisor.pid).children() if supervisor.poll() is None else []
    for process in children:
        process.kill()
    supervisor.kill()
    supervisor.wait()
    assert supervisor.stdout is not None
    supervisor.stdout.close()


@pytest.mark.promise("no-guess")
@pytest.mark.slow
def test_full_disk_stops_the_partition_and_loses_nothing(wire: Wire, tmp_path: Path) -> None:
    """Writes to files beyond 1 MB fail, as on a full disk; then there is room again."""
    with Host(wire, file_size_limit=1_000_000, log=tmp_path / "log") as host:
        host.line("ready")
        sent = 4_000  # more than memtables hold: RocksDB writes no file before
        for number in range(sent):
            wire.send(SignalWorkflow(f"w{number % 10}", os.urandom(10_000).hex()))
            if number % 100 == 99:
                wire.flush()
        assert "DiskFullError: " in (line := host.line("partition ")), line
        assert "no space left on the disk" in line
        assert host.drain() == 0
    with Host(wire, log=tmp_path / "log2") as host:
        wire.assert_exactly_once(sent, 10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 MB; skipped where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip(
            "mounting a small file system needs root; the limit on files above stands for it"
        )
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.promise("no-guess")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs")
def test_really_full_disk_stops_the_partition_and_it_goes_on_by_itself(
    bootstrap: str, namespace: str, tmp_path: Path, small_disk: Path
) -> None:
    """Another program fills the file system; when it has gone, the same process owns its
    partitions anew.
    """
    wire = Wire(bootstrap, namespace, small_disk / "state")
    with Host(wire, log=tmp_path / "log") as host:
        host.line("ready")
        with open(small_disk / "filler", "wb") as filler:
            try:
                while True:
                    filler.write(bytes(1024 * 1024))
                    filler.flush()
            except OSError as error:
                assert error.errno == errno.ENOSPC
        sent = 4_000
        for number in range(sent):
            wire.send(SignalWorkflow(f"w{number % 10}", os.urandom(10_000).hex()))
            if number % 100 == 99:
                wire.flush()
        assert "DiskFullError: " in (line := host.line("partition ")), line
        (small_disk / "filler").unlink()
        for _ in range(10):
            wire.send(SignalWorkflow(f"w{sent % 10}", "count"))
            sent += 1
        wire.flush()
        wire.assert_exactly_once(sent, 10, timeout=90)
        assert host.drain() == 0


def test_supervisor_restarts_and_drains(wire: Wire, tmp_path: Path) -> None:
    supervisor = _supervised(wire, 2, tmp_path / "log")
    try:
        children = until(
            lambda: len(found := psutil.Process(supervisor.pid).children()) == 2 and found
        )
        wire.signals(100, 10)
        until(lambda: len(wire.read(wire.commands)) == 100)
        children[0].kill()
        until(
            lambda: (
                {c.pid for c in psutil.Process(supervisor.pid).children()}
                - {c.pid for c in children}
            )
        )
        for number in range(100, 200):
            wire.send(SignalWorkflow(f"w{number % 10}", "count"))
        wire.flush()
        wire.assert_exactly_once(200, 10)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
    finally:
        _end(supervisor)


@pytest.mark.promise("quarantine")
def test_supervisor_ends_a_child_that_keeps_the_interpreter(tmp_path: Path) -> None:
    """`time.sleep` gives the interpreter up, a regular expression does not: no thread of that
    process runs any more.
    """
    marker = tmp_path / "second"
    child = f"""
import os, re, sys, pathlib
from odradek.processor.supervisor import beat_to_parent
assert beat_to_parent()
marker = pathlib.Path({str(marker)!r})
if marker.exists():
    sys.exit(0)
marker.write_text("")
import time; time.sleep(1.5)
re.match(r"(a+)+$", "a" * 60 + "b")
"""
    script = tmp_path / "child.py"
    script.write_text(child)
    supervise = f"""
import sys
from odradek.processor.supervisor import Supervisor
supervisor = Supervisor([sys.executable, {str(script)!r}], 1, silence_seconds=2)
print(supervisor.run(), supervisor.killed)
"""
    environment = os.environ | {"PYTHONPATH": str(STREAMS)}
    environment.pop(PIPE_VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", supervise],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["0", "1"], done


def test_second_signal_ends_at_once(wire: Wire, tmp_path: Path) -> None:
    supervisor = _supervised(wire, 1, tmp_path / "log")
    try:
        until(lambda: psutil.Process(supervisor.pid).children())
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline().strip() == "ready"
        workflow_id = key_for(wire, 0)
        wire.send(SignalWorkflow(workflow_id, "slow:60000"))
        wire.flush()
        time.sleep(
            0.5
        )  # it is in the activation by now, or will be: either way the drain cannot end soon
        began = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)
        time.sleep(0.2)  # two signals at once may be one
        supervisor.send_signal(signal.SIGTERM)
        # As the shell says it; or by the signal itself, where it came before the handler.
        assert supervisor.wait(60) in (128 + signal.SIGTERM, -signal.SIGTERM)
        assert time.monotonic() - began < STOP_SECONDS - 1  # as long as a drain waits for that lane
    finally:
        _end(supervisor)
