"""Parked runs: when they are tried again by themselves, what a try that fails costs, and what
stays until an operator comes.
"""

from __future__ import annotations

from typing import Any

import pytest

import odradek.engine.engine as engine_module
import odradek.engine.timers as timers_module
from odradek.engine.activation import TaskFailed
from odradek.engine.keys import PARKED_DUE_MS
from odradek.engine.ports import EngineLimits
from odradek.wire import outcomes
from odradek.wire.events import DescribeWorkflow, TerminateWorkflow, UnparkWorkflow
from odradek.wire.payload import Failure
from tests.engine.script import Parked, ScriptActivator, values
from tests.engine.world import World

MINUTE, HOUR = 60_000, 3_600_000


class Switch:
    """Workflow code that spins until it is repaired, and then ends with its signals."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.tries = 0

    def __call__(self, ctx: Any) -> Any:
        self.tries += 1
        if self.error is not None:
            raise self.error
        yield lambda: bool(ctx.signals)
        return [name for name, _ in ctx.signals]


def parked(*, workflows: int = 1, limits: EngineLimits | None = None) -> tuple[World, Switch]:
    switch = Switch(Parked("spins"))
    w = World(ScriptActivator(code=switch), encoded=True, twice=workflows == 1, limits=limits)
    w.step(
        *[
            w.start("code", workflow_id=f"w{n}" if n else "w", request_id=f"r{n}")
            for n in range(workflows)
        ]
    )
    switch.tries = 0
    return w, switch


def waits(w: World, tries: int) -> list[int]:
    """Milliseconds from each try to the next."""
    found = []
    for _ in range(tries):
        found.append(w.run().task_retry_due_ms - w.now_ms)
        w.advance(found[-1])
    return found


# ---------------------------------------------------------------- back-off


@pytest.mark.promise("quarantine")
def test_it_is_tried_again_by_itself_less_and_less_often() -> None:
    w, switch = parked()
    history, told = w.names(), len(w.summaries)
    assert waits(w, 9) == [n * MINUTE for n in (1, 2, 4, 8, 16, 32, 60, 60, 60)]
    assert switch.tries == 9 * 2, (
        "each once, and once more by the world, which does every step twice"
    )
    assert w.run().parked_reason.endswith("spins"), "parked again"
    assert w.names() == history and len(w.summaries) == told, (
        "a try that fails as before leaves no event and no summary"
    )
    assert not w.effects[-1].parked, "counted once"


def test_it_goes_on_by_itself_once_it_can() -> None:
    w, switch = parked()
    w.step(w.signal("one"))
    assert switch.tries == 0, "inputs only append"
    switch.error = None
    w.advance(MINUTE)
    assert values(w.results[0].result)[0] == ["one"]
    assert w.summaries[-1].parked_reason == "" and w.run().status == "COMPLETED"


def test_tables_hold_nothing_of_a_parked_run_once_it_has_gone_on_or_closed() -> None:
    w, switch = parked()
    w.advance(MINUTE)
    switch.error = None
    w.advance(2 * MINUTE)
    assert w.run().status == "RUNNING" and w.tables.table("timer") == {}
    w, _ = parked()
    w.step(TerminateWorkflow("w", reply_to="c"))
    assert [key.split("/")[2] for key in w.tables.table("timer")] == ["RETENTION"]


@pytest.mark.promise("quarantine")
def test_the_time_of_the_next_try_outlives_its_owner() -> None:
    w, switch = parked()
    waits(w, 3)
    due = w.run().task_retry_due_ms
    w.now_ms += MINUTE
    w.restart()  # may be new code: one try at once
    assert w.run().parked_reason and w.run().task_retry_due_ms == w.now_ms + 16 * MINUTE > due
    switch.error = None
    w.step(w.signal("x"))
    assert w.run().status == "RUNNING"
    w.advance(16 * MINUTE)
    assert w.run().status == "COMPLETED"


def test_one_that_ran_for_long_and_is_parked_again_waits_a_minute_again() -> None:
    w, switch = parked()
    waits(w, 5)
    switch.error = None
    w.advance(32 * MINUTE)
    assert w.run().parked_reason == ""
    w.now_ms += 3 * HOUR
    w.activator.workflows["code"] = Switch(Parked("spins again"))
    w.restart()
    w.step(w.signal("x"))
    assert w.run().parked_reason and w.run().task_retry_due_ms == w.now_ms + MINUTE


def test_one_that_is_parked_again_right_after_it_went_on_waits_longer() -> None:
    """A defect behind a task that succeeds must not come back each minute."""
    w, switch = parked()
    waits(w, 4)
    switch.error = None
    w.advance(16 * MINUTE)
    assert w.run().parked_reason == ""
    switch.error = Parked("spins")
    w.restart()
    w.step(w.signal("x"))
    assert w.run().task_retry_due_ms == w.now_ms + 32 * MINUTE


def test_parked_again_or_unparked_before_its_time() -> None:
    w, switch = parked()
    w.step(UnparkWorkflow("w", reply_to="c"))
    assert w.run().task_retry_due_ms == w.now_ms + 2 * MINUTE
    tries = switch.tries
    w.advance(2 * MINUTE - 1)
    assert switch.tries == tries, "the earlier time does not count any more"


@pytest.mark.promise("quarantine")
def test_runs_parked_together_are_not_tried_together() -> None:
    """Each may keep the lane for as long as the watchdog lets it: one, then other work, then the
    next.
    """
    w, switch = parked(workflows=50)
    w.now_ms += MINUTE
    w.step()
    assert switch.tries == 1
    dues = sorted(
        w.run(id).task_retry_due_ms - w.now_ms for id in ["w", *(f"w{n}" for n in range(1, 50))]
    )
    assert dues == sorted([2 * MINUTE] + [n * timers_module.PARKED_APART_MS for n in range(1, 50)])
    switch.error = None
    w.advance(20 * MINUTE)
    assert (
        all(run.parked_reason == "" for run in w.tables.table("run").values())
        and w.tables.table("timer") == {}
    )  # type: ignore[union-attr]


def test_all_are_taken_up_by_a_new_owner_without_any_input() -> None:
    w, switch = parked(workflows=120)
    switch.error = None
    w.restart()
    assert switch.tries == 120
    assert (
        all(run.parked_reason == "" for run in w.tables.table("run").values())
        and w.tables.table("timer") == {}
    )  # type: ignore[union-attr]


def test_describe_says_when_it_is_tried_next() -> None:
    w, switch = parked()
    w.step(DescribeWorkflow("w", reply_to="c"))
    description = w.replies[-1].description
    assert (
        description is not None
        and description.pending_task_next_attempt_time_ms == w.now_ms + MINUTE
    )
    switch.error = None
    w.advance(MINUTE)
    w.step(DescribeWorkflow("w", reply_to="c"))
    description = w.replies[-1].description
    assert description is not None and description.pending_task_next_attempt_time_ms == 0


# ---------------------------------------------------------------- held: nobody but an operator


class Held(ScriptActivator):
    """Instances that run nothing, as the host gives them for runs that killed their owners."""

    held = True

    def create(self, **names: str) -> Any:
        instance = super().create(**names)
        if self.held:
            instance.activate = lambda activation: TaskFailed(
                Failure(message="held: owners died"), park=True, held=True
            )  # type: ignore[method-assign]
        return instance


def test_a_held_run_is_never_tried_by_itself() -> None:
    switch = Switch(None)
    activator = Held(code=switch)
    w = World(activator)
    w.step(w.start("code"), w.signal("x"))
    for _ in range(2):
        assert w.run().task_retry_due_ms == PARKED_DUE_MS and "owners died" in w.run().parked_reason
        w.step(DescribeWorkflow("w", reply_to="c"))
        assert (
            w.replies[-1].description is not None
            and w.replies[-1].description.pending_task_next_attempt_time_ms == 0
        )
        w.advance(30 * 24 * HOUR)
        w.restart()
    assert switch.tries == 0
    activator.held = False
    w.step(UnparkWorkflow("w", reply_to="c"))
    assert w.replies[-1].status == outcomes.OK and w.run().status == "COMPLETED"


def test_a_held_run_stays_held_over_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    w = World(Held(code=Switch(None)))
    w.dead_letters_allowed = True
    w.step(w.start("code"))
    monkeypatch.setattr(engine_module, "apply_input", lambda step, input: 1 / 0)
    w.step(w.signal("x"))
    assert w.run().task_retry_due_ms == PARKED_DUE_MS and "owners died" in w.run().parked_reason


# ---------------------------------------------------------------- defects of the engine


def test_a_defect_is_tried_again_by_itself_and_inputs_do_not_put_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = World(ScriptActivator(code=Switch(None)))
    w.dead_letters_allowed = True
    w.step(w.start("code"))
    real = engine_module.apply_input

    def broken(step: Any, input: Any) -> None:
        real(step, input)
        if getattr(input.event, "signal_name", "") == "poison":
            raise ZeroDivisionError("a defect")

    monkeypatch.setattr(engine_module, "apply_input", broken)
    w.step(w.signal("poison"))
    due = w.run().task_retry_due_ms
    assert due == w.now_ms + MINUTE
    w.now_ms += MINUTE // 2
    w.step(w.signal("poison"), w.signal("x"))
    assert w.run().task_retry_due_ms == due and w.run().status == "RUNNING"
    w.advance(MINUTE // 2)
    assert w.run().status == "COMPLETED"


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
        (Switch(None), {"run_timeout_ms": 5_000}, "time_out", "TIMED_OUT"),
        (Switch(None), {"execution_timeout_ms": 5_000}, "time_out", "TIMED_OUT"),
    ],
)
@pytest.mark.parametrize("by", ["back-off", "unpark", "a new owner"])
def test_a_timer_that_meets_a_defect_fires_when_its_run_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
    code: Any,
    fields: dict[str, Any],
    breaks: str,
    closed: str,
    by: str,
) -> None:
    w = World(ScriptActivator(code=code), encoded=True)
    w.step(w.start("code", **fields))
    monkeypatch.setattr(timers_module, breaks, None)
    w.advance(5_000)
    assert "defect of the engine" in w.run().parked_reason and w.run().status == "RUNNING"
    assert len(w.due()) == 0, "its row would break each batch"
    w.advance(MINUTE)
    assert "defect of the engine" in w.run().parked_reason, (
        "it was tried, and the defect is still there"
    )
    assert w.run().task_retry_due_ms == w.now_ms + 2 * MINUTE, "no try each minute for ever"
    monkeypatch.undo()
    if by == "back-off":
        w.advance(2 * MINUTE)
    elif by == "unpark":
        w.step(UnparkWorkflow("w", reply_to="c"))
    else:
        w.restart()
    w.step()
    assert w.run().status == closed and not w.dead_letters_allowed


@pytest.mark.promise("timers")
def test_the_end_of_a_retention_that_meets_a_defect_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = World(ScriptActivator(code=Switch(None)))
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
