"""A lane without Kafka: an engine over memory tables, with a clock, an events log and the
services' side of activities.

Every step is checked against rules that always hold (event ids without gaps, rows that nobody
changes behind the tables' back) and, by `twice`, done a second time after an abort, which must
give the same effects.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from odradek.engine.engine import WorkflowEngine
from odradek.engine.memory import MemoryTables
from odradek.engine.ports import (
    COMMANDS,
    CONTROL,
    EXECUTIONS,
    RESULTS,
    Batch,
    EngineLimits,
    Input,
    Output,
    RowChange,
    StepResult,
)
from odradek.wire.codec import Codec
from odradek.wire.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskHeartbeat,
    ActivityTaskStarted,
    Event,
    SignalWorkflow,
    StartWorkflow,
)
from odradek.wire.history import HistoryEvent, WorkflowTask
from odradek.wire.outcomes import ExecutionSummary, Reply, WorkflowResult
from odradek.wire.payload import Failure
from odradek.wire.state import ActivityRow, HistoryRow, Row, RunRow, TimerRow, WorkflowRow
from odradek.wire.tasks import ActivityTask, CancelActivityTask
from tests.engine.script import ScriptActivator, payloads

CODEC = Codec()
T0 = 1_700_000_000_000


class EncodedTables(MemoryTables):
    """Rows as bytes, as in the store of a lane: each read gives a new object."""

    def apply(self, changes: Iterable[RowChange]) -> None:
        encoded = [
            RowChange(
                change.table,
                change.key,
                CODEC.encode_row(change.row) if change.row is not None else None,
                change.workflow_id,
            )
            for change in changes
        ]  # type: ignore[arg-type]
        super().apply(encoded)

    def get(self, table: str, key: str) -> Row | None:
        found: Any = super().get(table, key)
        return None if found is None else CODEC.decode_row(found)

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        for key, found in super().scan(table, prefix, start=start, limit=limit, reverse=reverse):
            yield key, CODEC.decode_row(found)  # type: ignore[arg-type]

    def table(self, table: str) -> dict[str, Row]:
        return {key: CODEC.decode_row(found) for key, found in super().table(table).items()}  # type: ignore[arg-type]

    def snapshot(self) -> dict[str, dict[str, Row]]:
        return {name: self.table(name) for name in super().snapshot()}


class World:
    def __init__(
        self,
        activator: ScriptActivator,
        *,
        limits: EngineLimits | None = None,
        twice: bool = True,
        encoded: bool = False,
    ) -> None:
        self.activator = activator
        self.limits = limits or EngineLimits()
        self.tables = EncodedTables() if encoded else MemoryTables()
        #: why the host cannot write an output; "" when it can
        self.unwritable: Callable[[Output], str] = lambda output: ""
        self.missing_queues: dict[str, str] = {}
        self.encoded = encoded
        self.now_ms = T0
        self.offset = 0
        self.twice = twice
        self.dead_letters_allowed = False
        self.effects: list[StepResult] = []
        self.tasks: list[ActivityTask] = []
        self.controls: list[CancelActivityTask] = []
        self.results: list[WorkflowResult] = []
        self.summaries: list[ExecutionSummary] = []
        self.tombstones: list[str] = []
        self.replies: list[Reply] = []
        self.engine = self._engine()
        self.step()

    def _engine(self) -> WorkflowEngine:
        return WorkflowEngine(
            self.activator, namespace="default", task_queue="q", limits=self.limits
        )

    def restart(self, crashed: list[str] | None = None) -> None:
        """Another owner: nothing but the tables is left. `crashed`: run ids whose code executed
        when the process died.
        """
        self.engine = self._engine()
        if crashed:
            self._take(self.engine.step(self.tables, Batch(self.now_ms, [], crashed=crashed)))
        self.step()

    # ---------------------------------------------------------------- steps

    def step(
        self, *events: Event, timers: bool | list[TimerRow] = True, redriven: bool = False
    ) -> StepResult:
        """One batch: these inputs (dead letters that were put back: `redriven`), and the timers
        that are due, or these.
        """
        inputs = []
        for event in events:
            arrived = CODEC.decode(CODEC.encode(event)) if self.encoded else event
            inputs.append(
                Input(arrived, self.offset, f"topic/0/{self.offset}", self.now_ms, redriven)
            )
            self.offset += 1
        due = timers if isinstance(timers, list) else self.due() if timers else []
        batch = Batch(self.now_ms, inputs, due, {}, self.missing_queues)
        before = copy.deepcopy(self.tables.snapshot()) if self.twice else None
        effects = self.engine.step(self.tables, batch)
        while rejected := self._rejected(effects):
            self.engine.evict(effects.touched)
            assert not rejected.keys() & batch.rejected.keys(), "rejected twice"
            batch.rejected = batch.rejected | rejected
            effects = self.engine.step(self.tables, batch)
        if self.twice:
            assert self.tables.snapshot() == before, "a step changed rows of the tables"
            first = copy.deepcopy(effects)
            self.engine.evict(effects.touched)
            effects = self.engine.step(self.tables, batch)
            assert_same(first, effects)
            assert self.tables.snapshot() == before, "a step changed rows of the tables"
        self._take(effects)
        return effects

    def _rejected(self, effects: StepResult) -> dict[str, str]:
        """Workflow id -> reason, as the encoder of a host tells it."""
        found = [(each.record.workflow_id, self.unwritable(each)) for each in effects.outputs]
        return {workflow_id: reason for workflow_id, reason in found if reason}

    def due(self) -> list[TimerRow]:
        rows = self.tables.table("timer")
        return [
            row
            for _, row in sorted(rows.items())
            if isinstance(row, TimerRow) and row.due_ms <= self.now_ms
        ]

    def advance(self, ms: int) -> None:
        """Let time pass, with a step at each timer."""
        end = self.now_ms + ms
        for _ in range(10_000):
            dues = [
                row.due_ms
                for row in self.tables.table("timer").values()
                if isinstance(row, TimerRow) and row.due_ms <= end
            ]
            if not dues:
                break
            self.now_ms = max(self.now_ms, min(dues))
            self.step()
        else:
            raise AssertionError("timers without end")
        self.now_ms = end

    def _take(self, effects: StepResult) -> None:
        defects = [letter for letter in effects.dead_letters if not letter.rejected]
        assert self.dead_letters_allowed or not defects, defects[0].trace
        self.tables.apply(effects.rows)
        self.effects.append(effects)
        if self.encoded:
            for reply in effects.replies:
                assert CODEC.decode(CODEC.encode(reply)) == reply
            for output in effects.outputs:
                assert CODEC.decode(CODEC.encode(output.record)) == output.record
        self.replies.extend(effects.replies)
        for output in effects.outputs:
            if output.tombstone:
                assert output.kind == EXECUTIONS
                self.tombstones.append(output.key)
                continue
            {
                COMMANDS: self.tasks,
                CONTROL: self.controls,
                RESULTS: self.results,
                EXECUTIONS: self.summaries,
            }[output.kind].append(output.record)
        for run_id in effects.touched:
            if self.tables.get("run", run_id) is not None:
                self.check_history(run_id)

    # ---------------------------------------------------------------- looking

    def run_id(self, workflow_id: str = "w") -> str:
        row = self.tables.get("workflow", workflow_id)
        assert isinstance(row, WorkflowRow)
        return row.run_id

    def run(self, workflow_id: str = "w") -> RunRow:
        return self.run_row(self.run_id(workflow_id))

    def run_row(self, run_id: str) -> RunRow:
        row = self.tables.get("run", run_id)
        assert isinstance(row, RunRow)
        return row

    def history(self, run_id: str = "") -> list[HistoryEvent]:
        rows = self.tables.scan("history", (run_id or self.run_id()) + "/")
        return [event for _, row in rows if isinstance(row, HistoryRow) for event in row.events]

    def names(self, run_id: str = "") -> list[str]:
        return [
            type(event.attributes).__name__.removesuffix("Event") for event in self.history(run_id)
        ]

    def check_history(self, run_id: str) -> None:
        expected = 1
        for event in self.history(run_id):
            assert event.event_id == expected, f"event {event.event_id} where {expected} belongs"
            expected += 3 if isinstance(event.attributes, WorkflowTask) else 1
        row = self.run_row(run_id)
        assert row.next_event_id == expected
        times = [
            event.event_time_ms
            for event in self.history(run_id)
            if "TaskStarted" not in type(event.attributes).__name__
        ]
        assert times == sorted(times)

    def activities(self) -> list[ActivityRow]:
        return [
            row for row in self.tables.table("activity").values() if isinstance(row, ActivityRow)
        ]

    # ---------------------------------------------------------------- inputs

    def start(self, type: str, *args: Any, workflow_id: str = "w", **fields: Any) -> StartWorkflow:
        fields.setdefault("request_id", f"start-{workflow_id}-{self.offset}")
        return StartWorkflow(workflow_id, type, input=payloads(*args), reply_to="client", **fields)

    def signal(
        self, name: str, *args: Any, workflow_id: str = "w", **fields: Any
    ) -> SignalWorkflow:
        fields.setdefault("request_id", f"signal-{self.offset}")
        return SignalWorkflow(workflow_id, name, input=payloads(*args), reply_to="client", **fields)

    def last_task(self) -> ActivityTask:
        return self.tasks[-1]


def completed(task: ActivityTask, value: Any = None, **fields: Any) -> ActivityTaskCompleted:
    return ActivityTaskCompleted(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        payloads(value),
        **fields,
    )


def failed(
    task: ActivityTask, message: str = "boom", type: str = "Boom", **fields: Any
) -> ActivityTaskFailed:
    heartbeat = fields.pop("heartbeat", [])
    failure = Failure(message=message, type=type, **fields)
    return ActivityTaskFailed(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        failure,
        heartbeat,
    )


def started(task: ActivityTask, **fields: Any) -> ActivityTaskStarted:
    return ActivityTaskStarted(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        **fields,
    )


def heartbeat(task: ActivityTask, *details: Any) -> ActivityTaskHeartbeat:
    return ActivityTaskHeartbeat(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        payloads(*details),
    )


def canceled(task: ActivityTask, *details: Any) -> ActivityTaskCanceled:
    return ActivityTaskCanceled(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        payloads(*details),
    )


def assert_same(first: StepResult, second: StepResult) -> None:
    assert first.rows == second.rows
    assert first.outputs == second.outputs
    assert first.replies == second.replies
    assert first.quarantined == second.quarantined
    assert [letter.offset for letter in first.dead_letters] == [
        letter.offset for letter in second.dead_letters
    ]
