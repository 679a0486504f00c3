"""Activity services for tests: in this process (`running`), or as processes that can be killed
(`Service`), in either kind of group.

The group is that of the engine's settings; the fixtures are in `conftest.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity
from odradek.activities import ActivityHost
from tests.kafka.activity_harness import ACTIVITIES, Engine
from tests.support.until import until_async

CLASSIC, SHARE = "classic", "share"
#: On a test of what both kinds of groups promise.
both_groups = pytest.mark.parametrize("group", [CLASSIC, SHARE])

SERVICE = Path(__file__).with_name("activity_service.py")
ROOT = Path(__file__).parents[2]

#: Names of what ran here, in order, since the engine of the test was made.
ran: list[str] = []
gates: dict[str, asyncio.Event] = {}


@activity.defn
async def note(name: str) -> str:
    ran.append(name)
    return name


@activity.defn
async def wait(name: str) -> str:
    """Until somebody opens its gate."""
    ran.append(name)
    await gates.setdefault(name, asyncio.Event()).wait()
    return name


@activity.defn
async def beat(count: int) -> list[Any]:
    before = list(activity.info().heartbeat_details)
    for number in range(count):
        activity.heartbeat(number)
        await asyncio.sleep(0.01)
    await asyncio.Event().wait()
    return before


@activity.defn
async def details() -> list[Any]:
    return list(activity.info().heartbeat_details)


@activity.defn
async def large(size: int) -> str:
    return "x" * size


@asynccontextmanager
async def running(engine: Engine, **options: Any) -> AsyncIterator[ActivityHost]:
    """A host in this process, assigned; drained at the end unless it was already."""
    settings = options.pop("settings", engine.settings)
    options.setdefault("graceful_shutdown_timeout", timedelta(0))
    host = ActivityHost(
        settings, task_queue=ACTIVITIES, activities=[note, wait, beat, details, large], **options
    )
    task = asyncio.create_task(host.run())
    try:
        await until_async(lambda: host.is_assigned or task.done())
        if task.done():
            await task
        yield host
    finally:
        await host.shutdown()
        await asyncio.wait_for(asyncio.shield(task), 40)


async def answered(engine: Engine, count: int = 8) -> None:
    """Whoever serves now has answered commands on each partition: what it would be given before
    them, it was given.
    """
    tasks = [engine.task("note", f"probe{number}") for number in range(count)]
    for number, task in enumerate(tasks):
        engine.schedule(task, partition=number % engine.settings.partitions)
    for task in tasks:
        await engine.answers(task, "ActivityTaskCompleted", timeout_s=90)


def committed(engine: Engine) -> dict[int, int]:
    """Offsets of the classic group."""
    return engine.admin.committed_offsets(
        engine.topics.activities_group(ACTIVITIES), engine.commands, [0, 1]
    )


class Service:
    """A service process and what its activities wrote down. `kafka`: librdkafka settings;
    `more`: of its environment.
    """

    def __init__(
        self,
        engine: Engine,
        directory: Path,
        name: str,
        slots: int = 10,
        kafka: dict[str, str] | None = None,
        **more: str,
    ) -> None:
        self.log = directory / f"{name}.log"
        self.log.touch()
        settings = engine.settings
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(SERVICE),
                settings.address,
                settings.namespace,
                str(directory / name),
                str(self.log),
                str(slots),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "streams"), str(ROOT)]),
                "ODRADEK_ACTIVITY_GROUP": settings.activity_group,
                "ODRADEK_KAFKA": json.dumps(kafka or {}),
                **more,
            },
        )

    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.log.read_text().splitlines()]

    async def wrote(self, line: str, count: int = 1) -> None:
        await until_async(
            lambda: self.lines().count(line) >= count,
            what=lambda: f"{line!r} not in {self.lines()}",
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        await until_async(lambda: self.process.poll() is not None)
        return self.process.returncode

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(20)
