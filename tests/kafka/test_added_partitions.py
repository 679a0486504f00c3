"""Somebody adds partitions to a living queue's `events`, and Kafka takes none away: nothing is
lost or done twice, the queue lives on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from odradek.exceptions import PartitionCountError
from odradek.kafka.client_config import admin_config
from odradek.processor import Processor
from odradek.wire.events import SignalWorkflow
from odradek.wire.headers import FORWARDED_FROM, header
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Host, Wire, key_for, start_error
from tests.support.records import QUEUE
from tests.support.until import until

PARTITIONS, GROWN = 2, 5
WORKFLOWS = 20
KAFKA = {
    "topic.metadata.refresh.interval.ms": "200"
}  # a running member sees the new partitions soon
FAULTS = ["after-begin", "after-produce", "before-commit", "after-commit"]


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path, partitions=PARTITIONS, kafka=KAFKA)


def grow(wire: Wire, *topics: str) -> None:
    """Add partitions, as `kafka-topics --alter --partitions` does."""
    admin = AdminClient(admin_config(wire.settings))
    for topic in topics:
        admin.create_partitions([NewPartitions(topic, GROWN)])[topic].result(20)
    until(lambda: all(facts.partitions == GROWN for facts in wire.admin.describe(topics).values()))


def foreign(wire: Wire) -> Wire:
    """A producer that begins now: by Kafka's own partitioner over all partitions that there are."""
    settings = wire.settings
    return Wire(settings.address, settings.namespace, settings.state_dir, partitions=PARTITIONS)


def signals(wire: Wire, start: int, stop: int) -> None:
    for number in range(start, stop):
        wire.send(SignalWorkflow(f"w{number % WORKFLOWS}", "count", request_id=str(number)))
    wire.flush()


def ends_of_the_new(wire: Wire) -> dict[int, int]:
    return wire.admin.end_offsets(wire.events, range(PARTITIONS, GROWN), committed=False)


def started(wire: Wire) -> Processor:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    return processor


def test_while_a_processor_runs(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    processor = started(wire)
    try:
        signals(wire, 0, 100)
        wire.assert_exactly_once(100, WORKFLOWS)
        grow(wire, wire.events)
        signals(foreign(wire), 100, 300)
        assert all(end > 0 for end in ends_of_the_new(wire).values()), (
            "nothing lies on the new partitions"
        )
        wire.assert_exactly_once(300, WORKFLOWS)
        found = processor.statistics()
        assert sorted(found.lanes) == list(range(GROWN)) and all(
            lane.running for lane in found.lanes.values()
        )
        assert found.totals.forwarded >= sum(ends_of_the_new(wire).values())
        assert [bool(lane.error) for _, lane in sorted(found.lanes.items())] == [
            False
        ] * PARTITIONS + [True] * (GROWN - PARTITIONS)
        assert f"{wire.events} has partitions that its state was not written for" in caplog.text
        # What has been forwarded stands on the partition of its workflow, and no longer here.
        until(
            lambda: (
                wire.admin.start_offsets(wire.events, range(PARTITIONS, GROWN))
                == ends_of_the_new(wire)
            )
        )
        assert any(
            header(m.headers(), FORWARDED_FROM).startswith(f"{wire.events}/{GROWN - 1}/")
            for m in wire.read(wire.events)
        )
        assert not wire.read(wire.dead_letters)
    finally:
        processor.stop()


def test_while_none_runs(wire: Wire) -> None:
    processor = started(wire)
    signals(wire, 0, 40)
    wire.assert_exactly_once(40, WORKFLOWS)
    processor.stop()
    grow(wire, wire.events)
    signals(foreign(wire), 40, 240)
    for upto in (240, 260):
        processor = started(wire)
        try:
            signals(foreign(wire), 240, upto)
            wire.assert_exactly_once(upto, WORKFLOWS)
        finally:
            processor.stop()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            one, marks=[pytest.mark.slow] if one in ("after-begin", "after-produce") else []
        )
        for one in FAULTS
    ],
)
def test_killed_while_it_forwards(fault: str, wire: Wire) -> None:
    """At each step of transactions, most of them forwarding: the successor forwards what is
    left, once.
    """
    with Host(wire) as host:
        host.line("ready")
        signals(wire, 0, 40)
        wire.assert_exactly_once(40, WORKFLOWS)
        assert host.drain() == 0
    grow(wire, wire.events)
    late = foreign(wire)
    for number in range(
        40, 140
    ):  # on the new partitions alone: the first transactions with inputs are those that forward
        late.send(
            SignalWorkflow(f"w{number % WORKFLOWS}", "count"),
            partition=PARTITIONS + number % WORKFLOWS % (GROWN - PARTITIONS),
        )
    late.flush()
    for nth in (
        PARTITIONS + 1,
        PARTITIONS + 3,
    ):  # each lane that counts begins with a transaction for its position
        with Host(wire, fault=f"{fault}:kill:{nth}", batch=3) as host:
            host.wait_killed()
    with Host(wire) as host:
        wire.assert_exactly_once(140, WORKFLOWS)
        assert host.drain() == 0


def test_group_offsets_that_the_broker_has_forgotten(wire: Wire) -> None:
    """Those of a group without members go after a week. The log start tells what was forwarded."""
    processor = started(wire)
    signals(wire, 0, 40)
    wire.assert_exactly_once(40, WORKFLOWS)
    grow(wire, wire.events)
    signals(foreign(wire), 40, 140)
    wire.assert_exactly_once(140, WORKFLOWS)
    processor.stop()
    group = wire.topics.processor_group(QUEUE)
    until(lambda: wire.admin.delete_groups([group]) == [group], 30, "a group that can be deleted")
    processor = started(wire)
    try:
        signals(foreign(wire), 140, 160)
        wire.assert_exactly_once(160, WORKFLOWS)
    finally:
        processor.stop()


def test_state_has_got_more_as_well(wire: Wire) -> None:
    """Added to both by somebody who meant well. The setting still says which count; a setting
    that follows them is wrong.
    """
    processor = started(wire)
    signals(wire, 0, 40)
    wire.assert_exactly_once(40, WORKFLOWS)
    processor.stop()
    grow(wire, wire.events, wire.state)
    signals(foreign(wire), 40, 140)
    follows = Wire(
        wire.settings.address, wire.settings.namespace, wire.settings.state_dir, partitions=GROWN
    )
    error = start_error(follows)
    assert isinstance(error, PartitionCountError) and (error.expected, error.found) == (
        PARTITIONS,
        GROWN,
    )
    assert f"Set `partitions` to {PARTITIONS}" in str(error)


def test_setting_below_the_number_that_a_queue_was_made_with(wire: Wire) -> None:
    """Its upper partitions are no strangers: nothing is forwarded from them, also where not all
    have been written.
    """
    grown = Wire(
        wire.settings.address, wire.settings.namespace, wire.settings.state_dir, partitions=GROWN
    )
    grown.admin.ensure_queue(QUEUE)
    for _ in range(2):
        error = start_error(wire)
        assert isinstance(error, PartitionCountError) and (error.expected, error.found) == (
            PARTITIONS,
            GROWN,
        )
        processor = started(grown)
        processor.stop()


def test_records_that_belong_nowhere_are_dead_letters(wire: Wire) -> None:
    processor = started(wire)
    try:
        grow(wire, wire.events)
        late = foreign(wire)
        late.send_raw(b"?", b"\x07no record", partition=GROWN - 1)
        late.send(SignalWorkflow(key_for(wire, 0), "count"), partition=GROWN - 1)
        late.flush()
        until(lambda: wire.counts() == {key_for(wire, 0): [1]})
        assert [m.value() for m in until(lambda: wire.read(wire.dead_letters))] == [
            b"\x07no record"
        ]
        group = wire.topics.processor_group(QUEUE)
        committed = wire.admin.committed_offsets(group, wire.events, [GROWN - 1])
        assert committed == {GROWN - 1: 2}, TopicPartition(wire.events, GROWN - 1)
    finally:
        processor.stop()
