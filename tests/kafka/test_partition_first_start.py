"""A first start that does not come to its end is followed by another first start, not by "the
state of this partition was lost".
"""

from __future__ import annotations

import threading

import pytest

from odradek.kafka.admin import ClusterAdmin
from odradek.processor.errors import PartitionReset
from odradek.processor.group import Group
from odradek.processor.partition import Partition
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.mark.promise("exactly-once")
def test_group_offset_never_comes_before_the_position_row(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first transaction of a new broker takes seconds; the group commits its offsets every
    second; then the owner goes away.

    An offset committed before the row would trip the next owner for ever.
    """
    ordinary = Partition._count_crash
    rounds = threading.Semaphore(0)
    turns = Group._commit_offsets

    def commit_offsets(group: Group, *, final: bool = False) -> None:
        turns(group, final=final)
        rounds.release()

    def slow(partition: Partition) -> None:
        for _ in range(4):  # two rounds at least lie between the position's being known and here
            rounds.acquire(timeout=0 if partition._stopping.is_set() else 2)
        raise PartitionReset("the first transaction had no time to end")

    monkeypatch.setattr(Group, "_commit_offsets", commit_offsets)
    monkeypatch.setattr(Partition, "_count_crash", slow)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        until(lambda: processor.statistics().totals.dropped >= 2)
    finally:
        processor.stop()  # drained: what is committed at the end counts too
    group = wire.topics.processor_group(QUEUE)
    assert ClusterAdmin(wire.settings).committed_offsets(group, wire.events, range(2)) == {}

    monkeypatch.setattr(Partition, "_count_crash", ordinary)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(20, 4)
        until(lambda: processor.statistics().totals.inputs == 20)
        until(
            lambda: (
                len(ClusterAdmin(wire.settings).committed_offsets(group, wire.events, range(2)))
                == 2
            )
        )
    finally:
        processor.stop()
