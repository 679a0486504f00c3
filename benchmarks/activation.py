"""Micro-benchmark of workflow code behind the activation port: microseconds an activation, on
one core, no Kafka.

The order saga's shape: three activities in a row, each resolved in an activation of its own that
schedules the next, with dataclass arguments and string results, JSON in and out. Run: `python
benchmarks/activation.py [workflows]`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from odradek import workflow
from odradek.activation import PythonActivator, WatchedActivator
from odradek.common import RetryPolicy
from odradek.converter import DataConverter
from odradek.engine.activation import (
    Activation,
    Activator,
    Commands,
    InitializeWorkflow,
    Job,
    QueryJob,
    ResolveActivity,
    SignalJob,
)
from odradek.wire.history import WorkflowExecutionStarted

CONVERTER = DataConverter.default.payload_converter
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=3
)
MINUTE = timedelta(minutes=1)


@dataclass
class Order:
    """Input of the saga."""

    user_id: str
    items: list[str]
    amount: int


@workflow.defn
class Saga:
    """Three activities in a row."""

    def __init__(self) -> None:
        self.status = "new"

    @workflow.run
    async def run(self, order: Order) -> str:
        """The saga."""
        self.status = "creating-order"
        order_id = await workflow.execute_activity(
            "CreateOrder", order, start_to_close_timeout=MINUTE, retry_policy=RETRY, result_type=str
        )
        self.status = "reserving-inventory"
        reservation = await workflow.execute_activity(
            "ReserveInventory",
            args=[order_id, order.items],
            start_to_close_timeout=MINUTE,
            retry_policy=RETRY,
            result_type=str,
        )
        self.status = "freezing-payment"
        await workflow.execute_activity(
            "FreezePayment",
            args=[order_id, order.amount],
            start_to_close_timeout=MINUTE,
            retry_policy=RETRY,
            result_type=str,
        )
        return reservation

    @workflow.signal
    def note(self, text: str) -> None:
        """A signal."""
        self.status = text

    @workflow.query
    def current(self) -> str:
        """A query."""
        return self.status


def activation(job: Job, *, is_replaying: bool = False) -> Activation:
    """An activation of one job."""
    return Activation("run", 1_700_000_000_000, is_replaying, 3, 400, False, [job])


def measure(what: Callable[[], None], count: int) -> float:
    """Microseconds of CPU time for each of `count` things that `what` does, best of three."""
    best = float("inf")
    for _ in range(3):
        gc.collect()
        started = time.thread_time()
        what()
        best = min(best, time.thread_time() - started)
    return best / count * 1e6


def main(workflows: int) -> dict[str, float]:
    """Measure, print, and return the figures."""
    payloads = CONVERTER.to_payloads
    started = WorkflowExecutionStarted(
        "w", "run", "Saga", "q", input=payloads([Order("u1", ["p1", "p2"], 42)])
    )
    first = activation(InitializeWorkflow(started, 7, 1_700_000_000_000))
    resolved = [
        activation(ResolveActivity(seq, "COMPLETED", payloads([f"result-{seq}"])))
        for seq in (1, 2, 3)
    ]
    replayed = [activation(item.jobs[0], is_replaying=True) for item in (first, *resolved)]
    signalled = activation(SignalJob("note", payloads(["hello"]), {}))
    asked = activation(QueryJob("1", "current", [], {}))
    plain = PythonActivator([Saga], namespace="default", task_queue="q")
    watched = WatchedActivator(plain)

    def whole(activator: Activator, steps: list[Activation]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(workflows):
                instance = activator.create(workflow_id="w", run_id="run", workflow_type="Saga")
                for step in steps:
                    done = instance.activate(step)
                    assert isinstance(done, Commands) and done.commands, done
                instance.close()

        return run

    def middle() -> None:
        for instance in instances:
            instance.activate(resolved[0])

    def one(step: Activation) -> Callable[[], None]:
        instance = watched.create(workflow_id="w", run_id="run", workflow_type="Saga")
        instance.activate(first)

        def run() -> None:
            for _ in range(workflows):
                instance.activate(step)

        return run

    figures = {
        "whole workflow, 4 activations": measure(whole(plain, [first, *resolved]), workflows),
        "whole workflow, watched": measure(whole(watched, [first, *resolved]), workflows),
        "whole workflow, replayed": measure(whole(watched, replayed), workflows),
        "create, start, schedule, close": measure(whole(watched, [first]), workflows),
    }
    best = float("inf")
    for _ in range(3):
        # Each run its id: tasks are hashed by it, and asyncio keeps all of the process in one set.
        instances = [
            watched.create(workflow_id="w", run_id=f"run-{number}", workflow_type="Saga")
            for number in range(workflows)
        ]
        for instance in instances:
            instance.activate(first)
        gc.collect()
        begun = time.thread_time()
        middle()
        best = min(best, time.thread_time() - begun)
        for instance in instances:
            instance.close()
    figures["resolve one activity, schedule the next"] = best / workflows * 1e6
    figures["signal, plain handler"] = measure(one(signalled), workflows)
    figures["query"] = measure(one(asked), workflows)
    watched.watchdog.stop()
    for name, microseconds in figures.items():
        print(f"{name:45s} {microseconds:8.1f} µs")
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
    return figures


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000)
