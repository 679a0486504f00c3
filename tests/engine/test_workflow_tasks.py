"""Workflow tasks: failures, back-off, nondeterminism, patches, timers of workflow code,
defects of the engine.
"""

from __future__ import annotations

from typing import Any

import pytest

import odradek.engine.engine as engine_module
from odradek.engine.activation import Commands
from odradek.engine.ports import RESULTS, Batch, EngineLimits
from odradek.wire import outcomes
from odradek.wire.events import DescribeWorkflow, QueryWorkflow, ReleaseWorkflow, TerminateWorkflow
from odradek.wire.history import TimerStarted, WorkflowExecutionSignaled, WorkflowTaskFailed
from tests.engine.script import Crashed, ScriptActivator, WorkflowFailure, payload, values
from tests.engine.world import World, completed


def outcome(w: World) -> Any:
    return values(w.results[0].result)[0]


def steady(ctx: Any) -> Any:
    yield lambda: len(ctx.signals) >= 2
    return [name for name, _ in ctx.signals]


class Switch:
    """Workflow code that can be repaired."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.tries = 0

    def code(self, ctx: Any) -> Any:
        ctx.queries["state"] = lambda: "fine"
        ctx.activity("must not leak")
        self.tries += 1
        if self.error is not None:
            raise self.error
        yield lambda: bool(ctx.signals)
        return [name for name, _ in ctx.signals]


def failing(
    error: Exception, *, twice: bool = False, limits: EngineLimits | None = None
) -> tuple[World, Switch]:
    switch = Switch(error)
    w = World(ScriptActivator(code=switch.code, steady=steady), twice=twice, limits=limits)
    w.step(w.start("code"))
    return w, switch


def test_failed_task_leaves_nothing_but_its_failure() -> None:
    w, _ = failing(RuntimeError("bug"), twice=True)
    assert w.names() == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
    ]
    assert w.tasks == [] and w.activities() == [] and w.run().status == "RUNNING"
    event = w.history()[-1].attributes
    assert (
        isinstance(event, WorkflowTaskFailed)
        and event.failure is not None
        and event.failure.message == "bug"
    )
    assert (event.scheduled_event_id, event.started_event_id) == (2, 3)
    assert event.cause == "WORKFLOW_WORKER_UNHANDLED_FAILURE"


def test_only_the_first_failure_is_history_and_the_back_off_grows_to_its_limit() -> None:
    w, switch = failing(
        RuntimeError("bug"),
        limits=EngineLimits(task_retry_initial_ms=1_000, task_retry_maximum_ms=4_000),
    )
    history = w.names()
    times = []
    for _ in range(5):
        times.append(w.run().task_retry_due_ms - w.now_ms)
        w.advance(times[-1])
    assert times == [1_000, 2_000, 4_000, 4_000, 4_000]
    assert w.names() == history and switch.tries == 6
    assert w.run().task_attempt == 7


def test_inputs_append_while_a_task_fails_and_are_seen_when_it_succeeds() -> None:
    w, switch = failing(RuntimeError("bug"))
    w.step(w.signal("one"))
    assert switch.tries == 1, "new inputs do not retry before the back-off"
    switch.error = None
    w.step(w.signal("two"))
    w.advance(1_000)
    assert outcome(w) == ["one", "two"]
    assert w.names() == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
        "WorkflowTask",
        "ActivityTaskScheduled",
        "WorkflowExecutionCompleted",
    ]


def test_failed_task_after_progress_replays_and_goes_on() -> None:
    broken = [False]

    def code(ctx: Any) -> Any:
        value = yield ctx.activity("a")
        if broken[0]:
            raise RuntimeError("bug")
        other = yield ctx.activity("b")
        return [value, other]

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    broken[0] = True
    w.step(completed(w.last_task(), 1))
    assert w.run().task_failure is not None
    broken[0] = False
    w.advance(1_000)
    w.step(completed(w.last_task(), 2))
    assert outcome(w) == [1, 2]
    assert w.run().task_failure is None and w.run().task_attempt == 1


def test_an_aborted_retry_does_not_count_as_one() -> None:
    w, switch = failing(RuntimeError("bug"))
    w.now_ms += 1_000
    switch.error = None
    aborted = w.engine.step(w.tables, Batch(w.now_ms, [], w.due()))
    assert aborted.steps == 1
    w.engine.evict(aborted.touched)
    w.step(w.signal("one"), timers=False)
    assert w.run().status == "RUNNING" and w.run().task_failure is not None, (
        "the back-off is not over before its timer"
    )
    w.step()
    assert outcome(w) == ["one"]


def test_a_release_retries_a_failing_run_before_its_back_off_and_finds_closed_runs_closed() -> None:
    w, switch = failing(RuntimeError("bug"))
    switch.error = None
    w.step(ReleaseWorkflow("w", reply_to="c"), w.signal("x"))
    assert outcome(w) == ["x"]
    w.step(ReleaseWorkflow("w", reply_to="c"))
    assert w.replies[-1].status == outcomes.NOT_FOUND


def test_a_release_of_a_run_that_is_not_quarantined_says_so_and_does_nothing() -> None:
    w, switch = failing(RuntimeError("bug"))
    switch.error = None
    w.step(ReleaseWorkflow("w", request_id="1", reply_to="c"))
    assert w.replies[-1].status == outcomes.OK and w.run().task_failure is None
    tries = switch.tries
    w.step(ReleaseWorkflow("w", request_id="1", reply_to="c"))  # its answer was lost
    assert w.replies[-1].status == outcomes.OK
    w.step(ReleaseWorkflow("w", request_id="2", reply_to="c"))
    assert w.replies[-1].status == outcomes.FAILED_PRECONDITION
    assert "'w' is not quarantined" in w.replies[-1].message and switch.tries == tries
    w.restart()
    w.step(ReleaseWorkflow("w", request_id="1", reply_to="c"))
    assert w.replies[-1].status == outcomes.OK and switch.tries == tries


@pytest.mark.parametrize("error", [RuntimeError("bug"), Crashed("spins")])
def test_queries_and_describe_of_a_failing_run_say_why(error: Exception) -> None:
    w, _ = failing(error)
    w.step(QueryWorkflow("w", "state", reply_to="c"), DescribeWorkflow("w", reply_to="c"))
    query, describe = w.replies[-2:]
    assert (
        query.status == outcomes.FAILED_PRECONDITION and query.failure is not None
    )  # as in Temporal; the cause is ours
    assert (
        query.message.startswith("Unable to query workflow due to Workflow Task in failed state. ")
        and str(error) in query.message
    )
    assert describe.description is not None
    assert (
        describe.description.pending_task_failure is not None
        and describe.description.pending_task_attempt == 2
    )


def test_unregistered_type_keeps_the_run_and_its_neighbours() -> None:
    w = World(ScriptActivator(steady=steady))
    w.step(w.start("unknown", workflow_id="a"), w.start("steady", workflow_id="b"))
    w.step(
        w.signal("x", workflow_id="b", request_id="1"),
        w.signal("y", workflow_id="b", request_id="2"),
    )
    assert w.run("a").task_failure is not None and "unknown" in w.run("a").task_failure.message
    assert w.run("b").status == "COMPLETED"


def test_failure_error_fails_the_workflow() -> None:
    def code(ctx: Any) -> Any:
        yield from ()
        raise WorkflowFailure("declined", "CardDeclined")

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    failure = w.results[0].failure
    assert (
        w.results[0].status == "FAILED"
        and failure is not None
        and (failure.message, failure.type) == ("declined", "CardDeclined")
    )


def test_only_the_first_completion_command_counts() -> None:
    def code(ctx: Any) -> Any:
        from odradek.engine.activation import CompleteWorkflow, FailWorkflow

        ctx.commands.append(CompleteWorkflow(result=[payload("first")]))
        ctx.commands.append(FailWorkflow(failure=(w.activator and None) or _failure()))
        ctx.activity("after the end")
        yield lambda: False

    def _failure() -> Any:
        return WorkflowFailure("x").failure

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    assert outcome(w) == "first" and w.tasks == [] and len(w.results) == 1


# ---------------------------------------------------------------- timers of workflow code


def test_timer_fires_and_cancelled_timer_does_not() -> None:
    def code(ctx: Any) -> Any:
        long, short = ctx.timer(60_000), ctx.timer(1_000)
        yield short
        ctx.cancel(long)
        yield lambda: bool(ctx.signals)
        return ctx.now_ms

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    assert isinstance(w.history()[2].attributes, TimerStarted)
    w.advance(1_000)
    assert w.names()[-3:] == ["TimerFired", "WorkflowTask", "TimerCanceled"]
    assert w.tables.table("timer") == {} and w.tables.table("user_timer") == {}
    w.advance(60_000)
    w.step(w.signal("x"))
    assert outcome(w) == w.now_ms


def test_stale_timers_change_nothing_and_their_rows_go() -> None:
    from odradek.wire.state import TimerRow

    def code(ctx: Any) -> Any:
        yield ctx.timer(5_000)

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    run_id = w.run_id()
    for kind in (
        "USER",
        "ACTIVITY",
        "WORKFLOW_TASK",
        "FIRST_TASK",
        "RUN_TIMEOUT",
        "EXECUTION_TIMEOUT",
        "RETENTION",
    ):
        w.tables._rows.setdefault("timer", {})
        from odradek.engine.keys import timer_key
        from odradek.engine.ports import RowChange

        row = TimerRow(w.now_ms, "w", run_id, kind, 5)
        w.tables.apply([RowChange("timer", timer_key(row.due_ms, run_id, kind, 5), row)])
    w.step()
    assert w.names() == ["WorkflowExecutionStarted", "WorkflowTask", "TimerStarted"]
    assert [row.due_ms for row in w.tables.table("timer").values()] == [w.now_ms + 5_000]  # type: ignore[union-attr]


def test_input_of_the_same_batch_beats_a_due_timer() -> None:
    def code(ctx: Any) -> Any:
        timer = ctx.timer(1_000)
        yield lambda: timer.done or bool(ctx.signals)
        won = "timer" if timer.done else "signal"
        ctx.cancel(timer)
        return won

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    w.now_ms += 1_000
    w.step(w.signal("x"))
    assert w.names()[-4:] == [
        "WorkflowExecutionSignaled",
        "TimerFired",
        "WorkflowTask",
        "WorkflowExecutionCompleted",
    ]
    assert outcome(w) == "timer", "both were in one activation"


def test_workflow_time_never_runs_back() -> None:
    times: list[int] = []

    def code(ctx: Any) -> Any:
        while len(ctx.signals) < 3:
            times.append(ctx.now_ms)
            seen = len(ctx.signals)
            yield lambda: len(ctx.signals) > seen  # noqa: B023
        times.append(ctx.now_ms)
        return None

    w = World(ScriptActivator(code=code), twice=False)
    w.step(w.start("code"))
    for change in (5_000, -60_000, 1_000):
        w.now_ms += change
        w.step(w.signal("x"))
    assert times == sorted(times) and times[1] == times[2] == times[3]


# ---------------------------------------------------------------- nondeterminism and patches


def _first(ctx: Any) -> Any:
    yield ctx.activity("charge")
    yield lambda: bool(ctx.signals)
    return "first"


def change(old: Any, new: Any, *, fail: bool = False) -> World:
    """A run begun with `old` code, the first activity done, then replayed with `new`."""
    w = World(ScriptActivator(code=old), twice=False)
    if fail:
        w.activator.fail_on_nondeterminism.add("code")
    w.step(w.start("code"))
    if w.tasks:
        w.step(completed(w.last_task(), 1))
    w.activator.workflows["code"] = new
    w.restart()
    w.step(w.signal("go"))
    return w


def _other_type(ctx: Any) -> Any:
    yield ctx.activity("refund")
    yield lambda: False


def _no_command(ctx: Any) -> Any:
    yield lambda: False


def _timer_instead(ctx: Any) -> Any:
    yield ctx.timer(1_000)


def _one_more(ctx: Any) -> Any:
    ctx.timer(5)
    yield ctx.activity("charge")


def _extra_at_the_end(ctx: Any) -> Any:
    yield ctx.activity("charge")
    yield ctx.timer(5)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (
            _other_type,
            [
                "event 5 ActivityTaskScheduled",
                "'charge'",
                "ScheduleActivity",
                "'refund'",
                "test_workflow_tasks.py:",
                "in _other_type",
            ],
        ),
        (_no_command, ["event 5 ActivityTaskScheduled", "no longer makes a command"]),
        (_timer_instead, ["event 5 ActivityTaskScheduled", "StartTimer", "in _timer_instead"]),
        (_one_more, ["event 5 ActivityTaskScheduled", "StartTimer"]),
        (_extra_at_the_end, ["StartTimer", "no event"]),
    ],
)
def test_nondeterminism_names_event_command_and_line(new: Any, words: list[str]) -> None:
    w = change(_first, new)
    failure = w.run().task_failure
    assert failure is not None and failure.type == "NondeterminismError"
    for word in words:
        assert word in failure.message
    event = next(
        event.attributes
        for event in w.history()
        if isinstance(event.attributes, WorkflowTaskFailed)
    )
    assert event.cause == "NON_DETERMINISTIC_ERROR"
    w.activator.workflows["code"] = _first
    w.advance(1_000)
    assert outcome(w) == "first", "the old code goes on as if nothing had been"


def test_nondeterminism_fails_the_workflow_if_its_definition_says_so() -> None:
    w = change(_first, _other_type, fail=True)
    assert w.results[0].status == "FAILED"
    assert w.results[0].failure is not None and w.results[0].failure.type == "NondeterminismError"


def _patched(ctx: Any) -> Any:
    if ctx.patched("by-card"):
        yield ctx.activity("charge-card")
    else:
        yield ctx.activity("charge")
    yield lambda: bool(ctx.signals)
    return "patched" if ctx.patched("by-card") else "unpatched"


def _deprecated(ctx: Any) -> Any:
    ctx.patched("by-card", deprecated=True)
    yield ctx.activity("charge-card")
    yield lambda: bool(ctx.signals)
    return "deprecated"


def _without(ctx: Any) -> Any:
    yield ctx.activity("charge-card")
    yield lambda: bool(ctx.signals)
    return "without"


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (_first, _patched, "unpatched"),
        (_patched, _patched, "patched"),
        (_patched, _deprecated, "deprecated"),
        (_deprecated, _without, "without"),
        (_without, _deprecated, "deprecated"),
    ],
)
def test_patches(old: Any, new: Any, result: str) -> None:
    assert outcome(change(old, new)) == result


def test_a_patch_whose_call_is_gone_is_nondeterminism() -> None:
    w = change(_patched, _without)
    assert w.run().task_failure is not None and "patch 'by-card'" in w.run().task_failure.message


def test_a_null_removes_an_upserted_field() -> None:
    def code(ctx: Any) -> Any:
        from odradek.engine.activation import UpsertMemo
        from odradek.wire.payload import Payload

        ctx.commands.append(
            UpsertMemo(memo={"a": Payload({"encoding": b"binary/null"}), "b": payload(None)})
        )
        yield lambda: False

    w = World(ScriptActivator(code=code))
    w.step(w.start("code", memo={"a": payload(1), "c": payload(2)}))
    assert list(w.run().memo) == ["c", "b"]


def test_upserts_are_history_and_summary() -> None:
    def code(ctx: Any) -> Any:
        ctx.upsert_memo(step=1)
        ctx.upsert_search_attributes(Customer="x")
        yield lambda: bool(ctx.signals)
        ctx.upsert_memo(step=2, more=True)
        yield lambda: len(ctx.signals) > 1

    w = World(ScriptActivator(code=code))
    w.step(w.start("code", memo={"from": payload("start")}))
    w.step(w.signal("x"))
    assert w.run().memo == {"from": payload("start"), "step": payload(2), "more": payload(True)}
    assert [list(summary.memo) for summary in w.summaries] == [
        ["from", "step"],
        ["from", "step", "more"],
    ]
    assert w.summaries[0].search_attributes == {"Customer": payload("x")}
    w.restart()
    w.step(w.signal("y"))
    assert w.run().status == "COMPLETED"


# ---------------------------------------------------------------- refused results, defects


def test_a_result_that_is_rejected_fails_the_task() -> None:
    w = World(ScriptActivator(steady=steady))
    w.step(w.start("steady"), w.signal("x", request_id="1"))
    w.unwritable = lambda output: "WorkflowResult takes 2 MB" if output.kind == RESULTS else ""
    w.step(w.signal("y", request_id="2"))
    failure = w.run().task_failure
    assert w.run().status == "RUNNING" and w.results == []
    assert failure is not None and "2 MB" in failure.message and failure.type == "Rejected"
    w.unwritable = lambda output: ""
    w.advance(1_000)
    assert outcome(w) == ["x", "y"]


def test_a_termination_that_is_rejected_closes_the_run_with_less() -> None:
    w = World(ScriptActivator(steady=steady))
    w.step(w.start("steady"))
    w.unwritable = lambda output: (
        "WorkflowResult takes 2 MB"
        if output.kind == RESULTS and output.record.failure.details
        else ""
    )
    w.step(TerminateWorkflow("w", reason="why", details=[payload("z")], reply_to="c"))
    failure = w.results[0].failure
    assert w.run().status == "TERMINATED" and failure is not None
    assert failure.details == [] and "2 MB" in failure.message


def test_a_summary_that_is_rejected_goes_without_memo() -> None:
    w = World(ScriptActivator(steady=steady))
    w.unwritable = lambda output: "too large" if getattr(output.record, "memo", None) else ""
    w.step(w.start("steady", memo={"note": payload("x")}))
    assert w.summaries[-1].memo == {} and w.run().memo


def test_one_workflow_that_is_rejected_leaves_its_neighbours_alone() -> None:
    w = World(ScriptActivator(steady=steady))
    w.step(w.start("steady"), w.start("steady", workflow_id="other"))
    w.unwritable = lambda output: (
        "no" if output.kind == RESULTS and output.record.workflow_id == "w" else ""
    )
    for workflow_id in ("w", "other"):
        w.step(*(w.signal(n, request_id=n, workflow_id=workflow_id) for n in "xy"))
    assert (w.run().status, w.run("other").status) == ("RUNNING", "COMPLETED")


def test_defect_on_one_input_quarantines_that_run_and_dead_letters_the_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = World(ScriptActivator(steady=steady))
    w.step(w.start("steady", workflow_id="a"), w.start("steady", workflow_id="b"))
    real = engine_module.apply_input

    def broken(step: Any, input: Any) -> None:
        real(step, input)
        if getattr(input.event, "signal_name", "") == "poison":
            raise ZeroDivisionError("a defect")

    monkeypatch.setattr(engine_module, "apply_input", broken)
    w.dead_letters_allowed = True
    offset = w.offset
    effects = w.step(
        w.signal("one", workflow_id="a", request_id="1"),
        w.signal("poison", workflow_id="a", request_id="2"),
        w.signal("two", workflow_id="a", request_id="3"),
        w.signal("one", workflow_id="b", request_id="4"),
        w.signal("two", workflow_id="b", request_id="5"),
    )
    assert [letter.offset for letter in effects.dead_letters] == [offset + 1]
    assert (
        "ZeroDivisionError" in effects.dead_letters[0].trace
        and "a defect" in effects.dead_letters[0].reason
    )
    assert "a defect" in w.run("a").quarantine_reason and w.run("a").status == "RUNNING"
    signals = [
        event.attributes.signal_name
        for event in w.history(w.run_id("a"))
        if isinstance(event.attributes, WorkflowExecutionSignaled)
    ]
    assert signals == ["one", "two"]
    assert w.run("b").status == "COMPLETED"
    w.step(ReleaseWorkflow("a", reply_to="c"))
    assert w.run("a").status == "COMPLETED"


def test_a_start_that_breaks_the_engine_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    w = World(ScriptActivator(steady=steady))
    w.dead_letters_allowed = True
    monkeypatch.setattr(engine_module, "apply_input", lambda step, input: 1 / 0)
    w.step(w.start("steady", request_id="s"), QueryWorkflow("w", "q", reply_to="c", request_id="q"))
    assert [(reply.request_id, reply.kind, reply.status) for reply in w.replies] == [
        ("s", "StartWorkflow", outcomes.INTERNAL),
        ("q", "QueryWorkflow", outcomes.INTERNAL),
    ]
    assert "division by zero" in w.replies[0].message and w.tables.snapshot() == {}


def test_defect_in_a_task_quarantines_the_run_and_loses_no_input() -> None:
    class Broken(ScriptActivator):
        broken = True

        def create(self, **names: str) -> Any:
            instance = super().create(**names)
            if self.broken and names["workflow_id"] == "a":
                instance.activate = lambda activation: 1 / 0  # type: ignore[method-assign, assignment, return-value]
            return instance

    activator = Broken(steady=steady)
    w = World(activator)
    w.step(
        *[
            event
            for id in ("a", "b")
            for event in (w.start("steady", workflow_id=id), *_two_signals(w, id))
        ]
    )
    assert w.run("b").status == "COMPLETED"
    assert "ZeroDivisionError" in w.run("a").quarantine_reason
    assert w.names(w.run_id("a")) == [
        "WorkflowExecutionStarted",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
    ]
    activator.broken = False
    w.step(ReleaseWorkflow("a", reply_to="c"))
    assert w.run("a").status == "COMPLETED"


def _two_signals(w: World, id: str) -> list[Any]:
    return [w.signal(name, workflow_id=id, request_id=name) for name in ("x", "y")]


def test_defect_in_a_query_answers_internal_and_quarantines_nothing() -> None:
    class Broken(ScriptActivator):
        def create(self, **names: str) -> Any:
            instance = super().create(**names)
            activate = instance.activate

            def broken(activation: Any) -> Any:
                completion = activate(activation)
                if isinstance(completion, Commands) and any(
                    type(job).__name__ == "QueryJob" for job in activation.jobs
                ):
                    raise ZeroDivisionError("in a query")
                return completion

            instance.activate = broken  # type: ignore[method-assign]
            return instance

    w = World(Broken(steady=steady))
    w.step(w.start("steady"))
    w.step(w.signal("x"), QueryWorkflow("w", "q", reply_to="c"))
    assert w.replies[-1].status == outcomes.INTERNAL and "in a query" in w.replies[-1].message
    assert (
        w.names()[-2:] == ["WorkflowExecutionSignaled", "WorkflowTask"]
        and w.run().quarantine_reason == ""
    )


def test_cache_of_nothing_replays_every_task() -> None:
    w = World(
        ScriptActivator(steady=steady), limits=EngineLimits(max_cached_workflows=0), twice=False
    )
    w.step(w.start("steady"))
    w.step(w.signal("x"))
    w.step(w.signal("y"))
    assert outcome(w) == ["x", "y"]
    statistics = w.engine.statistics()
    assert statistics["replays"] == 3 and statistics["cached_runs"] == 0


def test_closed_runs_leave_the_cache_first() -> None:
    w = World(
        ScriptActivator(steady=steady), limits=EngineLimits(max_cached_workflows=2), twice=False
    )
    w.step(w.start("steady", workflow_id="open"))
    for n in range(5):
        id = f"short{n}"
        w.step(w.start("steady", workflow_id=id), *_two_signals(w, id))
        assert w.run(id).status == "COMPLETED"
    before = w.engine.statistics()["replays"]
    w.step(w.signal("x", workflow_id="open"))
    assert w.engine.statistics()["replays"] == before


def test_cache_evicts_the_least_recently_used() -> None:
    w = World(
        ScriptActivator(steady=steady), limits=EngineLimits(max_cached_workflows=2), twice=False
    )
    for id in ("a", "b"):
        w.step(w.start("steady", workflow_id=id))
    w.step(w.signal("x", workflow_id="a"))
    w.step(w.start("steady", workflow_id="c"))
    before = w.engine.statistics()["replays"]
    w.step(w.signal("y", workflow_id="a"))
    assert w.engine.statistics()["replays"] == before
    w.step(w.signal("x", workflow_id="b"))
    assert w.engine.statistics()["replays"] == before + 1
