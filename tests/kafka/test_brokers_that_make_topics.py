"""A Kafka with its own default `auto.create.topics.enable=true`: whoever asks for a topic's
leaders has it made, with one partition and settings that lose records. Nothing of ours does.
What somebody else's producer had made is said with its cure.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from odradek import workflow
from odradek.broker import LocalBroker
from odradek.broker.local import QUICK_START
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.config import Settings
from odradek.exceptions import ConfigurationError, PartitionCountError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import (
    admin_config,
    consumer_config,
    producer_config,
    reader_config,
    transactional_producer_config,
)
from odradek.worker import Worker
from services.demo.raw_client import RawProducer
from services.wire import Schemas
from tests.kafka import test_queue_remade, test_topics_deleted

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
QUEUE = "orders"
UniqueName = Callable[[str], str]


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with LocalBroker(
        jvm_options=QUICK_START, config={"auto.create.topics.enable": True, "num.partitions": 1}
    ) as broker:
        yield broker.bootstrap


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        partitions=4,
        state_dir=tmp_path / "state",
        identity="tester",
    )


@pytest.fixture
def admin(settings: Settings) -> ClusterAdmin:
    return ClusterAdmin(settings)


@workflow.defn
class W:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


def had_made(address: str, topic: str) -> None:
    """A topic that a foreign producer wanted. What was wanted before it is there by then, too."""
    producer = Producer({"bootstrap.servers": address})
    producer.produce(topic, b"")
    assert not producer.flush(20)


CLIENTS: dict[str, Callable[[Settings], Any]] = {
    "admin": lambda settings: AdminClient(admin_config(settings)),
    "producer": lambda settings: Producer(producer_config(settings)),
    "transactional producer": lambda settings: Producer(
        transactional_producer_config(settings, "t")
    ),
    "consumer": lambda settings: Consumer(consumer_config(settings, "g")),
    "reader": lambda settings: Consumer(reader_config(settings)),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_no_client_of_ours_has_a_topic_made(
    settings: Settings, admin: ClusterAdmin, unique_name: UniqueName, kind: str
) -> None:
    topic, after = unique_name("missing"), unique_name("after")
    client = CLIENTS[kind](settings)
    assert (
        client.list_topics(topic, 20).topics[topic].error is not None
    )  # as it asks for what it writes and reads
    had_made(settings.address, after)
    assert admin.describe([topic, after]).keys() == {after}


def test_nobody_can_set_it(settings: Settings) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"`kafka\.allow\.auto\.create\.topics` cannot be set: .*`create_topics`",
    ):
        ClusterAdmin(settings.replace(kafka={"allow.auto.create.topics": True}))


def shown_transport() -> str:
    page = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "class CommittedConsumer" in block
    ]
    return block


@pytest.mark.parametrize(
    "transport",
    [
        "import services.faust_transport",
        shown_transport(),
    ],
    ids=["payments", "docs"],
)
def test_nor_has_faust(
    bootstrap: str, admin: ClusterAdmin, unique_name: UniqueName, transport: str
) -> None:
    topic, after = unique_name("missing"), unique_name("after")
    asking = f"""
import asyncio
{transport}
import aiokafka
async def ask():
    client = aiokafka.AIOKafkaProducer(bootstrap_servers="{bootstrap}").client
    await client.bootstrap()
    await client.add_topic("{topic}")
    await client.close()
asyncio.run(ask())
"""
    subprocess.run([sys.executable, "-c", asking], cwd=ROOT, timeout=60, check=True)
    had_made(bootstrap, after)
    assert admin.describe([topic, after]).keys() == {after}


def test_nor_has_the_order_that_comes_without_odradek(
    settings: Settings, admin: ClusterAdmin, unique_name: UniqueName
) -> None:
    raw = RawProducer(settings.address, Schemas(), settings.namespace)
    topic, after = admin.topics.events("missing"), unique_name("after")
    assert raw._producer.list_topics(topic, 20).topics[topic].error is not None
    had_made(settings.address, after)
    assert admin.describe([topic, after]).keys() == {after}


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
@pytest.mark.parametrize("page", ["README.md", "docs/wire.md"])
def test_nor_has_kcat_as_it_is_shown(
    settings: Settings, admin: ClusterAdmin, unique_name: UniqueName, page: str
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    (line,) = re.findall(r"^echo [^\n]*\n  kcat -P [^\n]*$", text, re.MULTILINE)
    line = line.replace("localhost:9092", settings.address).replace(
        ".default.", f".{settings.namespace}."
    )
    after = unique_name("after")
    subprocess.run(
        ["bash", "-c", line.replace("kcat -P", "kcat -P -X message.timeout.ms=1000")],
        timeout=60,
        check=False,
        capture_output=True,
    )
    had_made(settings.address, after)
    assert [name for name in admin.topic_names() if settings.namespace in name] == [after]


def typed_first(settings: Settings, topic: str) -> None:
    """Ten starts by a producer that has topics made, before anybody of ours was there."""
    producer = Producer({"bootstrap.servers": settings.address, "partitioner": "murmur2_random"})
    for number in range(10):
        text = f'{{"kind": "StartWorkflow", "workflow_type": "W", "input": [{number}]}}'
        producer.produce(topic, key=f"typed-{number}", value=text.encode())
    assert not producer.flush(20)


def add_partitions(settings: Settings, admin: ClusterAdmin, error: PartitionCountError) -> Settings:
    assert f"--alter --topic {error.topic} --partitions 4" in str(error)
    client = AdminClient(admin_config(settings))  # kept until it has answered
    client.create_partitions([NewPartitions(error.topic, 4)])[error.topic].result(20)
    return settings


def set_partitions(settings: Settings, admin: ClusterAdmin, error: PartitionCountError) -> Settings:
    assert "If 1 is what you want, set `partitions` to it" in str(error)
    return settings.replace(partitions=1)


async def ended(client: Client, number: int) -> bool:
    try:
        return bool(
            await client.get_workflow_handle(f"typed-{number}", task_queue=QUEUE).result() == number
        )
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND
        await asyncio.sleep(0.1)  # what was typed is not applied yet
        return False


@pytest.mark.parametrize("mend", [add_partitions, set_partitions])
async def test_events_that_a_shell_had_made(
    settings: Settings,
    admin: ClusterAdmin,
    mend: Callable[[Settings, ClusterAdmin, PartitionCountError], Settings],
) -> None:
    """The worker says what to do, and with that nothing is lost of what was typed."""
    events, state = admin.topics.events(QUEUE), admin.topics.state(QUEUE)
    typed_first(settings, events)
    async with await Client.connect(settings=settings) as client:
        with pytest.raises(
            PartitionCountError,
            match=r"has 1 partitions, but 4 are expected.*auto\.create\.topics\.enable",
        ) as caught:
            await Worker(client, task_queue=QUEUE, workflows=[W]).run()
    assert admin.describe([events, state]).keys() == {events}, (
        "a `state` of four would forbid to stay with one"
    )
    mended = mend(settings, admin, caught.value)
    async with (
        await Client.connect(settings=mended) as client,
        Worker(client, task_queue=QUEUE, workflows=[W]),
    ):
        for number in range(10):
            await test_queue_remade.eventually(partial(ended, client, number))


async def test_events_that_came_back_beside_a_state(
    settings: Settings, admin: ClusterAdmin
) -> None:
    events, _ = admin.ensure_queue(QUEUE)
    admin.delete_topics([events.name])
    typed_first(settings, events.name)
    with pytest.raises(
        PartitionCountError,
        match=r"was made anew by a broker.*restore it from a backup.*`odradek task-queue delete`",
    ):
        admin.ensure_queue(QUEUE)


async def test_idle_client_leaves_a_deleted_queue_deleted(
    settings: Settings, admin: ClusterAdmin, unique_name: UniqueName
) -> None:
    often = settings.replace(kafka={"topic.metadata.refresh.interval.ms": 100})
    async with await Client.connect(settings=often) as client:
        async with Worker(client, task_queue=QUEUE, workflows=[W]):
            assert await client.execute_workflow(W.run, 3, id="w", task_queue=QUEUE) == 3
        queue = [name for name in admin.topic_names() if f"{settings.namespace}.{QUEUE}." in name]
        await asyncio.to_thread(admin.delete_topics, queue)
        for _ in range(10):  # while the client looks at what it once wrote to
            await asyncio.to_thread(had_made, settings.address, unique_name("after"))
            assert not admin.describe(queue)


@pytest.mark.slow
async def test_start_of_a_deleted_queue(settings: Settings, admin: ClusterAdmin) -> None:
    await test_queue_remade.test_start_of_a_deleted_queue_makes_it_as_any_first_start(
        settings, admin
    )


async def test_signal_to_a_deleted_queue(settings: Settings, admin: ClusterAdmin) -> None:
    await test_queue_remade.test_signal_to_a_deleted_queue_makes_nothing(settings, admin)


@pytest.mark.slow
async def test_replies_that_are_missing(settings: Settings) -> None:
    await test_topics_deleted.test_a_call_says_that_replies_are_missing(
        settings.replace(partitions=2, replication_factor=1)
    )
