"""librdkafka configurations of every client Odradek makes: ours, then the user's `kafka`
settings, then what correctness needs.

Any librdkafka setting passes through (TLS, SASL, buffers, timeouts) but those in `OURS`: a value
there would break a guarantee, so it is an error that says why. Each function gives a new dict.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from odradek.exceptions import ConfigurationError
from odradek.kafka.errors import kafka_error
from odradek.kafka.log_filter import MomentaryLines, RepeatedLines
from odradek.kafka.settings import KafkaSettings
from odradek.wire.topic_configs import STATE_MAX_MESSAGE_BYTES
from odradek.wire.topics import Topics

logger = logging.getLogger("odradek.kafka")
logger.addFilter(MomentaryLines())
logger.addFilter(RepeatedLines())

#: Settings that a user cannot give, and why.
OURS = {
    "bootstrap.servers": "use the setting `address`",
    "metadata.broker.list": "use the setting `address`",
    "group.id": "group ids are part of the wire contract",
    "group.instance.id": "it is made of host and slot",
    "group.protocol": (
        "the classic protocol notices a dead member after 6 s, the other one after 45 s"
    ),
    "transactional.id": "it belongs to the partition of `events`",
    "enable.idempotence": (
        "lanes need it; plain producers do without, as every input may come twice and late"
    ),
    "max.in.flight": "retries must not change the order of records",
    "max.in.flight.requests.per.connection": "retries must not change the order of records",
    "partitioner": "all clients must agree on Kafka's murmur2",
    "partition.assignment.strategy": "members hand partitions over one by one (cooperative-sticky)",
    "logger": "log lines go to the logger `odradek.kafka`",
    "isolation.level": "every reader reads committed records only",
    "enable.auto.commit": "offsets are committed behind what is durable",
    "enable.auto.offset.store": "offsets are committed behind what is durable",
    "auto.offset.reset": "a gap must stop the reader, not be skipped",
    "enable.partition.eof": "hosts rely on it",
    "client.id": "use the setting `client_id`",
    "allow.auto.create.topics": (
        "topics are made with the settings that they need, or not at all (`create_topics`)"
    ),
    "session.timeout.ms": "use the setting `session_timeout`",
    "transaction.timeout.ms": "use the setting `transaction_timeout`",
    "acks": "a record that not all in-sync replicas have is not durable",
    "request.required.acks": "a record that not all in-sync replicas have is not durable",
}

# librdkafka warns about a setting that is the other kind of client's; the user gives one list for
# all.
_CONSUMER_ONLY = (
    "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms", "partition.assignment.strategy", "group.", "queued.", "fetch.",
    "max.partition.fetch.bytes", "check.crcs", "coordinator.query.interval.ms", "auto.commit.interval.ms", "share.",
)  # fmt: skip
_PRODUCER_ONLY = (
    "linger.ms", "queue.buffering.", "batch.", "compression.", "transaction.timeout.ms", "delivery.", "message.timeout.ms", "retries",
    "message.send.max.retries", "sticky.partitioning.linger.ms", "request.timeout.ms", "enable.gapless.guarantee",
)  # fmt: skip

# librdkafka refuses these in a share consumer.
_NOT_FOR_SHARE_CONSUMERS = (
    "session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy", "queued.", "fetch.queue.backoff.ms",
    "fetch.error.backoff.ms", "fetch.message.max.bytes", "max.partition.fetch.bytes",
    "coordinator.query.interval.ms", "auto.commit.interval.ms", "group.", "share.",
    "message.copy.max.bytes", "max.poll.records",
)  # fmt: skip


def topics_of(settings: KafkaSettings) -> Topics:
    """The names of the settings' namespace."""
    return Topics(settings.namespace, settings.topic_prefix)


def admin_config(settings: KafkaSettings) -> dict[str, Any]:
    """For an AdminClient."""
    return _common(settings) | _passed(settings, _CONSUMER_ONLY + _PRODUCER_ONLY) | _NO_NEW_TOPICS


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    """For a plain producer: acknowledged by all in-sync replicas, with Kafka's own partitioner.

    Not idempotent: librdkafka's thread would spin while more waits than may be on the way. One
    request on the way to a broker keeps the order of records over retries all the same; a retry
    may double one, and every input of the engine may come twice (docs/decisions/0009).
    """
    ours = {
        # Any linger, however short, costs a record that comes alone 1.1 ms (1.5 instead of 0.4 ms
        # to its acknowledgement); with 500 in flight it saves nothing, what queues behind a request
        # is batched anyway; with 20 some 10 µs of broker time a record.
        "linger.ms": 0,
        "delivery.timeout.ms": 120_000,
        "message.max.bytes": PRODUCER_MESSAGE_MAX_BYTES,
    }
    return (
        _common(settings)
        | ours
        | _passed(settings, _CONSUMER_ONLY)
        | _PRODUCER_NEEDS
        | _PLAIN_PRODUCER_NEEDS
    )


def transactional_producer_config(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """For the producer of one lane."""
    ours = {
        # commit_transaction flushes, and a flush does not linger: until then records gather into
        # few requests.
        "linger.ms": 5,
        "transaction.timeout.ms": _milliseconds(settings.transaction_timeout),
        "message.max.bytes": PRODUCER_MESSAGE_MAX_BYTES,
        # The first request of a transaction meets the markers of the last one and is retried: 96 ms
        # a transaction with the default back-off of 100 ms, 3.5 ms with this one. Only here: 1 ms
        # hammers a broker in trouble.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 5,
    }
    # A record of a transaction has as long as the transaction: librdkafka sees to it, and refuses
    # any longer time.
    passed = _passed(settings, (*_CONSUMER_ONLY, "delivery.timeout.ms", "message.timeout.ms"))
    return (
        _common(settings) | ours | passed | _PRODUCER_NEEDS | {"transactional.id": transactional_id}
    )


def consumer_config(
    settings: KafkaSettings,
    group_id: str,
    *,
    group_instance_id: str | None = None,
    auto_offset_reset: str = "error",
) -> dict[str, Any]:
    """For a member of a group: classic protocol, cooperative-sticky, read committed, offsets
    committed by hand only.

    group_instance_id: static identity; a restart under it keeps its partitions.
    auto_offset_reset: "error" stops loudly at a gap; "earliest" suits a group whose topic is
    purged behind its offsets (`commands`).
    """
    ours = {
        "session.timeout.ms": _milliseconds(settings.session_timeout),
        "heartbeat.interval.ms": _milliseconds(settings.session_timeout) // 4,
        "partition.assignment.strategy": "cooperative-sticky",
        # A topic that had no leader when a member joined (a broker that restarts) is joined for at
        # the next look, and partitions that somebody adds are seen then: not after five minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        **_FETCHING,
    }
    needs: dict[str, Any] = {
        "group.id": group_id,
        "group.protocol": "classic",
        "auto.offset.reset": auto_offset_reset,
        **_CONSUMER_NEEDS,
    }
    if group_instance_id is not None:
        needs["group.instance.id"] = group_instance_id
    return _common(settings) | ours | _passed(settings, _PRODUCER_ONLY) | needs


def share_consumer_config(
    settings: KafkaSettings, group_id: str, *, max_poll_records: int
) -> dict[str, Any]:
    """For a member of a share group (Kafka 4.2): each record is acknowledged by hand. What else
    matters is a setting of the group on the broker (`ClusterAdmin.configure_group`), isolation
    and where it starts included.

    max_poll_records: about as many come with a poll; the broker may give a whole batch of a
    producer.
    """
    needs = {
        "group.id": group_id,
        "share.acknowledgement.mode": "explicit",
        "max.poll.records": max_poll_records,
    }
    return (
        _common(settings) | _passed(settings, (*_PRODUCER_ONLY, *_NOT_FOR_SHARE_CONSUMERS)) | needs
    )


def reader_config(
    settings: KafkaSettings, *, read_uncommitted: bool = False, partition_eof: bool = False
) -> dict[str, Any]:
    """For a consumer that is assigned by hand and commits nothing: restore, `schemas`,
    `members`, `control`, `replies`.

    read_uncommitted: only for `replies`, which are written outside transactions and must not
    wait for one, and to look at a transaction
        that has no end.
    partition_eof: have `_PARTITION_EOF` events.
    """
    needs = _CONSUMER_NEEDS | {
        "group.id": topics_of(settings).readers_group,  # librdkafka wants one; nobody ever joins it
        "session.timeout.ms": _milliseconds(
            settings.session_timeout
        ),  # and compares it with the user's `max.poll.interval.ms`
        "auto.offset.reset": "error",
        "enable.partition.eof": partition_eof,
    }
    if read_uncommitted:
        needs["isolation.level"] = "read_uncommitted"
    return _common(settings) | _FETCHING | _passed(settings, _PRODUCER_ONLY) | needs


#: What records of `state` may have, and room for headers and framing.
PRODUCER_MESSAGE_MAX_BYTES = STATE_MAX_MESSAGE_BYTES + 64 * 1024

# Where brokers make topics by themselves (`auto.create.topics.enable`, Kafka's default), one that
# was deleted would come back with one partition and settings that lose records, as soon as a client
# that once used it asks for its leaders. Producers and AdminClients ask for that unless they are
# told not to.
_NO_NEW_TOPICS = {"allow.auto.create.topics": False}
_PLAIN_PRODUCER_NEEDS = {"enable.idempotence": False, "max.in.flight.requests.per.connection": 1}
_PRODUCER_NEEDS = {
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
    "acks": "all",
    **_NO_NEW_TOPICS,
}
_CONSUMER_NEEDS: dict[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    **_NO_NEW_TOPICS,
}
_FETCHING = {
    # After a full local queue librdkafka would fetch again only 1 s later, after an error 500 ms
    # later.
    "fetch.queue.backoff.ms": 20,
    "fetch.error.backoff.ms": 50,
    "fetch.message.max.bytes": 4 * 1024 * 1024,
}


def _common(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.address,
        "client.id": settings.client_id,
        "socket.keepalive.enable": True,
        "socket.nagle.disable": True,
        # a broker that restarts is back in seconds; 10 s would be an outage of its own
        "reconnect.backoff.max.ms": 1_000,
        "enable.metrics.push": False,
        "logger": logger,
    }


def _milliseconds(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1_000)


def refuse_ours(settings: KafkaSettings) -> None:
    """Raises ConfigurationError for a setting that is Odradek's to give."""
    for key in settings.kafka:
        if why := OURS.get(key):
            raise ConfigurationError(f"`kafka.{key}` cannot be set: {why}", key=f"kafka.{key}")


def check_kafka_settings(settings: KafkaSettings) -> None:
    """Raises ConfigurationError for a key in `settings.kafka` that librdkafka does not know, or a
    value that it does not take. It says so when a client is made: these connect to nothing.
    """
    if not settings.kafka:
        return
    silent = {"bootstrap.servers": "", "log_level": 0}
    try:
        AdminClient(dict(settings.kafka) | silent)
        Producer(transactional_producer_config(settings, "check") | silent)
        Producer(producer_config(settings) | silent)
        Consumer(consumer_config(settings, "check") | silent).close()
        Consumer(reader_config(settings) | silent).close()
    except (KafkaException, TypeError, ValueError, AttributeError) as error:
        text = kafka_error(error).str() if isinstance(error, KafkaException) else str(error)
        raise ConfigurationError(
            f"librdkafka refuses the `kafka` settings: {' '.join(text.split())}. Correct them"
            " (`python -m odradek.config` lists all)",
            key="kafka",
        ) from error


def _passed(settings: KafkaSettings, without: tuple[str, ...]) -> dict[str, Any]:
    refuse_ours(settings)
    return {key: value for key, value in settings.kafka.items() if not key.startswith(without)}
