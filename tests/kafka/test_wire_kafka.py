"""The kafka room on a real broker: topics, offsets, purging, producer, the schemas topic, errors."""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from odradek.config import Settings
from odradek.exceptions import (
    BrokerUnreachableError,
    ConfigurationError,
    OdradekError,
    PartitionCountError,
    RecordTooLargeError,
    TopicError,
    TopicMissingError,
)
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import (
    consumer_config,
    producer_config,
    reader_config,
    transactional_producer_config,
)
from odradek.kafka.producer import PlainProducer
from odradek.kafka.registry import RegistryFraming, make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.wire.codec import Codec, encode
from odradek.wire.errors import UnknownSchemaError
from odradek.wire.events import SignalWorkflow
from odradek.wire.outcomes import PublishedSchema
from odradek.wire.partitioner import partition_for
from odradek.wire.schema import EVENT_TYPES, avro_schema, fingerprint, schema_fingerprint
from tests.kafka.fake_registry import fake_registry
from tests.kafka.lane_records import commit
from tests.support.until import until

WAIT_S = 40.0


@pytest.fixture
def settings(bootstrap: str, namespace: str) -> Settings:
    return Settings(address=bootstrap, namespace=namespace, partitions=3, replication_factor=1)


@pytest.fixture
def admin(settings: Settings) -> ClusterAdmin:
    return ClusterAdmin(settings)


@pytest.fixture
def producer(settings: Settings) -> Iterator[PlainProducer]:
    with PlainProducer(settings) as made:
        yield made


def read(settings: Settings, topic: str, count: int, **options: Any) -> list[Any]:
    """The first records of a topic."""
    consumer = Consumer(reader_config(settings, **options))
    consumer.assign(
        [TopicPartition(topic, partition, 0) for partition in range(settings.partitions)]
    )
    messages: list[Any] = []
    try:
        until(lambda: _take(consumer, messages) >= count)
        return messages
    finally:
        consumer.close()


def _take(consumer: Consumer, messages: list[Any]) -> int:
    messages += [message for message in consumer.consume(1_000, 0.05) if message.error() is None]
    return len(messages)


# --- topics
# -----------------------------------------------------------------------------------------------------------


def test_ensure_creates_once_by_the_one_table(settings: Settings, admin: ClusterAdmin) -> None:
    events, state = admin.ensure_queue("q")
    assert (events.name, events.partitions) == (admin.topics.events("q"), 3)
    assert admin.ensure_queue("q") == (events, state), "ids stay: nothing was made anew"
    assert events.topic_id != state.topic_id
    assert admin.cluster_id()
    assert {events.name, state.name} <= set(admin.topic_names())
    resource = ConfigResource(ResourceType.TOPIC, state.name)
    client = AdminClient({"bootstrap.servers": settings.address})
    (future,) = client.describe_configs([resource]).values()
    entries = {name: entry.value for name, entry in future.result().items()}
    assert (
        entries["cleanup.policy"],
        entries["segment.bytes"],
        entries["min.cleanable.dirty.ratio"],
    ) == ("compact", "67108864", "0.1")
    assert admin.max_message_bytes([events.name, state.name]) == {
        events.name: 1_048_588,
        state.name: 16_777_216,
    }


def test_every_kind_of_topic_is_one_that_kafka_takes(admin: ClusterAdmin) -> None:
    topics = admin.topics
    queue = [
        topics.events("q"),
        topics.state("q"),
        topics.commands("q"),
        topics.control("q"),
        topics.dead_letters("q"),
    ]
    shared = [
        topics.results,
        topics.executions,
        topics.schemas,
        topics.members,
        topics.replies,
    ]
    found = admin.ensure([*queue, *shared])
    assert {name.rpartition(".")[2]: facts.partitions for name, facts in found.items()} == {
        "events": 3, "state": 3, "commands": 3, "control": 1, "dead-letters": 1,
        "results": 3, "executions": 3, "schemas": 1, "members": 1, "replies": 3,
    }  # fmt: skip


def test_many_create_at_once(settings: Settings) -> None:
    results: list[Any] = []

    def create() -> None:
        results.append(ClusterAdmin(settings).ensure_queue("q"))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len({facts for pair in results for facts in pair}) == 2, "all see the same two topics"


def test_changed_partition_count_names_both_numbers(
    settings: Settings, admin: ClusterAdmin
) -> None:
    admin.ensure_queue("q")
    with pytest.raises(PartitionCountError, match=r"has 3 partitions, but 4 are expected"):
        ClusterAdmin(settings.replace(partitions=4)).ensure_queue("q")


def test_missing_and_creation_forbidden(settings: Settings) -> None:
    admin = ClusterAdmin(settings.replace(create_topics=False))
    with pytest.raises(
        TopicMissingError, match=r"q\.events does not exist .*Create it with 3 partitions"
    ):
        admin.ensure_queue("q")
    assert admin.describe([admin.topics.events("q")]) == {}


def test_too_many_replicas_is_said(settings: Settings) -> None:
    with pytest.raises(TopicError, match=r"Kafka refuses: .*eplication factor"):
        ClusterAdmin(settings.replace(replication_factor=5)).ensure_queue("q")


def test_only_topics_of_ours_are_created(admin: ClusterAdmin) -> None:
    with pytest.raises(ValueError, match="is no topic of Odradek"):
        admin.ensure(["somebody-elses"])


# --- offsets and purging
# ----------------------------------------------------------------------------------------------


def test_ends_behind_an_open_transaction(settings: Settings, admin: ClusterAdmin) -> None:
    topic = admin.ensure_queue("q")[0].name
    transactional = Producer(
        transactional_producer_config(settings, admin.topics.transactional_id("q", 0))
    )
    transactional.init_transactions(WAIT_S)
    transactional.begin_transaction()
    transactional.produce(topic, b"x", b"k", partition=0)
    assert transactional.flush(WAIT_S) == 0
    plain = Producer(producer_config(settings))
    plain.produce(topic, b"y", b"k", partition=0)
    assert plain.flush(WAIT_S) == 0
    assert admin.end_offsets(topic, [0, 1], committed=True) == {0: 0, 1: 0}
    assert admin.end_offsets(topic, [0, 1], committed=False) == {0: 2, 1: 0}
    transactional.commit_transaction(WAIT_S)
    until(lambda: admin.end_offsets(topic, [0], committed=True) == {0: 3})


def test_readers_see_committed_records_only_but_of_replies(
    settings: Settings, admin: ClusterAdmin
) -> None:
    topic = admin.ensure_queue("q")[0].name
    transactional = Producer(
        transactional_producer_config(settings, admin.topics.transactional_id("q", 0))
    )
    transactional.init_transactions(WAIT_S)
    transactional.begin_transaction()
    transactional.produce(topic, b"aborted", b"k", partition=0)
    assert transactional.flush(WAIT_S) == 0
    transactional.abort_transaction(WAIT_S)
    plain = Producer(producer_config(settings))
    plain.produce(topic, b"plain", b"k", partition=0)
    assert plain.flush(WAIT_S) == 0
    assert [message.value() for message in read(settings, topic, 1)] == [b"plain"]
    assert [message.value() for message in read(settings, topic, 2, read_uncommitted=True)] == [
        b"aborted",
        b"plain",
    ]


def test_delete_records_and_committed_offsets(settings: Settings, admin: ClusterAdmin) -> None:
    topic = admin.ensure_queue("q")[0].name
    plain = Producer(producer_config(settings))
    for _ in range(5):
        plain.produce(topic, b"x", b"k", partition=1)
    assert plain.flush(WAIT_S) == 0
    group = admin.topics.activities_group("q")
    assert admin.committed_offsets(group, topic, range(3)) == {}
    consumer = Consumer(consumer_config(settings, group))
    commit(consumer, TopicPartition(topic, 1, 3))
    consumer.close()
    assert admin.committed_offsets(group, topic, range(3)) == {1: 3}
    assert admin.delete_records({(topic, 1): 3}) == {(topic, 1): 3}
    assert admin.start_offsets(topic, range(3)) == {0: 0, 1: 3, 2: 0}
    assert admin.delete_records({}) == {}


def test_offsets_of_a_topic_that_is_not_there(admin: ClusterAdmin) -> None:
    with pytest.raises(TopicMissingError, match="nowhere"):
        admin.end_offsets(admin.topics.events("nowhere"), [0], committed=False)


# --- producer
# ---------------------------------------------------------------------------------------------------------


async def test_producer_settles_futures_and_uses_kafkas_partitioner(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    topic = (await asyncio.to_thread(admin.ensure_queue, "q"))[0].name
    keys = [f"order-{n}".encode() for n in range(200)]
    await asyncio.wait_for(
        asyncio.gather(*[producer.send(topic, key, key, [("n", b"1")]) for key in keys]), WAIT_S
    )
    assert len(producer) == 0
    messages = await asyncio.to_thread(read, settings, topic, 200)
    assert all(message.partition() == partition_for(message.key(), 3) for message in messages)
    assert sorted(message.value() for message in messages) == sorted(keys)
    assert messages[0].headers() == [("n", b"1")]


async def test_record_too_large(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    topic = (await asyncio.to_thread(admin.ensure_queue, "q"))[0].name
    with pytest.raises(RecordTooLargeError, match=r"2000000 bytes|20000\d\d bytes"):
        await asyncio.wait_for(producer.send(topic, b"k", b"x" * 2_000_000), WAIT_S)
    with pytest.raises(RecordTooLargeError):
        producer.produce(topic, b"k", b"x" * 20_000_000)
    producer.limits.update(await asyncio.to_thread(admin.max_message_bytes, [topic]))
    with pytest.raises(RecordTooLargeError, match="exceeds the 1048588 bytes"):
        producer.produce(topic, b"k", b"x" * 1_048_588)
    await asyncio.wait_for(producer.send(topic, b"k", b"x" * 1_048_400), WAIT_S)


async def test_a_callback_that_raises_stops_nobody(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    topic = (await asyncio.to_thread(admin.ensure_queue, "q"))[0].name

    def broken(error: BaseException | None) -> None:
        raise RuntimeError("a caller's defect")

    producer.produce(topic, b"k", b"1", on_delivery=broken)
    await asyncio.wait_for(producer.send(topic, b"k", b"2"), WAIT_S)


def test_close_reports_what_was_not_delivered(unused_address: str) -> None:
    producer = PlainProducer(Settings(address=unused_address))
    errors: list[BaseException | None] = []
    producer.produce("t", b"k", b"v", on_delivery=errors.append)
    assert producer.close(0.2) == 1
    assert len(errors) == 1
    assert errors[0] is not None
    assert producer.close() == 0


# --- errors
# -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unused_address() -> Iterator[str]:
    """Nobody listens there, nor will."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{kept.getsockname()[1]}"


def test_unreachable_broker_names_address_and_setting(unused_address: str) -> None:
    for _ in range(5):  # a busy machine may not hear the cause within the time
        with pytest.raises(BrokerUnreachableError) as caught:
            ClusterAdmin(Settings(address=unused_address), request_timeout_s=1.0).cluster_id()
        if "refused" in str(caught.value):
            break
    assert unused_address in str(caught.value)
    assert "`address` or `ODRADEK_ADDRESS`" in str(caught.value)
    assert "refused" in str(caught.value)


def test_settings_pass_through_but_not_those_that_hold_a_promise() -> None:
    given = Settings(
        address="host:1",
        kafka={
            "security.protocol": "ssl",
            "linger.ms": 7,
            "fetch.wait.max.ms": 9,
            "delivery.timeout.ms": 5,
        },
    )
    assert producer_config(given)["security.protocol"] == "ssl"
    assert (producer_config(given)["linger.ms"], producer_config(given)["delivery.timeout.ms"]) == (
        "7",
        "5",
    )
    assert "fetch.wait.max.ms" not in producer_config(given)
    assert "delivery.timeout.ms" not in transactional_producer_config(given, "t")
    assert consumer_config(given, "g")["fetch.wait.max.ms"] == "9"
    assert "linger.ms" not in consumer_config(given, "g")
    for key in (
        "isolation.level",
        "partitioner",
        "enable.auto.commit",
        "bootstrap.servers",
        "transactional.id",
        "session.timeout.ms",
    ):
        with pytest.raises(ConfigurationError, match=f"`kafka.{key}` cannot be set"):
            consumer_config(Settings(address="host:1", kafka={key: "x"}), "g")


def test_every_producer_hashes_as_kafka_and_every_reader_reads_committed() -> None:
    given = Settings(address="host:1")
    for config, idempotent in (
        (producer_config(given), False),
        (transactional_producer_config(given, "t"), True),
    ):
        assert (config["partitioner"], config["enable.idempotence"], config["acks"]) == (
            "murmur2_random",
            idempotent,
            "all",
        )
    for config in (consumer_config(given, "g"), reader_config(given)):
        assert (config["isolation.level"], config["enable.auto.commit"]) == (
            "read_committed",
            False,
        )
    assert reader_config(given, read_uncommitted=True)["isolation.level"] == "read_uncommitted"
    assert "retry.backoff.ms" not in producer_config(given), (
        "1 ms hammers a broker in trouble: only where a transaction needs it"
    )
    assert transactional_producer_config(given, "t")["retry.backoff.ms"] == 1
    slower = Settings(address="host:1", session_timeout="9 s", transaction_timeout="4 s")
    assert consumer_config(slower, "g")["session.timeout.ms"] == 9_000
    assert transactional_producer_config(slower, "t")["transaction.timeout.ms"] == 4_000


# --- the schemas topic
# ------------------------------------------------------------------------------------------------


def published(schema: dict[str, Any], label: str = "") -> tuple[bytes, bytes]:
    record = PublishedSchema(
        label or schema_fingerprint(schema).hex(), schema["name"], json.dumps(schema)
    )
    return record.fingerprint.encode(), encode(record)


def newer_signal() -> dict[str, Any]:
    schema = copy.deepcopy(avro_schema(SignalWorkflow))
    schema["fields"].append({"name": "mood", "type": "string", "default": ""})
    return schema


def test_publish_what_is_missing_and_find_it_elsewhere(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    with SchemasTopic(settings, admin) as first:
        assert first.publish(producer, EVENT_TYPES) == len(EVENT_TYPES)
        assert first.publish(producer, EVENT_TYPES) == 0
    with SchemasTopic(settings, admin) as second:
        assert all(second.find(fingerprint(record_type)) for record_type in EVENT_TYPES)
        assert second.publish(producer, EVENT_TYPES) == 0


def test_an_unknown_fingerprint_is_found_once_published(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    schema = newer_signal()
    data = (
        b"\xc3\x01"
        + schema_fingerprint(schema)
        + encode(SignalWorkflow("w", "s"))[10:]
        + b"\x08good"
    )
    with SchemasTopic(settings, admin) as schemas:
        codec = Codec(lookup=schemas)
        with pytest.raises(UnknownSchemaError):
            codec.decode(data)
        producer.produce(admin.topics.schemas, *published(schema))
        producer.flush(WAIT_S)
        codec.catch_up()
        assert codec.decode(data) == SignalWorkflow("w", "s")


def test_catching_up_decides_at_once(settings: Settings, admin: ClusterAdmin) -> None:
    with SchemasTopic(settings, admin) as schemas:
        schemas.catch_up()
        assert schemas.find(b"unknown!") is None


def test_nonsense_and_false_labels_are_skipped(
    settings: Settings, admin: ClusterAdmin, producer: PlainProducer
) -> None:
    topic = admin.topics.schemas
    with SchemasTopic(settings, admin) as schemas:
        schema = newer_signal()
        label = fingerprint(SignalWorkflow)
        producer.produce(topic, b"k", b"nonsense")
        producer.produce(topic, b"k", None)
        producer.produce(topic, b"k", encode(SignalWorkflow("w", "s")))
        producer.produce(topic, *published(schema, label=label.hex()))
        producer.produce(topic, b"k", encode(PublishedSchema("00", "x", "{")))
        producer.produce(topic, *published(schema))
        producer.flush(WAIT_S)
        schemas.catch_up()
        assert schemas.find(schema_fingerprint(schema))
        assert schemas.find(label) is None


# --- a schema registry
# ------------------------------------------------------------------------------------------------


def test_registry_framing_with_confluents_client() -> None:
    pytest.importorskip("authlib", reason="needs odradek[registry]")
    framing = RegistryFraming("mock://")
    record = SignalWorkflow("w", "s")
    data = Codec(framing).encode(record)
    assert data[:1] == b"\x00"
    assert Codec(framing).decode(data) == record
    assert framing.find_by_id(4_711) is None
    with pytest.raises(
        UnknownSchemaError, match="id 4711, which the schema registry does not hold"
    ):
        Codec(framing).decode(b"\x00\x00\x00\x12\x67abc")


def test_the_settings_choose_the_framing() -> None:
    pytest.importorskip("authlib", reason="needs odradek[registry]")
    record = SignalWorkflow("w", "s")
    assert make_codec(Settings(address="host:1")).encode(record)[:2] == b"\xc3\x01"
    assert (
        make_codec(Settings(address="host:1", schema_registry_url="mock://")).encode(record)[:1]
        == b"\x00"
    )


def test_the_user_in_a_registrys_url_is_told_to_nobody() -> None:
    pytest.importorskip("authlib", reason="needs odradek[registry]")
    with fake_registry() as registry:
        framing = RegistryFraming(registry.url.replace("://", "://user:hidden@"))
        for status, says in ((409, "refuses"), (503, "does not answer")):
            registry.always = (status, b'{"error_code": 1, "message": "no"}')
            with pytest.raises(
                OdradekError, match=rf"schema registry {registry.url} {says}"
            ) as caught:
                Codec(framing).encode(SignalWorkflow("w", "s"))
            assert "hidden" not in str(caught.value)


def test_registry_that_does_not_answer_is_named(unused_address: str) -> None:
    pytest.importorskip("authlib", reason="needs odradek[registry]")
    framing = RegistryFraming(f"http://{unused_address}", {"max.retries": 0})
    with pytest.raises(
        OdradekError,
        match=(
            rf"schema registry http://{unused_address} does not answer:"
            r" .*ODRADEK_SCHEMA_REGISTRY_URL"
        ),
    ):
        Codec(framing).encode(SignalWorkflow("w", "s"))
    with pytest.raises(OdradekError, match="does not answer"):
        Codec(framing).decode(b"\x00\x00\x00\x00\x01abc")
