"""A queue that is deleted, and made anew with another number of partitions, while a client and a
server know it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from odradek.client import Client, RPCError, RPCStatusCode
from odradek.client.connection import Connection
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config
from odradek.telemetry import metrics
from odradek.web.kafka.cluster import COUNT_S, QueueReader
from odradek.web.kafka.follower import Board
from odradek.wire.events import ActivityTaskHeartbeat, FetchHistory
from odradek.wire.partitioner import partition_for
from tests.kafka.activity_harness import Engine
from tests.kafka.activity_services import answered, running
from tests.kafka.fake_owner import FakeOwner
from tests.support.metrics import counted
from tests.support.until import until_async

pytestmark = pytest.mark.timeout(120)
QUEUE = "orders"


@pytest.fixture
def settings(bootstrap: str, namespace: str) -> Settings:
    return of(bootstrap, namespace, 4)


def of(address: str, namespace: str, partitions: int) -> Settings:
    return Settings(
        address=address,
        namespace=namespace,
        partitions=partitions,
        rpc_timeout=timedelta(seconds=20),
    )


@pytest.fixture
def admin(settings: Settings) -> ClusterAdmin:
    return ClusterAdmin(settings)


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[FakeOwner]:
    """An owner of all partitions, which makes the queue if it has to."""
    owner = FakeOwner(settings, QUEUE)
    owner.announce()
    with owner:
        yield owner


async def delete(admin: ClusterAdmin) -> None:
    deleted = await asyncio.to_thread(
        admin.delete_topics, [admin.topics.events(QUEUE), admin.topics.state(QUEUE)]
    )
    assert len(deleted) == 2


def partitions(settings: Settings, count: int, topic: str = "") -> dict[str, set[int]]:
    """Workflow id -> where its records stand, of a queue with so many partitions."""
    consumer = Consumer(reader_config(settings, partition_eof=True))
    topic = topic or ClusterAdmin(settings).topics.events(QUEUE)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(count)])
    places: dict[str, set[int]] = {}
    left = count
    while left:
        message = consumer.poll(20)
        assert message is not None
        if message.error() is not None:
            left -= 1
        else:
            places.setdefault((message.key() or b"").decode(), set()).add(message.partition() or 0)
    consumer.close()
    return places


async def execute(client: Client, ids: list[str]) -> None:
    """All of them are started and answered."""
    assert (
        await asyncio.gather(
            *(client.execute_workflow("W", id, id=id, task_queue=QUEUE) for id in ids)
        )
        == ids
    )


def records(admin: ClusterAdmin) -> int:
    """How many stand in the queue's `events`."""
    return sum(admin.end_offsets(admin.topics.events(QUEUE), range(4), committed=False).values())


async def test_start_of_a_deleted_queue_makes_it_as_any_first_start(
    settings: Settings, admin: ClusterAdmin
) -> None:
    async with await Client.connect(settings=settings) as client:
        with served(settings):
            assert await client.execute_workflow("W", 1, id="before", task_queue=QUEUE) == 1
        for number in range(2):
            await delete(admin)
            waiting = asyncio.create_task(
                client.execute_workflow("W", number, id=f"after-{number}", task_queue=QUEUE)
            )
            await until_async(
                lambda: asyncio.to_thread(
                    lambda: bool(admin.describe([admin.topics.events(QUEUE)]))
                )
            )
            with served(settings):
                assert await waiting == number
                handle = await client.start_workflow("W", id=f"again-{number}", task_queue=QUEUE)
                await handle.signal("s")


@pytest.mark.promise("reads")
async def test_signal_to_a_deleted_queue_makes_nothing(
    settings: Settings, admin: ClusterAdmin
) -> None:
    async with await Client.connect(settings=settings) as client:
        with served(settings) as owner:
            owner.muted |= {"AwaitResult", "FetchHistory"}  # runs that stay open
            executing = asyncio.create_task(client.execute_workflow("W", id="v", task_queue=QUEUE))
            handle = await client.start_workflow("W", id="w", task_queue=QUEUE)
            following = asyncio.create_task(
                handle.fetch_history_events(wait_new_event=True).__anext__()
            )
            await until_async(
                lambda: asyncio.sleep(
                    0.05, {"v", "w"} <= {record.workflow_id for record in owner.seen}
                )
            )
            await until_async(
                lambda: asyncio.sleep(
                    0.05, any(isinstance(record, FetchHistory) for record in owner.seen)
                )
            )
        written = await asyncio.to_thread(records, admin)
        waiting = asyncio.create_task(handle.result())
        await until_async(lambda: asyncio.to_thread(lambda: records(admin) > written))
        await delete(admin)
        for _ in range(2):
            with pytest.raises(RPCError) as raised:
                await client.get_workflow_handle("w", task_queue=QUEUE).signal("s")
            assert raised.value.status is RPCStatusCode.NOT_FOUND and "was never used" in str(
                raised.value
            )
        with pytest.raises(RPCError) as raised:
            await handle.query("q")
        assert raised.value.status is RPCStatusCode.NOT_FOUND
        for task in (waiting, executing, following):
            with pytest.raises(RPCError, match=r"workflow not found for ID: [vw]") as raised:
                await asyncio.wait_for(task, 60)
            assert raised.value.status is RPCStatusCode.NOT_FOUND
        assert not admin.describe([admin.topics.events(QUEUE)])


@pytest.mark.parametrize("count", [1, 9])
async def test_queue_that_was_made_anew_with_another_number_of_partitions(
    settings: Settings, admin: ClusterAdmin, count: int
) -> None:
    anew = of(settings.address, settings.namespace, count)
    async with await Client.connect(settings=settings) as client:
        with served(settings):
            await execute(client, [f"old-{n}" for n in range(20)])
        await delete(admin)
        with served(anew):
            batch = 0

            async def all_lie_right() -> bool:
                nonlocal batch
                batch += 1
                ids = [f"new-{batch}-{n}" for n in range(20)]
                await execute(client, ids)
                places = await asyncio.to_thread(partitions, anew, count)
                return all(places[id] == {partition_for(id.encode(), count)} for id in ids)

            await until_async(all_lie_right)


async def test_report_on_an_activity_of_a_queue_that_was_made_anew(
    settings: Settings, admin: ClusterAdmin
) -> None:
    """From outside, by a client: it has no reply of its own."""
    channel = Connection(settings).channel(settings.namespace)
    try:
        admin.ensure_queue(QUEUE)
        ids = [f"w{number}" for number in range(12)]
        for id in ids:
            await channel.deliver(QUEUE, ActivityTaskHeartbeat(id, "run", 5, "1", 1))
        await delete(admin)
        ClusterAdmin(of(settings.address, settings.namespace, 1)).ensure_queue(QUEUE)
        for id in ids:
            await channel.deliver(QUEUE, ActivityTaskHeartbeat(id, "run", 5, "1", 1))
        assert await asyncio.to_thread(partitions, settings, 1) == {id: {0} for id in ids}
    finally:
        channel.close()


async def test_server_counts_anew(settings: Settings, admin: ClusterAdmin) -> None:
    """What the record that an event came by is found by."""
    now_s = 0.0
    reader = QueueReader(settings, admin, Board(), clock_s=lambda: now_s)
    try:
        for count in (4, 9, 0, 1):
            if count:
                ClusterAdmin(of(settings.address, settings.namespace, count)).ensure_queue(QUEUE)
            now_s += COUNT_S
            assert reader.partition_count(QUEUE) == count
            if count:
                await delete(admin)
            assert reader.partition_count(QUEUE) == count, "known for a while"
    finally:
        reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("missed", [False, True], ids=["at once", "missed"])
@pytest.mark.parametrize("count", [1, 9])
async def test_activity_service_answers_a_queue_that_was_made_anew(
    bootstrap: str, namespace: str, tmp_path: Path, count: int, missed: bool
) -> None:
    """It answers to the queue of the workflow, which is not its own. missed: it answered while
    there was none.
    """
    engine = Engine(bootstrap, namespace, tmp_path)

    def refused() -> float:
        return counted(metrics.DEAD_LETTERS, namespace=namespace, kind="activities")

    async with running(engine):
        await answered(engine)
        engine.close()
        await asyncio.to_thread(engine.admin.delete_topics, [engine.events])
        if missed:
            engine.schedule(engine.task("note", "to nobody"))
            await until_async(lambda: bool(refused()), 60)
        letters = refused()
        anew = Engine(bootstrap, namespace, tmp_path, partitions=count)
        tasks = [anew.task("note", f"n{number}") for number in range(20)]
        anew.schedule(*tasks)
        for task in tasks:
            await anew.answers(task, "ActivityTaskCompleted", timeout_s=60)
        assert refused() == letters
        await until_async(lambda: lies_right(anew, count))
    anew.close()


async def lies_right(engine: Engine, count: int) -> bool:
    task = engine.task("note", "late")
    engine.schedule(task)
    await engine.answers(task, "ActivityTaskCompleted", timeout_s=60)
    places = await asyncio.to_thread(partitions, engine.settings, count, engine.events)
    return places[task.workflow_id] == {partition_for(task.workflow_id.encode(), count)}
