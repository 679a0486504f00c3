"""Reads `control`: cancel requests for running activities, broadcast to every service of the queue.

All partitions are assigned by hand and read from their end: what was asked before this process ran does not concern what runs
here, and the engine repeats a request with each Started and heartbeat of a cancelled attempt. On the consumer's thread.
"""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition

from odradek.exceptions import TopicMissingError
from odradek.wire.codec import Codec
from odradek.wire.errors import WireError
from odradek.wire.headers import parse_headers
from odradek.wire.tasks import CancelActivityTask

logger = logging.getLogger("odradek.activities")

BATCH = 100


class ControlReader:
    """Cancel requests as they come. `consumer` must not be a member of any group."""

    def __init__(self, consumer: Consumer, topic: str, codec: Codec) -> None:
        self._consumer = consumer
        self._topic = topic
        self._codec = codec

    def start(self, timeout: float) -> None:
        """Begin at the end of all partitions. `TopicMissingError`; KafkaException without an answer in `timeout` seconds."""
        found = self._consumer.list_topics(self._topic, timeout=timeout).topics[self._topic]
        if found.error is not None:
            raise TopicMissingError(self._topic, reason=found.error.str())
        self._consumer.assign([TopicPartition(self._topic, partition, OFFSET_END) for partition in found.partitions])

    def read(self) -> list[CancelActivityTask]:
        """Requests that are there; never waits."""
        requests: list[CancelActivityTask] = []
        for message in self._consumer.consume(BATCH, 0):
            error, value = message.error(), message.value()
            if error is not None:
                logger.debug("%s: %s", self._topic, error.str())
            elif value is not None:
                record = self._decode(value, message)
                if isinstance(record, CancelActivityTask):
                    requests.append(record)
        return requests

    def _decode(self, value: bytes, message: Message) -> object:
        """The record; one that cannot be read says in its headers whom it means, all but the reason."""
        try:
            return self._codec.decode(value)
        except WireError as error:  # its schema unknown yet, a registry away, garbage
            logger.warning("%s[%s]@%s: %s", self._topic, message.partition(), message.offset(), error)
        headers: Any = message.headers()
        said = parse_headers(headers)
        if said.kind != CancelActivityTask.__name__ or not (said.run_id and said.scheduled_event_id and said.attempt):
            return None  # nothing waits on it: the request comes again with the next heartbeat
        return CancelActivityTask(said.workflow_id, said.run_id, said.scheduled_event_id, said.activity_id, said.attempt)

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()
