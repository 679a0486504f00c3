"""A processor with a scripted engine, as a process of its own that a test can kill: `python
lane_host.py '{"address": ...}'`.

The engine counts. Each signal of a workflow raises its count by one, writes the row, a history
row and one command whose activity id is the count: so lost, doubled and reordered inputs all
show in `commands`, and the rows must agree with them. Signal names script the rest.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from odradek.config import Settings
from odradek.engine import ports
from odradek.engine.activation import WorkflowInstance
from odradek.engine.keys import event_key, timer_key
from odradek.engine.ports import Batch, Output, RowChange, StepResult, Tables
from odradek.processor import Processor, context, partition
from odradek.processor.encoder import Encoder, Rows
from odradek.processor.topic_limits import Record
from odradek.wire.events import ActivityTaskFailed, SignalWorkflow
from odradek.wire.history import HistoryEvent, TimerFired
from odradek.wire.outcomes import OK, Reply
from odradek.wire.payload import Payload
from odradek.wire.state import HistoryRow, Row, RunRow, TimerRow, WorkflowRow
from odradek.wire.tasks import ActivityTask

# Signal names. Anything else just counts.
TIMER = "timer:"  # timer:250 starts a timer of 250 ms; when it fires, it counts as an input does
DEFECT = "defect"  # the engine raises
HUGE_ROW = "huge-row"  # a state row larger than `state` takes
REFUSED_OUTPUT = "refused-output"  # an output that passes the check and is refused by the broker
DIE = "die"  # this process kills itself
GATE = "gate"  # waits until the test opens `CountingEngine.gate`
SLOW = "slow:"  # slow:50 takes 50 ms
HOLD = "hold:"  # hold:/a/file waits until that file is there


class CountingEngine:
    """`Engine`. Counts in RunRow.state_transition_count."""

    gate = threading.Event()
    at_gate = threading.Event()

    def __init__(self, namespace: str, task_queue: str) -> None:
        self.namespace = namespace
        self.task_queue = task_queue
        self.evicted: list[str] = []

    def step(self, tables: Tables, batch: Batch) -> StepResult:
        effects = StepResult()
        rows: dict[tuple[str, str], Row | None] = {}
        for each in batch.inputs:
            event = each.event
            if isinstance(event, SignalWorkflow):
                self._script(event, rows, batch.now_ms)
                self._count(
                    event.workflow_id,
                    event.signal_name,
                    tables,
                    rows,
                    effects,
                    f"offset {each.offset}",
                )
                if event.reply_to:
                    effects.replies.append(
                        Reply(
                            event.reply_to,
                            event.request_id,
                            "SignalWorkflow",
                            OK,
                            workflow_id=event.workflow_id,
                        )
                    )
            elif isinstance(event, ActivityTaskFailed):
                self._count(
                    event.workflow_id,
                    f"failed:{event.failure.type}",
                    tables,
                    rows,
                    effects,
                    f"offset {each.offset}",
                )
        for timer in batch.timers:
            self._count(timer.workflow_id, "fired", tables, rows, effects, f"timer {timer.due_ms}")
        effects.rows = [
            RowChange(table, key, row, getattr(row, "workflow_id", key))
            for (table, key), row in rows.items()
        ]
        effects.touched = [key for table, key in rows if table == ports.RUN]
        effects.steps = len(batch.inputs) + len(batch.timers)
        return effects

    def _script(
        self, event: SignalWorkflow, rows: dict[tuple[str, str], Row | None], now_ms: int
    ) -> None:
        name = event.signal_name
        if name == DEFECT:
            raise RuntimeError("scripted defect")
        if name == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith(SLOW):
            time.sleep(int(name.removeprefix(SLOW)) / 1000)
        if name.startswith(HOLD):
            while not os.path.exists(name.removeprefix(HOLD)):
                time.sleep(0.05)
        if name == GATE:
            self.at_gate.set()
            assert self.gate.wait(60)
        if name == HUGE_ROW:
            details = [Payload(data=os.urandom(17 * 1024 * 1024))]
            rows[ports.RUN, "huge"] = RunRow("huge", "huge", "T", "huge", static_details=details[0])
        if name.startswith(TIMER):
            due_ms, run_id = now_ms + int(name.removeprefix(TIMER)), event.workflow_id
            rows[ports.TIMER, timer_key(due_ms, run_id, "USER", 1)] = TimerRow(
                due_ms, run_id, run_id, "USER", 1
            )

    def _count(
        self,
        workflow_id: str,
        name: str,
        tables: Tables,
        rows: dict[tuple[str, str], Row | None],
        effects: StepResult,
        why: str,
    ) -> None:
        run = rows.get((ports.RUN, workflow_id)) or tables.get(ports.RUN, workflow_id)
        if run is None:
            run = RunRow(workflow_id, workflow_id, "Counter", workflow_id)
            rows[ports.WORKFLOW, workflow_id] = WorkflowRow(workflow_id, workflow_id, workflow_id)
        assert isinstance(run, RunRow)
        count = run.state_transition_count + 1
        rows[ports.RUN, workflow_id] = msgspec.structs.replace(run, state_transition_count=count)
        event = HistoryEvent(count, 0, TimerFired(timer_id=name, started_event_id=count))
        rows[ports.HISTORY, event_key(workflow_id, count)] = HistoryRow([event])
        task = ActivityTask(
            self.namespace, self.task_queue, workflow_id, workflow_id, "Counter", self.task_queue, str(count), name, count,
            input=[Payload(data=why.encode())],
        )  # fmt: skip
        effects.outputs.append(Output(ports.COMMANDS, self.task_queue, workflow_id, task))

    def evict(self, run_ids: list[str]) -> None:
        self.evicted += run_ids

    def evict_all(self) -> None:
        pass

    def expired_waiters(self, now_ms: int) -> list[Reply]:
        return []

    def statistics(self) -> dict[str, int]:
        return {}


class RefusingEncoder(Encoder):
    """Sends what is to be rejected by the broker to a partition that is not there."""

    def encode(self, result: StepResult, consumed: Iterable[TimerRow]) -> tuple[Rows, list[Record]]:
        rows, records = super().encode(result, consumed)
        for output, record in zip(result.outputs, records, strict=True):
            if getattr(output.record, "activity_type", "") == REFUSED_OUTPUT:
                record.partition = 9_999
        return rows, records


class NoActivator:
    """The scripted engine runs no workflow code."""

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        raise AssertionError("not used")


def make_processor(settings: Settings, queue: str, **options: Any) -> Processor:
    """A processor with the counting engine."""
    context.Encoder = RefusingEncoder  # type: ignore[attr-defined, misc]
    return Processor(
        settings,
        task_queue=queue,
        activator_factory=NoActivator,
        engine_factory=lambda activator, limits: CountingEngine(settings.namespace, queue),
        **options,
    )


def host_arguments(settings: Settings, queue: str, **more: Any) -> list[str]:
    """The command of such a process."""
    values = {
        "address": settings.address,
        "namespace": settings.namespace,
        "partitions": settings.partitions,
        "state_dir": str(settings.state_dir),
        "session_timeout": settings.session_timeout.total_seconds(),
        "queue": queue,
        **more,
    }
    return [sys.executable, str(Path(__file__)), json.dumps(values)]


def main() -> int:
    from odradek.processor.supervisor import beat_to_parent

    values = json.loads(sys.argv[1])
    queue = values.pop("queue")
    file_size_limit = values.pop("file_size_limit", 0)
    instance = values.pop("instance", None)
    partition.INPUTS_MAX = values.pop(
        "batch", partition.INPUTS_MAX
    )  # many small transactions, for faults between them
    if file_size_limit:  # stands for a full disk: writes fail, reads go on
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))
    beat_to_parent()
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    fatal: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        done.set()

    def on_lane_failed(partition: int, error: BaseException) -> None:
        print(f"partition {partition} failed {type(error).__name__}: {error}", flush=True)

    options = {
        "on_fatal": on_fatal,
        "on_lane_failed": on_lane_failed,
        "instance": instance,
    }
    host = make_processor(Settings(**values), queue, **options)
    host.start()
    try:
        host.wait_ready(60)
        print("ready", flush=True)
        done.wait()
    finally:
        host.stop()
    if fatal:
        print(f"fatal {type(fatal[0]).__name__}: {fatal[0]}", flush=True)
        return 3
    print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
