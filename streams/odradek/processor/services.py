"""What the lanes of one processor share: names, clients, limits. Made once by `Processor`,
handed to each lane.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from odradek.engine.ports import Engine
from odradek.exceptions import OdradekError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.errors import TRANSACTION_LIMITS, kafka_error, missing_acl, timeout_refused
from odradek.kafka.windows import BATCH_BYTES
from odradek.processor.counters import PartitionCounters
from odradek.processor.held import Held
from odradek.processor.offsets import EndOffsets
from odradek.processor.outlet import TopicOutlet
from odradek.processor.replies import Replies
from odradek.processor.restore import Restorer
from odradek.processor.trials import OF_PROCESS, Trials
from odradek.wire.codec import Codec
from odradek.wire.state import PositionRow

# How many lanes of a process fence, or restore, at a time: 64 producers initialise in 1.3 s 16 at a
# time, and a restore is bound by this process's interpreter.
FENCING_AT_A_TIME = 16
RESTORING_AT_A_TIME = 4


@dataclass
class LaneServices:
    """Shared by all lanes of one task queue in this process."""

    namespace: str
    task_queue: str
    events_topic: str
    state_topic: str
    group_id: str
    identity: str
    partitions: int  # that workflow ids are hashed over; `events` may have more (`forwarding.py`)
    store_base: Path
    admin: ClusterAdmin
    codec: Codec
    outlet: TopicOutlet
    replies: Replies
    ends: EndOffsets
    restorer: Restorer
    new_reader: Callable[[], Consumer]
    new_uncommitted_reader: Callable[[], Consumer]
    new_engine: Callable[[Held, PartitionCounters], Engine]
    transactional_producer: Callable[
        [int, int], Producer
    ]  # of a partition, with batches of so many bytes at most
    batch_bytes: int = BATCH_BYTES  # that the settings allow a batch of it
    workflow_types: tuple[str, ...] = ()  # that are registered here
    fencing: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(FENCING_AT_A_TIME)
    )
    trials: Trials = OF_PROCESS  # of all queues
    restoring: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(RESTORING_AT_A_TIME)
    )

    @property
    def state_limit(self) -> int:
        """Largest row that `state` takes. Raises OutletUnavailableError."""
        return self.outlet.require_limit(self.state_topic) - 256

    def store_path(self, partition: int) -> Path:
        return self.store_base / str(partition)

    def topic_identity(self) -> PositionRow:
        """Cluster id and ids of both topics as they are now, and the number of partitions that
        count; offset 0. Never from a cache.

        Raises TopicMissingError, PartitionCountError, and what the cluster raises.
        """
        facts = self.admin.describe([self.events_topic, self.state_topic])
        for topic in (self.events_topic, self.state_topic):
            if topic not in facts:
                raise TopicMissingError(topic, reason="it was there when this process started")
        events, state = facts[self.events_topic], facts[self.state_topic]
        self.admin.check_partitions(events, state)
        return PositionRow(
            offset=0,
            events_topic_id=events.topic_id,
            state_topic_id=state.topic_id,
            partitions=self.partitions,
            cluster_id=self.admin.cluster_id(),
            identity=self.identity,
        )

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(log start, uncommitted end) now."""
        start = self.admin.start_offsets(topic, [partition])[partition]
        return start, self.admin.end_offsets(topic, [partition], committed=False)[partition]

    def group_offset(self, partition: int) -> int:
        """What the group has committed for a partition of `events`; -1: nothing."""
        return self.admin.committed_offsets(self.group_id, self.events_topic, [partition]).get(
            partition, -1
        )

    def identity_error(self, error: KafkaException, partition: int) -> OdradekError | None:
        """What a person has to mend when the broker refuses the transactional id or its timeout;
        None for what passes by itself.
        """
        inner = kafka_error(error)
        if inner.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
            return timeout_refused("transaction_timeout", TRANSACTION_LIMITS, reason=inner.str())
        if inner.code() != KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return None
        return missing_acl(
            "Write",
            "transactional id",
            self.admin.topics.transactional_id(self.task_queue, partition),
        )

    def tombstone_retention_ms(self) -> int:
        """A store that last stood longer ago may have missed deletes: nine tenths of what
        `state` says now, as a restore takes its time.
        """
        return self.admin.tombstone_retention_ms(self.state_topic) * 9 // 10
