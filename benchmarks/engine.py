"""What one activation costs in the engine itself: `python benchmarks/engine.py [RUNS] [STEPS]`.

A trivial scripted activator answers each activity result with the next ScheduleActivity, so that
what is measured is the engine: history, rows, dedupe, task boundaries. Two shapes of batch: one
input a batch, and one input of each run a batch. Prints CPU µs a workflow task.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from odradek.engine.activation import Activation, Commands, FailWorkflow, ScheduleActivity
from odradek.engine.engine import WorkflowEngine
from odradek.engine.memory import MemoryTables
from odradek.engine.ports import COMMANDS, Batch, EngineLimits, Input, StepResult
from odradek.wire.events import ActivityTaskCompleted, Event, StartWorkflow
from odradek.wire.payload import Failure, Payload

NOW_MS = 1_700_000_000_000
VALUE = [Payload({"encoding": b"json/plain"}, b'{"order": "o-1", "amount": 42}')]


class Chain:
    """One activity after the other, for ever."""

    def __init__(self) -> None:
        self.seq = 0

    def activate(self, activation: Activation) -> Commands:
        self.seq += 1
        return Commands(
            [
                ScheduleActivity(
                    seq=self.seq,
                    activity_id=str(self.seq),
                    activity_type="step",
                    task_queue="",
                    input=VALUE,
                    start_to_close_timeout_ms=60_000,
                )
            ]
        )

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return None

    def close(self) -> None:
        pass


class Activator:
    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> Chain:
        return Chain()


class Lane:
    """Engine, tables and the answers of a service that never fails."""

    def __init__(self, runs: int) -> None:
        limits = EngineLimits(
            max_cached_workflows=runs, history_max_events=1 << 40, history_max_bytes=1 << 50
        )
        self.engine = WorkflowEngine(
            Activator(), namespace="default", task_queue="q", limits=limits
        )
        self.tables = MemoryTables()
        self.offset = 0
        self.spent_ns = 0
        self.tasks = 0

    def step(self, events: list[Event]) -> list[Event]:
        inputs = [
            Input(event, self.offset + n, f"t/0/{self.offset + n}", NOW_MS)
            for n, event in enumerate(events)
        ]
        self.offset += len(events)
        batch = Batch(NOW_MS, inputs)
        begin = time.thread_time_ns()
        effects = self.engine.step(self.tables, batch)
        self.spent_ns += time.thread_time_ns() - begin
        self.tasks += effects.steps
        self.tables.apply(effects.rows)
        return answers(effects)


def answers(effects: StepResult) -> list[Event]:
    tasks: list[Any] = [output.record for output in effects.outputs if output.kind == COMMANDS]
    return [
        ActivityTaskCompleted(
            t.workflow_id,
            t.run_id,
            t.scheduled_event_id,
            t.activity_id,
            t.attempt,
            VALUE,
            NOW_MS,
            "service-1",
        )
        for t in tasks
    ]


def measure(runs: int, steps: int, *, batched: bool) -> float:
    """µs a workflow task."""
    lane = Lane(runs)
    pending: list[Event] = []
    for number in range(runs):
        pending += lane.step(
            [StartWorkflow(f"workflow-{number}", "chain", request_id=f"r{number}", input=VALUE)]
        )
    lane.spent_ns = lane.tasks = 0
    gc.collect()
    for _ in range(steps):
        batches = [pending] if batched else [[event] for event in pending]
        pending = [answer for batch in batches for answer in lane.step(batch)]
    return lane.spent_ns / lane.tasks / 1_000


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    print(f"{runs} runs, {steps} steps each: an activity result in, the next activity out")
    print(f"  one input a batch   {measure(runs, steps, batched=False):7.1f} µs a task")
    print(f"  {runs} runs a batch   {measure(runs, steps, batched=True):7.1f} µs a task")


if __name__ == "__main__":
    main()
