"""What a share group does otherwise (`activity_group: share`), on real Kafka, against an engine
played by the test.

What it promises as a classic group does is in `test_activity_host.py`,
`test_activity_process.py` and `test_activity_broker_restart.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import ConfigResource

from odradek.activities import ActivityHost, commands
from odradek.activities.share_commands import DELIVERIES_MAX, GROUP_CONFIG, LOCK_DURATION_MS
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import share_consumer_config
from odradek.wire.headers import HANDED_ON_FROM, header
from tests.kafka.activity_harness import ACTIVITIES, Engine, Reader, names, values
from tests.kafka.activity_services import SHARE, gates, ran, running
from tests.support.until import until_async

pytestmark = pytest.mark.parametrize("group", [SHARE])


async def served(engine: Engine, host: ActivityHost) -> None:
    """Until the group has let this host in: the client does not tell."""
    before = host.statistics().completed
    while host.statistics().completed == before:
        probe = engine.task("note", "probe")
        engine.schedule(probe)
        await engine.answers(probe, "ActivityTaskCompleted")


@pytest.mark.promise("share-group")
async def test_the_groups_settings_are_made_before_its_first_member(engine: Engine) -> None:
    async with running(engine):
        pass
    resource = ConfigResource(
        ConfigResource.Type.GROUP, engine.topics.activities_share_group(ACTIVITIES)
    )
    found = engine.admin._admin.describe_configs([resource])[resource].result(20)
    assert {name: found[name].value for name in GROUP_CONFIG} == GROUP_CONFIG
    with pytest.raises(
        OdradekError, match=r"share\.isolation\.level=nonsense.*activity_group: classic"
    ):
        engine.admin.configure_group(
            engine.topics.activities_share_group(ACTIVITIES), {"share.isolation.level": "nonsense"}
        )


@pytest.mark.promise("share-group")
@pytest.mark.parametrize("partitions", [1, 4])
async def test_full_service_leaves_commands_to_the_other(
    new_engine: Callable[..., Engine], partitions: int
) -> None:
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
    """A batch is held until its slow activity has said Started, 200 ms at most; others go on in
    the other members meanwhile.
    """
    async with running(engine, max_concurrent_activities=12) as host:
        await served(engine, host)
        slow = [engine.task("wait", f"slow{number}") for number in range(4)]
        engine.schedule(*slow)
        await until_async(lambda: sum(name.startswith("slow") for name in ran) == 4)
        quick = [engine.task("note", f"quick{number}") for number in range(40)]
        engine.schedule(*quick)
        for task in quick:
            await engine.answers(task, "ActivityTaskCompleted")
        for task in slow:
            await engine.answers(task, "ActivityTaskStarted")
            gates[task_name(task)].set()
            assert names(await engine.answers(task, "ActivityTaskCompleted")) == [
                "Started",
                "Completed",
            ]
    assert all(ran.count(task_name(task)) == 1 for task in [*slow, *quick])


def task_name(task: Any) -> str:
    return str(values(task.input)[0])


@pytest.mark.promise("share-group")
async def test_shutdown_releases_what_was_not_begun(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(partitions=1)
    async with running(
        engine, max_concurrent_activities=1, graceful_shutdown_timeout=timedelta(seconds=30)
    ) as first:
        blocker = engine.task("wait", "blocker")
        engine.schedule(blocker)
        await engine.answers(blocker, "ActivityTaskStarted")
        waiting = engine.task("note", "waiting")
        engine.schedule(waiting)
        await until_async(lambda: first.statistics().waiting == 1)
        ending = asyncio.create_task(first.shutdown())
        await until_async(lambda: first.statistics().waiting == 0)
        began = time.monotonic()
        async with running(engine):  # while the first one still runs its blocker
            assert names(await engine.answers(waiting, "ActivityTaskCompleted")) == [
                "Started",
                "Completed",
            ]
            assert (
                time.monotonic() - began < LOCK_DURATION_MS / 1_000 - 5
            )  # not by the end of a lock
        gates["blocker"].set()
        await ending
    assert names(await engine.answers(blocker, "ActivityTaskCompleted")) == ["Started", "Completed"]
    assert sorted(ran) == ["blocker", "waiting"]


async def test_command_delivered_too_often_is_handed_on_before_the_broker_drops_it(
    engine: Engine,
) -> None:
    group = engine.topics.activities_share_group(ACTIVITIES)
    engine.admin.configure_group(group, GROUP_CONFIG)
    consumer = ShareConsumer(share_consumer_config(engine.settings, group, max_poll_records=1))
    consumer.subscribe([engine.commands])
    task = engine.task("note", "worn")
    engine.schedule(task)
    for count in range(1, DELIVERIES_MAX + 1):
        found: list[Any] = []
        await until_async(
            lambda found=found: bool(found),
            step=lambda found=found: found.extend(consumer.poll(0.1)),
        )  # type: ignore[misc]
        assert [message.delivery_count() for message in found] == [count]
        consumer.acknowledge(found[0], AcknowledgeType.RELEASE)
        consumer.commit_sync(20)
    consumer.close()
    async with running(engine) as host:
        assert names(await engine.answers(task, "ActivityTaskCompleted")) == [
            "Started",
            "Completed",
        ]
        assert host.statistics().handed_on == 1
    written = Reader(engine.settings, engine.codec, engine.commands)
    await written.until(lambda: len(written.messages) == 2)
    every: list[Any] = [
        message.headers() for message in written.messages
    ]  # two partitions, read in any order
    assert sorted(header(headers, HANDED_ON_FROM).partition("/")[0] for headers in every) == [
        "",
        engine.commands,
    ]
    written.close()


async def test_what_a_classic_group_did_is_not_done_again(
    engine: Engine, no_hurry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PURGE_INTERVAL_S", 3_600.0)
    async with running(engine, settings=engine.settings.replace(activity_group="classic")):
        done = [engine.task("note", f"done{number}") for number in range(8)]
        engine.schedule(*done)
        for task in done:
            await engine.answers(task, "ActivityTaskCompleted")
    assert (
        sum(engine.admin.start_offsets(engine.commands, [0, 1]).values()) == 0
    )  # not purged yet: the share group reads them
    async with running(engine):
        after = [engine.task("note", f"after{number}") for number in range(8)]
        engine.schedule(*after)
        for task in after:
            assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Completed"]
    assert sorted(ran) == sorted(
        f"{when}{number}" for when in ("done", "after") for number in range(8)
    )
