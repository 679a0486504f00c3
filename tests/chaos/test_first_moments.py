"""Everything at once on a brand-new broker: topics made by three processes, lanes owned for the
first time, five hundred callers.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.parts import activity_service, processor
from benchmarks.saga import WORKFLOW_QUEUE, BenchSaga, Order
from odradek.broker import LocalBroker
from odradek.client import Client


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(3))
def test_five_hundred_at_once_on_a_brand_new_broker(tmp_path: Path, number: int) -> None:
    with LocalBroker(data_dir=tmp_path / "kafka") as broker:
        address = broker.bootstrap
        with processor(address, tmp_path), activity_service(address, tmp_path):
            asyncio.run(_all(address))


async def _all(address: str) -> None:
    async with await Client.connect(address) as client, asyncio.timeout(120):

        async def one(number: int) -> list[str]:
            name = f"first-{number}"
            return await client.execute_workflow(
                BenchSaga.run, Order(name, "user", 900), id=name, task_queue=WORKFLOW_QUEUE
            )

        results = await asyncio.gather(*(one(number) for number in range(500)))
    assert results == [[f"{step}-first-{number}" for step in "ORF"] for number in range(500)]
