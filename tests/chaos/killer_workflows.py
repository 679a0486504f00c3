"""Workflow code that ends its process, for `test_killer_workflows.py`."""

from __future__ import annotations

import asyncio
import os
import time

from odradek import workflow


@workflow.defn
class Killer:
    """Harmless once the file that it is told of is there."""

    @workflow.run
    async def run(self, mended: str) -> str:
        if not os.path.exists(mended):  # noqa: ASYNC240  # it is about to end all of it
            os._exit(9)
        return "mended"


@workflow.defn
class TimerKiller:
    """Kills its process from a timer, which comes behind the inputs that are there."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(1)
        os._exit(9)


@workflow.defn(sandboxed=False)
class Blocker:
    """Calls what does not come back, and gives the interpreter to others meanwhile: a request
    without a timeout.
    """

    @workflow.run
    async def run(self) -> None:
        time.sleep(3_600)  # noqa: ASYNC251


@workflow.defn(sandboxed=False)
class Slow:
    """Takes longer than others wait for it, and is done: a long replay on a busy machine, a
    computation.
    """

    @workflow.run
    async def run(self) -> str:
        time.sleep(17)  # noqa: ASYNC251
        return "done"


@workflow.defn
class Harmless:
    @workflow.run
    async def run(self) -> str:
        return "done"


WORKFLOWS = [Killer, TimerKiller, Blocker, Slow, Harmless]
