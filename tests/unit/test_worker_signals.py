"""What signals do to `odradek worker`, whenever they come; in processes of their own. With
Kafka: `tests/kafka/test_cli_kafka.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STREAMS = Path(__file__).parents[2] / "streams"

#: Serves until it is to drain, then prints that; `PARENT`: None or a supervisor's child.
SERVES = """
import asyncio, signal
from odradek.cli import worker
from odradek.processor.supervisor import Parent

async def main(parent, act):
    stopping = asyncio.Event()
    worker._handle_signals(stopping, parent, 600.0)
    act(parent)
    await stopping.wait()
    print("drained", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("one more", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("and another", flush=True)

def orphaned(parent):
    parent.lives = False
    parent.gone()

def told(parent):
    signal.raise_signal(signal.SIGTERM)

asyncio.run(main(PARENT, ACT))
"""

#: For each point of a handler at which another signal can come, a process to which it comes there:
#: how that ended, a line each.
INTERRUPTED = """
import asyncio, os, signal, sys, time
from odradek.cli import worker
from odradek.processor.supervisor import Parent

def interrupting_at(point):
    passed = 0
    def trace(frame, event, argument):
        nonlocal passed
        passed += 1
        if passed == point:
            signal.raise_signal(signal.SIGTERM)
        return trace
    return trace

async def main(point):
    stopping = asyncio.Event()
    worker._handle_signals(stopping, PARENT, 600.0)
    sys.settrace(interrupting_at(point))
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
    await stopping.wait()

for point in range(1, 41):
    pid = os.fork()
    if not pid:
        asyncio.run(main(point))
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += 600
        time.sleep(0.001)
    print(os.waitstatus_to_exitcode(ended[1]), flush=True)
"""


def _run(code: str, parent: str, act: str = "") -> subprocess.CompletedProcess[str]:
    code = code.replace("PARENT", parent).replace("ACT", act)
    environment = os.environ | {"PYTHONPATH": str(STREAMS)}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("parent", ["None", "Parent()"])
def test_a_signal_in_the_middle_of_a_handler_blocks_nothing(parent: str) -> None:
    """systemd's own and the parent's came some microseconds apart: the inner one waited for a
    lock of the outer, for ever.
    """
    done = _run(INTERRUPTED, parent)
    ends = {int(line) for line in done.stdout.splitlines()}
    assert len(done.stdout.splitlines()) == 40 and not done.stderr, done.stderr
    assert ends == {0} if parent != "None" else ends <= {0, 128 + signal.SIGTERM}, ends


def test_a_child_whose_parent_is_gone_drains_and_then_is_as_one_without() -> None:
    """That the parent is gone is no signal, so that systemd's own does not count as the second
    one.
    """
    done = _run(SERVES, "Parent()", "orphaned")
    assert (done.returncode, done.stdout) == (
        128 + signal.SIGTERM,
        "drained\none more\n",
    ), done.stderr


def test_a_child_whose_parent_lives_leaves_its_end_to_that() -> None:
    done = _run(SERVES, "Parent()", "told")
    assert (done.returncode, done.stdout) == (0, "drained\none more\nand another\n"), done.stderr
