"""A partition that was idle until the broker forgot its producer id. An abort would give the id back
to whoever asks first, be it a zombie (`tests/facts/test_expired_producer.py`): so it is
reset without one, and acquired anew only if the group still says that it is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.kafka.client_config import transactional_producer_config
from odradek.processor import partition
from odradek.wire.events import SignalWorkflow
from tests.facts.expiring_broker import expiring_broker, wait_until_expired
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(namespace: str, tmp_path: Path) -> Iterator[Wire]:
    with expiring_broker() as address:
        yield Wire(address, namespace, tmp_path)


def test_it_is_reset_and_nothing_is_aborted(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    aborts: list[int] = []
    monkeypatch.setattr(
        partition.Partition, "_undo", lambda self, rejection: aborts.append(self.number)
    )
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(100, 10)
        until(lambda: processor.statistics().totals.inputs == 100)
        ids = [wire.topics.transactional_id(QUEUE, partition) for partition in range(2)]
        for each in ids:  # somebody else owned the partitions since, and rests as well
            Producer(transactional_producer_config(wire.settings, each)).init_transactions(10)
        wait_until_expired(wire.settings.address, *ids)
        for number in range(100, 200):
            wire.send(SignalWorkflow(f"w{number % 10}", "count"))
        wire.flush()
        wire.assert_exactly_once(200, 10)
        # Each once; on a machine that stands still for a second, the id that it owned anew is
        # forgotten before its first transaction.
        over_ids = caplog.text.count("is reset: INVALID_PRODUCER_ID_MAPPING")
        assert processor.statistics().totals.dropped == over_ids >= 2
        assert all(f".events/{number} is reset: INVALID" in caplog.text for number in range(2))
        assert (aborts, processor.statistics().totals.refused) == ([], 0)
    finally:
        processor.stop()


def test_an_idle_partition_keeps_its_id_by_a_commit_now_and_then(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week is some seconds here, a day a tenth: a producer that began with the partitions and is
    silent is forgotten, theirs are not.
    """
    monkeypatch.setattr(partition, "IDLE_COMMIT_SECONDS", 0.1)
    monkeypatch.setattr(partition, "TURN_SECONDS", 0.1)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(20, 10)
        until(lambda: processor.statistics().totals.inputs == 20)
        silent = Producer(
            transactional_producer_config(wire.settings, f"{wire.settings.namespace}-silent")
        )
        silent.init_transactions(10)
        wait_until_expired(wire.settings.address, f"{wire.settings.namespace}-silent")
        for number in range(20, 40):
            wire.send(SignalWorkflow(f"w{number % 10}", "count"))
        wire.flush()
        wire.assert_exactly_once(40, 10)
        assert processor.statistics().totals.dropped == 0
    finally:
        processor.stop()
