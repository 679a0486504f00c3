"""Our groups are classic ones: by KIP-848 a dead member is noticed after 45 s, on the broker's
clock (`tests/facts/test_groups.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupType
from confluent_kafka.admin import AdminClient

from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.kafka.client_config import consumer_config
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE


def test_a_processors_group_is_classic(bootstrap: str, namespace: str, tmp_path: Path) -> None:
    wire = Wire(bootstrap, namespace, tmp_path)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        group = wire.topics.processor_group(QUEUE)
        admin = AdminClient({"bootstrap.servers": bootstrap})
        described = admin.describe_consumer_groups([group])[group].result(20)
        assert (described.type, len(described.members)) == (ConsumerGroupType.CLASSIC, 1)
    finally:
        processor.stop()


def test_the_protocol_cannot_be_set_and_the_session_is_ours() -> None:
    with pytest.raises(
        ConfigurationError,
        match=(
            r"group\.protocol.*classic protocol notices a dead member after 6 s, the other one"
            r" after 45 s"
        ),
    ):
        consumer_config(Settings(kafka={"group.protocol": "consumer"}), "group")
    config = consumer_config(Settings(), "group")
    assert (config["group.protocol"], config["session.timeout.ms"]) == ("classic", 6000)
    # One that joins while no broker leads the topic, joins at the next look: librdkafka looks every
    # five minutes.
    assert config["topic.metadata.refresh.interval.ms"] == 10_000
