"""Probes, metrics and log lines of real processes: what an operator sees of them while they
start, restore, hang, die and replay.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from odradek.client import Client
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.wire.topics import Topics
from tests.kafka.bad_input import sent
from tests.kafka.lane_records import open_transaction_of
from tests.kafka.telemetry_process import Process
from tests.kafka.telemetry_workflows import Asleep, Traced
from tests.support.metrics import labels_by_name
from tests.support.until import until_async

Start = Callable[..., Process]


@pytest.fixture
def start(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def new(what: str, queue: str = "q", **settings: str) -> Process:
        started.append(Process(bootstrap, namespace, tmp_path, what, queue, **settings))
        return started[-1]

    yield new
    for process in started:
        process.close()


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap, namespace=namespace, partitions=2, state_dir=tmp_path / "client"
    )


async def ready(process: Process) -> None:
    await until_async(
        lambda: process.status("ready") == 200, 60, what=lambda: process.reasons("ready")
    )


@pytest.mark.promise("health")
async def test_live_while_it_restores_and_ready_only_then(settings: Settings, start: Start) -> None:
    ClusterAdmin(settings).ensure_queue("q")
    # A transaction that somebody left open: the lane has to wait for it, and cannot know what the
    # partition holds.
    stranger = open_transaction_of(settings, f"{settings.namespace}-stranger")
    stranger.produce(Topics(settings.namespace).state("q"), b"x", b"position/strange", 0)
    assert stranger.flush(30) == 0

    process = start("processor")
    await until_async(
        lambda: "partition 0: RESTORING" in process.reasons("ready"),
        60,
        what=lambda: process.reasons("ready"),
    )
    await until_async(
        lambda: process.total("odradek_partition_running", partition="1") == 1
    )  # its neighbour works meanwhile
    assert process.status("live") == 200 and process.status("ready") == 503
    assert process.total("odradek_partition_running", partition="0") == 0
    assert process.total("odradek_partition_state", partition="0", state="RESTORING") == 1
    await until_async(
        lambda: process.total("odradek_partition_restore_remaining", partition="0") > 0
    )
    assert (
        process.total("odradek_ready", kind="processor") == 0
        and process.total("odradek_live", kind="processor") == 1
    )

    stranger.abort_transaction(20)
    await ready(process)
    await until_async(
        lambda: (
            process.total("odradek_partition_running") == 2
            and process.total("odradek_ready", kind="processor") == 1
        )
    )


async def test_the_server_sees_queues_that_nobody_serves_any_more(
    settings: Settings, start: Start
) -> None:
    server, process = start("server"), start("processor")
    await asyncio.gather(ready(server), ready(process))
    await until_async(
        lambda: sum(name == "odradek_partition_lag" for name, _ in process.metrics()) == 2
    )
    assert process.total("odradek_partition_lag") == 0
    await until_async(lambda: server.total("odradek_queue_processors", task_queue="q") == 1)
    await until_async(lambda: server.total("odradek_queue_partitions_unowned", task_queue="q") == 0)
    process.kill(
        15
    )  # it leaves its group: one that was killed is a member until its session is over
    async with await Client.connect(settings=settings) as client:
        await sent(
            client.start_workflow(
                Traced.run, "far", id="w", task_queue="q", rpc_timeout=timedelta(seconds=1)
            )
        )
        await until_async(lambda: server.total("odradek_queue_lag", task_queue="q") == 1)
    await until_async(lambda: server.total("odradek_queue_partitions_unowned", task_queue="q") == 2)
    assert server.total("odradek_queue_processors", task_queue="q") == 0
    await until_async(
        lambda: (
            server.total("odradek_visibility_running") == 1
            and server.total("odradek_visibility_lag") == 0
        )
    )
    assert (
        server.total("odradek_visibility_store_bytes") > 0
        and server.total("odradek_client_waiting") == 0
    )
    assert server.status("live") == 200
    await _only_what_the_catalog_names(server)


@pytest.mark.promise("health")
async def test_a_lane_that_hangs_is_not_live(settings: Settings, start: Start) -> None:
    process = start("processor", ODRADEK_LIVENESS_TIMEOUT="4 s", ODRADEK_DEADLOCK_TIMEOUT="1 s")
    await ready(process)
    async with await Client.connect(settings=settings) as client:
        await client.start_workflow(Asleep.run, id="asleep", task_queue="q", rpc_timeout=None)
        await until_async(lambda: process.status("live") == 503)
    assert re.search(
        r"partition \d: the lane's thread has been silent for \d+ s", process.reasons("live")
    )
    assert process.total("odradek_live", kind="processor") == 0


@pytest.mark.promise("telemetry")
async def test_a_line_is_logged_once_over_evictions_and_a_killed_owner(
    settings: Settings, start: Start
) -> None:
    first, service = start("processor", CACHED="0"), start("activities", "far")
    await asyncio.gather(ready(first), ready(service))
    async with await Client.connect(settings=settings) as client:
        handle = await client.start_workflow(Traced.run, "far", id="w", task_queue="q")
        await until_async(lambda: any(line["message"] == "greeted" for line in first.lines()))
        assert first.total("odradek_replay_seconds_count") >= 1, (
            "this test means nothing unless the run was replayed"
        )
        # Committed: what follows may be lost with its owner, and would then be said again, rightly.
        await until_async(
            lambda: (
                first.total("odradek_history_events_total", event_type="ActivityTaskCompleted") == 1
            )
        )
        own = {"namespace": settings.namespace, "task_queue": "q", "workflow_type": "Traced"}
        assert (
            first.total("shop_patience_count", **own) == 1
            and first.total("shop_patience_sum", **own) == 30
        )
        assert (
            service.total(
                "shop_greetings_total", activity_type="greet", task_queue="far", polite="true"
            )
            == 1
        )
        first.kill()
        second = start("processor", CACHED="0")
        await ready(second)
        await handle.signal(Traced.say, "bye")
        assert await handle.result() == "hello you, bye"
    assert second.total("odradek_replay_seconds_count") >= 1
    said = [line for line in first.lines() + second.lines() if line["logger"] == "odradek.workflow"]
    assert [line["message"] for line in said] == ["began", "greeted", "done"]
    ids = {
        "namespace": settings.namespace,
        "task_queue": "q",
        "workflow_id": "w",
        "workflow_type": "Traced",
        "attempt": 1,
    }
    for line in said:
        assert (
            line.items() >= ids.items()
            and line["run_id"] == handle.first_execution_run_id
            and line["partition"] in (0, 1)
        )
    [greeting] = [line for line in service.lines() if line["message"] == "greeting"]
    own = ids | {
        "task_queue": "far",
        "activity_type": "greet",
        "activity_id": "1",
        "run_id": handle.first_execution_run_id,
    }
    assert greeting.items() >= own.items() and greeting["logger"] == "odradek.activity"
    [shop] = [line for line in service.lines() if line["logger"] == "shop"]
    assert shop.items() >= own.items()  # a logger that knows nothing of Odradek
    # And nothing was counted twice for it, nor by workflow code itself.
    assert second.total("shop_patience_count") == 0
    assert first.total("odradek_workflow_starts_total") == 0  # it is gone
    assert second.total("odradek_workflow_starts_total") == 0
    await until_async(
        lambda: (
            second.total(
                "odradek_workflow_closes_total", workflow_type="Traced", status="COMPLETED"
            )
            == 1
        )
    )
    assert second.total("odradek_history_events_total", event_type="ActivityTaskCompleted") == 0
    await _only_what_the_catalog_names(second, service)


async def _only_what_the_catalog_names(*processes: Process) -> None:
    known = labels_by_name()
    for process in processes:
        found = [
            (name, dict(labels))
            for name, labels in process.metrics()
            if name.startswith("odradek_")
        ]
        assert len(found) > 15
        for name, labels in found:
            family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name
            assert family in known, f"{name} is exported and not in the catalog"
            assert set(labels) - {"le"} == known[family], name


async def test_each_process_of_a_worker_command_serves_at_a_port_of_its_own(start: Start) -> None:
    command = start("cli")
    for number in (0, 1):
        await until_async(
            lambda number=number: command.ask("/health/ready", number=number)[0] == 200, 60
        )  # type: ignore[misc]

    def running() -> int:  # both partitions, whoever has them while they move
        text = "".join(command.ask("/metrics", number=number)[1] for number in (0, 1))
        return sum(
            line.startswith("odradek_partition_running{") and line.endswith("} 1.0")
            for line in text.splitlines()
        )

    await until_async(lambda: running() == 2, 60)
    [said] = [
        line
        for line in command.lines()
        if line["logger"] == "odradek.telemetry" and str(command.port + 1) in line["message"]
    ]
    assert said["level"] == "info"
    command.kill(15)
    assert command.process.returncode == 0
