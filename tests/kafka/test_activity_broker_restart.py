"""The broker dies and comes back while a service runs: nothing is lost and nobody restarts the service."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from odradek import activity
from odradek.activities import ActivityHost
from odradek.broker import QUICK_START, LocalBroker
from tests.kafka.activity_harness import ACTIVITIES, Engine, until, values

hold = asyncio.Event()


@activity.defn
async def held(name: str) -> str:
    await hold.wait()
    return name


@activity.defn
async def note(name: str) -> str:
    return name


async def test_outcomes_made_while_the_broker_is_down_arrive_when_it_is_back(tmp_path: Path) -> None:
    hold.clear()
    broker = LocalBroker(data_dir=tmp_path / "broker", jvm_options=QUICK_START)
    broker.start()
    try:
        engine = Engine(broker.bootstrap, "restart", tmp_path / "state")
        host = ActivityHost(engine.settings, task_queue=ACTIVITIES, activities=[held, note], graceful_shutdown_timeout=timedelta(0))
        running = asyncio.create_task(host.run())
        await until(lambda: host.is_assigned or running.done())
        tasks = [engine.task("held", f"h{number}") for number in range(20)]
        engine.schedule(*tasks)
        await until(lambda: host.statistics().running == 20)
        broker.kill()
        hold.set()
        await until(lambda: host.statistics().completed == 20)
        await asyncio.to_thread(broker.start)
        for task in tasks:
            assert values((await engine.answers(task, "ActivityTaskCompleted", timeout_s=60))[-1].result)
        after = engine.task("note", "after")
        engine.schedule(after)
        await engine.answers(after, "ActivityTaskCompleted", timeout_s=60)
        assert not running.done()
        await host.shutdown()
        await running
        engine.close()
    finally:
        broker.stop()
