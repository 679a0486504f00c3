"""Output topics that vanish while lanes run: no input is to blame, so nothing is set aside; the
lane comes back to the same inputs.
"""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from odradek.config import Settings
from odradek.engine import ports
from odradek.engine.ports import Batch, Effects, Outlet, Tables
from odradek.kafka.client_config import admin_config
from odradek.processor import Processor, outlet
from odradek.processor.care import OWNS_BEFORE_CARE
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import CountingEngine, NoActivator, make_processor
from tests.kafka.lane_records import Wire, key_for
from tests.support.metrics import totals
from tests.support.records import QUEUE
from tests.support.until import until


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
        found = totals(processor)
        assert (found.parked, found.dead_letters) == (0, 0)
    finally:
        processor.stop()


class ListingEngine(CountingEngine):
    """Checks a record for `executions` before it counts."""

    def step(self, tables: Tables, outlet: Outlet, batch: Batch) -> Effects:
        if batch.inputs:
            assert isinstance(
                outlet.check(ports.EXECUTIONS, QUEUE, SignalWorkflow("w", "listed")), bytes
            )
        return super().step(tables, outlet, batch)


def _listing(settings: Settings) -> Processor:
    return Processor(
        settings,
        task_queue=QUEUE,
        activator_factory=NoActivator,
        engine_factory=lambda activator, limits: ListingEngine(settings.namespace, QUEUE),
    )


@pytest.mark.timeout(180)
def test_a_careful_lane_that_stops_over_a_missing_topic_blames_no_input(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It named its input, met a topic that is gone, stopped, and has a successor: nobody died."""
    monkeypatch.setattr(outlet, "KNOWN_FOR_SECONDS", 0.1)
    executions = wire.topics.executions
    wire.admin.ensure_queue(QUEUE)
    ours = [
        wire.topics.members,
        wire.topics.replies,
        wire.topics.schemas,
        wire.topics.results,
        executions,
    ]
    wire.admin.ensure([*ours, wire.commands, wire.dead_letters])
    settings = wire.settings.replace(create_topics=False)
    for _ in range(OWNS_BEFORE_CARE):  # owners without progress, as those that die are
        processor = _listing(settings)
        processor.start()
        try:
            processor.wait_ready(30)
        finally:
            processor.stop(drain=False)
    processor = _listing(settings)
    processor.start()
    try:
        processor.wait_ready(30)
        one = key_for(wire, 0)
        admin = AdminClient(admin_config(settings))
        admin.delete_topics([executions], operation_timeout=20)[executions].result(30)
        until(lambda: executions not in wire.admin.describe([executions]))
        wire.send(SignalWorkflow(one, "count"))
        wire.flush()
        until(lambda: processor.statistics().lanes[0].state == "FAILED", 60)
        wire.admin.ensure([executions])
        until(lambda: wire.counts() == {one: [1]}, 60)
        found = totals(processor)
        assert (found.parked, found.dead_letters) == (0, 0)
    finally:
        processor.stop()
