"""What runs while brokers are killed: steps with a timer between them, so that most runs live
through one.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from odradek import activity, workflow

STEPS = 3


@activity.defn
async def step(number: int) -> int:
    await asyncio.sleep(0.05)
    return number + 1


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, number: int) -> int:
        for _ in range(STEPS):
            number = await workflow.execute_activity(
                step, number, start_to_close_timeout=timedelta(seconds=30)
            )
            await workflow.sleep(0.5)
        return number
