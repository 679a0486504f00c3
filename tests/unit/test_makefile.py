"""What `make` says when it cannot set up its environment: one line, with the cure."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACEBACK = (
    '#!/bin/sh\necho "Traceback (most recent call last):\nImportError: No module named venv"'
    " >&2\nexit 1\n"
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.mark.parametrize("script", [TRACEBACK, None], ids=["too-old", "not-there"])
def test_a_python_that_will_not_do_is_one_line(tmp_path: Path, script: str | None) -> None:
    """Python 2.7 and 3.4 fail on an import of the check itself."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "old-python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "demo", f"PYTHON={python}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert (done.returncode, done.stdout, len(ours)) == (2, "", 1), done.stderr
    assert (
        ours[0].startswith(f"error: {python} ") and "3.11" in ours[0] and "python3-venv" in ours[0]
    )
