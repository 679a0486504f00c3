"""A queue whose services are in a share group: no lag is told, and a removal takes the group
along or says that it cannot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, Producer, ShareConsumer, TopicPartition
from confluent_kafka.admin import AdminClient

from odradek.activities.share_commands import GROUP_CONFIG
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import consumer_config, producer_config, share_consumer_config
from odradek.web.kafka import removal as removal_room
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.follower import Board
from odradek.web.kafka.groups import ActivityGroups
from odradek.web.kafka.rates import RateReader
from odradek.web.kafka.removal import QueueRemover
from tests.kafka.lane_records import commit
from tests.support.until import until

QUEUE = "payments"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal waits no session timeout for members."""
    monkeypatch.setattr(removal_room, "_LEAVING_S", -5.5)


@pytest.fixture
def admin(settings: Settings) -> ClusterAdmin:
    """Of a queue with ten commands."""
    admin = ClusterAdmin(settings)
    commands = admin.topics.commands(QUEUE)
    admin.ensure([commands, admin.topics.executions])
    producer = Producer(producer_config(settings))
    for number in range(10):
        producer.produce(commands, b"x", partition=number % 2)
    assert producer.flush(30) == 0
    return admin


@contextmanager
def share_member(settings: Settings, admin: ClusterAdmin) -> Iterator[Callable[[], int]]:
    """A service of the share group, which polls in a thread; how many commands it has read."""
    group = admin.topics.activities_share_group(QUEUE)
    admin.configure_group(group, GROUP_CONFIG)
    config = share_consumer_config(settings, group, max_poll_records=10) | {
        "share.acknowledgement.mode": "implicit"
    }
    consumer, stop, read = ShareConsumer(config), threading.Event(), [0]
    consumer.subscribe([admin.topics.commands(QUEUE)])

    def poll() -> None:
        while not stop.is_set():
            read[0] += len(list(consumer.poll(0.1)))
        consumer.close()

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield lambda: read[0]
    finally:
        stop.set()
        thread.join(30)


def test_lag(settings: Settings, admin: ClusterAdmin) -> None:
    """By what is there, whatever the server's own setting says: first a classic group, then a
    share group beside what it left.
    """
    classic = admin.topics.activities_group(QUEUE)
    assert ActivityGroups(settings).kind(QUEUE) == "classic"
    assert (
        ActivityGroups(settings.replace(activity_group="share")).kind(QUEUE) == "share"
    )  # nobody was there yet
    consumer = Consumer(consumer_config(settings, classic))
    commit(
        consumer, *(TopicPartition(admin.topics.commands(QUEUE), number, 4) for number in range(2))
    )
    consumer.close()
    assert ActivityGroups(settings.replace(activity_group="share")).kind(QUEUE) == "classic"
    now = [0.0]
    reader = QueueReader(settings, admin, Board(), clock_s=lambda: now[0])
    try:
        found = reader.queue(QUEUE)
        assert (found.activity_group, found.activity_lag) == ("classic", 2) and reader.share_groups(
            [QUEUE]
        ) == set()
        with share_member(settings, admin) as read:
            until(lambda: read() == 10)
            assert reader.queue(QUEUE).activity_group == "classic"  # asked again in a while
            now[0] += 60
            found = reader.queue(QUEUE)
            assert (found.activity_group, found.activity_lag) == ("share", None)
            assert [
                (one.committed, one.end_offset, one.lag) for one in found.activity_partitions
            ] == [(-1, 5, None)] * 2
            assert [(one.activity_group, one.activity_lag) for one in reader.queues()] == [
                ("share", None)
            ]
            assert reader.share_groups([QUEUE, "nobody"]) == {QUEUE}
            assert RateReader(settings, admin).measure(QUEUE, 0.0).activity is None
            # Somebody went back: a classic group with members counts, whatever else is there.
            consumer = Consumer(consumer_config(settings, classic))
            consumer.subscribe([admin.topics.commands(QUEUE)])
            until(lambda: consumer.poll(0.1) or consumer.assignment())
            assert ActivityGroups(settings).kind(QUEUE) == "classic"
            consumer.close()
            until(lambda: ActivityGroups(settings).kind(QUEUE) == "share")
    finally:
        reader.close()


def test_one_look_tells_of_all_classic_groups(
    settings: Settings, admin: ClusterAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the newer call leaves out is asked for by the deprecated one, queue by queue."""
    asked: list[str] = []
    monkeypatch.setattr(
        AdminClient, "list_groups", lambda self, group, **_: asked.append(group) or []
    )
    lists: list[float] = []
    real = AdminClient.list_consumer_groups
    monkeypatch.setattr(
        AdminClient,
        "list_consumer_groups",
        lambda self, **given: lists.append(0) or real(self, **given),
    )
    names = [f"queue-{number}" for number in range(3)]
    consumers = [
        Consumer(consumer_config(settings, admin.topics.activities_group(name)))
        for name in names[:2]
    ]
    for consumer in consumers:
        consumer.subscribe([admin.topics.commands(QUEUE)])
    until(lambda: all(consumer.poll(0.1) or consumer.assignment() for consumer in consumers))
    groups = ActivityGroups(settings.replace(activity_group="share"))
    assert [groups.kind(name) for name in names] == ["classic", "classic", "share"]
    assert len(lists) == 1 and asked == [admin.topics.activities_share_group(names[2])]
    for consumer in consumers:
        consumer.close()


def test_removal(settings: Settings, admin: ClusterAdmin) -> None:
    board = Board()
    board.complete = True
    remover, group = (
        QueueRemover(settings, admin, board),
        admin.topics.activities_share_group(QUEUE),
    )
    assert remover.look(QUEUE).cautions == []
    with share_member(settings, admin) as read:
        until(lambda: read() == 10)
        removal = remover.look(QUEUE)
        assert removal.groups == [group] and not removal.obstacles
        (caution,) = removal.cautions
        assert group in caution
        remover.remove(removal)
        assert removal.groups_left == [group]
        (remainder,) = removal.remains
        assert group in remainder and "again" in remainder
    again = remover.look(QUEUE)  # its topics are gone, it is not
    assert not again.empty and again.topics == []
    until(lambda: remover.remove(again) is None and not again.groups_left)  # type: ignore[func-returns-value]
    assert again.remains == [] and remover.look(QUEUE).empty
