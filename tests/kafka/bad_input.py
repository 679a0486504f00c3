"""What the bad-input tests share: a client of the test's own, two workflows that are ordinary,
waiting for a condition.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from odradek.client import RPCError, WorkflowExecutionDescription, WorkflowHandle
from odradek.wire.history import WorkflowTaskFailed
from tests.support.until import until_async

#: Of a read that meets a worker which has just begun: by itself it gives up after three seconds
#: without an owner.
PATIENT = timedelta(seconds=60)


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

    return await until_async(look)


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

    return await until_async(look)
