"""The topics it uses: made by whoever comes first, here as well; and the service purges what it
has acknowledged.

Settings as `docs/wire.md` gives them: nothing expires unread, `commands` has no time retention,
`members` is compacted.
"""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata

from services.payments.wire_names import QueueNames

ANSWER_WITHIN_SECONDS = 20.0
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(HOUR_MS),
}


def create_topics(
    address: str, names: QueueNames, partitions: int, replication_factor: int
) -> None:
    """Create what is missing; what is there is left as it is. Raises KafkaException if it may
    not, TimeoutError if they do not show.

    Waits until the topics show in the metadata that clients get, a moment after their creation:
    Faust would subscribe to nothing.
    """
    admin = AdminClient({"bootstrap.servers": address, "allow.auto.create.topics": False})
    kept_for_ms = {
        names.commands: (partitions, -1),
        names.control: (1, DAY_MS),
        names.dead_letters: (1, 30 * DAY_MS),
    }
    wanted = [
        NewTopic(
            name,
            count,
            replication_factor,
            config={"cleanup.policy": "delete", "retention.ms": str(retention_ms)},
        )
        for name, (count, retention_ms) in kept_for_ms.items()
    ]
    wanted.append(NewTopic(names.members, 1, replication_factor, config=COMPACTED))
    for future in admin.create_topics(wanted).values():
        try:
            future.result(ANSWER_WITHIN_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_until_seen(admin, {topic.topic for topic in wanted})


def _wait_until_seen(admin: AdminClient, topics: set[str]) -> None:
    deadline = time.monotonic() + ANSWER_WITHIN_SECONDS
    while True:
        found = admin.list_topics(timeout=ANSWER_WITHIN_SECONDS).topics
        missing = {name for name in topics if name not in found or not _has_leaders(found[name])}
        if not missing:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"created, but not to be seen after {ANSWER_WITHIN_SECONDS:g} s:"
                f" {', '.join(sorted(missing))}"
            )
        time.sleep(0.05)


def _has_leaders(topic: TopicMetadata) -> bool:
    return bool(topic.partitions) and all(
        partition.leader >= 0 for partition in topic.partitions.values()
    )


def purge_acknowledged(address: str, names: QueueNames) -> None:
    """Delete the commands below the group's committed offset: they are answered or reported Started.

    Asked by a consumer that never joins: librdkafka's AdminClient ends its process (SIGSEGV,
    2.16.0) when the coordinator of a group that it is asked about has just moved.
    """
    admin = AdminClient({"bootstrap.servers": address, "allow.auto.create.topics": False})
    partitions = (
        admin.list_topics(names.commands, timeout=ANSWER_WITHIN_SECONDS)
        .topics[names.commands]
        .partitions
    )
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": names.activities_group,
            "enable.auto.commit": False,
        }
    )
    try:
        places = [TopicPartition(names.commands, partition) for partition in partitions]
        committed = consumer.committed(places, timeout=ANSWER_WITHIN_SECONDS)
    finally:
        consumer.close()
    done = [
        TopicPartition(place.topic, place.partition, place.offset)
        for place in committed
        if place.offset > 0
    ]
    if done:
        for future in admin.delete_records(done).values():
            future.result(ANSWER_WITHIN_SECONDS)
