"""The trail of a workflow on real Kafka: what looks never hides what did something, and what was
deleted is named.
"""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from odradek.config import Settings
from odradek.exceptions import TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.web.errors import ApiError
from odradek.web.kafka import trail as trail_module
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.follower import Board
from odradek.web.kafka.trail import RecordReader
from odradek.wire.codec import Codec, encode
from odradek.wire.events import DescribeWorkflow, Request, StartWorkflow, TerminateWorkflow
from odradek.wire.headers import headers_for

pytestmark = pytest.mark.timeout(120)
QUEUE = "orders"


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path,
        partitions=1,
        replication_factor=1,
        identity="tester",
    )


def test_requests_that_only_look_take_nobodys_place(settings: Settings) -> None:
    admin = ClusterAdmin(settings)
    admin.ensure_queue(QUEUE)
    topic = admin.topics.events(QUEUE)
    producer = Producer(producer_config(settings))

    def write(record: Request, *, headers: bool = True) -> None:
        producer.produce(
            topic,
            encode(record),
            b"order-1",
            partition=0,
            headers=headers_for(record) if headers else [],
        )

    write(StartWorkflow("order-1", "Order"))
    for number in range(30):
        write(DescribeWorkflow("order-1"), headers=number % 5 > 0)
    write(TerminateWorkflow("order-1"))
    assert producer.flush(20) == 0
    reader = RecordReader(settings, admin, Codec())

    found = reader.trail("order-1", task_queue=QUEUE, limit=10, reads_limit=0)
    assert [record.kind for record in found.records] == ["StartWorkflow", "TerminateWorkflow"]
    assert found.complete and found.reads_left_out == 30

    with_some = reader.trail("order-1", task_queue=QUEUE, limit=10)
    assert [record.kind for record in with_some.records] == [
        "StartWorkflow",
        *["DescribeWorkflow"] * 10,
        "TerminateWorkflow",
    ]
    assert with_some.complete and with_some.reads_left_out == 20

    short = reader.trail("order-1", task_queue=QUEUE, limit=1, reads_limit=0)
    assert (
        not short.complete
        and short.limited
        and short.missing == ["more than 1 records"]
        and not with_some.limited
    )
    assert [
        record.topic_kind
        for record in reader.trail("order-1", task_queue=QUEUE, kinds=["results"]).records
    ] == []


def test_bounds_of_what_is_still_there(settings: Settings) -> None:
    admin = ClusterAdmin(settings)
    admin.ensure_queue(QUEUE)
    topic = admin.topics.events(QUEUE)
    producer = Producer(producer_config(settings))
    for _ in range(5):
        producer.produce(topic, encode(StartWorkflow("order-1", "Order")), b"order-1", partition=0)
    assert producer.flush(20) == 0
    admin.delete_records({(topic, 0): 3})
    reader = RecordReader(settings, admin, Codec())
    assert reader.bounds([(topic, 0), (topic, 7), ("no.such.topic", 0)]) == {(topic, 0): (3, 5)}
    assert reader.record(topic, 0, 1, timeout_s=10) is None


def test_a_partition_that_is_not_there_is_no_missing_topic(settings: Settings) -> None:
    admin = ClusterAdmin(settings)
    admin.ensure_queue(QUEUE)
    topic, absent = admin.topics.events(QUEUE), admin.topics.events("absent")
    reader = RecordReader(settings, admin, Codec())
    with pytest.raises(ApiError) as refused:
        reader.record(topic, 99, 0, timeout_s=10)
    assert (
        refused.value.http_status == 404
        and refused.value.message == f"topic {topic} has no partition 99: it has 1, counted from 0"
    )
    with pytest.raises(
        TopicMissingError,
        match=r"does not exist: task queue 'absent' was never used, or was deleted$",
    ):
        reader.record(absent, 0, 0, timeout_s=10)
    with pytest.raises(
        TopicMissingError,
        match=(
            r"^'__consumer_offsets' is no topic of .*: other topics of the cluster are not shown$"
        ),
    ):
        reader.record("__consumer_offsets", 0, 0, timeout_s=10)
    queues = QueueReader(settings, admin, Board())
    with pytest.raises(
        TopicMissingError,
        match=(
            r"^task queue 'absent' was never used in namespace .* list` shows those that are there$"
        ),
    ):
        queues.queue("absent")
    queues.close()


def test_a_follower_that_was_held_up_says_what_was_deleted_before_it_and_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services purge acknowledged commands within seconds: whoever stood still for longer finds
    its place gone.
    """
    admin = ClusterAdmin(settings)
    admin.ensure_queue(QUEUE)
    topic = admin.topics.commands(QUEUE)
    admin.ensure([topic])
    producer = Producer(producer_config(settings))
    consumers: list[Consumer] = []
    follows, stop = Event(), Event()

    def new_consumer(config: dict[str, Any]) -> Consumer:
        consumers.append(Consumer(config))
        follows.set()
        return consumers[-1]

    monkeypatch.setattr(trail_module, "Consumer", new_consumer)

    def write(*queries: str) -> None:
        for query in queries:
            record = StartWorkflow("order-1", query)
            producer.produce(
                topic, encode(record), b"order-1", partition=0, headers=headers_for(record)
            )
        assert producer.flush(20) == 0

    shown: SimpleQueue[str] = SimpleQueue()
    told: list[str] = []

    def follow() -> None:
        reader = RecordReader(settings, admin, Codec())
        queues = ((QUEUE,), (QUEUE,))
        for record in reader.follow(
            "order-1", queues=lambda: queues, stopped=stop.is_set, on_lost=told.append
        ):
            value: Any = record.value
            shown.put(value["workflow_type"])

    thread = Thread(target=follow)
    write("one")
    thread.start()
    try:
        assert shown.get(timeout=30) == "one" and follows.wait(30)
        write("two")
        assert shown.get(timeout=30) == "two"
        place = TopicPartition(topic, 0)
        consumers[0].pause(
            [place]
        )  # as a process that is stopped: what was fetched ahead is dropped too
        write("three", "four", "five")
        admin.delete_records({(topic, 0): 4})
        consumers[0].resume([place])
        assert shown.get(timeout=30) == "five" and told == [
            f"{topic}/0: records 2 to 3 were deleted before they were read"
        ]
        write("six")
        assert shown.get(timeout=30) == "six" and len(told) == 1
    finally:
        stop.set()
        thread.join(30)
