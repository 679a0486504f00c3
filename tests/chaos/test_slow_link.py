"""A link so slow that what a batch makes does not get to the brokers within a transaction's
time: smaller ones do.
"""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from odradek import workflow
from odradek.broker import LocalBroker
from odradek.broker.jars import kafka_jars
from odradek.broker.java import find_java
from odradek.broker.progress import StderrProgress
from odradek.client import Client
from odradek.config import Settings
from odradek.worker import Worker
from tests.support.metrics import totals
from tests.support.until import until_async

BYTES_PER_SECOND = 2_000_000
STARTS, ARGUMENT_BYTES = (
    14,
    700_000,
)  # all of it together takes five seconds, a transaction has three


@workflow.defn
class Large:
    @workflow.run
    async def run(self) -> None:
        workflow.start_activity(
            "nobody",
            "x" * ARGUMENT_BYTES,
            task_queue="elsewhere",
            start_to_close_timeout=timedelta(hours=1),
        )
        await workflow.wait_condition(lambda: False)


def _limit_producers(broker: LocalBroker) -> None:
    java = find_java()
    tool = [
        str(java.executable),
        "-cp",
        kafka_jars(java, StderrProgress()).classpath,
        "kafka.admin.ConfigCommand",
    ]
    change = [
        "--alter",
        "--add-config",
        f"producer_byte_rate={BYTES_PER_SECOND}",
        "--entity-type",
        "clients",
        "--entity-default",
    ]
    subprocess.run(
        [*tool, "--bootstrap-server", broker.bootstrap, *change],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_batch_that_takes_too_long_is_done_in_parts(tmp_path: Path) -> None:
    with LocalBroker() as broker:
        settings = Settings(
            address=broker.bootstrap,
            partitions=1,
            replication_factor=1,
            state_dir=tmp_path,
            transaction_timeout=timedelta(seconds=3),
            rpc_timeout=timedelta(seconds=1),
        )
        async with await Client.connect(settings=settings) as client:
            for number in range(STARTS):  # before there is a worker: they lie there together
                await client.start_workflow(
                    Large.run, id=f"large-{number}", task_queue="q", rpc_timeout=None
                )
            _limit_producers(broker)
            worker = Worker(client, task_queue="q", workflows=[Large])
            async with worker:
                assert worker._processor is not None
                processor = worker._processor
                await until_async(
                    lambda: totals(processor).inputs >= STARTS,
                    150,
                    what=lambda: str(totals(processor)),
                )
                assert totals(processor).dropped > 0, (
                    "this test means nothing unless a batch took too long"
                )
                for number in range(STARTS):
                    handle = client.get_workflow_handle(f"large-{number}", task_queue="q")
                    description = await handle.describe(rpc_timeout=timedelta(seconds=60))
                    assert len(description.raw_description.pending_activities) == 1
