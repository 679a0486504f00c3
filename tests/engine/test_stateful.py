"""Hypothesis drives a lane: random programs, inputs, duplicates, late results, failures of code,
time, restarts.

Three engines get the same batches: one that does every step twice with an abort between (crash
and replay at each step), one that keeps no instance and whose rows and records are bytes (replay
and decode at each task), one that is left alone. After each step their tables, outputs and
replies must be the same, and the invariants of `check` must hold.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from odradek.engine.keys import timer_key
from odradek.engine.ports import EngineLimits
from odradek.engine.replay import replay_history
from odradek.wire.events import (
    CancelWorkflow,
    DescribeWorkflow,
    Event,
    QueryWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.payload import RetryPolicy
from odradek.wire.state import ActivityRow, RunRow, TimerRow, UserTimerRow
from tests.engine.script import ActivityFailure, Canceled, Crashed, ScriptActivator, WorkflowFailure
from tests.engine.world import World, canceled, completed, failed, heartbeat, started

IDS = ("a", "b")

OPS = st.one_of(
    st.tuples(
        st.just("activity"),
        st.sampled_from(["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"]),
        st.integers(0, 3),
    ),
    st.tuples(st.just("timer"), st.sampled_from([0, 500, 3_000])),
    st.tuples(st.just("wait"), st.integers(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("signal")),
    st.tuples(st.just("patch"), st.sampled_from(["p", "q"])),
    st.tuples(st.just("memo"), st.integers(0, 9)),
    st.tuples(st.just("fragile")),
    st.tuples(st.just("spawn"), st.integers(0, 3)),
)
PROGRAMS = st.one_of(
    st.lists(OPS, min_size=2, max_size=9),
    st.builds(
        lambda first, rest: [("activity", *first), *rest],
        st.tuples(st.just("TRY_CANCEL"), st.integers(0, 3)),
        st.lists(OPS, max_size=8),
    ),
    st.builds(
        lambda rest, last: [*rest, ("signal",), *last],
        st.lists(OPS, max_size=5),
        st.lists(OPS, max_size=3),
    ),
)
ENDS = st.sampled_from(["return", "return", "fail", "again"])
OPTIONS = (
    {},
    {"schedule_to_close_timeout_ms": 5_000},
    {"start_to_close_timeout_ms": 1_500, "retry_policy": RetryPolicy(maximum_attempts=2)},
    {"heartbeat_timeout_ms": 800, "schedule_to_start_timeout_ms": 2_000},
)


class Code:
    """Runs a program that came as the workflow's input."""

    def __init__(self) -> None:
        self.broken = ""

    def run(self, ctx: Any, program: list[list[Any]], end: str, rounds: int) -> Any:
        handles: list[Any] = []
        ctx.queries["state"] = lambda: [len(handles), len(ctx.signals)]
        trace: list[Any] = []
        for op in program:
            if ctx.cancel_requested and op[0] == "fragile":
                raise Canceled
            yield from self.do(ctx, op, handles, trace)
        if end == "fail":
            raise WorkflowFailure("as planned", non_retryable=rounds == 0)
        if end == "again" and rounds:
            ctx.continue_as_new(program, "return", rounds - 1)
        return trace

    def do(self, ctx: Any, op: list[Any], handles: list[Any], trace: list[Any]) -> Any:
        name = op[0]
        if name == "activity":
            handles.append(
                ctx.activity("act", len(handles), cancellation_type=op[1], **OPTIONS[op[2]])
            )
        elif name == "timer":
            handles.append(ctx.timer(op[1]))
        elif name == "cancel" and handles:
            ctx.cancel(handles[op[1] % len(handles)])
        elif name == "signal":
            wanted = len(trace) + 1
            yield lambda: len(ctx.signals) >= min(wanted, 3) or ctx.cancel_requested
        elif name == "patch":
            trace.append(ctx.patched(op[1]))
        elif name == "memo":
            ctx.upsert_memo(value=op[1])
        elif name == "fragile" and self.broken and not ctx.replaying:
            raise Crashed("spins") if self.broken == "crash" else RuntimeError("bug")
        elif name in ("wait", "spawn") and handles:
            handle = handles[op[1] % len(handles)]
            if name == "spawn":
                ctx.spawn(self.follow(handle, trace))
            elif not (handle.kind == "timer" and handle.done):
                try:
                    trace.append((yield handle))
                except ActivityFailure as error:
                    trace.append(error.failure.message)

    def follow(self, handle: Any, trace: list[Any]) -> Any:
        if not handle.done:
            yield lambda: handle.done
        trace.append("followed")


class Lanes(RuleBasedStateMachine):
    sent = Bundle("sent")

    @initialize(first=PROGRAMS, second=PROGRAMS)
    def begin(self, first: list[Any], second: list[Any]) -> None:
        self.code = Code()
        limits = EngineLimits(
            max_tasks_per_step=4, task_retry_maximum_ms=4_000, retention_ms=30_000
        )
        nothing_kept = (
            copy.replace(limits, max_cached_workflows=0)
            if hasattr(copy, "replace")
            else _without_cache(limits)
        )
        self.worlds = [
            World(ScriptActivator(code=self.code.run), limits=limits, twice=True),
            World(
                ScriptActivator(code=self.code.run), limits=nothing_kept, twice=False, encoded=True
            ),
            World(ScriptActivator(code=self.code.run), limits=limits, twice=False),
        ]
        self.number = 0
        #: request id -> status and run of its first verdict
        self.verdicts: dict[str, tuple[str, str]] = {}
        for id, program in zip(IDS, (first, second), strict=True):
            self.step(
                self.world.start(
                    "code",
                    [*program, ("signal",)],
                    "return",
                    2,
                    workflow_id=id,
                    request_id=self.request_id(),
                )
            )

    @property
    def world(self) -> World:
        return self.worlds[0]

    def step(self, *events: Event) -> None:
        for world in self.worlds:
            world.step(*copy.deepcopy(events))
        self.compare()
        for reply in self.world.effects[-1].replies:
            self.verdicts.setdefault(reply.request_id, (reply.status, reply.run_id))

    def compare(self) -> None:
        first = self.world
        for other in self.worlds[1:]:
            assert other.tables.snapshot() == first.tables.snapshot()
            assert _records(other) == _records(first)
            assert other.effects[-1].replies == first.effects[-1].replies

    def request_id(self) -> str:
        """As our client makes them: any other may come again for another chain of runs."""
        self.number += 1
        return f"{0:020}-{self.number:x}"

    # ---------------------------------------------------------------- rules

    @rule(
        target=sent,
        id=st.sampled_from(IDS),
        program=PROGRAMS,
        end=ENDS,
        policy=st.sampled_from(["FAIL", "USE_EXISTING", "TERMINATE_EXISTING"]),
        fields=st.sampled_from(
            [
                {},
                {},
                {"retry_policy": RetryPolicy(maximum_attempts=2)},
                {"run_timeout_ms": 9_000},
                {"start_delay_ms": 700},
                {"signal_name": "s"},
            ]
        ),
    )
    def start(
        self, id: str, program: list[Any], end: str, policy: str, fields: dict[str, Any]
    ) -> Event:
        request = self.world.start(
            "code",
            program,
            end,
            2,
            workflow_id=id,
            request_id=self.request_id(),
            id_conflict_policy=policy,
            **fields,
        )
        self.step(request)
        return request

    @rule(target=sent, id=st.sampled_from(IDS), count=st.integers(1, 2))
    def signal_it(self, id: str, count: int) -> Event:
        signals = [
            self.world.signal("s", workflow_id=id, request_id=self.request_id())
            for _ in range(count)
        ]
        self.step(*signals)
        return signals[0]

    @rule(target=sent, id=st.sampled_from(IDS), terminate=st.sampled_from([False, False, True]))
    def cancel(self, id: str, terminate: bool) -> Event:
        kind = TerminateWorkflow if terminate else CancelWorkflow
        request: Event = kind(id, request_id=self.request_id(), reply_to="client")
        self.step(request)
        return request

    @precondition(lambda self: self.world.tasks)
    @rule(
        target=sent,
        back=st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 30)),
        report=st.sampled_from(
            [started, heartbeat, completed, completed, completed, failed, canceled]
        ),
        more=st.booleans(),
    )
    def report(self, back: int, report: Any, more: bool) -> Event:
        """A report of the newest command or of an older one, which may be long past."""
        task = self.world.tasks[-1 - back % len(self.world.tasks)]
        event: Event = report(task)
        if more:
            self.step(
                event,
                self.world.signal("s", workflow_id=task.workflow_id, request_id=self.request_id()),
            )
        else:
            self.step(event)
        return event

    @precondition(lambda self: self.world.activities())
    @rule(
        target=sent,
        index=st.integers(0, 9),
        report=st.sampled_from([started, completed, completed, failed, canceled]),
    )
    def report_pending(self, index: int, report: Any) -> Event:
        """A report of the current attempt of a pending activity."""
        rows = self.world.activities()
        row = rows[index % len(rows)]
        wanted = (row.run_id, row.scheduled_event_id, row.attempt)
        sent = [
            task
            for task in self.world.tasks
            if (task.run_id, task.scheduled_event_id, task.attempt) == wanted
        ]
        event: Event = report(sent[-1] if sent else self.world.tasks[-1])
        self.step(event)
        return event

    @rule(event=sent)
    def again(self, event: Event) -> None:
        """What was applied once changes nothing when it comes again."""
        request_id = getattr(event, "request_id", "")
        status, run_id = self.verdicts.get(request_id, ("", ""))
        # Verdicts live as long as their run.
        applied = not request_id or (
            status in ("OK", "ALREADY_EXISTS") and self.world.tables.get("run", run_id) is not None
        )
        current = self.world.tables.get("workflow", event.workflow_id)
        due = bool(self.world.due())
        self.step(event)
        remembers = not request_id or self.number_of_runs(event.workflow_id) <= 8
        changes_by_itself = (
            type(event).__name__ in ("ActivityTaskHeartbeat",) or due or current is None
        )
        if applied and remembers and not changes_by_itself:
            changed = self.world.effects[-1].rows
            if isinstance(event, StartWorkflow) or request_id:
                assert changed == [], "a repeated request changed something"
        if applied and request_id and remembers and current is not None:
            assert self.world.replies[-1].status == status

    def number_of_runs(self, workflow_id: str) -> int:
        return sum(
            1
            for row in self.world.tables.table("run").values()
            if isinstance(row, RunRow) and row.workflow_id == workflow_id
        )

    @rule(ms=st.sampled_from([1, 400, 1_000, 2_500, 7_000]))
    def wait(self, ms: int) -> None:
        self.world.now_ms += ms
        for world in self.worlds[1:]:
            world.now_ms = self.world.now_ms
        self.step()

    @rule(broken=st.sampled_from(["", "", "fail", "crash"]))
    def change_code(self, broken: str) -> None:
        self.code.broken = broken

    @rule()
    def restart(self) -> None:
        for world in self.worlds:
            world.restart()
        self.compare()

    @rule(id=st.sampled_from(IDS))
    def look(self, id: str) -> None:
        before = self.world.tables.snapshot()
        due = self.world.due()
        self.step(
            QueryWorkflow(id, "state", reply_to="c", request_id="q"),
            DescribeWorkflow(id, reply_to="c", request_id="d"),
        )
        assert due or self.world.tables.snapshot() == before, "a read changed something"

    # ---------------------------------------------------------------- what always holds

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "worlds"):
            return
        tables = self.world.tables
        runs = {key: row for key, row in tables.table("run").items() if isinstance(row, RunRow)}
        opened = sum(effects.opened for effects in self.world.effects)
        assert opened == sum(run.status == "RUNNING" for run in runs.values())
        expected = set()
        for row in tables.table("activity").values():
            assert isinstance(row, ActivityRow) and runs[row.run_id].status == "RUNNING"
            if row.timer_due_ms:
                expected.add(
                    timer_key(row.timer_due_ms, row.run_id, "ACTIVITY", row.scheduled_event_id)
                )
        for timer in tables.table("user_timer").values():
            assert isinstance(timer, UserTimerRow) and runs[timer.run_id].status == "RUNNING"
            expected.add(timer_key(timer.due_ms, timer.run_id, "USER", timer.started_event_id))
        for run in runs.values():
            expected |= _timers_of(run)
            closed = [result for result in self.world.results if result.run_id == run.run_id]
            assert len(closed) == (run.status != "RUNNING")
            assert (
                replay_history(self.world.history(run.run_id), ScriptActivator(code=self.code.run))
                is None
            )
        found = {
            key: row for key, row in tables.table("timer").items() if isinstance(row, TimerRow)
        }
        assert found.keys() == expected
        assert {key.split("/")[0] for key in tables.table("history")} == runs.keys()


def _records(world: World) -> list[Any]:
    return [
        (output.kind, output.task_queue, output.key, output.record)
        for output in world.effects[-1].outputs
    ]


def _timers_of(run: RunRow) -> set[str]:
    if run.status != "RUNNING":
        return {timer_key(run.retention_due_ms, run.run_id, "RETENTION")}
    dues = {
        "WORKFLOW_TASK": run.task_retry_due_ms,
        "FIRST_TASK": run.first_task_due_ms,
        "RUN_TIMEOUT": run.run_timeout_due_ms,
        "EXECUTION_TIMEOUT": run.execution_timeout_due_ms,
    }
    return {timer_key(due, run.run_id, kind) for kind, due in dues.items() if due}


def _without_cache(limits: EngineLimits) -> EngineLimits:
    nothing = copy.copy(limits)
    nothing.max_cached_workflows = 0
    return nothing


Lanes.TestCase.settings = settings(
    max_examples=int(os.environ.get("ODRADEK_TEST_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLanes = Lanes.TestCase
