"""A transaction of a lane that Kafka calls complete and that has no end in its partitions: the
next owner restores all the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.broker import QUICK_START, LocalBroker
from odradek.kafka.client_config import transactional_producer_config
from odradek.processor import faults
from odradek.wire.events import SignalWorkflow
from odradek.wire.state import Row
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Host, Wire, key_for
from tests.kafka.lost_markers import forget_markers
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    """To be killed and started again."""
    with LocalBroker(jvm_options=QUICK_START) as running:
        yield running


def _send(wire: Wire, start: int, stop: int) -> None:
    for number in range(start, stop):
        wire.send(SignalWorkflow(f"w{number % 10}", "slow:1", request_id=str(number)))
    wire.flush()


def _bounds(wire: Wire, topic: str, partition: int) -> tuple[int, int]:
    """(what readers of committed records reach, the end)."""
    reached, end = (
        wire.admin.end_offsets(topic, [partition], committed=committed)[partition]
        for committed in (True, False)
    )
    return reached, end


def _left_by_an_owner_that_died(
    wire: Wire, broker: LocalBroker, command: bytes
) -> dict[tuple[str, str], Row]:
    """After 20 signals, a transaction without a position row that has no end anywhere, and no
    local store; the rows before it.
    """
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    wire.signals(20, 5)
    until(lambda: processor.statistics().totals.inputs >= 20)
    processor.stop()
    before = wire.rows()
    owner = Producer(
        transactional_producer_config(wire.settings, wire.topics.transactional_id(QUEUE, 0))
    )
    owner.init_transactions(30)
    owner.begin_transaction()
    owner.produce(wire.state, b"half of it", b"run/half", 0)
    owner.produce(wire.commands, command, key_for(wire, 0).encode(), 0)
    assert owner.flush(30) == 0
    forget_markers(broker.bootstrap, wire.topics.transactional_id(QUEUE, 0))
    broker.kill()
    broker.start()
    shutil.rmtree(wire.settings.state_dir)
    return before


@pytest.mark.promise("exactly-once")
def test_whole_one_is_committed(broker: LocalBroker, namespace: str, tmp_path: Path) -> None:
    """All of it was written; nobody can tell any more that it was committed, but for its being
    whole.
    """
    wire = Wire(broker.bootstrap, namespace, tmp_path / "state", partitions=1)
    wire.admin.ensure_queue(QUEUE)
    _send(wire, 0, 100)
    with Host(wire, batch=10, fault=f"{faults.AFTER_FLUSH}:kill:8") as first:
        first.wait_killed()
    forget_markers(broker.bootstrap, wire.topics.transactional_id(QUEUE, 0))
    broker.kill()
    broker.start()
    shutil.rmtree(tmp_path / "state")
    with Host(wire, batch=10, log=tmp_path / "log") as second:
        second.line("ready")
        _send(wire, 100, 150)
        wire.assert_exactly_once(150, 10)
        assert second.drain() == 0
    until(
        lambda: len(set(_bounds(wire, wire.state, 0))) == 1
    )  # markers are written behind the answer to a commit
    assert "without an end; ending it by a commit" in (tmp_path / "log").read_text()


@pytest.mark.slow  # as test_one_that_was_aborted_is_aborted_everywhere, for `state` alone
def test_one_without_a_position_row_is_aborted(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    wire = Wire(broker.bootstrap, namespace, tmp_path / "state", partitions=1)
    before = _left_by_an_owner_that_died(wire, broker, b"half of it")
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
    finally:
        processor.stop()
    after = wire.rows()
    position = ("position", "")
    assert {key: row for key, row in after.items() if key != position} == {
        key: row for key, row in before.items() if key != position
    }
