"""Each of three brokers in turn is killed and comes back, under load: every run ends once, and
with its own result.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from odradek.broker import QUICK_START, LocalCluster
from odradek.client import Client, RPCError, WorkflowHandle
from odradek.common import WorkflowIDReusePolicy
from odradek.config import Settings
from odradek.exceptions import WorkflowAlreadyStartedError
from tests.chaos.cluster_workflows import STEPS, Steps
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.server import running
from tests.support.until import until

PACE_SECONDS = 0.15
#: What has to end between one blow and the next, also while a broker is away.
ENDED_BETWEEN = 15
BOUND_SECONDS = 240.0


class Load:
    """Starts runs at a pace, waits for each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.started = 0
        self.results: dict[int, int] = {}

    @asynccontextmanager
    async def goes_on(self) -> AsyncIterator[None]:
        """Over the block; at its end every run has ended. A run that fails ends all of it."""
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as runs:
            starting = runs.create_task(self._start_all(runs))
            yield
            starting.cancel()

    async def more_end(self) -> None:
        """Until so many more have ended."""
        enough = len(self.results) + ENDED_BETWEEN
        await asyncio.to_thread(
            until, lambda: len(self.results) >= enough, 60.0, f"{ENDED_BETWEEN} more runs that end"
        )

    async def _start_all(self, runs: asyncio.TaskGroup) -> None:
        while True:
            runs.create_task(self._one(self.started))
            self.started += 1
            await asyncio.sleep(PACE_SECONDS)

    async def _one(self, number: int) -> None:
        handle = await self._start(number)
        while number not in self.results:
            try:
                self.results[number] = await handle.result()
            except RPCError as away:
                print(f"result of {number}: {away}")

    async def _start(self, number: int) -> WorkflowHandle[Steps, int]:
        """As a caller that gets no answer does: again, under the same id."""
        name = f"run-{number}"
        while True:
            try:
                return await self._client.start_workflow(
                    Steps.run,
                    number,
                    id=name,
                    task_queue=QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    rpc_timeout=timedelta(seconds=20),
                )
            except WorkflowAlreadyStartedError:
                return self._client.get_workflow_handle_for(Steps.run, name, task_queue=QUEUE)
            except RPCError as away:
                print(f"start of {number}: {away}")


async def kill_each(cluster: LocalCluster, load: Load) -> None:
    """The next one only when nothing lacks a replica: two away at a time are an outage."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})

    def all_in_sync() -> bool:
        topics = admin.list_topics(timeout=10).topics.values()
        return all(
            len(partition.isrs) == 3 for topic in topics for partition in topic.partitions.values()
        )

    for node in cluster.addresses:
        await load.more_end()
        await asyncio.to_thread(cluster.kill, node)
        await load.more_end()
        await asyncio.to_thread(cluster.restart, node)
        await asyncio.to_thread(until, all_in_sync, 60.0, "every replica is in sync")


@pytest.mark.promise("exactly-once")
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_every_run_ends_once_while_each_broker_is_killed(tmp_path: Path) -> None:
    worker = [
        "worker",
        "tests.chaos.cluster_workflows",
        "--activities",
        "tests.chaos.cluster_workflows",
        "-t",
        QUEUE,
        "--processes",
        "2",
    ]
    with LocalCluster(jvm_options=QUICK_START) as cluster:
        settings = {
            "ODRADEK_ADDRESS": cluster.bootstrap,
            "ODRADEK_STATE_DIR": str(tmp_path / "state"),
        }
        with running(tmp_path / "worker", *worker, **settings) as command:
            async with await Client.connect(
                settings=Settings(address=cluster.bootstrap, partitions=2)
            ) as client:
                load = Load(client)
                async with load.goes_on():
                    await kill_each(cluster, load)
            assert load.results == {number: number + STEPS for number in range(load.started)}
            wire = Wire(cluster.bootstrap, "default", tmp_path)
            ended = Counter(result.workflow_id for result in wire.records(wire.topics.results))
            assert ended == Counter(f"run-{number}" for number in range(load.started))
            command.end()
            assert command.process.returncode == 0, command.said()
    print(f"{load.started} runs")
