"""Topics made by hand with settings that lose records: a lane that owns says which, and how to
mend it; then it goes on.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from odradek.exceptions import TopicSettingError
from odradek.kafka.client_config import admin_config
from odradek.processor import Processor, topic_limits
from odradek.processor.partition_state import PartitionState
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import QUEUE, Wire, key_for, until

WEEK_MS = 7 * 24 * 3_600_000  # Kafka's own retention


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path)


def make(wire: Wire, kind: str, **settings: str | int) -> str:
    """A topic as somebody makes it who has read nothing, but for these settings; its name."""
    topics = wire.topics
    name = {"results": topics.results, "executions": topics.executions}.get(kind) or getattr(
        topics, kind
    )(QUEUE)
    config = {key.replace("_", "."): str(value) for key, value in settings.items()}
    new = NewTopic(name, wire.settings.partitions, 1, config=config)
    admin = AdminClient(admin_config(wire.settings))
    admin.create_topics([new])[name].result(20)
    return str(name)


def alter(wire: Wire, topic: str, setting: str, value: str) -> None:
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient(admin_config(wire.settings))
    admin.incremental_alter_configs([resource])[resource].result(20)


def run(processor: Processor) -> bool:
    lanes = processor.statistics().lanes.values()
    return bool(lanes) and all(lane.state == PartitionState.RUNNING.name for lane in lanes)


def counts(wire: Wire) -> None:
    """Inputs are applied."""
    key = key_for(wire, 0)
    wire.send(SignalWorkflow(key, "count"))
    wire.flush()
    until(lambda: wire.counts().get(key) == [1], 60)


def warnings_of_a_processor(wire: Wire, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What one logs, warnings and worse, from its start to its end; it has worked between."""
    processor = make_processor(wire.settings, QUEUE)
    with caplog.at_level(logging.WARNING, "odradek"):
        processor.start()
        try:
            processor.wait_ready(30)
            counts(wire)
        finally:
            processor.stop()
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("kind", "settings", "wanted"),
    [
        ("state", {}, "cleanup.policy=compact"),
        ("state", {"cleanup_policy": "compact,delete"}, "cleanup.policy=compact"),
        ("events", {"cleanup_policy": "compact"}, "cleanup.policy=delete"),
        ("results", {"cleanup_policy": "compact"}, "cleanup.policy=delete"),
        (
            "results",
            {"message_timestamp_before_max_ms": 0},
            "message.timestamp.before.max.ms=86400000",
        ),
    ],
)
def test_what_loses_records_stops_the_lanes_until_it_is_mended(
    wire: Wire, kind: str, settings: dict[str, str | int], wanted: str
) -> None:
    topic = make(wire, kind, **settings)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        with pytest.raises(TopicSettingError) as caught:
            processor.wait_ready(30)
        setting, _, value = wanted.partition("=")
        said = str(caught.value)
        assert (
            topic in said
            and f"--entity-name {topic} --add-config {wanted}" in said
            and "\n" not in said
        )
        assert f"{setting}={settings.get(setting.replace('.', '_'), 'delete')!s}" in said
        alter(wire, topic, setting, value)
        until(lambda: run(processor), 60)
        counts(wire)
    finally:
        processor.stop()


def test_state_that_is_to_be_deleted_from_now_on_stops_running_lanes(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_limits, "KNOWN_FOR_SECONDS", 0.2)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        key = key_for(wire, 0)
        counts(wire)
        alter(wire, wire.state, "cleanup.policy", "compact,delete")

        def why() -> str:
            wire.send(SignalWorkflow(key, "count"))
            wire.flush()
            lane = processor.statistics().lanes[0]
            return lane.error

        said = until(why, 60)
        assert f"{wire.state} has cleanup.policy=compact,delete" in said
        alter(wire, wire.state, "cleanup.policy", "compact")
        until(lambda: run(processor), 60)
        sent = wire.admin.end_offsets(wire.events, [0], committed=True)[0]
        until(lambda: wire.counts()[key] == list(range(1, sent + 1)), 60)
    finally:
        processor.stop()


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("events", {"retention_ms": WEEK_MS}, f"retention.ms={WEEK_MS}"),
        ("events", {"retention_ms": -1, "retention_bytes": 10_000_000}, "retention.bytes=10000000"),
        ("commands", {"retention_ms": WEEK_MS}, f"retention.ms={WEEK_MS}"),
        ("state", {"retention_ms": -1, "retention_bytes": -1}, "cleanup.policy=delete"),
        ("executions", {}, "cleanup.policy=delete"),
        ("events", {"retention_ms": -1, "min_insync_replicas": 2}, "min.insync.replicas=2"),
    ],
)
def test_what_may_lose_records_is_a_warning(
    wire: Wire,
    kind: str,
    settings: dict[str, str | int],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic = make(wire, kind, **settings)
    found = [
        message
        for message in warnings_of_a_processor(wire, caplog)
        if topic in message and said in message
    ]
    assert len(found) == 1 and "--add-config" in found[0], "once, whatever the number of lanes"


def test_a_clock_that_is_wrong_is_no_inputs_fault(wire: Wire) -> None:
    """Each record of the lane is refused for its time: it is dropped, and nothing is held
    against what came in.

    That it goes on afterwards is not asked: the broker refuses its own markers there
    (`tests/facts`, `-k refuses_its_own`), and with them every later transaction of the lane,
    until it starts anew.
    """
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        counts(wire)
        alter(wire, wire.commands, "message.timestamp.before.max.ms", "0")
        one, other = key_for(wire, 0), key_for(wire, 1)
        for _ in range(5):
            wire.send(SignalWorkflow(one, "count"))
            wire.send(SignalWorkflow(other, "count"))
        wire.flush()
        until(lambda: processor.statistics().totals.dropped >= 2, 60)
        totals = processor.statistics().totals
        assert (totals.refused, totals.parked, totals.dead_letters) == (0, 0, 0)
    finally:
        processor.stop(drain=False)


def test_topics_that_stamp_and_compress_records_themselves(wire: Wire) -> None:
    for kind in ("events", "commands", "results"):
        make(
            wire,
            kind,
            retention_ms=-1,
            message_timestamp_type="LogAppendTime",
            compression_type="gzip",
        )
    make(
        wire,
        "state",
        cleanup_policy="compact",
        message_timestamp_type="LogAppendTime",
        compression_type="uncompressed",
    )
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(200, 10)
        wire.assert_exactly_once(200, 10)
    finally:
        processor.stop()


def test_what_odradek_makes_itself_is_not_complained_of(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    assert not [
        message for message in warnings_of_a_processor(wire, caplog) if "--add-config" in message
    ]
