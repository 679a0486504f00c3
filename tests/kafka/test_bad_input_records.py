"""Bad records: too large for their topic, for a queue that is not there, unreadable. They fail
what they belong to, nothing beside it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from odradek import activity, workflow
from odradek.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from odradek.config import Settings
from odradek.exceptions import ActivityError, RecordTooLargeError, TimeoutError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.dead_letters import parse_dead_letter
from odradek.wire.partitioner import partition_for
from odradek.worker import Worker
from tests.kafka.bad_input import described, task_failure
from tests.kafka.lane_records import Wire
from tests.support.client import connected
from tests.support.until import until_async
from tests.support.worker import QUEUE, Doubles, Waits, double, neighbours_complete

LARGE = 1_200_000  # Kafka's topics take about a million bytes
TEN_SECONDS = timedelta(seconds=10)


@activity.defn
async def gives(size: int) -> str:
    return "x" * size


@activity.defn
async def takes(text: str) -> int:
    return len(text)


@workflow.defn
class Large:
    """Makes something large: its result, what it gives to an activity, or what an activity gives
    back.
    """

    @workflow.run
    async def run(self, where: str) -> object:
        if where == "result":
            return "x" * LARGE
        if where == "activity input":
            return await workflow.execute_activity(
                takes, "x" * LARGE, start_to_close_timeout=TEN_SECONDS
            )
        return len(
            await workflow.execute_activity(gives, LARGE, start_to_close_timeout=TEN_SECONDS)
        )


@pytest.mark.promise("too-large")
@pytest.mark.parametrize("what", ["start", "signal"])
async def test_request_larger_than_the_topic_takes(client: Client, what: str) -> None:
    """Refused where it is made, with size, limit and topic: nothing is sent."""
    async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id="waits", task_queue=QUEUE)
        with pytest.raises((RecordTooLargeError, RPCError)) as caught:
            if what == "start":
                await client.start_workflow("Waits", "x" * LARGE, id="large", task_queue=QUEUE)
            else:
                await handle.signal("go", "x" * LARGE)
        topic = ClusterAdmin(client.settings).topics.events(QUEUE)
        assert topic in str(caught.value) and "1048588" in str(caught.value).replace(",", "")
        await handle.signal(Waits.go, 0)
        assert await handle.result() == [0]


async def _meet(client: Client, where: str, names: list[str]) -> dict[str, BaseException]:
    """Large runs in the midst of neighbours that start at the same time; how the large ones end."""
    runs = [client.execute_workflow(Large.run, where, id=name, task_queue=QUEUE) for name in names]
    outcomes, _ = await asyncio.gather(
        asyncio.gather(*runs, return_exceptions=True), neighbours_complete(client, count=20)
    )
    return dict(zip(names, outcomes, strict=True))


@pytest.mark.promise("too-large")
async def test_activity_result_larger_than_the_topic_takes(client: Client) -> None:
    """Fails that activity for good, with size and limit; the workflow hears it."""
    async with Worker(
        client, task_queue=QUEUE, workflows=[Large, Doubles], activities=[double, gives, takes]
    ):
        for error in (await _meet(client, "activity result", ["large-1", "large-2"])).values():
            assert isinstance(error, WorkflowFailureError) and isinstance(
                error.cause, ActivityError
            )
            assert "1,200," in str(error.cause.cause) or "1200" in str(error.cause.cause), (
                error.cause.cause
            )


@pytest.mark.promise("too-large")
@pytest.mark.parametrize("where", ["activity input", "result"])
async def test_output_larger_than_the_topic_takes(client: Client, where: str) -> None:
    """One bad output never stops a batch: it fails its own run, with size, limit and cure; all
    the others complete.
    """
    async with Worker(
        client, task_queue=QUEUE, workflows=[Large, Doubles], activities=[double, gives, takes]
    ):
        for error in (await _meet(client, where, ["large-1", "large-2"])).values():
            assert isinstance(error, WorkflowFailureError)
            text = str(error.cause) + str(error.cause.__cause__)
            assert "bytes" in text and "max.message.bytes" in text
        handle = client.get_workflow_handle("large-1", task_queue=QUEUE)
        assert (await handle.describe()).status is WorkflowExecutionStatus.FAILED
        assert (await handle.fetch_history()).events, "its history can be read"
        await neighbours_complete(client, name="later")


async def test_topic_that_takes_less_than_others(client: Client) -> None:
    """The limit is the topic's own, not a constant of ours."""
    admin = AdminClient({"bootstrap.servers": client.settings.address})
    cluster = ClusterAdmin(client.settings)
    commands = cluster.topics.commands(QUEUE)
    cluster.ensure([commands])
    change = ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, commands, incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(20)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Large, Doubles, Gives],
        activities=[double, gives, takes],
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Gives.run, "x" * 10_000, id="large", task_queue=QUEUE)
        assert "5000" in str(caught.value.cause).replace(",", "") + str(
            caught.value.cause.__cause__
        ).replace(",", "")
        assert (
            await client.execute_workflow(Gives.run, "x" * 100, id="small", task_queue=QUEUE) == 100
        )
        await neighbours_complete(client)


@workflow.defn
class Gives:
    """Gives a text to an activity."""

    @workflow.run
    async def run(self, text: str) -> int:
        return await workflow.execute_activity(takes, text, start_to_close_timeout=TEN_SECONDS)


@workflow.defn
class Elsewhere:
    """An activity on another queue."""

    @workflow.run
    async def run(self, seconds: float | None) -> int:
        timeout = None if seconds is None else timedelta(seconds=seconds)
        return await workflow.execute_activity(
            double,
            21,
            task_queue="nobody-serves-it",
            start_to_close_timeout=TEN_SECONDS,
            schedule_to_start_timeout=timeout,
        )


@pytest.mark.promise("commands")
async def test_activity_on_a_queue_that_does_not_exist(client: Client) -> None:
    """Ordinary: it waits, visibly, under its schedule-to-start; a service that comes later
    serves it.
    """
    async with Worker(
        client, task_queue=QUEUE, workflows=[Elsewhere, Doubles], activities=[double]
    ):
        waiting = await client.start_workflow(Elsewhere.run, None, id="waits", task_queue=QUEUE)
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Elsewhere.run, 1.0, id="gives-up", task_queue=QUEUE)
        error = caught.value.cause
        assert isinstance(error, ActivityError) and isinstance(error.cause, TimeoutError)
        assert error.cause.type is not None and error.cause.type.name == "SCHEDULE_TO_START"
        description = await described(waiting, lambda it: it.pending_activities)
        (pending,) = description.pending_activities
        assert (pending.task_queue, pending.state, pending.attempt) == (
            "nobody-serves-it",
            "SCHEDULED",
            1,
        )
        await neighbours_complete(client)
        async with Worker(client, task_queue="nobody-serves-it", activities=[double]):
            assert await asyncio.wait_for(waiting.result(), 30) == 42


@pytest.mark.promise("commands")
async def test_activity_on_a_queue_whose_topics_may_not_be_made(settings: Settings) -> None:
    """Where creation is forbidden the activity waits with the reason, and runs once somebody
    makes the topic.
    """
    cluster = ClusterAdmin(settings)
    names = cluster.topics
    cluster.ensure([names.replies, names.members, names.schemas, names.results, names.executions])
    cluster.ensure(
        [
            kind(QUEUE)
            for kind in (
                names.events,
                names.state,
                names.dead_letters,
                names.commands,
                names.control,
            )
        ]
    )
    workflows, forbidden = [Elsewhere, Doubles], settings.replace(create_topics=False)
    async with (
        connected(forbidden) as client,
        Worker(client, task_queue=QUEUE, workflows=workflows, activities=[double]),
    ):
        waiting = await client.start_workflow(Elsewhere.run, None, id="waits", task_queue=QUEUE)
        description = await described(
            waiting, lambda it: it.pending_activities and it.pending_activities[0].waiting_reason
        )
        assert (
            names.commands("nobody-serves-it") in description.pending_activities[0].waiting_reason
        )
        await neighbours_complete(client)
        queue = "nobody-serves-it"
        cluster.ensure([names.commands(queue), names.control(queue), names.dead_letters(queue)])
        async with Worker(client, task_queue=queue, activities=[double]):
            assert await asyncio.wait_for(waiting.result(), 60) == 42


@pytest.mark.promise("bad-records")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not a record at all", "UNDECODABLE"),
        # Waits 30 s for somebody to publish its schema.
        pytest.param(
            b"\xc3\x01" + bytes(8) + b"who knows", "UNKNOWN_SCHEMA", marks=pytest.mark.slow
        ),
        (b"{", "INVALID_JSON"),
        (b'{"kind": "StartWorkflow", "workflow_type": "Doubles", "typo": 1}', "INVALID_JSON"),
        (
            b'{"kind": "StartWorkflow", "workflow_type": "Doubles", "input": ['
            + b"[" * 1_500
            + b"]" * 1_500
            + b"]}",
            "INVALID_JSON",
        ),
        # Sound, refused by the owner, and nobody waits for the answer.
        (
            b'{"kind": "StartWorkflow", "workflow_type": "Doubles", "cron_schedule": "nope"}',
            "REJECTED",
        ),
        (b'{"kind": "SignalWorkflow", "signal_name": "go"}', "REJECTED"),
        (b'{"kind": "StartWorkflow", "workflow_type": "' + b"D" * 900_000 + b'"}', "REJECTED"),
    ],
    ids=[
        "garbage",
        "unknown schema",
        "half JSON",
        "JSON with an unknown field",
        "JSON nested deeply",
        "refused start",
        "signal to nobody",
        "endless name",
    ],
)
async def test_record_that_nobody_can_use(
    client: Client, tmp_path: Path, value: bytes, reason: str
) -> None:
    """Goes to dead letters with the reason and with where it stood; the partition goes on."""
    settings = client.settings
    wire = Wire(settings.address, settings.namespace, tmp_path)
    async with Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]):
        await neighbours_complete(client)
        wire.send_raw(b"some-id", value)
        wire.flush()
        partition = partition_for(b"some-id", settings.partitions)
        behind = next(
            name
            for name in (f"behind-{n}" for n in range(100))
            if partition_for(name.encode(), 2) == partition
        )
        assert (
            await asyncio.wait_for(
                client.execute_workflow(Doubles.run, 4, id=behind, task_queue=QUEUE), 50
            )
            == 8
        )
        (letter,) = await asyncio.to_thread(wire.read, wire.dead_letters)
        told = parse_dead_letter(letter.headers())
        assert (told.reason, told.topic, told.partition) == (reason, wire.events, partition)
        assert told.message and letter.value() == value


async def test_start_with_payloads_that_do_not_decode(client: Client) -> None:
    """A raw producer's mistake inside a readable record: that run's task fails with the reason,
    its neighbours go on.
    """
    record = (
        b'{"kind": "StartWorkflow", "workflow_id": "raw", "workflow_type": "Doubles", "input":'
        b' ["ten"]}'
    )
    async with Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]):
        await neighbours_complete(client)
        producer = Producer(producer_config(client.settings))
        producer.produce(ClusterAdmin(client.settings).topics.events(QUEUE), record, b"raw")
        assert producer.flush(20) == 0
        handle = client.get_workflow_handle("raw", task_queue=QUEUE)

        async def there() -> bool:
            try:
                await handle.describe()
            except RPCError as error:
                assert error.status is RPCStatusCode.NOT_FOUND
                return False
            return True

        await until_async(there)
        failure = (await task_failure(handle)).failure
        assert failure is not None and "Failed decoding arguments" in failure.message
        await neighbours_complete(client, name="later")
