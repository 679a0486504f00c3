"""What the partitions of one processor share: names, clients, limits. Made once by
`make_context`, handed to each partition.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from odradek.common.clock import Clock
from odradek.config import Settings
from odradek.engine.ports import Engine
from odradek.exceptions import BrokerUnreachableError, OdradekError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config, topics_of, transactional_producer_config
from odradek.kafka.clients import Consumer, KafkaClients, Producer
from odradek.kafka.errors import TRANSACTION_LIMITS, kafka_error, missing_acl, timeout_refused
from odradek.kafka.producer import PlainProducer
from odradek.kafka.windows import batch_bytes
from odradek.processor.crash_recorder import CrashRecorder
from odradek.processor.encoder import Encoder
from odradek.processor.errors import PartitionReset, classify
from odradek.processor.replies import Replies
from odradek.processor.tally import Tallies
from odradek.processor.topic_limits import TopicLimits
from odradek.wire.codec import Codec
from odradek.wire.state import PositionRow

RESTORING_AT_A_TIME = 4  # a restore is bound by this process's interpreter


@dataclass
class PartitionContext:
    """Shared by all partitions of one task queue in this process."""

    settings: Settings
    task_queue: str
    admin: ClusterAdmin
    clients: KafkaClients
    codec: Codec
    topic_limits: TopicLimits
    encoder: Encoder
    replies: Replies
    new_engine: Callable[[int], Engine]  # of a partition
    store_base: Path
    clock: Clock
    recorder: CrashRecorder
    tallies: Tallies
    restoring: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(RESTORING_AT_A_TIME)
    )

    def __post_init__(self) -> None:
        topics = topics_of(self.settings)
        self.namespace = self.settings.namespace
        self.events_topic = topics.events(self.task_queue)
        self.state_topic = topics.state(self.task_queue)
        self.group_id = topics.processor_group(self.task_queue)
        self._transactional_id = topics.transactional_id

    def store_path(self, partition: int) -> Path:
        return self.store_base / str(partition)

    def new_reader(self, *, read_uncommitted: bool = False) -> Consumer:
        """A consumer without group, with end-of-partition events."""
        config = reader_config(self.settings, read_uncommitted=read_uncommitted, partition_eof=True)
        return self.clients.consumer({"fetch.wait.max.ms": 50} | config)

    def transactional_producer(self, partition: int) -> Producer:
        """The producer of a partition, not initialised yet."""
        config = transactional_producer_config(
            self.settings, self._transactional_id(self.task_queue, partition)
        )
        timeout = self.settings.transaction_timeout
        config["transaction.timeout.ms"] = int(timeout.total_seconds() * 1000)
        config["queue.buffering.max.messages"] = 1_000_000
        return self.clients.producer(config)

    def topic_identity(self) -> PositionRow:
        """Cluster id, ids of both topics and their number of partitions, as they are now; offset
        0. Never from a cache.

        Raises TopicMissingError, PartitionCountError, PartitionReset.
        """
        try:
            facts = self.admin.describe([self.events_topic, self.state_topic])
            cluster_id = self.admin.cluster_id()
        except (KafkaException, BrokerUnreachableError) as error:
            raise self.reset_over(error) from error
        for topic in (self.events_topic, self.state_topic):
            if topic not in facts:
                raise TopicMissingError(topic, reason="it was there when this process started")
        events, state = facts[self.events_topic], facts[self.state_topic]
        self.admin.check_partitions(events, state)
        return PositionRow(
            offset=0,
            events_topic_id=events.topic_id,
            state_topic_id=state.topic_id,
            partitions=self.settings.partitions,
            cluster_id=cluster_id,
            identity=self.settings.identity,
        )

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(log start, uncommitted end) now. Raises PartitionReset."""
        try:
            start = self.admin.start_offsets(topic, [partition])[partition]
            return start, self.admin.end_offsets(topic, [partition], committed=False)[partition]
        except (KafkaException, BrokerUnreachableError) as error:
            raise self.reset_over(error) from error

    def group_offset(self, partition: int) -> int:
        """What the group has committed for a partition of `events`; -1: nothing. Raises
        PartitionReset.
        """
        try:
            found = self.admin.committed_offsets(self.group_id, self.events_topic, [partition])
        except (KafkaException, BrokerUnreachableError) as error:
            raise self.reset_over(error) from error
        return found.get(partition, -1)

    def oldest_store_ms(self) -> int:
        """A store that last stood before may have missed deletes: nine tenths of the retention
        of tombstones, as a restore takes its time.
        """
        try:
            retention_ms = self.admin.tombstone_retention_ms(self.state_topic)
        except (KafkaException, BrokerUnreachableError) as error:
            raise self.reset_over(error) from error
        return self.clock.time_ms() - retention_ms * 9 // 10

    def identity_error(self, error: KafkaException, partition: int) -> OdradekError | None:
        """What a person has to mend when the broker refuses the transactional id or its timeout;
        None for what passes by itself.
        """
        inner = kafka_error(error)
        if inner.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
            return timeout_refused("transaction_timeout", TRANSACTION_LIMITS, reason=inner.str())
        if inner.code() != KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return None
        transactional_id = self._transactional_id(self.task_queue, partition)
        return missing_acl("Write", "transactional id", transactional_id)

    @staticmethod
    def reset_over(error: KafkaException | BrokerUnreachableError) -> PartitionReset:
        """An error of the cluster outside the transaction's records always resets."""
        if not isinstance(error, KafkaException):
            return PartitionReset(str(error))
        found = classify(kafka_error(error))
        return found if isinstance(found, PartitionReset) else PartitionReset(str(found))


def make_context(
    settings: Settings,
    task_queue: str,
    *,
    admin: ClusterAdmin,
    clients: KafkaClients,
    codec: Codec,
    new_engine: Callable[[int], Engine],
    store_base: Path,
    producer: PlainProducer,
    clock: Clock,
    recorder: CrashRecorder,
    workflow_types: Iterable[str] = (),
) -> PartitionContext:
    """With everything that follows from these. producer: for replies."""
    topics = topics_of(settings)
    batch = batch_bytes(transactional_producer_config(settings, ""))
    limits = TopicLimits(admin, topics, task_queue, batch_bytes=batch)
    return PartitionContext(
        settings=settings,
        task_queue=task_queue,
        admin=admin,
        clients=clients,
        codec=codec,
        topic_limits=limits,
        encoder=Encoder(codec, topics, limits, task_queue),
        replies=Replies(producer, limits, codec, topics),
        new_engine=new_engine,
        store_base=store_base,
        clock=clock,
        recorder=recorder,
        tallies=Tallies(workflow_types),
    )
