"""A group member that subscribes a moment before its topic shows, as on the slowest broker of a
cluster, gets it soon after.
"""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from odradek.kafka.client_config import consumer_config
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE


def test_member_that_subscribed_before_its_topic_showed(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """librdkafka asks again within ten seconds, not after the five minutes of
    `topic.metadata.refresh.interval.ms`.
    """
    wire = Wire(bootstrap, namespace, tmp_path)
    consumer = Consumer(
        consumer_config(wire.settings, f"{namespace}-group", auto_offset_reset="earliest")
    )
    assigned: list[TopicPartition] = []
    consumer.subscribe([wire.events], on_assign=lambda _, places: assigned.extend(places))
    try:
        deadline = time.monotonic() + 30
        unknown = None
        while unknown is None:
            assert time.monotonic() < deadline, "the broker says that it does not know the topic"
            unknown = consumer.poll(0.1)
        assert unknown.error() is not None
        wire.admin.ensure_queue(QUEUE)
        deadline = time.monotonic() + 90
        while not assigned:
            assert time.monotonic() < deadline, "not assigned"
            consumer.poll(0.1)
    finally:
        consumer.close()
