"""A lane that was idle until the broker forgot its producer id. An abort would give the id back
to whoever asks first, be it a zombie (`tests/facts/test_expired_producer.py`): so the lane is
dropped without one, and owned anew only if the group still says that it is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.kafka.client_config import transactional_producer_config
from odradek.processor import lane
from odradek.wire.events import SignalWorkflow
from tests.facts.expiring_broker import expiring_broker, wait_until_expired
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.metrics import totals
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(namespace: str, tmp_path: Path) -> Iterator[Wire]:
    with expiring_broker() as address:
        yield Wire(address, namespace, tmp_path)


def test_it_is_dropped_and_nothing_is_aborted(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    aborts: list[int] = []
    monkeypatch.setattr(lane.Lane, "_abort", lambda self, refusal: aborts.append(self.partition))
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(100, 10)
        until(lambda: totals(processor).inputs == 100)
        ids = [wire.topics.transactional_id(QUEUE, partition) for partition in range(2)]
        for each in ids:  # somebody else owned the partitions since, and rests as well
            Producer(transactional_producer_config(wire.settings, each)).init_transactions(10)
        wait_until_expired(wire.settings.address, *ids)
        for number in range(100, 200):
            wire.send(SignalWorkflow(f"w{number % 10}", "count"))
        wire.flush()
        wire.assert_exactly_once(200, 10)
        # Each lane once; on a machine that stands still for a second, the id that it owned anew is
        # forgotten before its first transaction.
        over_ids = caplog.text.count("dropped: INVALID_PRODUCER_ID_MAPPING")
        assert totals(processor).dropped == over_ids >= 2
        assert all(f".events/{partition} dropped: INVALID" in caplog.text for partition in range(2))
        assert (aborts, totals(processor).refused) == ([], 0)
    finally:
        processor.stop()


def test_a_lane_that_rests_keeps_its_id_by_a_commit_now_and_then(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week is some seconds here, a day a tenth: a producer that began with the lanes and is
    silent is forgotten, theirs are not.
    """
    monkeypatch.setattr(lane, "IDLE_COMMIT_SECONDS", 0.1)
    monkeypatch.setattr(lane, "IDLE_WAKE_SECONDS", 0.1)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(20, 10)
        until(lambda: totals(processor).inputs == 20)
        silent = Producer(
            transactional_producer_config(wire.settings, f"{wire.settings.namespace}-silent")
        )
        silent.init_transactions(10)
        wait_until_expired(wire.settings.address, f"{wire.settings.namespace}-silent")
        for number in range(20, 40):
            wire.send(SignalWorkflow(f"w{number % 10}", "count"))
        wire.flush()
        wire.assert_exactly_once(40, 10)
        assert totals(processor).dropped == 0
    finally:
        processor.stop()
