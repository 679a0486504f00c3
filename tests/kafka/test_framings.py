"""Readers accept both framings, with a schema registry configured and without, also of a schema
that this version does not have: a fingerprint is looked up in the topic `schemas`, a registry's
id in the registry. Every room that reads records has a test here.

Without a registry nobody can say what an id means: such a record is refused with a text that
names the setting.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from odradek import activity, cli
from odradek.activities import ActivityHost
from odradek.broker.ports import free_ports
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.client.kafka_transport import KafkaTransport
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.registry import RegistryFraming, SchemaRegistryUnreachableError, make_codec
from odradek.visibility.reader import VisibilityReader
from odradek.wire.events import StartWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import ExecutionSummary, MemberStatus
from odradek.wire.schema import RECORD_TYPES, schema_json
from odradek.wire.tasks import CancelActivityTask
from odradek.worker import Worker
from tests.kafka.activity_harness import ACTIVITIES, Engine, names, payloads, values
from tests.kafka.client_workflows import Gate
from tests.kafka.fake_owner import FakeOwner
from tests.kafka.fake_registry import FakeRegistry, fake_registry
from tests.kafka.framings import FRAMINGS, SINGLE, Foreign
from tests.kafka.lane_records import Wire
from tests.support.until import until_async

pytest.importorskip("authlib", reason="needs odradek[registry]")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


@pytest.fixture(params=["with a registry", "without"])
def url(request: pytest.FixtureRequest, registry: FakeRegistry) -> str | None:
    return registry.url if request.param == "with a registry" else None


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path, url: str | None) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path,
        partitions=2,
        replication_factor=1,
        schema_registry_url=url,
    )


@pytest.fixture
def foreign(settings: Settings, registry: FakeRegistry) -> Foreign:
    return Foreign(settings, registry)


@pytest.fixture
def readable(url: str | None) -> tuple[str, ...]:
    return FRAMINGS if url else SINGLE


@activity.defn
async def note(name: str) -> str:
    return name


@activity.defn
async def wait_for_cancel(name: str) -> None:
    await asyncio.Event().wait()


# --- the client: replies, members


async def test_client_reads_replies_and_members(
    settings: Settings, foreign: Foreign, readable: tuple[str, ...]
) -> None:
    with FakeOwner(settings, "q", make_codec(settings)) as owner:
        async with await Client.connect(settings=settings) as client:
            assert isinstance(client._root.channel.transport, KafkaTransport)
            for framing in FRAMINGS:
                owner.encode = lambda record, framing=framing: foreign.encode(record, framing)  # type: ignore[misc]
                workflow_id = framing.replace(" ", "-")
                if framing in readable:
                    assert (
                        await client.execute_workflow("W", framing, id=workflow_id, task_queue="q")
                        == framing
                    )
                    continue
                with pytest.raises(RPCError) as caught:  # the reply lay there and could not be read
                    await client.get_workflow_handle(workflow_id, task_queue="q").query(
                        "state", rpc_timeout=timedelta(seconds=1)
                    )
                assert caught.value.status in (
                    RPCStatusCode.UNAVAILABLE,
                    RPCStatusCode.DEADLINE_EXCEEDED,
                )
            reader = client._root.channel.transport._reader()

            def all_seen() -> bool:
                # again and again, as members do: one whose schema is not known yet is passed over
                for framing in FRAMINGS:
                    owner.encode = lambda record, framing=framing: foreign.encode(record, framing)  # type: ignore[misc]
                    owner.announce(member_id=framing)
                return set(reader.view._members) == set(readable)

            await until_async(all_seen)


# --- activity services: commands, cancel requests


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = Engine(
        settings.address,
        settings.namespace,
        settings.state_dir,
        schema_registry_url=settings.schema_registry_url,
    )
    engine.codec = engine.reader.codec = make_codec(settings)
    yield engine
    engine.close()


@pytest.mark.promise("registry")
async def test_service_reads_commands_and_cancel_requests(
    settings: Settings,
    engine: Engine,
    foreign: Foreign,
    readable: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "odradek.activities.consumer_thread.SCHEMA_WAIT_S", 3_600.0
    )  # for what can be read; the others are refused at once
    host = ActivityHost(
        settings,
        task_queue=ACTIVITIES,
        activities=[note, wait_for_cancel],
        graceful_shutdown_timeout=timedelta(0),
    )
    running = asyncio.create_task(host.run())
    try:
        await until_async(lambda: host.is_assigned or running.done())
        for framing in FRAMINGS:
            task = engine.task("note", framing)
            engine.write(
                engine.commands,
                task.workflow_id.encode(),
                foreign.encode(task, framing),
                headers_for(task),
            )
            if framing in readable:
                assert values((await engine.answers(task, "ActivityTaskCompleted"))[-1].result) == [
                    framing
                ]
            else:
                assert (
                    "schema_registry_url"
                    in (await engine.answers(task, "ActivityTaskFailed"))[-1].failure.message
                )
        # a cancel request says everything in its headers too, so that it is heard in any framing
        for framing in FRAMINGS:
            task = engine.task("wait_for_cancel", framing, heartbeat_timeout_ms=60_000)
            engine.schedule(task)
            await engine.answers(task, "ActivityTaskStarted")
            cancel = CancelActivityTask(
                task.workflow_id,
                task.run_id,
                task.scheduled_event_id,
                task.activity_id,
                task.attempt,
            )
            value = foreign.encode(cancel, framing)
            engine.write(
                engine.topics.control(ACTIVITIES),
                task.activity_id.encode(),
                value,
                headers_for(cancel),
            )
            assert names(await engine.answers(task, "ActivityTaskCanceled")) == [
                "Started",
                "Canceled",
            ]
    finally:
        await host.shutdown()
        await running


# --- processors: events; and then everything together


@pytest.mark.promise("registry")
async def test_worker_reads_events_and_everybody_reads_what_it_wrote(
    settings: Settings,
    foreign: Foreign,
    readable: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wire = Wire(settings.address, settings.namespace, settings.state_dir)
    wire.admin.ensure_queue("q")
    async with (
        await Client.connect(settings=settings) as client,
        Worker(client, task_queue="q", workflows=[Gate]),
    ):
        for number, framing in enumerate(FRAMINGS):
            start = StartWorkflow(
                f"w{number}", "Gate", signal_name="finish", signal_input=payloads()
            )
            wire.send_raw(
                start.workflow_id.encode(), foreign.encode(start, framing), headers_for(start)
            )
        wire.flush()
        for number, framing in enumerate(FRAMINGS):
            if framing in readable:
                assert await client.get_workflow_handle(f"w{number}", task_queue="q").result() == []
        refused = len(FRAMINGS) - len(readable)
        await until_async(lambda: len(wire.read(wire.dead_letters)) == refused)
    _environment(settings, monkeypatch)
    for number, framing in enumerate(readable):
        assert cli.main(["topic", "-w", f"w{number}", "-t", "q", "-o", "json"]) == 0, framing
        records = json.loads(capsys.readouterr().out)
        assert {"StartWorkflow", "WorkflowResult", "ExecutionSummary"} <= {
            record["kind"] for record in records
        }
        assert not [record for record in records if record["error"]], framing


# --- a registry that is away: nothing is refused, nothing is lost, everybody goes on when it is
# back


def _says_away(caplog: pytest.LogCaptureFixture, logger: str) -> bool:
    return any(
        record.name == logger and "does not answer" in record.getMessage()
        for record in caplog.records
    )


@pytest.mark.parametrize("url", ["with a registry"], indirect=True)
async def test_service_waits_for_a_registry(
    settings: Settings,
    engine: Engine,
    foreign: Foreign,
    registry: FakeRegistry,
    no_hurry: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("odradek.activities.consumer_thread.SCHEMA_WAIT_S", 0.1)
    host = ActivityHost(
        settings, task_queue=ACTIVITIES, activities=[note], graceful_shutdown_timeout=timedelta(0)
    )
    running = asyncio.create_task(host.run())
    try:
        await until_async(lambda: host.is_assigned or running.done())
        task, before, behind = (engine.task("note", name) for name in ("first", "before", "behind"))
        engine.schedule(before)
        await engine.answers(
            before, "ActivityTaskCompleted"
        )  # this test knows what answers are written with
        value = foreign.encode(task, "newer schema, registry")
        registry.stop()
        engine.write(engine.commands, b"k", value, headers_for(task))
        await until_async(lambda: _says_away(caplog, "odradek.activities"))
        engine.write(
            engine.commands,
            b"k",
            foreign.encode(behind, "own schema, single object"),
            headers_for(behind),
        )
        await engine.answers(behind, "ActivityTaskCompleted")  # is not held up
        registry.start()
        assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Completed"]
        assert not running.done()
    finally:
        await host.shutdown()
        await running


@pytest.mark.promise("registry")
@pytest.mark.parametrize("url", ["with a registry"], indirect=True)
async def test_client_and_processor_wait_for_a_registry(
    settings: Settings, foreign: Foreign, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(settings.address, settings.namespace, settings.state_dir)
    wire.admin.ensure_queue("q")
    async with (
        await Client.connect(settings=settings) as client,
        Worker(client, task_queue="q", workflows=[Gate]),
    ):
        await client.execute_workflow(Gate.run, id="first", task_queue="q", start_signal="finish")
        start = StartWorkflow("w", "Gate", signal_name="finish", signal_input=payloads())
        value = foreign.encode(start, "newer schema, registry")
        assert set(map(schema_json, RECORD_TYPES)) <= set(registry.schemas), (
            "whatever it may write: nothing is asked for in the middle"
        )
        registry.stop()
        wire.send_raw(b"w", value, headers_for(start))
        wire.flush()
        await until_async(
            lambda: _says_away(caplog, "odradek.processor.lane"), what=lambda: caplog.text
        )
        registry.start()
        assert await client.get_workflow_handle("w", task_queue="q").result() == []
        assert not wire.read(wire.dead_letters)


@pytest.mark.parametrize("url", ["with a registry"], indirect=True)
async def test_client_that_meets_an_unknown_reply_while_the_registry_is_away(
    settings: Settings, foreign: Foreign, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply is dropped, its request is asked again; who is alive is read on."""
    with FakeOwner(settings, "q", make_codec(settings)) as owner:
        async with await Client.connect(settings=settings) as client:
            assert await client.execute_workflow("W", 1, id="w", task_queue="q") == 1
            handle = client.get_workflow_handle("w", task_queue="q")
            assert await handle.query("state") == 1  # the owner knows what a query is written with
            owner.encode = lambda record: foreign.encode(record, "newer schema, registry")
            transport = client._root.channel.transport
            assert isinstance(transport, KafkaTransport)
            assert await asyncio.to_thread(transport._reader().wait_complete, 40)
            registry.stop()
            query = asyncio.create_task(handle.query("state", rpc_timeout=timedelta(seconds=60)))
            await until_async(lambda: _says_away(caplog, "odradek.client.kafka_transport"))
            owner.announce()
            registry.start()
            assert await query == 1
            await until_async(lambda: bool(transport._reader().view._members), step=owner.announce)


@pytest.mark.promise("registry")
@pytest.mark.parametrize("url", ["with a registry"], indirect=True)
async def test_who_has_started_needs_no_registry_for_what_this_version_writes(
    settings: Settings, registry: FakeRegistry, no_hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to write it nor to read it: who comes to the first record of a kind only when the
    registry has gone away.
    """
    monkeypatch.setattr(
        "odradek.kafka.registry._registry", RegistryFraming
    )  # to each his own, as in processes of their own
    codec = make_codec(settings)
    codec.prepare(RECORD_TYPES)
    with FakeOwner(settings, "q", codec) as owner:
        engine = Engine(
            settings.address,
            settings.namespace,
            settings.state_dir,
            schema_registry_url=settings.schema_registry_url,
        )
        engine.codec = engine.reader.codec = codec
        host = ActivityHost(
            settings,
            task_queue=ACTIVITIES,
            activities=[note],
            graceful_shutdown_timeout=timedelta(0),
        )
        running = asyncio.create_task(host.run())
        try:
            async with await Client.connect(settings=settings) as client:
                await until_async(lambda: host.is_assigned or running.done())
                registry.stop()
                assert (
                    await asyncio.wait_for(
                        client.execute_workflow("W", 1, id="w", task_queue="q"), 60
                    )
                    == 1
                )
                task = engine.task("note", "first")
                engine.schedule(task)
                assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Completed"]
                transport = client._root.channel.transport
                assert isinstance(transport, KafkaTransport)
                reader = transport._reader()
                await until_async(
                    lambda: f"fake-{owner.queue}" in reader.view._members, step=owner.announce
                )
        finally:
            await host.shutdown()
            await running
            engine.close()


@pytest.mark.parametrize("url", ["with a registry"], indirect=True)
async def test_client_says_that_an_answer_came_which_it_cannot_read(
    settings: Settings, foreign: Foreign, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Not that nobody answers: there is a processor, and no registry."""
    with FakeOwner(settings, "q", make_codec(settings)) as owner:
        async with await Client.connect(settings=settings) as client:
            assert await client.execute_workflow("W", 1, id="w", task_queue="q") == 1
            handle = client.get_workflow_handle("w", task_queue="q")
            assert await handle.query("state") == 1
            owner.encode = lambda record: foreign.encode(record, "newer schema, registry")
            registry.stop()

            async def why() -> str:
                with pytest.raises(RPCError) as caught:
                    await handle.query("state", rpc_timeout=timedelta(seconds=3))
                return str(caught.value) if caught.value.status is RPCStatusCode.UNAVAILABLE else ""

            said = f"what came cannot be read: schema registry {registry.url} does not answer"
            for _ in range(10):
                if said in await why():  # the answer had come within these seconds
                    break
            else:
                pytest.fail("it does not say so")
            registry.start()
            assert await handle.query("state", rpc_timeout=timedelta(seconds=60)) == 1
            assert (
                isinstance(client._root.channel.transport, KafkaTransport)
                and client._root.channel.transport.trouble == ""
            )


async def test_registry_away_at_the_start_is_said_at_the_start(
    bootstrap: str, namespace: str
) -> None:
    (unused_port,) = free_ports(1)
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        schema_registry_url=f"http://127.0.0.1:{unused_port}",
    )
    with pytest.raises(SchemaRegistryUnreachableError, match="ODRADEK_SCHEMA_REGISTRY_URL"):
        await Client.connect(settings=settings)


# --- the read side, and what shows records


def test_read_side_and_command_line(
    settings: Settings,
    foreign: Foreign,
    readable: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wire = Wire(settings.address, settings.namespace, settings.state_dir)
    admin = ClusterAdmin(settings)
    topics = admin.topics
    admin.ensure([topics.executions, topics.members, topics.events("q"), topics.state("q")])
    for framing in FRAMINGS:
        summary = ExecutionSummary(
            settings.namespace,
            "q",
            "w",
            framing,
            "W",
            "RUNNING",
            start_time_ms=int(time.time() * 1000),
        )
        key = f"w/{framing}".encode()
        wire.send_raw(
            key,
            foreign.encode(summary, framing),
            headers_for(summary),
            topic=topics.executions,
            partition=0,
        )
        status = MemberStatus(
            framing, "PROCESSOR", settings.namespace, "q", framing, int(time.time() * 1000)
        )
        wire.send_raw(framing.encode(), foreign.encode(status, framing), topic=topics.members)
        start = StartWorkflow("w", "W", request_id=framing)
        wire.send_raw(b"w", foreign.encode(start, framing), headers_for(start))
    wire.flush()
    with VisibilityReader(settings) as reader:
        assert reader.wait_ready(60) and reader.wait_caught_up(30), reader.statistics()
        assert {run.run_id for run in reader.store.list().executions} == set(readable)
        assert (
            reader.statistics().undecodable == len(FRAMINGS) - len(readable)
            and reader.statistics().restarts == 0
        )
    _environment(settings, monkeypatch)
    assert cli.main(["topic", "-w", "w", "-t", "q", "--kind", "events", "-o", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["error"] == "" for record in records] == [
        framing in readable for framing in FRAMINGS
    ]
    assert all("schema_registry_url" in record["error"] for record in records if record["error"])
    assert cli.main(["task-queue", "describe", "-t", "q", "-o", "json"]) == 0
    said = capsys.readouterr().out
    assert {framing for framing in FRAMINGS if framing in said} == set(readable)


def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_ADDRESS", settings.address)
    monkeypatch.setenv("ODRADEK_NAMESPACE", settings.namespace)
    monkeypatch.setenv("ODRADEK_STATE_DIR", str(settings.state_dir))
    if settings.schema_registry_url:
        monkeypatch.setenv("ODRADEK_SCHEMA_REGISTRY_URL", settings.schema_registry_url)
