"""Run an Odradek activity worker as a process: connect, serve until SIGTERM or Ctrl-C, then drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from odradek.client import Client
from odradek.worker import Worker
from services.service_config import ServiceConfig


async def serve(config: ServiceConfig, *, activities: Sequence[Callable[..., Any]], activity_executor: Executor) -> None:
    """Serve `config.odradek.task_queue`. Prints one line once it takes commands."""
    client = await Client.connect(config.odradek.address, namespace=config.odradek.namespace)
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with Worker(client, task_queue=config.odradek.task_queue, activities=activities, activity_executor=activity_executor):
        print(f"serving {config.odradek.task_queue}", flush=True)
        await stop.wait()
