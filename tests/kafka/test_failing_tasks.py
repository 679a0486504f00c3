"""Runs whose workflow task keeps failing on real Kafka: found in lists while it does, one record
of `executions` a change, gone after.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from odradek import workflow
from odradek.client import Client
from odradek.config import Settings
from odradek.visibility.reader import VisibilityReader
from odradek.worker import Worker
from tests.kafka.lane_records import Wire

pytestmark = pytest.mark.timeout(180)
QUEUE = "q"
FAILED, PARKED = "category=WorkflowTaskFailed", "category=Parked"
UNHANDLED = "cause=WorkflowTaskFailedCauseWorkflowWorkerUnhandledFailure"
NONDETERMINISM = "cause=WorkflowTaskFailedCauseNonDeterministicError"


#: Workflow id -> what is wrong with its code: it `raises`, or it `blocks` its thread.
bugs: dict[str, str] = {}


@workflow.defn(sandboxed=False)
class Fragile:
    """Fails its task as long as it has a bug; then waits to be told to go."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> str:
        workflow_id = workflow.info().workflow_id
        if bugs.get(workflow_id) == "raises":
            raise RuntimeError("a bug")
        while bugs.get(workflow_id) == "blocks":
            time.sleep(0.02)  # noqa: ASYNC251
        await workflow.wait_condition(lambda: self.told)
        return "done"

    @workflow.signal
    def go(self) -> None:
        self.told = True


@workflow.defn(name="Changed")
class Before:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(3600)


@workflow.defn(name="Changed")
class After:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def go(self) -> None: ...


class Read:
    """The read side and the topic beneath it."""

    def __init__(self, reader: VisibilityReader, wire: Wire) -> None:
        self.reader, self.wire = reader, wire

    async def until(self, query: str, *ids: str) -> None:
        """The query finds just these runs."""
        deadline = time.monotonic() + 60
        while True:
            assert await asyncio.to_thread(self.reader.wait_caught_up, 30)
            found = sorted(one.workflow_id for one in self.reader.store.list(query).executions)
            if found == sorted(ids):
                return
            assert time.monotonic() < deadline, f"{query}: {found}"
            await asyncio.sleep(0.1)

    def told(self, workflow_id: str) -> list[list[str]]:
        """What each record of the run said, in order."""
        records = self.wire.records(self.wire.topics.executions)
        return [record.reported_problems for record in records if record.workflow_id == workflow_id]


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path / "worker", partitions=2, deadlock_timeout=0.5)


@pytest.mark.promise("failing-task")
async def test_failing_and_parked_runs_are_found_while_they_are(wire: Wire, tmp_path: Path) -> None:
    settings: Settings = wire.settings
    client = await Client.connect(settings=settings)
    with VisibilityReader(settings.replace(state_dir=tmp_path / "reader")) as reader:
        read = Read(reader, wire)
        async with Worker(client, task_queue=QUEUE, workflows=[Fragile, Before]):
            bugs.update(failing="raises", parked="blocks")
            await client.start_workflow("Fragile", id="failing", task_queue=QUEUE)
            await client.start_workflow("Unknown", id="unregistered", task_queue=QUEUE)
            await client.start_workflow("Changed", id="changed", task_queue=QUEUE)
            await read.until(f"TemporalReportedProblems IN ('{FAILED}')", "failing", "unregistered")
            found = await client.get_workflow_handle("failing", task_queue=QUEUE).describe()
            assert found.search_attributes == {"TemporalReportedProblems": [FAILED, UNHANDLED]}
            while (
                found.raw_description.pending_task_attempt < 5
            ):  # retries, which have nothing new to say
                await asyncio.sleep(0.2)
                found = await client.get_workflow_handle("failing", task_queue=QUEUE).describe()
            assert read.told("failing") == [[], [FAILED, UNHANDLED]]
            await client.start_workflow("Fragile", id="parked", task_queue=QUEUE)
            await read.until(f"TemporalReportedProblems = '{PARKED}'", "parked")
            bugs.clear()
            for name in ("failing", "parked"):
                handle = client.get_workflow_handle(name, task_queue=QUEUE)
                await handle.unpark()
                await handle.signal("go")
                assert await handle.result() == "done"
            await read.until("TemporalReportedProblems IS NOT NULL", "unregistered")
            assert read.told("parked")[-1] == [] and [FAILED, UNHANDLED, PARKED] in read.told(
                "parked"
            )
        async with Worker(client, task_queue=QUEUE, workflows=[Fragile, After]):
            await client.get_workflow_handle("changed", task_queue=QUEUE).signal("go")
            await read.until(f"TemporalReportedProblems = '{NONDETERMINISM}'", "changed")
            await client.get_workflow_handle("changed", task_queue=QUEUE).terminate()
            await client.get_workflow_handle("unregistered", task_queue=QUEUE).terminate()
            await read.until("TemporalReportedProblems IS NOT NULL")
            assert read.told("changed")[-2:] == [[FAILED, NONDETERMINISM], []]
