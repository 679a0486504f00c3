"""Workflows and activities for tests of the client and the command line with a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta

from odradek import activity, workflow
from odradek.common import RawValue
from odradek.exceptions import ApplicationError


@dataclass
class Order:
    product: str
    quantity: int


@activity.defn
async def reserve(order: Order) -> str:
    return f"{order.quantity} x {order.product}"


@activity.defn
async def outside() -> str:
    activity.raise_complete_async()


@activity.defn
async def stubborn() -> None:
    """Whatever it is told."""
    ends_at = time.monotonic() + 300
    while time.monotonic() < ends_at:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(300)


@workflow.defn
class Buy:
    @workflow.run
    async def run(self, order: Order) -> Order:
        await workflow.execute_activity(
            reserve, order, start_to_close_timeout=timedelta(seconds=20)
        )
        if order.quantity < 0:
            raise ApplicationError(
                "less than nothing", order.quantity, type="BadOrder", non_retryable=True
            )
        return order


@workflow.defn
class Gate:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.open = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.open)
        return self.said

    @workflow.signal
    def say(self, what: str) -> None:
        self.said.append(what)

    @workflow.signal
    def finish(self) -> None:
        self.open = True

    @workflow.query
    def heard(self) -> list[str]:
        return self.said


@workflow.defn
class Outside:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            outside, activity_id="out", start_to_close_timeout=timedelta(seconds=60)
        )


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(stubborn, start_to_close_timeout=timedelta(seconds=600))


@workflow.defn
class Sealed:
    """Passes on what it cannot read."""

    @workflow.run
    async def run(self, what: RawValue) -> RawValue:
        self.what = what
        return what

    @workflow.query
    def held(self) -> RawValue:
        return self.what


WORKFLOWS = [Buy, Gate, Outside, Stubborn, Sealed]
ACTIVITIES = [reserve, outside, stubborn]
