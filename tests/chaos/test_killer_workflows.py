"""Code that kills its process is held: in its very first task (the run is begun all the same,
and goes on once somebody has mended it), and from a timer, whatever else arrives on its
partition. So is code whose process is killed for it, since it blocks; not what is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from odradek.broker.ports import free_ports
from odradek.client import Client, WorkflowExecutionStatus, WorkflowHandle
from odradek.config import Settings
from odradek.service import RPCError
from odradek.wire.partitioner import partition_for

REPOSITORY = Path(__file__).parents[2]


def environment(bootstrap: str, namespace: str, tmp_path: Path, **more: str) -> dict[str, str]:
    """Of a command line of these tests."""
    ours = {
        "ODRADEK_ADDRESS": bootstrap,
        "ODRADEK_NAMESPACE": namespace,
        "ODRADEK_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
    }
    return os.environ | ours | more


def key_on(settings: Settings, name: str, partition: int) -> str:
    """An id on that partition."""
    return next(
        key
        for n in itertools.count()
        if partition_for((key := f"{name}{n}").encode(), settings.partitions) == partition
    )


@asynccontextmanager
async def worker_of(ours: dict[str, str], log: Path) -> AsyncIterator[None]:
    """A supervised worker of all of these workflows, which ends as it should behind the body."""
    command = [
        sys.executable,
        "-m",
        "odradek.cli",
        "worker",
        "tests.chaos.killer_workflows:WORKFLOWS",
        "-t",
        "q",
        "--supervise",
    ]
    with log.open("w") as stderr:
        worker = await asyncio.create_subprocess_exec(*command, env=ours, stderr=stderr)
    try:
        yield
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()  # its child ends with its pipe
            await worker.wait()


async def held(run: WorkflowHandle[Any, Any]) -> None:
    """Wait until it is; the test's own timeout bounds that."""
    reason = ""
    while "owners of the partition died in a row" not in reason:
        try:
            found = await run.describe(rpc_timeout=timedelta(seconds=5))
        except RPCError:  # no owner lives just now
            continue
        assert found.status is WorkflowExecutionStatus.RUNNING
        reason = found.quarantine_reason


@pytest.mark.promise("quarantine")
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_run_whose_first_task_kills_its_owners_is_held(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    ours = environment(bootstrap, namespace, tmp_path)
    async with worker_of(ours, tmp_path / "log"):
        client = await Client.connect(bootstrap, namespace=namespace)
        mended = tmp_path / "mended"
        killer = await client.start_workflow("Killer", str(mended), id="killer", task_queue="q")
        second = await client.start_workflow(
            "Killer", str(mended), id="killer-2", task_queue="q", rpc_timeout=timedelta(seconds=1)
        )
        # Also of the process' other partitions, whose lanes die with it.
        others = [
            await client.start_workflow(
                "Harmless", id=f"other-{number}", task_queue="q", rpc_timeout=timedelta(seconds=1)
            )
            for number in range(40)
        ]

        for each in (killer, second):
            await held(each)
        assert [await other.result() for other in others] == ["done"] * 40  # none of them is held
        mended.touch()
        unpark = [sys.executable, "-m", "odradek.cli", "workflow", "unpark", "-w", "killer"]
        assert await (await asyncio.create_subprocess_exec(*unpark, env=ours)).wait() == 0
        assert await killer.result() == "mended"
        assert (
            await (await asyncio.create_subprocess_exec(*unpark[:-1], "killer-2", env=ours)).wait()
            == 0
        )
        assert await second.result() == "mended"


@pytest.mark.promise("quarantine")
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_run_that_kills_its_owners_from_a_timer_is_held_under_load(
    bootstrap: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs arrive all the time: each owner applies some before it comes to the timer."""
    monkeypatch.setenv("ODRADEK_PARTITIONS", "1")
    log = tmp_path / "log"
    async with worker_of(environment(bootstrap, namespace, tmp_path, ODRADEK_PARTITIONS="1"), log):
        client = await Client.connect(bootstrap, namespace=namespace)
        killer = await client.start_workflow("TimerKiller", id="killer", task_queue="q")

        async def other(number: int) -> str:
            run = await client.start_workflow(
                "Harmless", id=f"other-{number}", task_queue="q", rpc_timeout=timedelta(seconds=60)
            )
            return str(await run.result())

        holding = asyncio.create_task(held(killer))
        others: list[asyncio.Task[str]] = []
        while not (await asyncio.wait([holding], timeout=0.2))[0]:
            others.append(asyncio.create_task(other(len(others))))
        await holding
        deaths = log.read_text().count("died with status")
        assert deaths == 6, "three before an owner was careful, three over the timer"
        assert len(others) > 5 * deaths
        assert await asyncio.gather(*others) == ["done"] * len(others)  # none of them is held


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_run_that_takes_long_is_not_held_in_place_of_the_killer_beside_it(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    settings = Settings(address=bootstrap, namespace=namespace, partitions=2)
    client = await Client.connect(settings=settings)
    ids = [key_on(settings, name, partition) for partition, name in enumerate(("killer", "slow"))]
    started = [
        await client.start_workflow(
            kind, *arguments, id=each, task_queue="q", rpc_timeout=timedelta(seconds=1)
        )  # nobody serves yet
        for kind, each, arguments in (("Killer", ids[0], ["never"]), ("Slow", ids[1], []))
    ]
    ours = environment(
        bootstrap, namespace, tmp_path, ODRADEK_PARTITIONS="2", ODRADEK_DEADLOCK_TIMEOUT="120s"
    )
    async with worker_of(ours, tmp_path / "log"):
        await held(started[0])
        assert await started[1].result() == "done"


async def not_live(port: str) -> None:
    """Wait until the process says of itself that it should be restarted."""
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):  # it has not begun to listen
                async with session.get(f"http://127.0.0.1:{port}/health/live") as answer:
                    if answer.status == 503:
                        return
            await asyncio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_run_that_blocks_until_its_process_is_killed_for_it_is_held(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """Inputs of the other partition arrive all the time, and go on beside it."""
    port = str(free_ports(1)[0])
    ours = environment(
        bootstrap,
        namespace,
        tmp_path,
        ODRADEK_PARTITIONS="2",
        ODRADEK_LIVENESS_TIMEOUT="18s",
        ODRADEK_TELEMETRY_PORT=port,
    )
    command = [
        sys.executable,
        "-m",
        "odradek.cli",
        "worker",
        "tests.chaos.killer_workflows:WORKFLOWS",
        "-t",
        "q",
    ]
    client = await Client.connect(
        settings=Settings(address=bootstrap, namespace=namespace, partitions=2)
    )
    blocker = await client.start_workflow(
        "Blocker", id="blocker", task_queue="q", rpc_timeout=timedelta(seconds=1)
    )  # nobody serves yet

    async def others() -> None:
        for number in itertools.count():
            with contextlib.suppress(RPCError):  # behind the blocker, or between two lives
                await client.start_workflow(
                    "Harmless",
                    id=f"other-{number}",
                    task_queue="q",
                    rpc_timeout=timedelta(seconds=0.2),
                )

    loading, holding = asyncio.create_task(others()), asyncio.create_task(held(blocker))
    deaths = 0
    while not holding.done():
        worker = await asyncio.create_subprocess_exec(*command, env=ours)
        dying = asyncio.create_task(not_live(port))
        await asyncio.wait([dying, holding], return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        worker.kill()
        await worker.wait()
        deaths += not holding.done()
    loading.cancel()
    await holding
    assert deaths == 5
