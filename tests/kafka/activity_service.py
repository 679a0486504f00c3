"""A service process for tests: its activities write what happens to them into a file, one line
each, flushed.

python activity_service.py ADDRESS NAMESPACE STATE_DIR LOG [SLOTS]

NO_HURRY in the environment: it says Started, and hands on what waits for a slot, only where it
has to do so at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import cast

from odradek import activity
from odradek.activities import ActivityHost, consumer_thread, share_commands, timers
from odradek.config import Settings
from tests.support.until import until_async

QUEUE = "activities"
_log = Path(sys.argv[4])


def say(what: str) -> None:
    with _log.open("a") as file:
        file.write(f"{os.getpid()} {what}\n")


@activity.defn
async def note(name: str) -> str:
    info = activity.info()
    say(f"ran {name} {info.attempt} {info.idempotency_key}")
    return name


@activity.defn
async def sleep(name: str, seconds: float) -> str:
    say(f"began {name} {activity.info().attempt}")
    await asyncio.sleep(seconds)
    say(f"ended {name}")
    return name


@activity.defn
async def hold(name: str, flag: str) -> str:
    """Until that file is there."""
    say(f"began {name} {activity.info().attempt}")
    while not Path(flag).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.05)
    say(f"ended {name}")
    return name


@activity.defn
async def die_once(name: str, marker: str) -> str:
    """Kills its process at once, unless the marker says that it did so before."""
    say(f"began {name} {activity.info().attempt}")
    _die_unless(Path(marker))
    return name


def _die_unless(marker: Path) -> None:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    address, namespace, state_dir = sys.argv[1:4]
    cast(dict[str, str], share_commands.GROUP_CONFIG)["share.record.lock.duration.ms"] = (
        "15000"  # the least that brokers allow
    )
    if os.environ.get("NO_HURRY"):
        timers.STARTED_AFTER_MAX = consumer_thread.HAND_ON_AFTER_S = 60.0
    slots = int(sys.argv[5]) if len(sys.argv) > 5 else 10
    settings = Settings(
        address=address,
        namespace=namespace,
        state_dir=Path(state_dir),
        partitions=2,
        replication_factor=1,
    )
    host = ActivityHost(
        settings,
        task_queue=QUEUE,
        activities=[note, sleep, hold, die_once],
        max_concurrent_activities=slots,
        graceful_shutdown_timeout=timedelta(seconds=20),
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(host.shutdown()))
    running = asyncio.create_task(host.run())
    await until_async(lambda: host.is_assigned or running.done())
    say("ready")
    await running
    say("drained")


if __name__ == "__main__":
    asyncio.run(main())
