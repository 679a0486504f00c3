"""Services as processes of their own: killed, stopped, told to end, at the worst moments."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.wire.partitioner import partition_for
from tests.kafka.activity_harness import ACTIVITIES, Engine, names, until

SERVICE = Path(__file__).with_name("activity_service.py")
ROOT = Path(__file__).parents[2]


class Service:
    """A service process and what its activities wrote down."""

    def __init__(self, engine: Engine, directory: Path, name: str, slots: int = 10) -> None:
        self.log = directory / f"{name}.log"
        self.log.touch()
        settings = engine.settings
        self.process = subprocess.Popen(
            [sys.executable, str(SERVICE), settings.address, settings.namespace, str(directory / name), str(self.log), str(slots)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "streams"), str(ROOT)])},
        )

    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.log.read_text().splitlines()]

    async def wrote(self, line: str, count: int = 1) -> None:
        await until(lambda: self.lines().count(line) >= count, describe=lambda: f"{line!r} not in {self.lines()}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        await until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(20)


@pytest.fixture
def engine(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(bootstrap, namespace, tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def service(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(name: str, **options: Any) -> Service:
        started.append(Service(engine, tmp_path, name, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()


async def test_killed_while_an_activity_runs_behind_its_started(engine: Engine, service: Callable[..., Service]) -> None:
    """A crash after Started is the engine's: Kafka does not deliver the command again."""
    first = service("first")
    await first.wrote("ready")
    task, short = engine.task("sleep", "long", 600.0), engine.task("note", "short")
    engine.schedule(task, short)
    await engine.answers(task, "ActivityTaskStarted")
    await engine.answers(short, "ActivityTaskCompleted")
    partition = partition_for(task.workflow_id.encode(), 2)
    await until(lambda: committed(engine).get(partition, 0) >= 1)
    first.send(signal.SIGKILL)
    await first.ended()
    second = service("second")
    await second.wrote("ready")
    # Both partitions are the second's once it answers on both of them.
    after = [engine.task("note", f"after{number}", workflow_id=f"after{number}") for number in range(8)]
    assert {partition_for(one.workflow_id.encode(), 2) for one in after} == {0, 1}
    engine.schedule(*after)
    for one in after:
        await engine.answers(one, "ActivityTaskCompleted")
    assert not [line for line in second.lines() if "long" in line or "ran short" in line]


async def test_killed_at_once_is_redelivered_started_first(engine: Engine, service: Callable[..., Service], tmp_path: Path) -> None:
    """A crash before Started is Kafka's: delivered again, and then Started comes first, so that a killer costs an attempt each time."""
    first = service("first")
    await first.wrote("ready")
    task = engine.task("die_once", "killer", str(tmp_path / "marker"))
    engine.schedule(task)
    assert await first.ended() == -signal.SIGKILL
    assert not [record for record in engine.reader.records if record.run_id == task.run_id]
    second = service("second")
    answers = await engine.answers(task, "ActivityTaskCompleted")
    assert names(answers) == ["Started", "Completed"]
    assert first.lines()[-1] == second.lines()[-1] == "began killer 1"


async def test_redelivery_that_kills_again_leaves_its_started(engine: Engine, service: Callable[..., Service], tmp_path: Path) -> None:
    first = service("first")
    await first.wrote("ready")
    path = tmp_path / "absent"
    task = engine.task("die_once", "killer", str(path))
    engine.schedule(task)
    await first.ended()
    path.unlink()
    second = service("second")
    assert await second.ended() == -signal.SIGKILL
    assert names(await engine.answers(task, "ActivityTaskStarted")) == ["Started"]


async def test_stopped_service_starts_nothing_of_what_others_took(engine: Engine, service: Callable[..., Service]) -> None:
    """SIGSTOP past the session with commands waiting for a slot: another member runs them; resumed, this one drops them."""
    stopped = service("stopped", slots=1)
    await stopped.wrote("ready")
    blocker = engine.task("sleep", "blocker", 4.0)
    engine.schedule(blocker)
    await stopped.wrote("began blocker 1")
    waiting = [engine.task("note", f"w{number}") for number in range(10)]
    engine.schedule(*waiting)
    await asyncio.sleep(0.5)  # they are read and wait for the slot
    stopped.send(signal.SIGSTOP)
    other = service("other")
    for task in waiting:
        await engine.answers(task, "ActivityTaskCompleted", timeout_s=60)
    ran_by_other = [line for line in other.lines() if line.startswith("ran w")]
    assert len(ran_by_other) == 10
    stopped.send(signal.SIGCONT)
    await stopped.wrote("ended blocker")
    late = engine.task("note", "late", workflow_id="late")
    engine.schedule(late)
    await engine.answers(late, "ActivityTaskCompleted")
    stopped.send(signal.SIGTERM)
    assert await stopped.ended() == 0
    assert not [line for line in stopped.lines() if line.startswith("ran w")]


async def test_sigterm_drains(engine: Engine, service: Callable[..., Service]) -> None:
    one = service("one")
    await one.wrote("ready")
    task = engine.task("sleep", "running", 1.5)
    engine.schedule(task)
    await one.wrote("began running 1")
    one.send(signal.SIGTERM)
    assert await one.ended() == 0
    assert one.lines()[-2:] == ["ended running", "drained"]
    assert names(await engine.answers(task, "ActivityTaskCompleted")) == ["Started", "Completed"]
    assert sum(committed(engine).values()) >= 1


async def test_killed_in_a_loop_under_load_every_activity_is_answered(engine: Engine, service: Callable[..., Service]) -> None:
    """Four times kill -9 with restarts beside: each activity gets an outcome, whatever was delivered twice carries the same key."""
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
    assert all(line.split()[3] == keys[line.split()[1]] for line in lines) and len(set(keys.values())) == 400


def committed(engine: Engine) -> dict[int, int]:
    return engine.admin.committed_offsets(engine.topics.activities_group(ACTIVITIES), engine.commands, [0, 1])
