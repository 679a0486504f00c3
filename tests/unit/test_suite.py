"""How the suite itself ends: with the name of what went wrong, never in silence."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tests.stalled import Stalled

ROOT = Path(__file__).parents[2]

QUICK = """
import pytest
@pytest.mark.parametrize("n", range(6))
def test_quick(n): pass
"""
DIES = """
import os, pytest
@pytest.mark.parametrize("n", range(6))
def test_dies(n):
    if n == 4: os._exit(130)
"""
LEAVES_HANDLERS = """
import logging, os, signal
OURS = logging.getLogger("odradek.kafka")
BEFORE = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
def test_command():
    for number in BEFORE: signal.signal(number, lambda *_: os._exit(130))
    OURS.setLevel(logging.CRITICAL)
def test_other():
    assert {number: signal.getsignal(number) for number in BEFORE} == BEFORE
    assert OURS.level == logging.NOTSET
"""


def _run(folder: Path, files: dict[str, str], *options: str) -> str:
    """What pytest says of a suite with our settings and our conftest."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    settings = [
        "-c",
        str(ROOT / "pyproject.toml"),
        f"--rootdir={folder}",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        *options,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_worker_that_dies_is_a_failure_with_its_test_and_no_endless_wait(tmp_path: Path) -> None:
    """pytest-xdist's own default waits for ever."""
    said = _run(
        tmp_path,
        {"a": QUICK, "b": DIES, "c": QUICK, "d": QUICK},
        "-n",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
    )
    assert "crashed while running" in said and "test_dies[4]" in said and "1 failed" in said, said


def test_signal_handlers_and_levels_that_a_command_left_end_with_its_test(tmp_path: Path) -> None:
    said = _run(tmp_path, {"handlers": LEAVES_HANDLERS})
    assert "2 passed" in said, said


def test_a_run_in_which_nothing_happens_ends_with_what_was_under_way() -> None:
    said: list[str] = []
    ended = threading.Event()
    stalled = Stalled(0.3, lambda text: (said.append(text), ended.set()))
    for name in ("a", "b"):
        stalled.pytest_runtest_logstart(name)
    stalled.pytest_runtest_logfinish("a")
    # it counts from here on, and this machine may stand still between the lines above
    stalled.pytest_sessionstart()
    assert ended.wait(20)
    assert said == ["error: no test has begun or ended for 0.3 s. Under way: b\n"]


def test_a_run_that_ends_is_not_stalled() -> None:
    said: list[str] = []
    stalled = Stalled(600, said.append)
    stalled.pytest_sessionstart()
    stalled.pytest_unconfigure()
    stalled._thread.join(20)
    assert not stalled._thread.is_alive() and said == []
