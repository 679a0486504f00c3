"""`make demo`: thirty orders, crashes among them, audited; the last line and the exit status are the promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_demo_ends_with_nothing_lost_and_nothing_doubled() -> None:
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    done = subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=REPOSITORY,
        env=os.environ | {"KEEP": "", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.rstrip().splitlines()[-1]
    found = re.fullmatch(r"orders: 30  completed: (\d+)  compensated: (\d+)  cancelled: (\d+)  lost: 0  duplicated: 0", last)
    assert found, last
    completed, compensated, cancelled = map(int, found.groups())
    assert completed + compensated + cancelled == 30
    assert (compensated, cancelled) == (4, 1), "two cards declined, two short of stock, one cancelled by signal"
    for story in ("killed with kill -9", "cancel-order"):
        assert story in done.stdout
