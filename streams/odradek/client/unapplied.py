"""Requests that lie in task queues which nobody ever served: whose they are stands in their keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config
from odradek.kafka.clients import KafkaClients
from odradek.kafka.settings import KafkaSettings
from odradek.wire.partitioner import partition_for

logger = logging.getLogger(__name__)

_BATCH = 500
_POLL_S = 0.1


def queues_with_requests(
    settings: KafkaSettings,
    admin: ClusterAdmin,
    task_queues: Sequence[str],
    workflow_id: str,
    timeout_s: float,
) -> set[str]:
    """Those of the queues whose `events` have a record of this workflow, or may have one: what
    was not read in time. Blocking.
    """
    key = workflow_id.encode()
    try:
        left = _places(admin, task_queues, key)
        return _read(settings, admin.clients, left, key, timeout_s) if left else set()
    except (KafkaException, OdradekError) as error:
        logger.debug("what lies unapplied in %s cannot be seen: %s", task_queues, error)
        return set(task_queues)


def _places(
    admin: ClusterAdmin, task_queues: Sequence[str], key: bytes
) -> dict[tuple[str, int], tuple[str, int, int]]:
    """Where a record of the key can be: topic and partition, with the queue, the first offset
    and the one behind the last.
    """
    topics = {admin.topics.events(queue): queue for queue in task_queues}
    places: dict[tuple[str, int], tuple[str, int, int]] = {}
    for topic, facts in admin.describe(topics).items():
        partition = partition_for(key, facts.partitions)
        start = admin.start_offsets(topic, [partition])[partition]
        end = admin.end_offsets(topic, [partition], committed=True)[partition]
        if start < end:
            places[topic, partition] = (topics[topic], start, end)
    return places


def _read(
    settings: KafkaSettings,
    clients: KafkaClients,
    left: dict[tuple[str, int], tuple[str, int, int]],
    key: bytes,
    timeout_s: float,
) -> set[str]:
    found: set[str] = set()
    deadline_s = time.monotonic() + timeout_s
    consumer = clients.consumer(reader_config(settings, partition_eof=True))
    try:
        consumer.assign(
            [
                TopicPartition(topic, partition, start)
                for (topic, partition), (_, start, _) in left.items()
            ]
        )
        while left and time.monotonic() < deadline_s:
            for message in consumer.consume(_BATCH, _POLL_S):
                place = (message.topic() or "", message.partition() or 0)
                if place not in left:
                    continue
                queue, _, end = left[place]
                error = message.error()
                if error is None and message.key() == key:
                    found.add(queue)
                if (
                    error.code() == KafkaError._PARTITION_EOF
                    if error is not None
                    else queue in found or (message.offset() or 0) + 1 >= end
                ):
                    del left[place]
    finally:
        consumer.close()
    return found | {queue for queue, _, _ in left.values()}
