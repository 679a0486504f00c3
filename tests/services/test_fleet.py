"""The demo's processes: none is left behind, whenever an interruption comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.demo.fleet import Fleet

OF_THE_SHELL = (
    *(
        "ODRADEK_ADDRESS",
        "ODRADEK_NAMESPACE",
        "ODRADEK_KAFKA__SECURITY_PROTOCOL",
        "ODRADEK_SETTINGS",
    ),
    *("odradek_partitions", "TEMPORAL_DEBUG"),
)


def test_interruption_while_a_process_starts_waits_until_it_is_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen

    def interrupted_popen(*arguments: Any, **options: Any) -> Any:
        process = real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)  # it runs, and nobody knows of it yet
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted_popen)
    fleet = Fleet(tmp_path, "nowhere:1")
    before = signal.default_int_handler
    signal.signal(signal.SIGINT, before)  # a shell starts what is behind a `&` with it ignored
    with pytest.raises(KeyboardInterrupt):
        fleet.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
    assert signal.getsignal(signal.SIGINT) is before
    process = fleet.process("sleeper")
    assert process.poll() is None
    fleet.stop()
    assert process.returncode == -signal.SIGTERM


def test_a_process_gets_nothing_that_the_shell_says_of_another_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*OF_THE_SHELL, "ODRADEK_CACHE_DIR"):
        monkeypatch.setenv(name, "the shell's")
    fleet = Fleet(tmp_path, "nowhere:1", environment={"ODRADEK_FAULT": "ours"})
    fleet.start(
        "shows", [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    )
    assert fleet.process("shows").wait(20) == 0
    seen = json.loads(fleet.log("shows").read_text())
    assert {
        name: seen[name] for name in seen if name.upper().startswith(("ODRADEK_", "TEMPORAL_"))
    } == {
        "ODRADEK_CACHE_DIR": "the shell's",
        "ODRADEK_FAULT": "ours",
        "ODRADEK_STATE_DIR": str(tmp_path / "state"),
    }
