"""A processor or an activity service as a process, for `test_quick_restart.py`: with DIES it
kills itself once it gave something back.

python -m tests.kafka.quick_restart_member {processor,activities} QUEUE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from odradek import activity, workflow
from odradek.activities.commands import CommandConsumer
from odradek.client import Client
from odradek.config import Settings
from odradek.processor.group import Group
from odradek.worker import Worker


@workflow.defn
class Ok:
    @workflow.run
    async def run(self) -> str:
        return "ok"


@activity.defn
async def ok() -> str:
    return "ok"


def kill_self_after(owner: type, name: str) -> None:
    """Kill -9 once this method has given something back."""
    given = getattr(owner, name)

    def dies(self: Any, consumer: Any, partitions: list[Any], **more: Any) -> None:
        given(self, consumer, partitions, **more)
        if partitions:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dies)


async def main(what: str, queue: str) -> None:
    if os.environ.get("DIES"):
        kill_self_after(Group, "_on_revoke")
        kill_self_after(CommandConsumer, "_revoked")
    client = await Client.connect(Settings().address)
    has: dict[str, Any] = {"workflows": [Ok]} if what == "processor" else {"activities": [ok]}
    await Worker(client, task_queue=queue, **has).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
