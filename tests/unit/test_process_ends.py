"""How long a process may take that comes to no end by itself: from a signal, or from a fatal error on. Of workers and of the services."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
SERVICE_ENDS = """
import os, signal, sys, threading
from services.ending import on_signals
STDERR
on_signals(lambda: None, within_seconds=0.0)
signal.raise_signal(signal.SIGTERM)
while True:
    threading.Event().wait(1.0)
"""
ENDS = pytest.mark.parametrize(
    ("code", "why"),
    [
        pytest.param(WORKER_ENDS, f"{WHY}\n", id="worker"),
        pytest.param(SERVICE_ENDS, "not drained within 0 s; what was under way comes again\n", id="service"),
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


def _run(code: str, *, shell: str = 'exec "$0" -c "$1"', folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'streams'}:{ROOT}"}
    command = ["sh", "-c", shell, sys.executable, code]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@ENDS
@pytest.mark.parametrize(("stderr", "said"), [(TEE, True), ("sys.stderr = None", True), (RAISES, False)], ids=["tee", "none", "raises"])
def test_it_ends_whatever_stands_for_stderr(code: str, why: str, stderr: str, said: bool) -> None:
    done = _run(code.replace("STDERR", stderr))
    assert (done.returncode, done.stderr) == (1, why if said else ""), done


@ENDS
def test_what_took_the_place_of_a_closed_stderr_gets_no_line(code: str, why: str, tmp_path: Path) -> None:
    """The next file that is opened is number 2: it may be a store's."""
    opens = "taken = os.open('store', os.O_CREAT | os.O_WRONLY); assert taken == 2"
    done = _run(code.replace("STDERR", opens), shell='exec "$0" -c "$1" 2>&-', folder=tmp_path)
    assert (done.returncode, (tmp_path / "store").read_bytes()) == (1, b"")
