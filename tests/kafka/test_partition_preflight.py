"""Tripwires: what a lane meets at its start that it must not guess over. Each stops loudly, with
cause and cure, and changes nothing.
"""

from __future__ import annotations

import shutil

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from odradek.exceptions import (
    InputGapError,
    LaneError,
    PartitionCountError,
    TopicRecreatedError,
    TopicSettingError,
)
from odradek.kafka.client_config import admin_config
from odradek.processor import Processor
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import CountingEngine, make_processor
from tests.kafka.lane_records import Wire, commit, key_for, start_error
from tests.support.records import QUEUE
from tests.support.until import until


def _applied(wire: Wire, count: int) -> None:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(count, 10)
        until(lambda: processor.statistics().totals.inputs >= count)
    finally:
        processor.stop()


def _recreate(wire: Wire, topic: str) -> None:
    admin = AdminClient(admin_config(wire.settings))
    admin.delete_topics([topic], operation_timeout=20)[topic].result(30)
    until(lambda: topic not in wire.admin.describe([topic]))
    wire.admin.ensure([topic])


def test_partition_count_that_changed(wire: Wire) -> None:
    _applied(wire, 20)
    admin = AdminClient(admin_config(wire.settings))
    for topic in (wire.events, wire.state):
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
    until(
        lambda: all(
            facts.partitions == 4
            for facts in wire.admin.describe([wire.events, wire.state]).values()
        )
    )
    grown = Wire(
        wire.settings.address, wire.settings.namespace, wire.settings.state_dir, partitions=4
    )
    error = start_error(grown)  # setting and topics agree, but the state was hashed over 2
    assert isinstance(error, PartitionCountError)
    assert (error.expected, error.found) == (2, 4)


@pytest.mark.promise("no-guess")
def test_events_made_anew(wire: Wire) -> None:
    _applied(wire, 20)
    _recreate(wire, wire.events)
    error = start_error(wire)
    assert isinstance(error, TopicRecreatedError)
    assert error.topic == wire.events


@pytest.mark.promise("no-guess")
def test_state_made_anew(wire: Wire) -> None:
    """Its rows are gone: no position row, but the group has committed offsets."""
    _applied(wire, 20)
    _recreate(wire, wire.state)
    error = start_error(wire)
    assert isinstance(error, LaneError)
    assert "no first start" in str(error)
    assert "committed offset" in str(error)


def test_state_deleted_and_store_wiped(wire: Wire) -> None:
    _applied(wire, 20)
    ends = wire.admin.end_offsets(wire.state, range(2), committed=False)
    shutil.rmtree(wire.settings.state_dir)
    admin = AdminClient(admin_config(wire.settings))

    def set_policy(policy: str) -> None:
        entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, wire.state, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)
        until(
            lambda: wire.admin.topic_settings([wire.state])[wire.state]["cleanup.policy"] == policy
        )

    set_policy("delete")  # Kafka deletes no records of a compacted topic

    def deleted() -> bool:
        try:
            wire.admin.delete_records({(wire.state, p): end for p, end in ends.items()})
        except KafkaException as error:  # the broker hears of the new policy a moment later
            assert "POLICY_VIOLATION" in str(error)
            return False
        return True

    until(deleted)
    assert isinstance(start_error(wire), TopicSettingError), (
        "what would lose more of it comes first"
    )
    set_policy("compact")
    error = start_error(wire)
    assert "no first start" in str(error)
    assert "begins at offset" in str(error)


def test_records_deleted_before_they_were_read(wire: Wire) -> None:
    _applied(wire, 20)
    wire.signals(40, 10)
    starts = wire.admin.end_offsets(wire.events, range(2), committed=False)
    wire.admin.delete_records({(wire.events, p): end - 1 for p, end in starts.items()})
    error = start_error(wire)
    assert isinstance(error, InputGapError)
    assert error.log_start > error.position


def test_events_deleted_before_a_first_start(wire: Wire) -> None:
    wire.admin.ensure_queue(QUEUE)
    wire.signals(20, 10)
    ends = wire.admin.end_offsets(wire.events, range(2), committed=False)
    wire.admin.delete_records({(wire.events, p): end for p, end in ends.items()})
    error = start_error(wire)
    assert "no first start" in str(error)
    assert "were deleted" in str(error)


def test_group_offset_before_a_first_start(wire: Wire) -> None:
    wire.admin.ensure_queue(QUEUE)
    group = wire.topics.processor_group(QUEUE)
    consumer = Consumer({"bootstrap.servers": wire.settings.address, "group.id": group})
    commit(consumer, *(TopicPartition(wire.events, p, 0) for p in range(2)))
    consumer.close()
    error = start_error(wire)
    assert "no first start" in str(error)


@pytest.mark.promise("no-guess")
def test_gap_while_running(wire: Wire) -> None:
    """delete_records ahead of a paused reader: one `_AUTO_OFFSET_RESET` event, then silence. The
    lane stops; the other goes on.
    """
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        victim, other = key_for(wire, 0), key_for(wire, 1)
        CountingEngine.gate.clear()
        CountingEngine.at_gate.clear()
        _stall(wire, processor, victim)
        wire.admin.delete_records(
            {(wire.events, 0): wire.admin.end_offsets(wire.events, [0], committed=False)[0]}
        )
        CountingEngine.gate.set()
        status = until(
            lambda: next(
                (s for s in processor.lane_statuses() if s.partition == 0 and s.state == "STOPPED"),
                None,
            ),
            60,
        )
        assert "were deleted before they were read" in status.error
        wire.send(SignalWorkflow(other, "count"))
        wire.flush()
        until(lambda: wire.counts().get(other) == [1])
    finally:
        CountingEngine.gate.set()
        processor.stop()


def _stall(wire: Wire, processor: Processor, victim: str) -> None:
    """Fill the lane of partition 0 until it pauses the partition, with more behind that is not
    fetched any more.
    """
    wire.send(SignalWorkflow(victim, "gate"))
    wire.flush()
    assert CountingEngine.at_gate.wait(
        30
    )  # from here on it takes nothing: else it could leave the queue just short of full, and paused
    for _ in range(6_000):
        wire.send(SignalWorkflow(victim, "count"))
    wire.flush()
    until(lambda: processor.statistics().lanes[0].queued >= 2_000)
