"""Restore: the local store is a copy of the changelog, whatever happened to it."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from odradek.client import Client
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import admin_config
from odradek.processor import Processor
from odradek.processor.store import PartitionStore, StoreIdentity
from odradek.wire.events import SignalWorkflow
from odradek.worker import Worker
from tests.kafka.client_workflows import Gate
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire, open_transaction_of
from tests.support.records import QUEUE
from tests.support.until import until

Rows = dict[int, dict[bytes, bytes]]


def _ready(wire: Wire) -> Processor:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    return processor


def _run(wire: Wire, count: int) -> None:
    """A processor applies `count` more inputs and drains."""
    processor = _ready(wire)
    try:
        wire.signals(count, 5)
        until(lambda: processor.statistics().totals.inputs >= count)
    finally:
        processor.stop()


def _store_path(wire: Wire, partition: int) -> Path:
    (path,) = wire.settings.state_dir.glob(f"*/slot-0/{partition}")
    return path


def _identity(wire: Wire, partition: int) -> StoreIdentity:
    facts = wire.admin.describe([wire.events, wire.state])
    return StoreIdentity(
        wire.admin.cluster_id(), facts[wire.state].topic_id, facts[wire.events].topic_id, partition
    )


def _rows(wire: Wire) -> Rows:
    """All rows of the local stores, without the position row (each own writes it anew)."""
    found: Rows = {}
    for partition in range(wire.settings.partitions):
        store = PartitionStore.open(_store_path(wire, partition), _identity(wire, partition))
        found[partition] = {
            key: value for key, value in store.items() if not key.startswith(b"position/")
        }
        store.close()
    return found


@pytest.mark.promise("store")
def test_wiped_store_is_restored_equal(wire: Wire) -> None:
    _run(wire, 200)
    before = _rows(wire)
    assert sum(map(len, before.values())) == 200 + 5 + 5  # history, run and workflow rows
    shutil.rmtree(wire.settings.state_dir)
    processor = _ready(wire)
    restored = processor.statistics().totals.restored
    processor.stop()
    assert restored >= 210
    assert _rows(wire) == before
    _run(wire, 50)
    assert sum(map(len, wire.counts().values())) == 250


def test_kept_store_reads_only_what_it_lacks(wire: Wire) -> None:
    _run(wire, 200)
    processor = _ready(wire)
    restored = processor.statistics().totals.restored
    processor.stop()
    assert restored == 0


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_corrupt_store_is_rebuilt(
    damage: str, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    _run(wire, 200)
    before = _rows(wire)
    for partition in range(wire.settings.partitions):
        path = _store_path(wire, partition)
        for file in [*path.glob("*.sst"), *path.glob("MANIFEST-*")]:
            data = file.read_bytes()
            file.write_bytes(
                data[: len(data) // 2]
                if damage == "truncated"
                else data[:20] + bytes(len(data) - 40) + data[-20:]
            )
    processor = _ready(wire)
    processor.stop()
    assert caplog.text.count("is rebuilt from the changelog") == 2
    assert _rows(wire) == before


def test_a_row_that_the_changelog_has_unreadable_stops_its_partition(wire: Wire) -> None:
    """The store is no better for being rebuilt: once, and then the partition says what it is."""
    _run(wire, 20)
    *_, (key, value) = [
        (key, value)
        for message in wire.read(wire.state)
        if not message.partition()
        and (key := message.key())
        and key.startswith(b"position/")
        and (value := message.value())
    ]
    wire.send_raw(key, value[:2] + bytes(8) + value[10:], partition=0, topic=wire.state)
    wire.flush()
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        with pytest.raises(
            OdradekError, match=r"row 'position/.*' cannot be read.*newer version wrote it"
        ):
            processor.wait_ready(30)
    finally:
        processor.stop()
    wire.send_raw(key, value, partition=0, topic=wire.state)
    wire.flush()
    _run(wire, 20)


async def test_a_bit_that_flipped_in_the_store_costs_no_input(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """RocksDB tells by its checksum, while the engine reads: that was a defect of the engine,
    and good inputs were dead letters.
    """
    wire = Wire(
        wire.settings.address, wire.settings.namespace, wire.settings.state_dir, partitions=1
    )
    ids = [f"w{n:03d}" for n in range(200)]
    client = await Client.connect(settings=wire.settings)
    async with client, Worker(client, task_queue=QUEUE, workflows=[Gate]):
        await asyncio.gather(
            *(client.start_workflow(Gate.run, id=each, task_queue=QUEUE) for each in ids)
        )
        await client.get_workflow_handle(ids[0], task_queue=QUEUE).describe()
    (path,) = wire.settings.state_dir.glob("*/slot-0/0")
    table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) * 6 // 10] ^= 1
    table.write_bytes(data)
    client = await Client.connect(settings=wire.settings)
    async with client, Worker(client, task_queue=QUEUE, workflows=[Gate]):
        handles = [client.get_workflow_handle(each, task_queue=QUEUE) for each in ids]
        await asyncio.gather(*(handle.signal("finish") for handle in handles))
        await asyncio.gather(*(handle.result() for handle in handles))
    assert "is reset: " in caplog.text and "block checksum mismatch" in caplog.text, "it was met"
    assert not wire.read(wire.dead_letters)


@pytest.mark.promise("store")
def test_store_of_another_topic_is_rebuilt(wire: Wire) -> None:
    """Such as `odradek dev` with a new cluster over an old state directory."""
    _run(wire, 100)
    before = _rows(wire)
    path = _store_path(wire, 0)
    shutil.rmtree(path)
    alien = PartitionStore.open(path, StoreIdentity("another cluster", "s", "e", 0))
    alien.apply([(b"run/alien", b"x")], 5, 1)
    alien.close()
    processor = _ready(wire)
    processor.stop()
    assert _rows(wire) == before


def test_store_older_than_tombstones_is_rebuilt(wire: Wire) -> None:
    _run(wire, 100)
    before = _rows(wire)
    for partition in range(2):
        store = PartitionStore.open(_store_path(wire, partition), _identity(wire, partition))
        # It holds a row whose tombstone it will never see: compaction has taken it meanwhile.
        store.apply([(b"run/deleted-long-ago", b"x")], store.changelog_offset, 1_000)
        store.close()
    processor = _ready(wire)
    processor.stop()
    assert _rows(wire) == before


@pytest.mark.parametrize(
    ("retention_hours", "age_hours", "rebuilt"), [(1, 2, True), (72, 30, False)]
)
def test_age_of_a_store_is_measured_by_what_its_topic_says(
    retention_hours: int, age_hours: int, rebuilt: bool, wire: Wire
) -> None:
    """An operator changed `delete.retention.ms` of `state`: what a store that stood still may
    have missed goes by that.
    """
    _run(wire, 100)
    before = _rows(wire)
    hour_ms = 3_600_000
    entry = ConfigEntry(
        "delete.retention.ms",
        str(retention_hours * hour_ms),
        incremental_operation=AlterConfigOpType.SET,
    )
    resource = ConfigResource(ResourceType.TOPIC, wire.state, incremental_configs=[entry])
    admin = AdminClient(admin_config(wire.settings))
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result(20)
    until(lambda: wire.admin.tombstone_retention_ms(wire.state) == retention_hours * hour_ms)
    for partition in range(2):
        store = PartitionStore.open(_store_path(wire, partition), _identity(wire, partition))
        store.apply(
            [(b"run/mark", b"x")],
            store.changelog_offset,
            time.time_ns() // 1_000_000 - age_hours * hour_ms,
        )
        store.close()
    _ready(wire).stop()
    marks = {partition: {b"run/mark": b"x"} for partition in range(2)}
    assert _rows(wire) == (
        before if rebuilt else {p: rows | marks[p] for p, rows in before.items()}
    )


@pytest.mark.promise("store")
def test_restore_waits_behind_a_transaction_that_is_open(wire: Wire) -> None:
    """Committed rows behind an older open transaction (an owner before last, a foreign tool) are
    invisible until it is decided.

    Restoring to the last stable offset would skip them, and nobody would err.
    """
    processor = _ready(wire)
    foreign = open_transaction_of(wire.settings, f"{wire.settings.namespace}-foreign")
    for partition in range(2):
        foreign.produce(wire.state, b"never committed", b"run/foreign", partition)
    assert foreign.flush(30) == 0
    wire.signals(60, 5)
    until(lambda: processor.statistics().totals.inputs >= 60)
    processor.stop()
    before = _rows(wire)
    assert sum(map(len, before.values())) == 60 + 5 + 5
    shutil.rmtree(wire.settings.state_dir)

    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        until(lambda: [lane.state for lane in processor.lane_statuses()] == ["RESTORING"] * 2)
        with pytest.raises(TimeoutError):
            processor.wait_ready(1.0)
        until(lambda: all(lane.restore_remaining > 0 for lane in processor.lane_statuses()))
        foreign.abort_transaction(30)
        processor.wait_ready(60)
    finally:
        processor.stop()
    assert _rows(wire) == before


def test_locked_store_is_left_alone(wire: Wire) -> None:
    """A store that somebody has open is neither rebuilt nor shared: the lane says so and goes on
    once it is free.
    """
    _run(wire, 20)
    held = PartitionStore.open(_store_path(wire, 0), _identity(wire, 0))
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        status = until(
            lambda: next(
                (s for s in processor.lane_statuses() if s.partition == 0 and s.error), None
            )
        )
        assert "has it open" in status.error
        held.close()
        processor.wait_ready(30)
        assert processor.lane_statuses()[0].error == ""
        wire.send(SignalWorkflow("w0", "count"))
        wire.flush()
        until(lambda: sum(map(len, wire.counts().values())) == 21)
    finally:
        processor.stop()
