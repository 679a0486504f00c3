"""The saga's figures: throughput with many in flight, latency one at a time, CPU a workflow by
part.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.parts import Part, activity_service, processor, work_folder
from benchmarks.saga import WORKFLOW_QUEUE, BenchSaga, Order
from odradek.broker import LocalBroker
from odradek.client import Client

WARM_UP = 500
IN_FLIGHT = 500


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class SagaBench:
    """Runs sagas and takes times in milliseconds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._number = 0

    async def one(self) -> float:
        """One saga from call to result."""
        self._number += 1
        identifier = f"bench-{os.getpid()}-{self._number}"
        began = time.perf_counter()
        await self._client.execute_workflow(
            BenchSaga.run, Order(identifier, "user", 900), id=identifier, task_queue=WORKFLOW_QUEUE
        )
        return (time.perf_counter() - began) * 1000

    async def many(self, workflows: int, in_flight: int) -> list[float]:
        """`workflows` sagas, `in_flight` at a time."""
        left = iter(range(workflows))
        times: list[float] = []

        async def lane() -> None:
            for _ in left:
                times.append(await self.one())

        await asyncio.gather(*(lane() for _ in range(in_flight)))
        return times


async def measure(
    address: str, parts: dict[str, Part], workflows: int, sequential: int
) -> dict[str, Any]:
    """Warm up, then both measurements."""
    async with await Client.connect(
        address
    ) as client:  # one left open would look for its broker all through what is measured next
        bench = SagaBench(client)
        _say("warming up")
        await bench.one()
        await bench.many(WARM_UP, IN_FLIGHT)
        _say(f"{sequential} sagas one at a time")
        one_by_one = [await bench.one() for _ in range(sequential)]
        _say(f"{workflows} sagas, {IN_FLIGHT} in flight")
        before = {name: part.cpu_seconds() for name, part in parts.items()}
        began = time.perf_counter()
        times = await bench.many(workflows, IN_FLIGHT)
        took = time.perf_counter() - began
        spent = {
            name: (part.cpu_seconds() - before[name]) * 1000 / workflows
            for name, part in parts.items()
        }
    return {
        "saga": {
            "in_flight": IN_FLIGHT,
            "workflows": workflows,
            "workflows_per_second": round(workflows / took, 1),
            "p50_ms": round(percentile(times, 0.5), 1),
            "p99_ms": round(percentile(times, 0.99), 1),
        },
        "sequential": {
            "workflows": sequential,
            "p50_ms": round(percentile(one_by_one, 0.5), 1),
            "p99_ms": round(percentile(one_by_one, 0.99), 1),
        },
        "cpu_ms_per_workflow": {
            name: round(milliseconds, 3) for name, milliseconds in spent.items()
        },
        "resident_mb": {name: round(part.resident_bytes() / 1e6) for name, part in parts.items()},
    }


def run(workflows: int, sequential: int) -> dict[str, Any]:
    """Start broker, processor and activity service; measure; stop them."""
    with work_folder() as folder, LocalBroker(data_dir=folder / "kafka") as broker:
        return _with_parts(broker, folder, workflows, sequential)


def _with_parts(
    broker: LocalBroker, folder: Path, workflows: int, sequential: int
) -> dict[str, Any]:
    address = broker.bootstrap
    with (
        processor(address, folder) as processor_part,
        activity_service(address, folder) as activity_part,
    ):
        pid = broker.pid
        assert pid is not None
        parts = {
            "processor": processor_part,
            "activities": activity_part,
            "client": Part(os.getpid(), alone=True),
            "broker": Part(pid),
        }
        return asyncio.run(measure(address, parts, workflows, sequential))


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
