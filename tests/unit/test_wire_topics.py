"""Topic names, group ids, transactional ids: pinned, legal, reversible. Murmur2 against the Java
client's own vectors. State keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from odradek.wire import rows, topic_configs
from odradek.wire.errors import TopicNameError, UndecodableRecord
from odradek.wire.partitioner import murmur2, partition_for
from odradek.wire.schema import ROW_TYPES
from odradek.wire.topics import NAMESPACE_KINDS, QUEUE_KINDS, TopicName, Topics, escape, unescape

names = st.text(min_size=1, max_size=20)


def test_no_name_changes_unnoticed() -> None:
    topics = Topics("default")
    queue = "order-task-queue"
    assert [
        topics.events(queue),
        topics.state(queue),
        topics.commands(queue),
        topics.control(queue),
        topics.dead_letters(queue),
    ] == [
        "odradek.default.order-task-queue.events",
        "odradek.default.order-task-queue.state",
        "odradek.default.order-task-queue.commands",
        "odradek.default.order-task-queue.control",
        "odradek.default.order-task-queue.dead-letters",
    ]
    assert [
        topics.results,
        topics.executions,
        topics.schemas,
        topics.members,
        topics.replies,
    ] == [
        "odradek.default.results",
        "odradek.default.executions",
        "odradek.default.schemas",
        "odradek.default.members",
        "odradek.default.replies",
    ]
    assert topics.activities_group(queue) == "odradek.default.order-task-queue.activities"
    assert topics.processor_group(queue) == "odradek.default.order-task-queue.processor"
    assert topics.readers_group == "odradek.default.readers"
    assert topics.transactional_id(queue, 3) == "odradek.default.order-task-queue.3"
    assert Topics("n", prefix="team-a_").results == "team-a_n.results"


def test_no_topic_setting_changes_unnoticed() -> None:
    said = {
        kind: (c.partitions, {name.replace(".", "_"): value for name, value in c.settings.items()})
        for kind in QUEUE_KINDS + NAMESPACE_KINDS
        for c in [topic_configs.topic_config(kind, partitions=8, results_retention_ms=77)]
    }
    delete = {"cleanup_policy": "delete", "retention_bytes": "-1"}
    compact = {"cleanup_policy": "compact", "delete_retention_ms": "86400000"}
    mib64, mib16 = {"segment_bytes": "67108864"}, {"segment_bytes": "16777216"}
    tight = {"min_cleanable_dirty_ratio": "0.1", "max_compaction_lag_ms": "3600000"}
    large = {"max_message_bytes": "16777216"}
    assert said == {
        "events": (8, delete | mib64 | {"retention_ms": "-1"}),
        "commands": (8, delete | mib64 | {"retention_ms": "-1"}),
        "state": (8, compact | mib64 | tight | large),
        "control": (1, delete | mib16 | {"retention_ms": "86400000"}),
        "dead-letters": (1, delete | mib64 | large | {"retention_ms": "2592000000"}),
        "results": (8, delete | mib64 | {"retention_ms": "77"}),
        "executions": (8, compact | mib64 | tight),
        "schemas": (1, compact | mib16 | {"min_cleanable_dirty_ratio": "0.5"}),
        "members": (1, compact | mib16 | tight),
        "replies": (8, delete | mib64 | large | {"retention_ms": "600000"}),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order-queue", "order-queue"),
        ("a_b", "a_5fb"),
        ("a.b", "a_2eb"),
        ("Ä/1", "_c3_84_2f1"),
        ("_", "_5f"),
        ("A9-", "A9-"),
    ],
)
def test_escape(name: str, text: str) -> None:
    assert escape(name) == text
    assert unescape(text) == name


@given(names, names)
def test_escape_is_reversible_and_never_shares_a_name(one: str, other: str) -> None:
    assert unescape(escape(one)) == one
    assert re.fullmatch(r"[A-Za-z0-9_-]+", escape(one))
    if one != other:
        assert escape(one) != escape(other)


@given(names, names, st.sampled_from(QUEUE_KINDS))
def test_parse_gives_back_what_was_built(namespace: str, queue: str, kind: str) -> None:
    topics = Topics(namespace)
    try:
        topic = getattr(topics, kind.replace("-", "_"))(queue)
    except TopicNameError as error:
        assert "Kafka allows 249" in str(error)
        return
    assert len(topic) <= 249
    assert topics.parse(topic) == TopicName(kind, namespace, queue)


@given(st.tuples(names, names), st.tuples(names, names))
def test_two_queues_never_share_an_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)
    try:
        ids = [Topics(namespace).transactional_id(queue, 1) for namespace, queue in (one, other)]
    except TopicNameError:
        return
    assert ids[0] != ids[1]


@pytest.mark.parametrize("kind", NAMESPACE_KINDS)
def test_parse_topics_of_a_namespace(kind: str) -> None:
    assert Topics("a.b").parse(getattr(Topics("a.b"), kind)) == TopicName(kind, "a.b")


@pytest.mark.parametrize(
    "topic",
    [
        "orders",
        "odradek.",
        "odradek.default",
        "odradek.default.q.unknown",
        "odradek.a_b.results",
        "odradek._61.results",
        "odradek..results",
    ],
)
def test_foreign_topics_are_not_ours(topic: str) -> None:
    assert Topics("default").parse(topic) is None


def test_illegal_names_are_refused_with_the_reason() -> None:
    with pytest.raises(TopicNameError, match="namespace is empty"):
        Topics("")
    with pytest.raises(TopicNameError, match="task queue is empty"):
        Topics("default").events("")
    with pytest.raises(TopicNameError, match="topic prefix 'odra dek'"):
        Topics("default", prefix="odra dek")
    with pytest.raises(
        TopicNameError, match=r"task queue 'q{300}': .* has 323 characters, Kafka allows 249"
    ):
        Topics("default").events("q" * 300)
    with pytest.raises(TopicNameError, match="Kafka allows 249"):
        Topics("é" * 60)
    with pytest.raises(TopicNameError, match="Unicode"):
        Topics("\ud800")


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_javas(key: str, hashed: int) -> None:
    assert murmur2(key.encode()) == hashed
    assert partition_for(key.encode(), 7) == (hashed & 0x7FFFFFFF) % 7


@given(st.binary(max_size=70))
def test_murmur2_agrees_with_aiokafka(key: bytes) -> None:
    theirs: Callable[[bytes], int] = pytest.importorskip("aiokafka.partitioner").murmur2
    assert murmur2(key) & 0xFFFFFFFF == theirs(key) & 0xFFFFFFFF


def test_state_keys() -> None:
    assert set(rows.TABLE_OF) == set(ROW_TYPES)
    assert rows.state_key("workflow", "a/b") == b"workflow/a/b"
    assert rows.parse_state_key(b"workflow/a/b") == ("workflow", "a/b")
    assert rows.parse_state_key(rows.state_key("position", "")) == ("position", "")
    for key in (b"", b"workflow", b"nope/x", b"\xff/x"):
        with pytest.raises(UndecodableRecord):
            rows.parse_state_key(key)
