"""Run an Odradek activity worker as a process: read its file, connect, serve until SIGTERM or
Ctrl-C, then drain; a second one ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from odradek.client import Client
from odradek.config import Settings
from odradek.exceptions import ConfigurationError, OdradekError
from odradek.worker import Worker
from services.ending import on_signals
from services.service_config import ProcessConfig, load

C = TypeVar("C", bound=ProcessConfig)

AFTER_GRACE_SECONDS = 5.0  # for what was cancelled to end


def load_all(model: type[C], description: str) -> tuple[C, Settings]:
    """The file of `--config`: what the service needs, and Odradek's settings. What is wrong ends
    the process with a line that names it.
    """
    config = load(model, description)
    return config, settings_of(config.file)


def settings_of(file: Path) -> Settings:
    """All of Odradek's settings from the section `odradek`; the environment (`ODRADEK_...`)
    wins. Ends the process when one is wrong.
    """
    try:
        return Settings.load(file)
    except ConfigurationError as error:
        raise SystemExit(f"{file}: {error}") from None


def run(settings: Settings, *, activities: Sequence[Callable[..., Any]]) -> None:
    """Serve `settings.task_queue` until a signal ends it. What keeps it from serving ends the
    process with one line, and status 1.
    """
    try:
        asyncio.run(_serve(settings, activities))
    except OdradekError as error:
        raise SystemExit(f"{settings.task_queue}: {error}") from None


async def _serve(settings: Settings, activities: Sequence[Callable[..., Any]]) -> None:
    """With a thread for each slot. Prints one line once it takes commands."""
    client = await Client.connect(settings=settings)
    queue = settings.task_queue or ""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    grace = settings.graceful_shutdown_timeout.total_seconds() + AFTER_GRACE_SECONDS
    ends = on_signals(lambda: loop.call_soon_threadsafe(stop.set), within_seconds=grace)

    async def on_fatal_error(_: BaseException) -> None:  # the worker says it
        ends()

    with ThreadPoolExecutor(
        settings.max_concurrent_activities, thread_name_prefix="activity"
    ) as executor:
        async with Worker(
            client,
            task_queue=queue,
            activities=activities,
            activity_executor=executor,
            on_fatal_error=on_fatal_error,
        ):
            print(f"serving {queue}", flush=True)
            await stop.wait()
