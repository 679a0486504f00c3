"""`python -m benchmarks.activity_process ADDRESS`: the activity service of the benchmark."""

from __future__ import annotations

import asyncio
import signal
import sys

from benchmarks.saga import ACTIVITIES, ACTIVITY_QUEUE
from odradek.client import Client
from odradek.worker import Worker


async def serve(address: str) -> None:
    """Serve until SIGTERM."""
    client = await Client.connect(address)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        client, task_queue=ACTIVITY_QUEUE, activities=ACTIVITIES, max_concurrent_activities=1000
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
