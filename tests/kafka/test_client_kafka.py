"""The client against a real broker and a tiny owner: topics, replies, owners, limits, misuse. No
engine here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from confluent_kafka import Producer

from odradek.broker.ports import free_ports
from odradek.client import Client, ClientMisuseError, RPCError, RPCStatusCode
from odradek.client.kafka_transport import KafkaTransport
from odradek.client.transport import Owner
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, RecordTooLargeError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.events import AwaitResult, SignalWorkflow, StartWorkflow
from odradek.wire.schema import fingerprint
from tests.kafka.fake_owner import FakeOwner
from tests.support.until import until_async

#: Time for Kafka to take a request that nobody answers.
PATIENT = timedelta(seconds=5)


@pytest.fixture
def settings(bootstrap: str, namespace: str) -> Settings:
    return Settings(
        address=bootstrap, namespace=namespace, partitions=4, rpc_timeout=timedelta(seconds=6)
    )


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., FakeOwner]]:
    """`serve("q")`: an owner of that queue, on a thread, until the test ends."""
    running: list[tuple[FakeOwner, threading.Thread]] = []

    def start(queue: str, *, announced: bool = True) -> FakeOwner:
        owner = FakeOwner(settings, queue)
        if announced:
            owner.announce()
        thread = threading.Thread(target=owner.run, daemon=True)
        thread.start()
        running.append((owner, thread))
        return owner

    yield start
    for owner, _ in running:
        owner.stop()
    for _, thread in running:
        thread.join(10)


async def test_execute_start_signal_query_result(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    owner = serve("q")
    async with await Client.connect(settings=settings) as client:
        assert await client.execute_workflow("W", {"a": 1}, id="w1", task_queue="q") == {"a": 1}
        handle = await client.start_workflow("W", 5, id="w2", task_queue="q")
        await handle.signal("s", "x")
        assert await handle.query("state") == 5
        assert await handle.result() == 5
        results = await asyncio.gather(
            *(client.execute_workflow("W", n, id=f"m{n}", task_queue="q") for n in range(200))
        )
        assert results == list(range(200))
    assert {type(record) for record in owner.seen} >= {StartWorkflow, SignalWorkflow, AwaitResult}


async def test_connect_makes_what_it_needs_and_publishes_its_schemas(settings: Settings) -> None:
    async with await Client.connect(settings=settings) as client:
        admin = ClusterAdmin(settings)
        topics = admin.topics
        wanted = [topics.replies, topics.members, topics.schemas, topics.results]
        assert set(admin.describe(wanted)) == set(wanted)
        transport = client._root.channel.transport
        assert isinstance(transport, KafkaTransport)
        assert transport._schemas.find(fingerprint(StartWorkflow)) is not None


async def test_connect_without_the_right_to_create(settings: Settings) -> None:
    with pytest.raises(TopicMissingError, match="create_topics"):
        await Client.connect(settings=settings, create_topics=False)
    (await Client.connect(settings=settings)).close()
    async with await Client.connect(settings=settings, create_topics=False) as client:
        with pytest.raises(TopicMissingError, match=r"events"):
            await client.start_workflow("W", id="w", task_queue="new")


async def test_unreachable_broker_says_address_and_setting() -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(BrokerUnreachableError) as caught:
        await Client.connect(f"127.0.0.1:{port}", connect_timeout=timedelta(seconds=2))
    assert time.monotonic() - began < 40
    assert f"127.0.0.1:{port}" in str(caught.value) and "`address`" in str(caught.value)


async def test_lazy_client_connects_with_its_first_call(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    serve("q")
    client = await Client.connect(settings=settings, lazy=True)
    assert client.service_client.lazy
    async with client:
        assert await client.execute_workflow("W", 1, id="w", task_queue="q") == 1


async def test_start_first_worker_later(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    async with await Client.connect(
        settings=settings.replace(rpc_timeout=timedelta(seconds=1))
    ) as client:
        handle = await client.start_workflow(
            "W", "late", id="w", task_queue="q", rpc_timeout=PATIENT
        )

        async def named() -> bool:
            with pytest.raises(RPCError) as caught:
                await handle.query("state")
            assert caught.value.status == RPCStatusCode.UNAVAILABLE
            return (
                "'q'" in caught.value.message
            )  # unless the machine stood still, and Kafka had not even taken it within the second

        await until_async(named)
        result = asyncio.create_task(handle.result())
        await asyncio.sleep(0.3)
        serve("q")
        assert await asyncio.wait_for(result, 60) == "late"


@pytest.mark.promise("requests")
async def test_lost_replies_are_asked_for_again(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    owner = serve("q")
    owner.muted = {"SignalWorkflow", "AwaitResult"}
    async with await Client.connect(
        settings=settings.replace(rpc_timeout=timedelta(seconds=60))
    ) as client:
        waiting = asyncio.create_task(client.execute_workflow("W", 3, id="w", task_queue="q"))
        await until_async(lambda: any(isinstance(r, AwaitResult) for r in owner.seen))
        signal = asyncio.create_task(client.get_workflow_handle("w").signal("s"))
        await until_async(lambda: sum(isinstance(r, SignalWorkflow) for r in owner.seen) >= 2)
        owner.muted = set()
        assert await asyncio.wait_for(waiting, 60) == 3
        await asyncio.wait_for(signal, 60)
    signals = [r for r in owner.seen if isinstance(r, SignalWorkflow)]
    assert len({r.request_id for r in signals}) == 1


async def test_located_among_queues(settings: Settings, serve: Callable[..., FakeOwner]) -> None:
    for queue in ("orders", "stock"):
        serve(queue)
    async with await Client.connect(settings=settings) as starter:
        await starter.execute_workflow("W", "mine", id="w", task_queue="stock")
    async with await Client.connect(settings=settings) as client:
        assert await client.get_workflow_handle("w").query("state") == "mine"
        with pytest.raises(RPCError) as caught:
            await client.get_workflow_handle("unknown").query("state")
        assert caught.value.status == RPCStatusCode.NOT_FOUND
        await client.execute_workflow("W", "other", id="w", task_queue="orders")
    async with await Client.connect(settings=settings) as client:
        with pytest.raises(RPCError, match=r"'orders', 'stock'"):
            await client.get_workflow_handle("w").query("state")
        assert await client.get_workflow_handle("w", task_queue="orders").query("state") == "other"


def write(settings: Settings, topic: str) -> None:
    """A record, as an owner may have left it."""
    producer = Producer(producer_config(settings))
    producer.produce(topic, b"row", b"key", partition=0)
    assert producer.flush(20) == 0


async def test_queue_that_nobody_ever_served_does_not_delay_not_found(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    """One mistyped queue must not harm every look-up of an unknown id."""
    serve("orders")
    async with await Client.connect(
        settings=settings.replace(rpc_timeout=timedelta(seconds=30))
    ) as client:
        await client.start_workflow("W", id="lost", task_queue="mistyped", rpc_timeout=PATIENT)
        began = time.monotonic()
        with pytest.raises(RPCError, match=r"^workflow not found for ID: unknown$") as caught:
            await client.get_workflow_handle("unknown").describe()
        assert caught.value.status == RPCStatusCode.NOT_FOUND and time.monotonic() - began < 20
        async with await Client.connect(
            settings=settings
        ) as other:  # which does not remember its queue
            with pytest.raises(
                RPCError, match="'mistyped' was never served"
            ) as caught:  # its start lies there
                await other.get_workflow_handle("lost").describe()
        assert caught.value.status == RPCStatusCode.NOT_FOUND
        # Once somebody has written state for it, it may have the workflow.
        await asyncio.to_thread(
            write, settings, client._root.channel.transport._topics.state("mistyped")
        )  # type: ignore[attr-defined]
        with pytest.raises(RPCError, match="'mistyped'") as caught:
            await client.get_workflow_handle("unknown").describe()
        assert caught.value.status == RPCStatusCode.UNAVAILABLE


async def test_queue_that_does_not_answer_is_not_not_found(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    serve("orders")
    admin = ClusterAdmin(settings)
    await asyncio.to_thread(admin.ensure_queue, "silent")
    await asyncio.to_thread(write, settings, admin.topics.state("silent"))
    async with await Client.connect(settings=settings) as client:
        with pytest.raises(RPCError, match="'silent'") as caught:
            await client.get_workflow_handle("unknown").describe(rpc_timeout=timedelta(seconds=3))
        assert caught.value.status == RPCStatusCode.UNAVAILABLE


async def test_owner_is_seen_in_members(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    owner = serve("q", announced=False)
    async with await Client.connect(settings=settings) as client:
        transport = client._root.channel.transport
        await client.execute_workflow("W", id="w", task_queue="q")
        await until_async(lambda: transport.owner("q", "w") is Owner.NONE)
        assert await transport.queues() == {"q": False}
        owner.announce()
        await until_async(lambda: transport.owner("q", "w") is Owner.ALIVE)
        assert await transport.queues() == {"q": True}


async def test_record_too_large_fails_at_once(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    serve("q")
    async with await Client.connect(settings=settings) as client:
        with pytest.raises(RecordTooLargeError) as caught:
            await client.start_workflow("W", "x" * 1_100_000, id="w", task_queue="q")
        assert (
            caught.value.size > 1_100_000
            and str(caught.value.limit) in str(caught.value)
            and "max.message.bytes" in str(caught.value)
        )
        assert (
            await client.execute_workflow("W", "x" * 900_000, id="w2", task_queue="q")
            == "x" * 900_000
        )


async def test_clients_of_one_partition_do_not_mix(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    serve("q")
    clients = [
        await Client.connect(settings=settings) for _ in range(6)
    ]  # four partitions: some share one
    try:
        found = await asyncio.gather(
            *(
                client.execute_workflow("W", f"{n}-{k}", id=f"{n}-{k}", task_queue="q")
                for n, client in enumerate(clients)
                for k in range(20)
            )
        )
        assert found == [f"{n}-{k}" for n in range(6) for k in range(20)]
        for said in (client.statistics() for client in clients):
            assert said.unmatched_replies <= 2 * said.retried, (
                "but for what a machine that stood still had asked twice"
            )
    finally:
        for client in clients:
            client.close()


async def test_copies_share_the_connection(
    settings: Settings, serve: Callable[..., FakeOwner]
) -> None:
    serve("q")
    async with await Client.connect(settings=settings) as client:
        copy = Client(**client.config())
        assert (
            copy.service_client is client.service_client
            and copy._root.channel is client._root.channel
        )
        assert await copy.execute_workflow("W", 1, id="w", task_queue="q") == 1


def test_used_in_a_fork(settings: Settings) -> None:
    async def connect_and_fork() -> int:
        client = await Client.connect(settings=settings)
        loop = asyncio.get_running_loop()
        pid = os.fork()
        if pid == 0:
            # Nothing but the check may run here, and nothing may leave this block: pytest must not
            # go on in two processes.
            code = 9
            try:
                client._root.channel._check_use(loop)
            except ClientMisuseError as error:
                code = 7 if "fork" in str(error) else 8
            finally:
                os._exit(code)
        client.close()
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(connect_and_fork()) == 7


def test_process_ends_without_close(settings: Settings, serve: Callable[..., FakeOwner]) -> None:
    serve("q")
    program = f"""
        import asyncio
        from odradek.client import Client
        async def main():
            client = await Client.connect({settings.address!r}, namespace={settings.namespace!r})
            print(await client.execute_workflow("W", 1, id="w", task_queue="q"))
            client._root.channel.transport.owner("q", "w")
            asyncio.create_task(client.start_workflow("W", id="w2", task_queue="elsewhere"))
        asyncio.run(main())
        """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": "streams"},
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
    assert time.monotonic() - began < 55
