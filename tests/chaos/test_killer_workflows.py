"""Code that kills its process in its very first task: the run is begun all the same, held, and goes on once somebody has mended it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from odradek.client import Client, WorkflowExecutionStatus
from odradek.service import RPCError

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_run_whose_first_task_kills_its_owners_is_held(bootstrap: str, namespace: str, tmp_path: Path) -> None:
    ours = {
        "ODRADEK_ADDRESS": bootstrap,
        "ODRADEK_NAMESPACE": namespace,
        "ODRADEK_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
    }
    command = [sys.executable, "-m", "odradek.cli", "worker", "tests.chaos.killer_workflows:WORKFLOWS", "-t", "q", "--supervise"]
    with (tmp_path / "log").open("w") as log:
        worker = await asyncio.create_subprocess_exec(*command, env=os.environ | ours, stderr=log)
    try:
        client = await Client.connect(bootstrap, namespace=namespace)
        mended = tmp_path / "mended"
        killer = await client.start_workflow("Killer", str(mended), id="killer", task_queue="q")
        second = await client.start_workflow("Killer", str(mended), id="killer-2", task_queue="q", rpc_timeout=timedelta(seconds=1))
        # Also of the process' other partitions, whose lanes die with it.
        others = [
            await client.start_workflow("Harmless", id=f"other-{number}", task_queue="q", rpc_timeout=timedelta(seconds=1))
            for number in range(40)
        ]

        for each in (killer, second):
            reason = ""
            while "owners of the partition died in a row" not in reason:  # the test's own timeout bounds the wait
                try:
                    found = await each.describe(rpc_timeout=timedelta(seconds=5))
                except RPCError:  # no owner lives just now
                    continue
                assert found.status is WorkflowExecutionStatus.RUNNING
                reason = found.parked_reason
        assert [await other.result() for other in others] == ["done"] * 40  # none of them is held
        mended.touch()
        unpark = [sys.executable, "-m", "odradek.cli", "workflow", "unpark", "-w", "killer"]
        assert await (await asyncio.create_subprocess_exec(*unpark, env=os.environ | ours)).wait() == 0
        assert await killer.result() == "mended"
        assert await (await asyncio.create_subprocess_exec(*unpark[:-1], "killer-2", env=os.environ | ours)).wait() == 0
        assert await second.result() == "mended"
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()  # its child ends with its pipe
            await worker.wait()
