"""Workflows and activities for the tests of the command line."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ApplicationError


@activity.defn
async def pack(what: str) -> str:
    return f"packed {what}"


@workflow.defn
class Parcel:
    """Waits until it is told to go; may be told where to."""

    def __init__(self) -> None:
        self.where: list[str] = []
        self.gone = False

    @workflow.run
    async def run(self, what: str) -> list[str]:
        await workflow.execute_activity(pack, what, start_to_close_timeout=timedelta(seconds=20))
        await workflow.wait_condition(lambda: self.gone)
        return self.where

    @workflow.signal
    def address(self, where: str) -> None:
        self.where.append(where)

    @workflow.signal
    def go(self) -> None:
        self.gone = True

    @workflow.query
    def told(self) -> list[str]:
        return self.where


@workflow.defn
class Blocked:
    """Blocks its thread, as workflow code must not, until a file is there: it is parked."""

    @workflow.run
    async def run(self, flag: str) -> str:
        while not Path(flag).exists():  # noqa: ASYNC240
            time.sleep(0.05)  # noqa: ASYNC251
        return "through"


@activity.defn
async def ring(flag: str) -> str:
    if not Path(flag).exists():  # noqa: ASYNC240
        raise ApplicationError("nobody opens", type="NobodyHome")
    return "opened"


@workflow.defn
class Visit:
    """Rings until somebody opens: its activity fails until a file is there. Has a timer and says
    how it is.
    """

    @workflow.run
    async def run(self, flag: str) -> str:
        workflow.set_current_details("stands before the door")
        await asyncio.sleep(0.01)
        return await workflow.execute_activity(
            ring,
            flag,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=200), backoff_coefficient=1.0
            ),
        )

    @workflow.query(description="who is asked")
    def whom(self) -> str:
        return "the neighbour"


@activity.defn
async def approve() -> dict[str, str]:
    activity.raise_complete_async()


@workflow.defn
class Approval:
    """Waits for somebody outside."""

    @workflow.run
    async def run(self, what: str) -> dict[str, str]:
        timeout = timedelta(minutes=5)
        return await workflow.execute_activity(
            approve, activity_id="approval", start_to_close_timeout=timeout
        )


WORKFLOWS = [Parcel, Blocked, Visit, Approval]
