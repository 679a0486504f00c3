"""Records whose schema nobody knows: how long their partition waits."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.processor import Processor
from odradek.wire.codec import SINGLE_OBJECT_MARKER
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import QUEUE, Wire, key_for, until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path)


@pytest.fixture
def processor(wire: Wire) -> Iterator[Processor]:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    yield processor
    processor.stop()


def test_a_producer_of_unknown_schemas_does_not_hold_its_partition_each_time(
    wire: Wire, processor: Processor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is waited for; those that follow for a moment: whoever publishes before writing, as the contract asks, needs no more."""
    monkeypatch.setattr("odradek.processor.lane.SCHEMA_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("odradek.processor.lane.SCHEMA_MOMENT_SECONDS", 0.25)
    caplog.set_level(logging.INFO, "odradek.processor.lane")
    workflow_id = key_for(wire, 0)
    for number in range(4):
        wire.send_raw(workflow_id.encode(), SINGLE_OBJECT_MARKER + b"1234567%d" % number + b"data")
    wire.send(SignalWorkflow(workflow_id, "after"))
    wire.flush()
    until(lambda: wire.counts() == {workflow_id: [1]})
    assert re.findall(r"waiting for schema \S+.*?, ([\d.]+) s at most", caplog.text) == ["0.5", "0.25", "0.25", "0.25"]
