"""Activity services in a share group (`activity_group: share`) on real Kafka, against an engine played by the test."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import ConfigResource

from odradek import activity
from odradek.activities import ActivityHost
from odradek.activities.share_commands import DELIVERIES_MAX, GROUP_CONFIG
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import share_consumer_config
from odradek.wire.headers import HANDED_ON_FROM, header
from tests.kafka.activity_harness import ACTIVITIES, Engine, Reader, names, until, values
from tests.kafka.test_activity_process import Service

ran: list[str] = []
gates: dict[str, asyncio.Event] = {}


@activity.defn
async def note(name: str) -> str:
    ran.append(name)
    return name


@activity.defn
async def wait(name: str) -> str:
    ran.append(name)
    await gates.setdefault(name, asyncio.Event()).wait()
    return name


@pytest.fixture
def new_engine(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    ran.clear()
    gates.clear()
    engines: list[Engine] = []

    def make(**options: Any) -> Engine:
        engines.append(Engine(bootstrap, namespace, tmp_path, activity_group="share", **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(new_engine: Callable[..., Engine]) -> Engine:
    return new_engine()


@pytest.fixture
def service(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    monkeypatch.setitem(os.environ, "ODRADEK_ACTIVITY_GROUP", "share")
    started: list[Service] = []

    def start(name: str, **options: Any) -> Service:
        started.append(Service(engine, tmp_path, name, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()


@asynccontextmanager
async def running(engine: Engine, **options: Any) -> AsyncIterator[ActivityHost]:
    settings = options.pop("settings", engine.settings)
    options.setdefault("graceful_shutdown_timeout", timedelta(0))
    host = ActivityHost(settings, task_queue=ACTIVITIES, activities=[note, wait], **options)
    task = asyncio.create_task(host.run())
    try:
        await until(lambda: host.is_assigned or task.done())
        if task.done():
            await task
        yield host
    finally:
        await host.shutdown()
        await asyncio.wait_for(asyncio.shield(task), 40)


async def served(engine: Engine, host: ActivityHost) -> None:
    """Until the group has let this host in: the client does not tell."""
    before = host.statistics().completed
    while host.statistics().completed == before:
        probe = engine.task("note", "probe")
        engine.schedule(probe)
        await engine.answers(probe, "ActivityTaskCompleted")


async def test_short_activity_is_answered_by_one_record_and_delivered_once(engine: Engine) -> None:
    async with running(engine):
        task = engine.task("note", "hello")
        engine.schedule(task)
        answers = await engine.answers(task, "ActivityTaskCompleted")
        assert names(answers) == ["Completed"] and values(answers[0].result) == ["hello"]
    async with running(engine):  # the command was accepted: whoever comes next does not see it
        after = [engine.task("note", f"after{number}") for number in range(8)]
        engine.schedule(*after)
        for task in after:
            await engine.answers(task, "ActivityTaskCompleted")
    assert ran.count("hello") == 1


async def test_the_groups_settings_are_made_before_its_first_member(engine: Engine) -> None:
    """Commands written before are run; those of an aborted transaction are not."""
    engine.schedule(*(engine.task("note", "aborted", workflow_id=f"wf{number}") for number in range(4)), commit=False)
    early = [engine.task("note", f"early{number}") for number in range(4)]
    engine.schedule(*early)
    async with running(engine):
        for task in early:
            assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Completed"]
        engine.schedule(*(engine.task("note", "aborted", workflow_id=f"wf{number}") for number in range(4)), commit=False)
        late = [engine.task("note", "late", workflow_id=f"wf{number}") for number in range(4)]
        engine.schedule(*late)
        for task in late:
            await engine.answers(task, "ActivityTaskCompleted")
    assert "aborted" not in ran
    resource = ConfigResource(ConfigResource.Type.GROUP, engine.topics.activities_share_group(ACTIVITIES))
    found = engine.admin._admin.describe_configs([resource])[resource].result(20)
    assert {name: found[name].value for name in GROUP_CONFIG} == GROUP_CONFIG
    with pytest.raises(OdradekError, match=r"share\.isolation\.level=nonsense.*activity_group: classic"):
        engine.admin.configure_group(engine.topics.activities_share_group(ACTIVITIES), {"share.isolation.level": "nonsense"})


@pytest.mark.parametrize("partitions", [1, 4])
async def test_full_service_leaves_commands_to_the_other(new_engine: Callable[..., Engine], partitions: int) -> None:
    engine = new_engine(partitions=partitions)
    async with running(engine, max_concurrent_activities=1) as full:
        blocker = engine.task("wait", "blocker")
        engine.schedule(blocker)
        await engine.answers(blocker, "ActivityTaskStarted")
        async with running(engine) as idle:
            tasks = [engine.task("note", f"n{number}") for number in range(20)]
            for task in tasks:
                engine.schedule(task)
            for task in tasks:
                await engine.answers(task, "ActivityTaskCompleted", timeout_s=60)
            assert idle.statistics().completed == 20 and full.statistics().completed == 0
            gates["blocker"].set()
            await engine.answers(blocker, "ActivityTaskCompleted")
    assert sorted(ran) == sorted(["blocker", *(f"n{number}" for number in range(20))])


async def test_slow_activities_hold_no_others(engine: Engine) -> None:
    """A batch is held until its slow activity has said Started, 200 ms at most; others go on in the other members meanwhile."""
    async with running(engine, max_concurrent_activities=12) as host:
        await served(engine, host)
        slow = [engine.task("wait", f"slow{number}") for number in range(4)]
        engine.schedule(*slow)
        await until(lambda: sum(name.startswith("slow") for name in ran) == 4)
        quick = [engine.task("note", f"quick{number}") for number in range(40)]
        engine.schedule(*quick)
        for task in quick:
            await engine.answers(task, "ActivityTaskCompleted")
        for task in slow:
            await engine.answers(task, "ActivityTaskStarted")
            gates[task_name(task)].set()
            assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Started", "Completed"]
    assert all(ran.count(task_name(task)) == 1 for task in [*slow, *quick])


def task_name(task: Any) -> str:
    return str(values(task.input)[0])


async def test_killed_at_once_is_redelivered_started_first(engine: Engine, service: Callable[..., Service], tmp_path: Path) -> None:
    first = service("first")
    await first.wrote("ready")
    task = engine.task("die_once", "killer", str(tmp_path / "marker"))
    engine.schedule(task)
    assert await first.ended() == -signal.SIGKILL
    died = time.monotonic()
    second = service("second")
    answers = await engine.answers(task, "ActivityTaskCompleted", timeout_s=90)
    print(f"redelivered after {time.monotonic() - died:.1f} s")
    assert names(answers) == ["Started", "Completed"]
    assert first.lines()[-1] == second.lines()[-1] == "began killer 1"


async def test_killed_behind_started_is_left_to_the_engine(engine: Engine, service: Callable[..., Service]) -> None:
    first = service("first")
    await first.wrote("ready")
    task, short = engine.task("sleep", "long", 600.0), engine.task("note", "short")
    engine.schedule(task, short)
    await engine.answers(task, "ActivityTaskStarted")
    await engine.answers(short, "ActivityTaskCompleted")
    async with asyncio.timeout(20):  # what is acknowledged leaves with the next turns: shown by what is delivered after it
        for number in range(3):
            turn = engine.task("note", f"turn{number}")
            engine.schedule(turn)
            await engine.answers(turn, "ActivityTaskCompleted")
    first.send(signal.SIGKILL)
    await first.ended()
    second = service("second")
    last = engine.task("note", "killer's neighbour", workflow_id=task.workflow_id)  # behind it, in its partition
    engine.schedule(last)
    await engine.answers(last, "ActivityTaskCompleted", timeout_s=90)
    assert not [line for line in second.lines() if "long" in line or "ran short" in line]


async def test_shutdown_releases_what_was_not_begun(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(partitions=1)
    async with running(engine, max_concurrent_activities=1, graceful_shutdown_timeout=timedelta(seconds=30)) as first:
        blocker = engine.task("wait", "blocker")
        engine.schedule(blocker)
        await engine.answers(blocker, "ActivityTaskStarted")
        waiting = engine.task("note", "waiting")
        engine.schedule(waiting)
        await until(lambda: first.statistics().waiting == 1)
        ending = asyncio.create_task(first.shutdown())
        await until(lambda: first.statistics().waiting == 0)
        began = time.monotonic()
        async with running(engine):  # while the first one still runs its blocker
            assert names(await engine.answers(waiting, "ActivityTaskCompleted")) == ["Started", "Completed"]
            assert time.monotonic() - began < 15  # not by the end of a lock
        gates["blocker"].set()
        await ending
    assert names(await engine.answers(blocker, "ActivityTaskCompleted")) == ["Started", "Completed"]
    assert sorted(ran) == ["blocker", "waiting"]


async def test_command_delivered_too_often_is_handed_on_before_the_broker_drops_it(engine: Engine) -> None:
    group = engine.topics.activities_share_group(ACTIVITIES)
    engine.admin.configure_group(group, GROUP_CONFIG)
    consumer = ShareConsumer(share_consumer_config(engine.settings, group, max_poll_records=1))
    consumer.subscribe([engine.commands])
    task = engine.task("note", "worn")
    engine.schedule(task)
    for count in range(1, DELIVERIES_MAX + 1):
        found: list[Any] = []
        await until(lambda found=found: bool(found), step=lambda found=found: found.extend(consumer.poll(0.1)))  # type: ignore[misc]
        assert [message.delivery_count() for message in found] == [count]
        consumer.acknowledge(found[0], AcknowledgeType.RELEASE)
        consumer.commit_sync(20)
    consumer.close()
    async with running(engine) as host:
        assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Started", "Completed"]
        assert host.statistics().handed_on == 1
    written = Reader(engine.settings, engine.codec, engine.commands)
    await written.until(lambda: len(written.messages) == 2)
    headers: Any = written.messages[1].headers()
    assert header(headers, HANDED_ON_FROM).startswith(f"{engine.commands}/")
    written.close()


async def test_what_a_classic_group_did_is_not_done_again(engine: Engine) -> None:
    async with running(engine, settings=engine.settings.replace(activity_group="classic")):
        done = [engine.task("note", f"done{number}") for number in range(8)]
        engine.schedule(*done)
        for task in done:
            await engine.answers(task, "ActivityTaskCompleted")
    assert sum(engine.admin.start_offsets(engine.commands, [0, 1]).values()) == 0  # not purged yet: the share group reads them
    async with running(engine):
        after = [engine.task("note", f"after{number}") for number in range(8)]
        engine.schedule(*after)
        for task in after:
            assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Completed"]
    assert sorted(ran) == sorted(f"{when}{number}" for when in ("done", "after") for number in range(8))


async def test_stopped_service_starts_nothing_of_what_others_took(engine: Engine, service: Callable[..., Service]) -> None:
    """SIGSTOP past the locks with a command that waits for a slot: another service runs it; resumed, this one drops it."""
    stopped = service("stopped", slots=1)
    await stopped.wrote("ready")
    blocker = engine.task("sleep", "blocker", 4.0)
    engine.schedule(blocker)
    await stopped.wrote("began blocker 1")
    await engine.answers(blocker, "ActivityTaskStarted")
    waiting = [engine.task("note", f"w{number}") for number in range(2)]
    engine.schedule(*waiting)
    await asyncio.sleep(0.5)  # they are read and wait for the slot; after a second they would be handed on
    stopped.send(signal.SIGSTOP)
    began = time.monotonic()
    other = service("other")
    for task in waiting:
        await engine.answers(task, "ActivityTaskCompleted", timeout_s=90)
    assert time.monotonic() - began > 15  # they were locked for the one that stands still
    stopped.send(signal.SIGCONT)
    await stopped.wrote("ended blocker")
    late = [engine.task("note", f"late{number}") for number in range(8)]
    engine.schedule(*late)
    for task in late:
        await engine.answers(task, "ActivityTaskCompleted")
    assert len([line for line in other.lines() if line.startswith("ran w")]) == 2
    assert not [line for line in stopped.lines() if line.startswith("ran w")]
