"""The broker goes away under a worker: live, since a restart would mend nothing; not ready, with
the reason; ready when it is back.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime
from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalBroker
from tests.kafka.telemetry_process import Process
from tests.support.until import until_async


async def becomes(process: Process, status: int, reason: str = "") -> None:
    def is_so() -> bool:
        return process.status("ready") == status and reason in process.reasons("ready")

    await until_async(is_so, 90, what=lambda: process.reasons("ready"))


@pytest.mark.promise("health")
async def test_without_a_broker_a_worker_is_live_and_not_ready(tmp_path: Path) -> None:
    broker = LocalBroker(jvm_options=QUICK_START)
    broker.start()
    processes: list[Process] = []
    try:
        processes += [
            Process(broker.bootstrap, "outage", tmp_path, what)
            for what in ("processor", "activities")
        ]
        for process in processes:
            await becomes(process, 200)
        broker.kill()
        for process in processes:
            await becomes(process, 503, "no broker has answered for")
            await until_async(
                lambda: any(
                    word in process.reasons("ready")  # noqa: B023
                    for word in ("Connection refused", "Disconnected")
                )
            )
            assert process.status("live") == 200
            await until_async(lambda: process.total("odradek_kafka_contact_seconds") > 10)  # noqa: B023
        # Not a line for each attempt of each client to reach it: one a minute.
        refused = [
            line
            for line in processes[0].lines()
            if line["logger"] == "odradek.kafka" and "Connection refused" in line["message"]
        ]
        times = [datetime.fromisoformat(line["time"]) for line in refused]
        assert times and all(
            (later - earlier).total_seconds() > 50 for earlier, later in itertools.pairwise(times)
        ), refused
        await asyncio.to_thread(broker.start)
        for process in processes:
            await becomes(process, 200)
    finally:
        for process in processes:
            process.close()
        broker.stop()
