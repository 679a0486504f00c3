"""Services as processes of their own: killed, stopped, told to end, at the worst moments. Both
kinds of groups promise the same.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from odradek.wire.partitioner import partition_for
from odradek.wire.tasks import ActivityTask
from tests.kafka.activity_harness import Engine, names
from tests.kafka.activity_services import SHARE, Service, answered, both_groups, committed, running
from tests.support.until import until_async

pytestmark = both_groups


async def acknowledged(engine: Engine, *tasks: ActivityTask) -> None:
    """Kafka knows that these commands are done with, the first of their partitions as they are.
    Nobody can ask a share group for that: it goes with the next turns of the service, which
    others show.
    """
    if engine.settings.activity_group == SHARE:
        for _ in range(3):
            await answered(engine, 2)
    else:
        count = Counter(
            partition_for(task.workflow_id.encode(), engine.settings.partitions) for task in tasks
        )
        await until_async(lambda: Counter(committed(engine)) >= count)


@pytest.mark.promise("commands")
async def test_killed_while_an_activity_runs_behind_its_started(
    engine: Engine, service: Callable[..., Service]
) -> None:
    """A crash after Started is the engine's: Kafka does not deliver the command again."""
    first = service("first")
    await first.wrote("ready")
    task, short = engine.task("sleep", "long", 600.0), engine.task("note", "short")
    engine.schedule(task, short)
    await engine.answers(task, "ActivityTaskStarted")
    await engine.answers(short, "ActivityTaskCompleted")
    await acknowledged(engine, task, short)
    first.send(signal.SIGKILL)
    await first.ended()
    second = service("second")
    await answered(engine)
    assert not [line for line in second.lines() if "long" in line or "ran short" in line]


@pytest.mark.promise("commands")
async def test_killed_at_once_is_redelivered_started_first(
    engine: Engine, service: Callable[..., Service], tmp_path: Path
) -> None:
    """A crash before Started is Kafka's: delivered again, and then Started comes first, so that
    a killer costs an attempt each time.
    """
    first = service("first", NO_HURRY="yes")
    await first.wrote("ready")
    task = engine.task("die_once", "killer", str(tmp_path / "marker"))
    engine.schedule(task)
    assert await first.ended() == -signal.SIGKILL
    assert not [record for record in engine.reader.records if record.run_id == task.run_id]
    second = service("second")
    answers = await engine.answers(task, "ActivityTaskCompleted", timeout_s=90)
    assert names(answers) == ["Started", "Completed"]
    assert first.lines()[-1] == "began killer 1"
    assert [line for line in second.lines() if line != "ready"] == [
        "began killer 1"
    ]  # which may begin before the service says that it is


async def test_redelivery_that_kills_again_leaves_its_started(
    engine: Engine, service: Callable[..., Service], tmp_path: Path
) -> None:
    first = service("first", NO_HURRY="yes")
    await first.wrote("ready")
    path = tmp_path / "absent"
    task = engine.task("die_once", "killer", str(path))
    engine.schedule(task)
    await first.ended()
    path.unlink()
    second = service("second")
    assert await second.ended() == -signal.SIGKILL
    assert names(await engine.answers(task, "ActivityTaskStarted")) == ["Started"]


@pytest.mark.promise("paused-service")
async def test_stopped_service_starts_nothing_of_what_others_took(
    engine: Engine, service: Callable[..., Service], group: str, tmp_path: Path
) -> None:
    """SIGSTOP past the session, or the locks, with commands that wait for a slot: others run
    them; resumed, this one drops them.
    """
    stopped, flag = service("stopped", slots=1, NO_HURRY="yes"), tmp_path / "flag"
    await stopped.wrote("ready")
    blocker = engine.task(
        "hold", "blocker", str(flag), start_to_close_timeout_ms=600_000, heartbeat_timeout_ms=400
    )  # Started by then
    engine.schedule(blocker)
    await stopped.wrote("began blocker 1")
    await engine.answers(blocker, "ActivityTaskStarted")
    waiting = [engine.task("note", f"w{number}") for number in range(10)]
    engine.schedule(*waiting)
    await asyncio.sleep(0.5)  # they are read and wait for the slot
    stopped.send(signal.SIGSTOP)
    began = time.monotonic()
    other = service("other")
    for task in waiting:
        await engine.answers(task, "ActivityTaskCompleted", timeout_s=90)
    if group == SHARE:
        assert time.monotonic() - began > 8  # they were locked for the one that stands still
    ran_by_other = [line for line in other.lines() if line.startswith("ran w")]
    assert len(ran_by_other) == 10
    stopped.send(signal.SIGCONT)
    flag.touch()
    await stopped.wrote("ended blocker")
    late = engine.task("note", "late", workflow_id="late")
    engine.schedule(late)
    await engine.answers(late, "ActivityTaskCompleted")
    stopped.send(signal.SIGTERM)
    assert await stopped.ended() == 0
    assert not [line for line in stopped.lines() if line.startswith("ran w")]


async def test_sigterm_drains(
    engine: Engine, service: Callable[..., Service], group: str, tmp_path: Path
) -> None:
    one, flag = service("one"), tmp_path / "flag"
    await one.wrote("ready")
    task = engine.task("hold", "running", str(flag))
    engine.schedule(task)
    await one.wrote("began running 1")
    one.send(signal.SIGTERM)
    await engine.answers(task, "ActivityTaskStarted")
    flag.touch()
    assert await one.ended() == 0
    assert one.lines()[-2:] == ["ended running", "drained"]
    assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Started", "Completed"]
    if group == SHARE:
        async with running(engine):  # it was acknowledged: whoever comes next does not see it
            await answered(engine)
        assert names(
            record for record in engine.reader.records if record.run_id == task.run_id
        ) == ["Started", "Completed"]
    else:
        assert sum(committed(engine).values()) >= 1


async def test_another_joins_and_leaves_while_librdkafka_logs_every_step(
    engine: Engine, service: Callable[..., Service]
) -> None:
    """Log lines are callbacks of the client, and come in the middle of a rebalance:
    tests/facts/test_callbacks.py says what they did.
    """
    talkative = {"debug": "cgrp"}
    stays = service("stays", kafka=talkative)
    await stays.wrote("ready")
    await answered(engine)
    leaves = service("leaves", kafka=talkative)
    await leaves.wrote("ready")
    await answered(engine)
    leaves.send(signal.SIGTERM)
    assert await leaves.ended() == 0
    await answered(engine)  # on each partition, so those of the one that left have come back
    stays.send(signal.SIGTERM)
    assert await stays.ended() == 0
    assert leaves.lines()[-1] == stays.lines()[-1] == "drained"


@pytest.mark.promise("commands")
async def test_killed_in_a_loop_under_load_every_activity_is_answered(
    engine: Engine, service: Callable[..., Service]
) -> None:
    """Four times kill -9 with restarts beside: each activity gets an outcome, whatever was
    delivered twice carries the same key.
    """
    services = [service("a"), service("b")]
    for one in services:
        await one.wrote("ready")
    tasks = [engine.task("note", f"n{number}") for number in range(400)]
    for number in range(4):
        engine.schedule(*tasks[number * 100 : number * 100 + 50])
        victim = services[number % 2]
        victim.send(signal.SIGKILL)
        await victim.ended()
        services[number % 2] = service(f"{'ab'[number % 2]}")  # comes back under its identity
        engine.schedule(*tasks[number * 100 + 50 : (number + 1) * 100])
    for task in tasks:
        await engine.answers(task, "ActivityTaskCompleted", timeout_s=60)
    lines = [line for one in services for line in one.lines() if line.startswith("ran n")]
    assert {line.split()[1] for line in lines} == {f"n{number}" for number in range(400)}
    keys = {line.split()[1]: line.split()[3] for line in lines}
    assert (
        all(line.split()[3] == keys[line.split()[1]] for line in lines)
        and len(set(keys.values())) == 400
    )
