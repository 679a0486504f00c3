"""The read side beside real workflows: nobody waits for it, it catches up with what it missed,
and deleted runs leave its lists.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.visibility.reader import VisibilityReader
from odradek.worker import Worker
from tests.support.server import get, running
from tests.support.until import until

pytestmark = pytest.mark.timeout(240)
QUEUE = "orders"


@activity.defn
async def charge(amount: int) -> int:
    if amount < 0:
        raise ValueError("nothing to charge")
    return amount


@workflow.defn
class Order:
    @workflow.run
    async def run(self, amount: int) -> int:
        charged: int = await workflow.execute_activity(
            charge,
            amount,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return charged


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Chain:
    """Continues as new at once, again and again: runs of a chain begin in one millisecond."""

    @workflow.run
    async def run(self, left: int) -> int:
        if left:
            workflow.continue_as_new(left - 1, memo={"left": left - 1})
        return left


WORKFLOWS = [Order, Waiting, Chain]


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
    )


@pytest.mark.parametrize("lost", ["process", "process and disk"])
async def test_workflows_go_on_without_the_server_and_it_catches_up(
    settings: Settings, tmp_path: Path, lost: str
) -> None:
    """The server dies (kill -9), runs start and end without it, and it knows all of them once it
    is back.
    """
    command = [
        "server",
        "--address",
        settings.address,
        "--namespace",
        settings.namespace,
        "--port",
        "0",
    ]
    state = tmp_path / "server"
    counts = f"/api/v1/namespaces/{settings.namespace}/workflow-count"
    client = await Client.connect(settings=settings)
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[charge]):
        with running(tmp_path / "1", *command, ODRADEK_STATE_DIR=str(state)) as first:
            url = await asyncio.to_thread(first.line, "ui")
            for number in range(5):
                assert (
                    await client.execute_workflow(
                        Order.run, number, id=f"with-{number}", task_queue=QUEUE
                    )
                    == number
                )
            await asyncio.to_thread(until, lambda: (get(url + counts)[1] or {}).get("count") == "5")
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(30)
        if lost == "process and disk":
            shutil.rmtree(state)
        began_s = time.monotonic()
        done = await asyncio.gather(
            *(
                client.execute_workflow(Order.run, n, id=f"without-{n}", task_queue=QUEUE)
                for n in range(40)
            ),
            return_exceptions=True,
        )
        assert done == list(range(40)), f"after {time.monotonic() - began_s:.1f} s"
        with running(tmp_path / "2", *command, ODRADEK_STATE_DIR=str(state)) as second:
            url = await asyncio.to_thread(second.line, "ui")
            await asyncio.to_thread(until, lambda: get(f"{url}/health/ready")[0] == 200)
            answer = get(
                f"{url}{counts}?query=WorkflowType%20%3D%20'Order'%20AND%20ExecutionStatus%20%3D%20'Completed'"
            )
            assert answer[1]["count"] == "45"
            windows = get(f"{url}/api/odradek/v1/statistics")[1]["windows"]
            assert (
                sum(window["started"] for window in windows)
                == sum(window["completed"] for window in windows)
                == 45
            )


async def test_a_deleted_run_leaves_lists_and_stays_counted(
    settings: Settings, tmp_path: Path
) -> None:
    """By the engine's own tombstones: closed runs and an open one; then the same on an instance
    that sees only what is left.
    """
    client = await Client.connect(settings=settings)
    start_ms = time.time_ns() // 60_000_000_000 * 60_000
    with VisibilityReader(settings.replace(state_dir=tmp_path / "reader")) as reader:
        async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[charge]):
            await asyncio.gather(
                *(
                    client.execute_workflow(Order.run, n, id=f"w-{n}", task_queue=QUEUE)
                    for n in range(3)
                )
            )
            with pytest.raises(WorkflowFailureError):
                await client.execute_workflow(Order.run, -1, id="w-failed", task_queue=QUEUE)
            waiting = await client.start_workflow(Waiting.run, id="w-open", task_queue=QUEUE)
            await waiting.describe()  # it has begun

        async def caught_up() -> None:
            assert await asyncio.to_thread(reader.wait_caught_up, 60), reader.statistics()

        def listed(of: VisibilityReader) -> dict[str, str]:
            return {one.workflow_id: one.status for one in of.store.list(page_size=100).executions}

        await caught_up()
        assert listed(reader) == {
            "w-0": "COMPLETED",
            "w-1": "COMPLETED",
            "w-2": "COMPLETED",
            "w-failed": "FAILED",
            "w-open": "RUNNING",
        }
        counted = windows(reader, start_ms)
        async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[charge]):
            for name in ("w-0", "w-failed", "w-open"):
                await client.get_workflow_handle(name, task_queue=QUEUE).delete()
        await caught_up()
        assert listed(reader) == {"w-1": "COMPLETED", "w-2": "COMPLETED"}
        assert reader.store.count("ExecutionStatus = 'Failed'").count == 0
        assert {
            group.values: group.count
            for group in reader.store.count("GROUP BY ExecutionStatus").groups
        } == {("Completed",): 2}
        assert counted == Counter(started=5, completed=3, failed=1)
        assert windows(reader, start_ms) == counted + Counter(terminated=1)  # before its tombstone
        with VisibilityReader(settings.replace(state_dir=tmp_path / "beside")) as beside:
            assert await asyncio.to_thread(beside.wait_caught_up, 60), beside.statistics()
            assert listed(beside) == listed(reader)


async def test_a_chain_is_listed_in_its_order(settings: Settings, tmp_path: Path) -> None:
    """Also by an instance that sees only the last record of each run; and the latest is the one
    that is found.
    """
    client = await Client.connect(settings=settings)
    ids = [f"w-{number}" for number in range(6)]
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS):
        started = [
            client.execute_workflow(Chain.run, 20, id=name, task_queue=QUEUE, memo={"left": 20})
            for name in ids
        ]
        assert await asyncio.gather(*started) == [0] * len(ids)
    with VisibilityReader(settings) as reader:
        assert await asyncio.to_thread(reader.wait_caught_up, 60), reader.statistics()
        together = 0
        for name in ids:
            runs = reader.store.list(f"WorkflowId = '{name}'").executions
            assert [json.loads(run.memo["left"].data) for run in runs] == list(range(21))
            latest = reader.store.get(name)
            assert latest is not None and latest.status == "COMPLETED"
            together += len(runs) - len({run.start_time_ms for run in runs})
        assert together > 0, "this test means nothing unless runs began in one millisecond"


def windows(reader: VisibilityReader, start_ms: int) -> Counter[str]:
    """What the windows since `start_ms` count, added up."""
    found: Counter[str] = Counter()
    for window in reader.store.windows(start_ms, time.time_ns() // 1_000_000 + 60_000):
        found += Counter(
            started=window.started,
            completed=window.completed,
            failed=window.failed,
            terminated=window.terminated,
        )
    return found
