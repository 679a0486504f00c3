"""Bad input around the cluster: nobody there, nothing there, not allowed, changed behind our
back. A clear error each, nothing lost.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from odradek import activity, workflow
from odradek.broker.ports import free_ports
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.config import Settings
from odradek.exceptions import (
    BrokerUnreachableError,
    DuplicateIdentityError,
    PartitionCountError,
    TopicMissingError,
)
from odradek.kafka.admin import ClusterAdmin
from odradek.wire.history import ActivityTaskStartedEvent
from odradek.worker import Worker
from tests.kafka.bad_input import PATIENT, sent
from tests.support.client import connected
from tests.support.until import until_async
from tests.support.worker import QUEUE, SECOND, Doubles, Waits, double, neighbours_complete

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.promise("reads")
async def test_no_processor_for_the_queue_yet(settings: Settings) -> None:
    """Start first, worker later: works. Until then a query says UNAVAILABLE and names the queue."""

    async def named(ask: Callable[[], Awaitable[object]]) -> bool:
        with pytest.raises(RPCError) as caught:
            await ask()
        assert caught.value.status is RPCStatusCode.UNAVAILABLE
        return "nobody-home" in str(caught.value)

    async with connected(settings.replace(rpc_timeout=SECOND)) as client:
        await sent(client.start_workflow(Waits.run, id="early", task_queue="nobody-home"))
        handle = client.get_workflow_handle("early", task_queue="nobody-home")
        await sent(handle.signal(Waits.go, 7))
        for ask in (partial(handle.query, Waits.given), handle.describe):
            await until_async(partial(named, ask))
    async with (
        connected(settings) as client,
        Worker(client, task_queue="nobody-home", workflows=[Waits]),
    ):
        handle = client.get_workflow_handle("early", task_queue="nobody-home")
        assert await handle.query(Waits.given, rpc_timeout=PATIENT) == [7]
        await handle.signal(Waits.go, 0)
        assert await handle.result() == [7, 0]


@workflow.defn
class Patient:
    """One activity with every timeout there is, all of some seconds."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "slow",
            task_queue="services",
            result_type=int,
            start_to_close_timeout=timedelta(seconds=8),
            schedule_to_start_timeout=timedelta(seconds=8),
            schedule_to_close_timeout=timedelta(seconds=9),
            heartbeat_timeout=timedelta(seconds=7),
        )


@pytest.mark.promise("attempts")
async def test_processor_down_for_longer_than_every_timeout(settings: Settings) -> None:
    """Its result lies in the partition before the timers are looked at: the activity is neither
    timed out nor run again.
    """
    attempts: list[int] = []
    go = asyncio.Event()

    @activity.defn
    async def slow() -> int:
        attempts.append(activity.info().attempt)
        while not go.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.1)
        return 42

    async with (
        connected(settings) as client,
        Worker(client, task_queue="services", activities=[slow]),
    ):
        async with Worker(client, task_queue=QUEUE, workflows=[Patient]):
            handle = await client.start_workflow(Patient.run, id="patient", task_queue=QUEUE)

            async def runs() -> bool:
                pending = (await handle.describe()).pending_activities
                return bool(pending) and pending[0].state == "STARTED"

            await until_async(runs, what="the activity has reported that it runs")
        down_since = time.monotonic()
        go.set()  # it completes while nobody is there to hear it
        await asyncio.sleep(
            down_since + 10 - time.monotonic()
        )  # longer than its longest timeout: the outage is the point
        async with Worker(client, task_queue=QUEUE, workflows=[Patient]):
            assert await asyncio.wait_for(handle.result(), 60) == 42
            history = await handle.fetch_history()
    assert attempts == [1]
    assert [
        event.attributes.attempt
        for event in history.events
        if isinstance(event.attributes, ActivityTaskStartedEvent)
    ] == [1]


@workflow.defn
class Hasty:
    """One short activity with one short timeout."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "slow", task_queue="services", result_type=int, start_to_close_timeout=SECOND
        )


@pytest.mark.promise("attempts")
async def test_command_outlives_its_processor_and_waits_for_its_service(settings: Settings) -> None:
    """Nobody serves it when the processor goes; it runs while the processor is away, and its one
    attempt counts.
    """
    attempts: list[int] = []

    @activity.defn(name="slow")
    async def quick() -> int:
        attempts.append(activity.info().attempt)
        return 42

    async with connected(settings) as client:
        async with Worker(client, task_queue=QUEUE, workflows=[Hasty]):
            handle = await client.start_workflow(Hasty.run, id="waiting", task_queue=QUEUE)

            async def scheduled() -> bool:
                return bool((await handle.describe()).pending_activities)

            await until_async(scheduled)
        async with Worker(client, task_queue="services", activities=[quick]):

            async def done() -> bool:
                return bool(attempts)

            await until_async(done)
        await asyncio.sleep(1.5)  # longer than its one timeout
        async with Worker(client, task_queue=QUEUE, workflows=[Hasty]):
            assert await asyncio.wait_for(handle.result(), 60) == 42
    assert attempts == [1]


@pytest.mark.promise("preflight")
async def test_unreachable_broker_is_named_with_its_setting(settings: Settings) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    began = time.monotonic()
    with pytest.raises(BrokerUnreachableError) as caught:
        await Client.connect(settings=settings.replace(address=address))
    assert address in str(caught.value) and "`address`" in str(caught.value)
    assert time.monotonic() - began < 60


def _worker_command(tmp_path: Path, address: str, **environment: str) -> str:
    """What `odradek worker` says before it ends with an error."""
    environment |= {
        "ODRADEK_STATE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")]),
    }
    command = [
        "worker",
        "tests.support.worker:Doubles",
        "--task-queue",
        QUEUE,
        "--address",
        address,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "odradek.cli", *command],
        env=os.environ | environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_unreachable_broker_on_the_command_line(tmp_path: Path) -> None:
    """Exit status 1 and a line that names address and setting; no stack trace."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    said = _worker_command(tmp_path, address)
    assert address in said and "address" in said.replace(address, "")


def test_wrong_topics_on_the_command_line(settings: Settings, tmp_path: Path) -> None:
    """Topics that are missing, or of another size: a line that names topic and setting; no stack
    trace.
    """
    names, environment = ClusterAdmin(settings).topics, {"ODRADEK_NAMESPACE": settings.namespace}
    ClusterAdmin(settings).ensure(
        [names.replies, names.members, names.schemas, names.results, names.executions]
    )
    said = _worker_command(tmp_path, settings.address, ODRADEK_CREATE_TOPICS="false", **environment)
    assert names.events(QUEUE) in said and "create_topics" in said
    ClusterAdmin(settings).ensure_queue(QUEUE)
    said = _worker_command(tmp_path, settings.address, ODRADEK_PARTITIONS="3", **environment)
    assert names.state(QUEUE) in said and "has 2 partitions, but 3 are expected" in said


@pytest.mark.promise("preflight")
async def test_topics_missing_and_creation_forbidden(settings: Settings) -> None:
    """A client says which topic and how to have it; so does a worker; once they are there both
    work under the same setting.
    """
    forbidden = settings.replace(create_topics=False, rpc_timeout=3 * SECOND)
    with pytest.raises(TopicMissingError) as caught:
        await Client.connect(settings=forbidden)
    assert settings.namespace in str(caught.value) and "create_topics" in str(caught.value)

    admin = ClusterAdmin(settings)
    names = admin.topics
    shared = [names.replies, names.members, names.schemas, names.results, names.executions]
    admin.ensure(shared)
    async with connected(forbidden) as client:
        with pytest.raises((TopicMissingError, RPCError)) as refused:
            await client.start_workflow(Doubles.run, 1, id="one", task_queue=QUEUE)
        assert names.events(QUEUE) in str(refused.value)
        with pytest.raises(TopicMissingError) as caught:
            await Worker(client, task_queue=QUEUE, workflows=[Doubles]).run()
        assert caught.value.topic in (names.events(QUEUE), names.state(QUEUE))
        with pytest.raises(TopicMissingError) as caught:
            await Worker(client, task_queue=QUEUE, activities=[double]).run()
        assert caught.value.topic == names.commands(QUEUE)

        admin.ensure(
            [
                names.events(QUEUE),
                names.state(QUEUE),
                names.dead_letters(QUEUE),
                names.commands(QUEUE),
                names.control(QUEUE),
            ]
        )
        async with Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]):
            await neighbours_complete(client)


@pytest.mark.promise("preflight")
async def test_changed_partition_count(settings: Settings) -> None:
    """Never a silent re-hash: runs that hash elsewhere now would seem lost. The worker says both
    numbers and what to do.
    """
    async with (
        connected(settings) as client,
        Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]),
    ):
        await neighbours_complete(client)
    async with connected(settings.replace(partitions=3)) as client:
        with pytest.raises(PartitionCountError) as caught:
            await Worker(client, task_queue=QUEUE, workflows=[Doubles]).run()
        assert (caught.value.expected, caught.value.found) == (3, 2)


async def test_worker_started_twice_on_one_host(settings: Settings) -> None:
    """Two of one configuration share the work: each takes a slot of its own, so their identities
    differ.
    """
    async with (
        connected(settings) as client,
        Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]),
        Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]),
    ):
        await neighbours_complete(client)


@pytest.mark.promise("rebalance")
async def test_workers_that_share_a_label(settings: Settings, tmp_path: Path) -> None:
    """`identity` is what Temporal's is: the same in all pods of a deployment. They share the work."""
    settings = settings.replace(identity="orders-worker")
    async with (
        connected(settings) as client,
        connected(settings.replace(state_dir=tmp_path / "pod")) as other,
    ):
        workers = [
            Worker(one, task_queue=QUEUE, workflows=[Doubles], activities=[double])
            for one in (client, other)
        ]
        async with workers[0], workers[1]:

            async def share() -> bool:
                lanes = [
                    worker._processor.lane_statuses()
                    for worker in workers
                    if worker._processor is not None
                ]
                return [[lane.state for lane in found] for found in lanes] == [["RUNNING"]] * 2

            await until_async(share)
            await neighbours_complete(client)


@pytest.mark.promise("exactly-once")
async def test_worker_started_twice_with_the_same_identity(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloned container: one host name, one path, two disks. The older one ends with an error
    that says so; nothing is done twice.
    """
    monkeypatch.setattr("odradek.kafka.slots.group_identity", lambda base: "twin")
    async with (
        connected(settings) as client,
        connected(settings.replace(state_dir=tmp_path / "clone")) as clone,
    ):
        first = Worker(client, task_queue=QUEUE, workflows=[Doubles])
        running = asyncio.create_task(first.run())
        async with Worker(client, task_queue="services", activities=[double]):
            processor = first._processor
            assert processor is not None

            async def owns_all() -> bool:
                return [lane.state for lane in processor.lane_statuses()] == ["RUNNING"] * 2

            await until_async(owns_all)
            async with Worker(clone, task_queue=QUEUE, workflows=[Doubles], activities=[double]):
                with pytest.raises(DuplicateIdentityError) as caught:
                    await asyncio.wait_for(running, 60)
                assert "uses the identity" in str(caught.value)
                await neighbours_complete(client)


@pytest.mark.promise("store")
async def test_corrupt_local_store_is_rebuilt(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The store is a copy of the changelog: every run is there afterwards, with the same history."""

    async def histories(client: Client) -> dict[str, str]:
        found = {}
        for name in [*(f"neighbour-{n}" for n in range(8)), "open"]:
            handle = client.get_workflow_handle(name, task_queue=QUEUE)
            found[name] = (await handle.fetch_history(rpc_timeout=PATIENT)).to_json() + str(
                (await handle.describe()).status
            )
        return found

    async with connected(settings) as client:
        async with Worker(
            client, task_queue=QUEUE, workflows=[Doubles, Waits], activities=[double]
        ):
            await neighbours_complete(client)
            handle = await client.start_workflow(Waits.run, id="open", task_queue=QUEUE)
            await handle.signal(Waits.go, 3)
            assert await handle.query(Waits.given) == [3]
            before = await histories(client)
        damaged = [
            *settings.state_dir.rglob("*.sst"),
            *settings.state_dir.rglob("MANIFEST-*"),
            *settings.state_dir.rglob("*.log"),
        ]
        assert damaged
        for file in damaged:
            data = file.read_bytes()
            file.write_bytes(data[: len(data) // 3] + os.urandom(len(data) // 3))
        async with Worker(
            client, task_queue=QUEUE, workflows=[Doubles, Waits], activities=[double]
        ):
            assert await histories(client) == before
            await handle.signal(Waits.go, 0)
            assert await handle.result() == [3, 0]
    assert "is rebuilt from the changelog" in caplog.text
