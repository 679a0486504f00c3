"""Run an Odradek activity worker as a process: read its file, connect, serve until SIGTERM or
Ctrl-C, then drain. A second signal ends it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from odradek.client import Client
from odradek.config import Settings
from odradek.exceptions import ConfigurationError, OdradekError
from odradek.worker import Worker
from services.config import ServiceConfig, load

C = TypeVar("C", bound=ServiceConfig)


class WorkerConfig(ServiceConfig):
    """Of a service on Odradek's `Worker`. `database`: its own SQLite file."""

    database: Path


def load_all(model: type[C], description: str) -> tuple[C, Settings]:
    """What the service needs, and Odradek's settings; the environment (`ODRADEK_...`) wins. What
    is wrong ends the process with one line.
    """
    config = load(model, description)
    try:
        return config, Settings.load(config.file)
    except ConfigurationError as error:
        raise SystemExit(f"{config.file}: {error}") from None


def run(settings: Settings, *, activities: Sequence[Callable[..., Any]]) -> None:
    """Serve `settings.task_queue` until a signal. What keeps it from serving ends the process
    with one line, and status 1.
    """
    try:
        asyncio.run(_serve(settings, activities))
    except OdradekError as error:
        raise SystemExit(f"{settings.task_queue}: {error}") from None


async def _serve(settings: Settings, activities: Sequence[Callable[..., Any]]) -> None:
    client = await Client.connect(settings=settings)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    with ThreadPoolExecutor(settings.max_concurrent_activities, "activity") as executor:
        async with Worker(
            client,
            task_queue=settings.task_queue or "",
            activities=activities,
            activity_executor=executor,
        ):
            print(f"serving {settings.task_queue}", flush=True)
            await stop.wait()
