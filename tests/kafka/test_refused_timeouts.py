"""Timeouts that the brokers do not take are said with the setting's name and theirs; a worker
that could do nothing ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.exceptions import ConfigurationError
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    """One that takes 10 s and more for a session, and 5 s at most for a transaction."""
    config = {"group.min.session.timeout.ms": 10_000, "transaction.max.timeout.ms": 5_000}
    with LocalBroker(jvm_options=QUICK_START, config=config) as running:
        yield running


SERVES = {
    "workflows": ["benchmarks.saga:WORKFLOWS"],
    "activities": ["--activities", "benchmarks.saga:ACTIVITIES"],
}


@pytest.mark.parametrize("what", SERVES.values(), ids=SERVES)
def test_a_session_timeout_that_no_broker_takes_ends_the_worker(
    broker: LocalBroker, what: list[str], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "odradek.cli",
        "worker",
        *what,
        "--task-queue",
        "short",
        "--address",
        broker.bootstrap,
    ]
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    more = {
        "PYTHONPATH": paths,
        "ODRADEK_STATE_DIR": str(tmp_path),
        "ODRADEK_TRANSACTION_TIMEOUT": "5 s",
    }
    done = subprocess.run(
        command, env=os.environ | more, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, "as of any wrong setting"
    said = done.stderr.strip().splitlines()[-1]
    assert "the setting `session_timeout`" in said and "`group.min.session.timeout.ms`" in said, (
        done.stderr
    )


def test_a_transaction_timeout_that_no_broker_takes_stops_the_lanes(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    wire = Wire(
        broker.bootstrap,
        namespace,
        tmp_path,
        transaction_timeout=timedelta(seconds=6),
        session_timeout=timedelta(seconds=10),
    )
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        with pytest.raises(
            ConfigurationError,
            match=r"the setting `transaction_timeout`.*`transaction\.max\.timeout\.ms`",
        ):
            processor.wait_ready(30)
    finally:
        processor.stop()
