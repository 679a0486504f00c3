"""A batch while its broker is away for longer than a request waits, and at the end of its
server: real processes, a broker of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from odradek import workflow
from odradek.broker import QUICK_START, LocalBroker
from odradek.client import Client
from odradek.config import Settings
from odradek.worker import Worker
from tests.support.server import Command, get, running
from tests.support.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
QUEUE = "orders"
BATCHES, OURS = "/api/v1/namespaces/default/batch-operations", "/api/odradek/v1/batches"
#: Longer than a request of a batch waits (10 s), shorter than all its attempts.
AWAY_S = 11.0


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    with LocalBroker(data_dir=tmp_path / "broker", jvm_options=QUICK_START) as started:
        yield started


@pytest.fixture
def server(broker: LocalBroker, tmp_path: Path) -> Iterator[Command]:
    state = {"ODRADEK_STATE_DIR": str(tmp_path / "server-state")}
    with running(
        tmp_path / "server", "server", "--address", broker.bootstrap, "--port", "0", **state
    ) as found:
        yield found


async def seen(
    http: httpx.AsyncClient,
    what: Callable[[dict[str, Any]], Any],
    *,
    job: str,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """The batch as our API describes it, once it is as wanted."""
    async with asyncio.timeout(timeout_s):
        while True:
            found: dict[str, Any] = (await http.get(f"{OURS}/{job}")).json()
            if what(found):
                return found
            await asyncio.sleep(0.1)


async def test_a_broker_that_is_away_fails_nothing_and_an_end_says_what_is_left(
    broker: LocalBroker, server: Command, tmp_path: Path
) -> None:
    settings = Settings(address=broker.bootstrap, partitions=2, state_dir=tmp_path / "worker")
    url = await asyncio.to_thread(server.line, "ui")
    names = [f"order-{number}" for number in range(6)]
    query = {
        "visibilityQuery": "WorkflowType = 'Waiting'",
        "reason": "cleaning",
        "terminationOperation": {},
    }
    client = await Client.connect(settings=settings)
    async with (
        Worker(client, task_queue=QUEUE, workflows=[Waiting]),
        httpx.AsyncClient(base_url=url, timeout=30.0) as http,
    ):
        for name in names:
            await client.start_workflow(Waiting.run, id=name, task_queue=QUEUE)
        counts = f"{url}/api/v1/namespaces/default/workflow-count"
        await asyncio.to_thread(until, lambda: get(counts)[1].get("count") == str(len(names)))

        assert (
            await http.post(f"{BATCHES}/away", json={**query, "maxOperationsPerSecond": 1})
        ).status_code == 200
        await seen(http, lambda one: one["done"] >= 2, job="away")
        broker.kill()
        waited = asyncio.create_task(asyncio.sleep(AWAY_S))
        await seen(http, lambda one: one["retried"] >= 1, job="away")
        await waited
        await asyncio.to_thread(broker.start)
        job = await seen(http, lambda one: not one["running"], job="away", timeout_s=90.0)
        assert (job["done"] + job["gone"] + job["pending"], job["failed"], job["problem"]) == (
            len(names),
            0,
            "",
        ), job
        described = (await http.get(f"{BATCHES}/away")).json()
        assert described["state"].endswith("COMPLETED") and "failureOperationCount" not in described
        # what was accepted while nobody answered is applied too
        ended = f"{counts}?query=ExecutionStatus%20%3D%20'Terminated'"
        await asyncio.to_thread(until, lambda: get(ended)[1].get("count") == str(len(names)))

        for name in names:
            await client.start_workflow(Waiting.run, id=f"again-{name}", task_queue=QUEUE)
        await asyncio.to_thread(
            until,
            lambda: (
                get(f"{counts}?query=ExecutionStatus%20%3D%20'Running'")[1].get("count")
                == str(len(names))
            ),
        )
        assert (
            await http.post(f"{BATCHES}/cut", json={**query, "maxOperationsPerSecond": 0.1})
        ).status_code == 200
        await seen(http, lambda one: one["done"] == 1, job="cut")
        took_s = await asyncio.to_thread(server.end)
    said = server.errors.read_text()
    assert took_s < 3.0 and server.process.returncode == 0 and "Traceback" not in said, (
        took_s,
        server.said(),
    )
    assert "batch cut (terminate over (WorkflowType = 'Waiting')" in said, said
    assert "the server ended: of about 6 runs 1 settled, 5 not asked" in said, said
