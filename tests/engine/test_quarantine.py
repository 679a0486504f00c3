"""Quarantine: what brings a run there, that no code of it runs, and that a release lets it go on."""

from __future__ import annotations

from typing import Any

import pytest

import odradek.engine.engine as engine_module
import odradek.engine.timers as timers_module
from odradek.engine.ports import Batch
from odradek.wire import outcomes
from odradek.wire.events import DescribeWorkflow, QueryWorkflow, ReleaseWorkflow, TerminateWorkflow
from tests.engine.script import Crashed, ScriptActivator, values
from tests.engine.world import World

MINUTE, HOUR = 60_000, 3_600_000


class Switch:
    """Workflow code that has to be ended until it is repaired, and then ends with its signals."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.tries = 0

    def __call__(self, ctx: Any) -> Any:
        self.tries += 1
        if self.error is not None:
            raise self.error
        yield lambda: bool(ctx.signals)
        return [name for name, _ in ctx.signals]


def begun(error: Exception | None = None) -> tuple[World, Switch]:
    switch = Switch(error)
    w = World(ScriptActivator(code=switch), encoded=True, twice=False)
    w.step(w.start("code", run_id="run-1"))
    return w, switch


def died(w: World, run_id: str = "run-1") -> None:
    """The process died while code of the run executed; another one takes over."""
    w.restart(crashed=[run_id])


@pytest.mark.promise("quarantine")
def test_three_crashes_in_a_row_quarantine_a_run_until_it_is_released() -> None:
    w, switch = begun()
    for wait_ms in (1_000, 2_000):
        died(w)
        assert w.run().task_retry_due_ms == w.now_ms + wait_ms, "its neighbours get on"
    died(w)
    assert "died 3 times in a row" in w.run().quarantine_reason
    assert w.summaries[-1].quarantine_reason == w.run().quarantine_reason
    assert w.effects[-2].quarantined == ["run-1"] and w.run().task_retry_due_ms == 0
    tries = switch.tries
    w.step(w.signal("x"), QueryWorkflow("w", "q", reply_to="c"))
    assert "3 times" in w.replies[-1].message
    assert w.replies[-1].status == outcomes.FAILED_PRECONDITION
    w.advance(HOUR)
    w.restart()
    assert switch.tries == tries and w.names()[-1] == "WorkflowExecutionSignaled", "inputs append"
    w.step(DescribeWorkflow("w", reply_to="c"))
    assert w.replies[-1].description is not None
    assert w.replies[-1].description.pending_task_next_attempt_time_ms == 0
    w.step(ReleaseWorkflow("w", reply_to="c"))
    assert w.replies[-1].status == outcomes.OK and values(w.results[0].result)[0] == ["x"]
    assert w.summaries[-1].quarantine_reason == "" and w.run().crash_count == 0


def test_a_completed_task_begins_the_count_anew() -> None:
    def waits(ctx: Any) -> Any:
        yield lambda: False

    w = World(ScriptActivator(code=waits))
    w.step(w.start("code", run_id="run-1"))
    for name in "abc":
        died(w)
        died(w)
        assert w.run().crash_count == 2
        w.step(w.signal(name))
        w.advance(MINUTE)
        assert (w.run().crash_count, w.run().quarantine_reason) == (0, "")


def test_a_run_whose_first_task_killed_the_process_is_counted_when_it_begins() -> None:
    switch = Switch()
    w = World(ScriptActivator(code=switch))
    died(w, "run-1")
    w.step(w.start("code", run_id="run-1"))
    assert (w.run().crash_count, switch.tries) == (1, 0)
    w.advance(1_000)
    assert switch.tries and w.run().crash_count == 0
    died(w, "unknown for ever")


def test_a_closed_run_whose_queries_kill_the_process_is_quarantined() -> None:
    w, switch = begun()
    w.step(w.signal("x"))
    for _ in range(3):
        died(w)
    tries = switch.tries
    w.step(QueryWorkflow("w", "q", reply_to="c"))
    assert "3 times" in w.replies[-1].message and switch.tries == tries
    w.step(ReleaseWorkflow("w", reply_to="c"), QueryWorkflow("w", "unknown", reply_to="c"))
    assert "unknown query" in w.replies[-1].message and w.run().status == "COMPLETED"


@pytest.mark.promise("quarantine")
def test_a_task_that_has_to_be_ended_counts_as_a_crash() -> None:
    w, switch = begun(Crashed("spins"))
    assert (w.run().crash_count, w.run().quarantine_reason) == (1, "")
    w.advance(1_000)
    assert w.run().crash_count == 2
    w.advance(2_000)
    assert w.run().quarantine_reason.endswith("spins") and switch.tries == 3
    w.advance(HOUR)
    assert switch.tries == 3 and w.tables.table("timer") == {}
    switch.error = None
    w.step(w.signal("x"), ReleaseWorkflow("w", reply_to="c"))
    assert w.run().status == "COMPLETED"


@pytest.mark.promise("quarantine")
def test_a_host_quarantines_what_it_cannot_write() -> None:
    w, switch = begun()
    batch = Batch(w.now_ms, [], quarantined={"w": "a row cannot be written", "unknown": "x"})
    w._take(w.engine.step(w.tables, batch))
    assert w.run().quarantine_reason == "a row cannot be written"
    w.step(w.signal("x"))
    assert w.run().status == "RUNNING" and switch.tries == 1


def test_a_quarantined_run_can_be_terminated() -> None:
    w, _ = begun()
    for _ in range(3):
        died(w)
    w.step(TerminateWorkflow("w", reply_to="c"))
    assert w.summaries[-1].quarantine_reason == "" and w.run().status == "TERMINATED"
    assert [key.split("/")[2] for key in w.tables.table("timer")] == ["RETENTION"]


def test_a_defect_of_the_engine_quarantines_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    w, _ = begun()
    w.dead_letters_allowed = True
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "apply_input", lambda step, input: 1 / 0)
        w.step(w.signal("poison"))
    assert "ZeroDivisionError" in w.run().quarantine_reason
    assert len(w.effects[-1].dead_letters) == 1
    w.step(w.signal("x"))
    w.step(ReleaseWorkflow("w", reply_to="c"))
    assert values(w.results[0].result)[0] == ["x"]


def _sleeps(ctx: Any) -> Any:
    yield ctx.timer(5_000)
    return "woken"


def _calls(ctx: Any) -> Any:
    value = yield ctx.activity(
        "a", start_to_close_timeout_ms=5_000, schedule_to_start_timeout_ms=5_000
    )
    return value


@pytest.mark.promise("timers")
@pytest.mark.parametrize(
    ("code", "fields", "breaks", "closed"),
    [
        (_sleeps, {}, "TimerFired", "COMPLETED"),
        (_calls, {}, "activities", "FAILED"),
        (Switch(), {"run_timeout_ms": 5_000}, "time_out", "TIMED_OUT"),
        (Switch(), {"execution_timeout_ms": 5_000}, "time_out", "TIMED_OUT"),
    ],
)
def test_a_timer_that_meets_a_defect_fires_when_its_run_is_released(
    monkeypatch: pytest.MonkeyPatch, code: Any, fields: dict[str, Any], breaks: str, closed: str
) -> None:
    w = World(ScriptActivator(code=code), encoded=True)
    w.step(w.start("code", **fields))
    monkeypatch.setattr(timers_module, breaks, None)
    w.advance(5_000)
    assert "defect of the engine" in w.run().quarantine_reason and w.run().status == "RUNNING"
    assert len(w.due()) == 0, "its row would break each batch"
    monkeypatch.undo()
    w.step(ReleaseWorkflow("w", reply_to="c"))
    w.step()
    assert w.run().status == closed and not w.dead_letters_allowed


@pytest.mark.promise("timers")
def test_the_end_of_a_retention_that_meets_a_defect_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = World(ScriptActivator(code=Switch()))
    w.step(w.start("code"), w.signal("x"))
    assert w.run().status == "COMPLETED"
    monkeypatch.setattr(timers_module.retention, "retire", None)
    w.advance(w.limits.retention_ms)
    assert w.tables.get("run", w.run_id()) is not None and len(w.due()) == 0
    monkeypatch.undo()
    w.advance(HOUR)
    assert w.tables.snapshot().get("run", {}) == {} and w.tables.table("timer") == {}


def test_timers_that_no_try_can_apply_are_left_to_their_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(step: Any, work: Any) -> Any:
        raise engine_module._Broken("rows")

    w = World(ScriptActivator(code=_sleeps), encoded=True)
    w.dead_letters_allowed = True
    w.step(w.start("code"))
    before = w.tables.snapshot()
    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "_try", broken)
        with pytest.raises(RuntimeError, match="cannot apply the timers of workflow w"):
            w.advance(5_000)
        assert w.tables.snapshot() == before and len(w.due()) == 1
        w.step(w.signal("x"), timers=False)
        assert len(w.effects[-1].dead_letters) == 1, "an input alone becomes a dead letter"
    w.step()
    assert w.run().status == "COMPLETED"
