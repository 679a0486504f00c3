"""What the bad-input tests share: a client of the test's own, two workflows that are ordinary,
waiting for a condition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from odradek import activity, workflow
from odradek.client import Client, RPCError, WorkflowExecutionDescription, WorkflowHandle
from odradek.config import Settings
from odradek.wire.history import WorkflowTaskFailed

T = TypeVar("T")
QUEUE = "q"
SECOND = timedelta(seconds=1)
#: Of a read that meets a worker which has just begun: by itself it gives up after three seconds
#: without an owner.
PATIENT = timedelta(seconds=60)


def settings_for(bootstrap: str, namespace: str, folder: Path, **changes: Any) -> Settings:
    """Settings of one test: two partitions, its own state."""
    return Settings(
        **(
            {
                "address": bootstrap,
                "namespace": namespace,
                "state_dir": folder,
                "partitions": 2,
                "replication_factor": 1,
            }
            | changes
        )
    )


@asynccontextmanager
async def connected(settings: Settings) -> Any:
    """A client, closed at the end."""
    client = await Client.connect(settings=settings)
    try:
        yield client
    finally:
        client.close()


async def eventually(check: Callable[[], Awaitable[T]], what: str = "", timeout_s: float = 40) -> T:
    """Wait until `check` gives something; that."""
    deadline = time.monotonic() + timeout_s
    while not (value := await check()):
        assert time.monotonic() < deadline, f"it did not come to pass: {what or check}"
        await asyncio.sleep(0.05)
    return value


async def sent(request: Awaitable[object]) -> None:
    """To a queue that nobody serves, with a short deadline. Where the machine stands still for
    as long, it is delivered behind it.
    """
    try:
        await request
    except RPCError as error:
        assert "did not take the request within" in error.message, error


async def described(
    handle: WorkflowHandle[Any, Any], check: Callable[[WorkflowExecutionDescription], Any]
) -> WorkflowExecutionDescription:
    """The first description that `check` accepts."""

    async def look() -> WorkflowExecutionDescription | None:
        description = await handle.describe()
        return description if check(description) else None

    return await eventually(look)


async def task_failure(handle: WorkflowHandle[Any, Any]) -> WorkflowTaskFailed:
    """Why the workflow task fails, as the history has it."""

    async def look() -> WorkflowTaskFailed | None:
        history = await handle.fetch_history()
        return next(
            (
                event.attributes
                for event in history.events
                if isinstance(event.attributes, WorkflowTaskFailed)
            ),
            None,
        )

    return await eventually(look)


@activity.defn
async def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@workflow.defn
class Doubles:
    """A workflow with nothing wrong: the neighbour that must not notice."""

    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(
            double, number, start_to_close_timeout=timedelta(seconds=30)
        )


@workflow.defn
class Waits:
    """Waits for the signal `go`, answers what it was given; query `given`."""

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


async def neighbours_are_well(client: Client, *, name: str = "neighbour", count: int = 8) -> None:
    """So many that they meet every partition; each completes."""
    results = await asyncio.wait_for(
        asyncio.gather(
            *(
                client.execute_workflow(Doubles.run, n, id=f"{name}-{n}", task_queue=QUEUE)
                for n in range(count)
            )
        ),
        60,
    )
    assert results == [2 * n for n in range(count)]
