"""Errors after which nothing is believed: fenced, outcome unknown, too slow. The partition is
reset without an abort, and acquired anew if it is still ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek.broker import QUICK_START, LocalBroker
from odradek.kafka.client_config import transactional_producer_config
from odradek.processor import Processor, faults, transaction
from odradek.processor import partition as partition_module
from odradek.processor.group import Group
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path, transaction_timeout=timedelta(seconds=5))


@pytest.fixture
def processor(wire: Wire) -> Iterator[Processor]:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    yield processor
    processor.stop()


def _resets(processor: Processor) -> int:
    return int(processor.statistics().totals.dropped)


@pytest.mark.promise("exactly-once")
def test_fenced_partition_is_acquired_anew(wire: Wire, processor: Processor) -> None:
    """Somebody used the transactional ids; the group still gives us the partitions: the
    partitions are acquired anew, the process goes on.
    """
    wire.signals(100, 10)
    until(lambda: processor.statistics().totals.inputs == 100)
    for partition in range(2):
        other = Producer(
            transactional_producer_config(
                wire.settings, wire.topics.transactional_id(QUEUE, partition)
            )
        )
        other.init_transactions(30)
    for number in range(100, 200):
        wire.send(SignalWorkflow(f"w{number % 10}", "count"))
    wire.flush()
    wire.assert_exactly_once(200, 10)
    assert _resets(processor) == 2
    assert processor.statistics().totals.refused == 0


@pytest.mark.promise("exactly-once")
def test_unknown_outcome_of_a_commit(
    wire: Wire, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that times out may have happened. Each reset restores from `state` what is true."""
    monkeypatch.setattr(transaction, "COMMIT_TIMEOUT_SECONDS", 0.0005)
    monkeypatch.setattr(partition_module, "INPUTS_MAX", 5)
    wire.signals(100, 10)
    until(lambda: _resets(processor) >= 4)
    monkeypatch.setattr(transaction, "COMMIT_TIMEOUT_SECONDS", 15.0)
    wire.assert_exactly_once(100, 10)


@pytest.mark.promise("exactly-once")
def test_owner_slower_than_the_transaction_timeout(namespace: str, tmp_path: Path) -> None:
    """The broker ends the transaction and fences the producer, though nobody took over. This one
    looks twice a second, not every 10 s.
    """
    stood: list[int] = []
    with LocalBroker(
        jvm_options=QUICK_START,
        config={"transaction.abort.timed.out.transaction.cleanup.interval.ms": 500},
    ) as broker:
        wire = Wire(broker.bootstrap, namespace, tmp_path, transaction_timeout=timedelta(seconds=2))
        processor = make_processor(wire.settings, QUEUE)
        processor.start()
        try:
            processor.wait_ready(30)
            assert processor._group is not None

            def ends(partition: int, *, committed: bool) -> int:
                return wire.admin.end_offsets(wire.state, [partition], committed=committed)[
                    partition
                ]

            def stand_still(partition: int, point: str) -> None:
                if point != faults.AFTER_FLUSH or stood:
                    return
                stood.append(partition)
                assert ends(partition, committed=True) < ends(partition, committed=False), (
                    "it is open"
                )
                until(lambda: ends(partition, committed=True) == ends(partition, committed=False))

            for number, thread in processor._group.threads.items():
                thread.partition._transactions._fault = partial(stand_still, number)
            wire.signals(100, 10)
            wire.assert_exactly_once(100, 10, timeout=60)
            assert (
                stood and _resets(processor) >= 1
            )  # more than once where the machine stood still for as long
        finally:
            processor.stop()


def test_defect_of_the_host(
    wire: Wire, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an exception of the watchdog that comes late: the partition is acquired anew, the position
    tells what is done.
    """
    real = partition_module.input_records
    failures = iter([KeyboardInterrupt("late"), RuntimeError("defect"), None])

    def outputs(*arguments: Any) -> Any:
        error = next(failures, None)
        if error is not None:
            raise error
        return real(*arguments)

    monkeypatch.setattr(partition_module, "input_records", outputs)
    wire.signals(100, 10)
    wire.assert_exactly_once(100, 10)
    assert _resets(processor) == 2


@pytest.mark.parametrize("by", [7, -7], ids=["skips", "goes back"])
def test_consumer_that_begins_elsewhere_is_noticed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, by: int
) -> None:
    """A seek that was undone would lose inputs, or apply them again, without a sign: the first
    record is compared with the position.
    """
    real = Group._do_seek
    undone: list[int] = []

    def wrong(self: Group, partition: int, offset: int, epoch: int, **more: int) -> None:
        if partition not in undone:
            undone.append(partition)
            offset = max(0, offset + by)
        real(self, partition, offset, epoch, **more)

    first = make_processor(wire.settings, QUEUE)
    first.start()
    try:
        wire.signals(50, 10)
        wire.assert_exactly_once(50, 10)
    finally:
        first.stop()
    monkeypatch.setattr(Group, "_do_seek", wrong)
    for number in range(50, 100):
        wire.send(SignalWorkflow(f"w{number % 10}", "count", request_id=str(number)))
    wire.flush()
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        wire.assert_exactly_once(100, 10)
        assert _resets(processor) == 2
    finally:
        processor.stop()


def test_control_records_before_the_first_record(wire: Wire) -> None:
    """They leave a gap that is none."""
    wire.admin.ensure_queue(QUEUE)
    for partition in range(2):
        foreign = Producer(
            transactional_producer_config(wire.settings, f"{wire.settings.namespace}-{partition}")
        )
        foreign.init_transactions(30)
        foreign.begin_transaction()
        foreign.produce(wire.events, b"aborted", b"k", partition)
        foreign.flush(10)
        foreign.abort_transaction(10)
    wire.signals(100, 10)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        wire.assert_exactly_once(100, 10)
        assert _resets(processor) == 0
    finally:
        processor.stop()
