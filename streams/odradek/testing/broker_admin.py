"""The AdminClient of a simulated Kafka. Every future is done when it is returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    Node,
    TopicCollection,
    TopicPartition,
    TopicPartitionInfo,
    Uuid,
)
from confluent_kafka.admin import (
    BrokerMetadata,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    DeletedRecords,
    DescribeClusterResult,
    ListOffsetsResultInfo,
    NewTopic,
    PartitionMetadata,
    TopicDescription,
    TopicMetadata,
)

from odradek.testing.broker_calls import Host, call, done
from odradek.testing.broker_state import Cluster, failure

_NODE = Node(1, "simulated", 9092)


class SimulatedAdmin:
    """See `confluent_kafka.admin.AdminClient`."""

    def __init__(self, process: Host, config: Mapping[str, Any]) -> None:
        self.process = process
        self._cluster: Cluster = process.cluster
        process.clients.append(self)

    def _answer(self, ask: Callable[[], Any]) -> Future[Any]:
        with self._cluster.lock:
            try:
                return done(ask())
            except KafkaException as error:
                return done(error)

    def poll(self, timeout: float = 0) -> int:
        return 0

    @call
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata:
        with self._cluster.lock:
            return cluster_metadata(self._cluster, topic)

    @call
    def describe_cluster(self, **options: Any) -> Future[DescribeClusterResult]:
        return done(DescribeClusterResult(_NODE, [_NODE], self._cluster.cluster_id))

    @call
    def describe_topics(
        self, topics: TopicCollection, **options: Any
    ) -> dict[str, Future[TopicDescription]]:
        names: list[str] = topics.topic_names
        return {name: self._answer(partial(self._describe, name)) for name in names}

    def _describe(self, name: str) -> TopicDescription:
        topic = self._cluster.topics.get(name)
        if topic is None:
            raise failure(KafkaError.UNKNOWN_TOPIC_OR_PART, "Broker: Unknown topic or partition")
        partitions = [
            TopicPartitionInfo(number, _NODE, [_NODE], [_NODE]) for number in range(len(topic.logs))
        ]
        return TopicDescription(name, Uuid(0, topic.id), False, partitions)

    @call
    def create_topics(self, new_topics: list[NewTopic], **options: Any) -> dict[str, Future[None]]:
        return {
            each.topic: self._answer(
                partial(
                    self._cluster.create,
                    each.topic,
                    each.num_partitions,
                    {k: str(v) for k, v in (each.config or {}).items()},
                )
            )
            for each in new_topics
        }

    @call
    def delete_topics(self, topics: list[str], **options: Any) -> dict[str, Future[None]]:
        return {name: self._answer(partial(self._cluster.delete, name)) for name in topics}

    @call
    def list_offsets(
        self, topic_partition_offsets: Mapping[TopicPartition, Any], **options: Any
    ) -> dict[TopicPartition, Future[ListOffsetsResultInfo]]:
        committed = options.get("isolation_level") == IsolationLevel.READ_COMMITTED

        def offset(place: TopicPartition, spec: Any) -> ListOffsetsResultInfo:
            self._cluster.expire_transactions()
            log = self._cluster.log((place.topic, place.partition))
            end = log.stable_end if committed else log.end
            found = log.start if spec._value == -2 else end
            return ListOffsetsResultInfo(found, -1, 0)

        return {
            place: self._answer(partial(offset, place, spec))
            for place, spec in topic_partition_offsets.items()
        }

    @call
    def describe_configs(
        self, resources: Iterable[ConfigResource], **options: Any
    ) -> dict[ConfigResource, Future[dict[str, ConfigEntry]]]:
        def config(name: str) -> dict[str, ConfigEntry]:
            topic = self._cluster.topics.get(name)
            if topic is None:
                raise failure(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown topic")
            return {key: ConfigEntry(key, value) for key, value in topic.config.items()}

        return {each: self._answer(partial(config, each.name)) for each in resources}

    @call
    def incremental_alter_configs(
        self, resources: list[ConfigResource], **options: Any
    ) -> dict[ConfigResource, Future[None]]:
        for each in resources:
            topic = self._cluster.topics.get(each.name)
            if topic is not None:
                topic.config |= {
                    entry.name: entry.value or "" for entry in each.incremental_configs
                }
        return {each: done(None) for each in resources}

    @call
    def delete_records(
        self, topic_partition_offsets: list[TopicPartition], **options: Any
    ) -> dict[TopicPartition, Future[DeletedRecords]]:
        return {each: self._answer(partial(self._purge, each)) for each in topic_partition_offsets}

    def _purge(self, place: TopicPartition) -> DeletedRecords:
        start = self._cluster.purge((place.topic, place.partition), place.offset)
        return DeletedRecords(start)

    @call
    def delete_consumer_groups(
        self, group_ids: list[str], **options: Any
    ) -> dict[str, Future[None]]:
        def delete(group_id: str) -> None:
            if group_id not in self._cluster.groups:
                raise failure(KafkaError.GROUP_ID_NOT_FOUND, "Broker: The group id does not exist")
            if self._cluster.groups[group_id].members:
                raise failure(KafkaError.NON_EMPTY_GROUP, "Broker: The group is not empty")
            del self._cluster.groups[group_id]

        return {each: self._answer(partial(delete, each)) for each in group_ids}


def cluster_metadata(cluster: Cluster, topic: str | None) -> ClusterMetadata:
    """Of one topic, or of all."""
    found: Any = ClusterMetadata()
    found.cluster_id, found.controller_id = cluster.cluster_id, 1
    broker: Any = BrokerMetadata()
    broker.id, broker.host, broker.port = 1, "simulated", 9092
    found.brokers = {1: broker}
    for name, each in cluster.topics.items():
        if topic is None or name == topic:
            described: Any = TopicMetadata()
            found.topics[name] = described
            described.topic = name
            for number in range(len(each.logs)):
                partition: Any = PartitionMetadata()
                described.partitions[number] = partition
                partition.id, partition.leader = number, 1
                partition.replicas = partition.isrs = [1]
    return cast(ClusterMetadata, found)
