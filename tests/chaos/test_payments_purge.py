"""Payments asks for its group's offsets while the brokers that coordinate the group die one
after the other: its process goes on.

librdkafka's AdminClient ended it with SIGSEGV (2.16.0) when OffsetFetch was answered
NOT_COORDINATOR; a consumer that never joins does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalCluster
from services.payments.topics import create_topics
from services.payments.wire_names import QueueNames

REPOSITORY = Path(__file__).resolve().parents[2]
ASKING = """
import sys, threading, time
from services.payments.topics import purge_acknowledged
from services.payments.wire_names import QueueNames

def ask():
    while True:
        try:
            purge_acknowledged(sys.argv[1], QueueNames("default", "payments"))
            print("answered", flush=True)
        except Exception as error:
            print(repr(error), flush=True)
        time.sleep(0.1)

for _ in range(5):
    threading.Thread(target=ask, daemon=True).start()
ask()
"""

pytestmark = pytest.mark.slow


def test_asking_for_offsets_outlives_the_brokers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    with LocalCluster(3, jvm_options=QUICK_START) as cluster, out.open("wb") as file:
        create_topics(cluster.bootstrap, QueueNames("default", "payments"), 3, 3)
        command = [sys.executable, "-c", ASKING, cluster.bootstrap]
        process = subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": paths}, stdout=file, stderr=file
        )
        try:
            for node_id in (1, 2, 3, 1):
                answered(process, out)
                cluster.kill(node_id)
                answered(process, out)
                cluster.restart(node_id)
        finally:
            process.kill()
            process.wait()


def answered(process: subprocess.Popen[bytes], out: Path, times: int = 30) -> None:
    """It has had so many answers more, and lives."""
    before, deadline = out.read_text().count("answered"), time.monotonic() + 120
    while out.read_text().count("answered") < before + times:
        assert process.poll() is None, f"ended with status {process.returncode}"
        assert time.monotonic() < deadline, out.read_text()[-2000:]
        time.sleep(0.1)
