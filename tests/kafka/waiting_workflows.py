"""For tests of a worker's end: an activity that says that it runs, and runs until it is told to
end.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from odradek import activity, workflow


@activity.defn
async def wait_for_file(flag: str) -> int:
    """Which attempt this was. Makes `FLAG.begun`, then waits for FLAG."""
    Path(f"{flag}.begun").touch()  # noqa: ASYNC240
    while not Path(flag).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.05)
    return activity.info().attempt


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, flag: str) -> int:
        return await workflow.execute_activity(
            wait_for_file, flag, start_to_close_timeout=timedelta(seconds=300)
        )


WORKFLOWS = [Waits]
