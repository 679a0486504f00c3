"""Output topics that vanish while lanes run: no input is to blame, so nothing is set aside; the
lane comes back to the same inputs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from odradek.kafka.client_config import admin_config
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import QUEUE, Wire, key_for, until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("partitions", [0, 1, 9], ids=["not yet", "fewer", "more"])
def test_deleted_commands_are_made_anew(wire: Wire, partitions: int) -> None:
    """By the lane, or by somebody else meanwhile, with another number of partitions."""
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        one, other = key_for(wire, 0), key_for(wire, 1)
        wire.send(SignalWorkflow(one, "count"))
        wire.flush()
        until(lambda: wire.counts().get(one) == [1])
        admin = AdminClient(admin_config(wire.settings))
        admin.delete_topics([wire.commands], operation_timeout=20)[wire.commands].result(30)
        until(lambda: wire.commands not in wire.admin.describe([wire.commands]))
        if partitions:
            admin.create_topics([NewTopic(wire.commands, partitions)], operation_timeout=20)[
                wire.commands
            ].result(30)
        for _ in range(5):
            wire.send(SignalWorkflow(one, "count"))
            wire.send(SignalWorkflow(other, "count"))
        wire.flush()
        until(lambda: wire.counts() == {one: list(range(2, 7)), other: list(range(1, 6))}, 120)
        totals = processor.statistics().totals
        assert (totals.parked, totals.dead_letters) == (0, 0)
    finally:
        processor.stop()
