"""The demo's processes: none is left behind, whenever an interruption comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.demo.fleet import Fleet


def test_interruption_while_a_process_starts_waits_until_it_is_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def interrupted_popen(*arguments: Any, **options: Any) -> Any:
        process = real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)  # it runs, and nobody knows of it yet
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted_popen)
    fleet = Fleet(tmp_path, "nowhere:1")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fleet.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
    assert signal.getsignal(signal.SIGINT) is before
    process = fleet.process("sleeper")
    assert process.poll() is None
    fleet.stop()
    assert process.returncode == -signal.SIGTERM
