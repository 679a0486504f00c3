"""Partitions that stand still, seen from outside on a real broker: one whose code does not come back,
and a whole process that is stopped.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from odradek import cli
from odradek.processor.errors import PartitionReset
from odradek.processor.partition import Partition
from odradek.processor.partition_state import PartitionBatch
from odradek.web.kafka.facts import SILENT_AFTER_MS, STALLED_AFTER_MS
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Host, Wire, key_for
from tests.support.records import QUEUE
from tests.support.until import until

pytestmark = pytest.mark.timeout(180)
Describe = Callable[..., str]


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    wire = Wire(bootstrap, namespace, tmp_path)
    wire.admin.ensure_queue(QUEUE)
    return wire


@pytest.fixture
def describe(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Describe:
    """`odradek task-queue describe` as somebody types it elsewhere: it has never heard of the
    queue before.
    """
    monkeypatch.setenv("ODRADEK_ADDRESS", str(wire.settings.address))
    monkeypatch.setenv("ODRADEK_NAMESPACE", wire.settings.namespace)

    def run(*more: str) -> str:
        capsys.readouterr()
        assert cli.main(["task-queue", "describe", "-t", QUEUE, "--interval", "0", *more]) == 0
        return capsys.readouterr().out

    return run


def partitions(describe: Describe) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(describe("-o", "json"))["partitions"]
    return found


def those(describe: Describe, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The partitions, if the condition holds for all of them."""
    found = partitions(describe)
    return found if all(map(condition, found)) else []


def test_a_partition_whose_code_does_not_come_back(
    wire: Wire, describe: Describe, tmp_path: Path
) -> None:
    """Its process goes on to report, and its neighbour to work: only the lane's own word tells."""
    blocked, free, flag = key_for(wire, 0), key_for(wire, 1), tmp_path / "flag"
    with Host(wire) as host:
        host.line("ready")
        until(lambda: [one["state"] for one in partitions(describe)] == ["RUNNING", "RUNNING"])
        assert "Stuck" not in describe()
        wire.send(SignalWorkflow(blocked, f"hold:{flag}"))
        wire.send(SignalWorkflow(blocked, "count"))
        wire.flush()

        def stalled() -> dict[str, Any] | None:
            first = partitions(describe)[0]
            return (
                first
                if first["stalled_ms"] >= STALLED_AFTER_MS and first["silent_ms"] < SILENT_AFTER_MS
                else None
            )

        first = until(stalled)
        assert first["state"] == "RUNNING" and first["owner"] and first["lag"] == 2
        wire.send(SignalWorkflow(free, "count"))
        wire.flush()
        until(lambda: wire.counts().get(free) == [1])
        said = describe()
        assert (
            "Stuck" in said
            and "partition 0: no progress" in said
            and re.search(r"none for \d\d", said)
        ), said
        assert "partition 1" not in said
        until(lambda: partitions(describe)[1]["stalled_ms"] < STALLED_AFTER_MS)
        flag.touch()
        until(lambda: wire.counts().get(blocked) == [1, 2])
        until(lambda: "Stuck" not in describe())
        assert partitions(describe)[0]["lag"] == 0
        assert host.drain() == 0


@pytest.mark.slow
def test_a_processor_that_is_stopped(wire: Wire, describe: Describe) -> None:
    """SIGSTOP: its last word says that all is well. It is silent while it still counts as the
    owner, and afterwards as well.
    """
    with Host(wire) as host:
        host.line("ready")
        until(lambda: [one["state"] for one in partitions(describe)] == ["RUNNING", "RUNNING"])
        os.kill(host.pid, signal.SIGSTOP)
        host.wait_stopped()
        silent = until(lambda: those(describe, lambda one: one["silent_ms"] >= SILENT_AFTER_MS), 30)
        assert all(one["owner"] and one["state"] == "RUNNING" for one in silent), (
            "nobody has declared it dead yet"
        )
        said = describe()
        assert "partition 0, 1: whoever has it says nothing" in said and "silent for" in said, said
        gone = until(lambda: those(describe, lambda one: not one["owner"]), 30)
        assert all(
            one["silent_ms"] >= SILENT_AFTER_MS and one["stalled_ms"] is None for one in gone
        )
        assert "silent for" in describe()
        os.kill(host.pid, signal.SIGCONT)
        until(lambda: "Stuck" not in describe(), 60)
        wire.send(SignalWorkflow(key_for(wire, 0), "count"))
        wire.flush()
        until(lambda: wire.counts().get(key_for(wire, 0)) == [1])


def test_a_partition_that_is_reset_again_and_again_makes_no_progress(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It owns, restores and begins anew each time, and is at the same input all along; its
    neighbour has nothing to do, which is fine.
    """
    real = Partition._commit

    def commit(self: Partition, batch: PartitionBatch) -> None:
        if self.number == 0 and batch.messages:
            raise PartitionReset("trouble of the cluster")
        real(self, batch)

    monkeypatch.setattr(Partition, "_commit", commit)
    processor = make_processor(wire.settings, QUEUE)

    def standing() -> list[int]:
        """By two clocks, which a machine may stand still between: the middle one of three looks."""
        looks = [
            [status.progress_time_ms for status in processor.lane_statuses()] for _ in range(3)
        ]
        return [sorted(each)[1] for each in zip(*looks, strict=True)]

    processor.start()
    try:
        processor.wait_ready(30)
        wire.send(SignalWorkflow(key_for(wire, 0), "count"))
        wire.flush()
        until(lambda: processor.statistics().totals.dropped >= 2)
        first, neighbour = standing()
        until(lambda: processor.statistics().totals.dropped >= 6)
        assert abs(standing()[0] - first) < 50, (
            "each own restored something and committed a position, which is no progress"
        )
        until(lambda: standing()[1] > neighbour)
        monkeypatch.setattr(Partition, "_commit", real)
        until(lambda: wire.counts() == {key_for(wire, 0): [1]})
        until(lambda: standing()[0] > first + 50)
    finally:
        processor.stop()
