"""Workflows and activities with nothing wrong, and a worker that serves them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from odradek import activity, workflow
from odradek.client import Client
from odradek.worker import Worker

QUEUE = "q"
SECOND = timedelta(seconds=1)


@activity.defn
async def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@workflow.defn
class Doubles:
    """One activity."""

    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(
            double, number, start_to_close_timeout=timedelta(seconds=30)
        )


@workflow.defn
class Waits:
    """Collects what the signal `go` brings, until it is 0. Query `given`."""

    def __init__(self) -> None:
        self._given: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: 0 in self._given)
        return self._given

    @workflow.signal
    def go(self, number: int) -> None:
        self._given.append(number)

    @workflow.query
    def given(self) -> list[int]:
        return self._given


def worker(client: Client, **options: Any) -> Worker:
    """A worker of `QUEUE`: `async with worker(client): …`. By default it serves `Doubles` and
    `Waits`.
    """
    given: dict[str, Any] = {"task_queue": QUEUE}
    if "workflows" not in options and "activities" not in options:
        given |= {"workflows": [Doubles, Waits], "activities": [double]}
    return Worker(client, **given | options)


async def neighbours_complete(client: Client, *, name: str = "neighbour", count: int = 8) -> None:
    """So many runs of `Doubles` that they meet every partition; each completes."""
    starts = (
        client.execute_workflow(Doubles.run, n, id=f"{name}-{n}", task_queue=QUEUE)
        for n in range(count)
    )
    async with asyncio.timeout(60):
        assert await asyncio.gather(*starts) == [2 * n for n in range(count)]
