"""Reads `control`: cancel requests for activities, broadcast to every service of the queue.

All partitions are assigned by hand and read from their start: a command that waited while no
service was up may be cancelled by now, and must not begin. The engine repeats a request with
each Started and heartbeat of a cancelled attempt. On the consumer's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from odradek.exceptions import TopicMissingError
from odradek.log_limit import LogLimit
from odradek.wire.codec import Codec
from odradek.wire.errors import WireError
from odradek.wire.headers import parse_headers
from odradek.wire.tasks import CancelActivityTask

logger = logging.getLogger("odradek.activities")

BATCH = 100


class ControlReader:
    """Cancel requests as they come. `consumer` must not be a member of any group, and has to
    tell the ends of partitions.
    """

    def __init__(self, consumer: Consumer, topic: str, codec: Codec) -> None:
        self._consumer = consumer
        self._topic = topic
        self._codec = codec
        self._log_limit = LogLimit()
        self._behind: set[int] = set()  # partitions whose end has not been reached yet

    def start(self, timeout: float) -> None:
        """Begin at the start of all partitions. `TopicMissingError`; KafkaException without an
        answer in `timeout` seconds.
        """
        found = self._consumer.list_topics(self._topic, timeout=timeout).topics[self._topic]
        if found.error is not None:
            raise TopicMissingError(self._topic, reason=found.error.str())
        self._consumer.assign(
            [
                TopicPartition(self._topic, partition, OFFSET_BEGINNING)
                for partition in found.partitions
            ]
        )
        self._behind = set(found.partitions)

    def catch_up(self, timeout: float, take: Callable[[CancelActivityTask], None]) -> None:
        """Read what was there at the start, before the first command begins. After `timeout`
        seconds the rest comes with `read`.
        """
        deadline = time.monotonic() + timeout
        while self._behind and time.monotonic() < deadline:
            for request in self.read(0.1):
                take(request)
        if self._behind:
            logger.warning(
                "%s is not read to its end after %g s; cancelled activities may begin meanwhile",
                self._topic,
                timeout,
            )

    def read(self, timeout: float = 0.0) -> list[CancelActivityTask]:
        """Requests that are there; waits up to `timeout` seconds for the first."""
        requests: list[CancelActivityTask] = []
        for message in self._consumer.consume(BATCH, timeout):
            error, value = message.error(), message.value()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._behind.discard(message.partition() or 0)
            elif error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._begin_anew(message.partition() or 0)
            elif error is not None:
                logger.debug("%s: %s", self._topic, error.str())
            elif value is not None:
                record = self._decode(value, message)
                if isinstance(record, CancelActivityTask):
                    requests.append(record)
        return requests

    def _begin_anew(self, partition: int) -> None:
        """librdkafka says once that a place is gone, and the partition is silent from then on:
        no cancellation would ever come again.
        """
        logger.warning(
            "%s[%d] was deleted or cut under its reader: it is read from its start; a request that"
            " was there comes again with a heartbeat",
            self._topic,
            partition,
        )
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign(
            [TopicPartition(self._topic, partition, OFFSET_BEGINNING)]
        )

    def _decode(self, value: bytes, message: Message) -> object:
        """The record; one that cannot be read says in its headers whom it means, all but the
        reason.
        """
        try:
            return self._codec.decode(value)
        except WireError as error:  # its schema unknown yet, a registry away, garbage
            more = self._log_limit.more(type(error).__name__)
            if more is not None:
                place = f"{self._topic}/{message.partition()}/{message.offset()}"
                logger.warning("%s cannot be read: %s%s", place, error, more)
        headers: Any = message.headers()
        said = parse_headers(headers)
        if said.kind != CancelActivityTask.__name__ or not (
            said.run_id and said.scheduled_event_id and said.attempt
        ):
            return None  # nothing waits on it: the request comes again with the next heartbeat
        return CancelActivityTask(
            said.workflow_id, said.run_id, said.scheduled_event_id, said.activity_id, said.attempt
        )

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()
