"""Ends of runs: results, retention, run and execution timeouts, continue-as-new, workflow
retries, cron, history limits.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest

import odradek.engine.retention as retention_module
from odradek.engine import cron
from odradek.engine.ports import EngineLimits
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    CancelWorkflow,
    ParentExecution,
    QueryWorkflow,
    TerminateWorkflow,
)
from odradek.wire.history import (
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
from odradek.wire.payload import RetryPolicy
from tests.engine.script import (
    ActivityFailure,
    Canceled,
    ScriptActivator,
    WorkflowFailure,
    payload,
    values,
)
from tests.engine.world import T0, World, completed

DAY = 86_400_000


def waiting(ctx: Any, *args: Any) -> Any:
    ctx.queries["count"] = lambda: len(ctx.signals)
    yield lambda: any(name == "finish" for name, _ in ctx.signals)
    return list(args)


def started_of(w: World, run_id: str = "") -> WorkflowExecutionStarted:
    attributes = w.history(run_id)[0].attributes
    assert isinstance(attributes, WorkflowExecutionStarted)
    return attributes


# ---------------------------------------------------------------- results and retention


def test_exactly_one_result_a_run_with_what_others_need() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", 5, run_id="run-1"))
    w.now_ms += 700
    w.step(w.signal("finish"))
    (result,) = w.results
    assert (
        result.namespace,
        result.task_queue,
        result.workflow_id,
        result.run_id,
        result.workflow_type,
    ) == (
        "default",
        "q",
        "w",
        "run-1",
        "waiting",
    )
    assert (result.status, values(result.result), result.start_time_ms, result.close_time_ms) == (
        "COMPLETED",
        [[5]],
        T0,
        T0 + 700,
    )
    assert result.history_length == w.run().next_event_id - 1 == w.history()[-1].event_id


def test_summaries_come_at_start_and_close_not_at_every_step() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting"))
    for _ in range(3):
        w.step(w.signal("tick"))
    w.step(w.signal("finish"))
    assert [summary.status for summary in w.summaries] == ["RUNNING", "COMPLETED"]
    assert w.summaries[-1].history_length == w.run().next_event_id - 1


def test_retention_deletes_everything_of_the_run() -> None:
    w = World(ScriptActivator(waiting=waiting), limits=EngineLimits(retention_ms=DAY))
    w.step(w.start("waiting"))
    w.step(w.signal("finish"))
    w.advance(DAY - 1)
    w.step(QueryWorkflow("w", "count", reply_to="c"))
    assert values(w.replies[-1].payloads) == [1]
    assert w.tombstones == []
    run_id = w.run_id()
    w.advance(1)
    assert w.tables.snapshot() == {}
    assert w.tombstones == [f"w/{run_id}"]
    w.step(QueryWorkflow("w", "count", reply_to="c"))
    assert w.replies[-1].status == outcomes.NOT_FOUND


def test_retention_of_an_old_run_leaves_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "RETENTION_ROWS_MAX", 2)
    w = World(ScriptActivator(waiting=waiting), limits=EngineLimits(retention_ms=DAY))
    w.step(w.start("waiting", run_id="run-1"))
    for n in range(9):
        w.step(w.signal("tick", n))
    w.step(w.signal("finish"))
    w.step(w.start("waiting", run_id="run-2"))
    w.now_ms += DAY
    steps = 0
    while w.due():
        before = sum(len(table) for table in w.tables.snapshot().values())
        w.step()
        steps += 1
        assert before - sum(len(table) for table in w.tables.snapshot().values()) <= 4
    assert steps > 4
    assert w.tombstones == ["w/run-1"]
    assert w.run().run_id == "run-2" and len(w.tables.table("run")) == 1
    assert all(key.startswith("run-2/") for key in w.tables.table("history"))
    w.step(w.signal("finish"))
    assert [result.run_id for result in w.results] == ["run-1", "run-2"]


# ---------------------------------------------------------------- timeouts


def test_run_timeout_runs_no_code() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", run_timeout_ms=5_000))
    tasks = len(w.activator.log)
    w.advance(5_000)
    assert len(w.activator.log) == tasks and w.run().status == "TIMED_OUT"
    event = w.history()[-1].attributes
    assert (
        isinstance(event, WorkflowExecutionTimedOut) and event.retry_state == "RETRY_POLICY_NOT_SET"
    )
    assert (
        w.results[0].failure is not None and w.results[0].failure.timeout_type == "START_TO_CLOSE"
    )


def test_run_timeout_is_retried_and_execution_timeout_is_not() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(
        w.start(
            "waiting",
            run_timeout_ms=5_000,
            execution_timeout_ms=12_000,
            retry_policy=RetryPolicy(),
            run_id="run-1",
        )
    )
    w.advance(5_000)
    second = w.run_id()
    assert second != "run-1" and w.run_row("run-1").new_execution_run_id == second
    assert w.run().status == "RUNNING" and w.run().first_task_due_ms == T0 + 6_000
    w.advance(7_000)
    assert [(result.status, bool(result.new_execution_run_id)) for result in w.results] == [
        ("TIMED_OUT", True),
        ("TIMED_OUT", False),
    ]
    event = w.history()[-1].attributes
    assert isinstance(event, WorkflowExecutionTimedOut) and event.retry_state == "TIMEOUT"
    assert w.run().close_time_ms == T0 + 11_000, (
        "another attempt would begin after the execution timeout"
    )


def test_execution_timeout_of_one_run_is_not_retried() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", execution_timeout_ms=5_000, retry_policy=RetryPolicy()))
    w.advance(5_000)
    assert [
        (result.status, result.close_time_ms, result.new_execution_run_id) for result in w.results
    ] == [("TIMED_OUT", T0 + 5_000, "")]
    assert len(w.tables.table("run")) == 1


def test_execution_timeout_spans_the_chain() -> None:
    def again(ctx: Any) -> Any:
        yield ctx.timer(4_000)
        ctx.continue_as_new()

    w = World(ScriptActivator(again=again))
    w.step(w.start("again", execution_timeout_ms=10_000))
    w.advance(30_000)
    assert [result.status for result in w.results] == [
        "CONTINUED_AS_NEW",
        "CONTINUED_AS_NEW",
        "TIMED_OUT",
    ]
    assert w.results[-1].close_time_ms == T0 + 10_000


# ---------------------------------------------------------------- continue-as-new


def counter(ctx: Any, n: int) -> Any:
    yield ctx.activity("work", n)
    if n < 3:
        ctx.continue_as_new(n + 1)
    return n


def test_continue_as_new() -> None:
    w = World(ScriptActivator(counter=counter))
    w.step(
        w.start(
            "counter",
            1,
            run_id="run-1",
            memo={"m": payload(1)},
            run_timeout_ms=60_000,
            retry_policy=RetryPolicy(maximum_attempts=2),
        )
    )
    runs = []
    for _ in range(3):
        runs.append(w.run_id())
        w.step(completed(w.last_task()))
    assert len(set(runs)) == 3
    assert [
        (result.status, result.run_id, result.new_execution_run_id) for result in w.results
    ] == [
        ("CONTINUED_AS_NEW", runs[0], runs[1]),
        ("CONTINUED_AS_NEW", runs[1], runs[2]),
        ("COMPLETED", runs[2], ""),
    ]
    third = started_of(w, runs[2])
    assert (third.first_execution_run_id, third.continued_execution_run_id, third.initiator) == (
        "run-1",
        runs[1],
        "WORKFLOW",
    )
    assert (
        values(third.input) == [3]
        and third.memo == {"m": payload(1)}
        and third.run_timeout_ms == 60_000
    )
    assert third.retry_policy == RetryPolicy(maximum_attempts=2) and third.attempt == 1
    event = w.history(runs[0])[-1].attributes
    assert (
        isinstance(event, WorkflowExecutionContinuedAsNew) and event.new_execution_run_id == runs[1]
    )


def test_continue_as_new_overrides() -> None:
    def first(ctx: Any) -> Any:
        yield from ()
        ctx.continue_as_new(
            1,
            workflow_type="waiting",
            memo={},
            run_timeout_ms=7_000,
            backoff_start_interval_ms=3_000,
        )

    w = World(ScriptActivator(first=first, waiting=waiting))
    w.step(w.start("first", memo={"m": payload(1)}))
    started = started_of(w)
    assert (
        started.workflow_type,
        started.memo,
        started.run_timeout_ms,
        started.first_workflow_task_backoff_ms,
    ) == (
        "waiting",
        {},
        7_000,
        3_000,
    )
    w.step(w.signal("tick"))
    assert w.run().first_task_due_ms, "a signal does not cut this backoff short"
    w.advance(3_000)
    assert w.run().first_task_due_ms == 0 and "WorkflowTask" in w.names()


def test_continue_as_new_without_end_does_not_hold_the_lane() -> None:
    def spinning(ctx: Any) -> Any:
        yield from ()
        ctx.continue_as_new()

    w = World(ScriptActivator(spinning=spinning), limits=EngineLimits(max_tasks_per_step=5))
    effects = w.step(w.start("spinning"))
    assert effects.steps == 5 and len(w.results) == 5
    assert len(w.due()) == 1
    assert w.step().steps == 5
    w.step(TerminateWorkflow("w"))
    assert w.run().status == "TERMINATED" and w.due() == []


def test_continue_as_new_to_another_queue_is_refused_for_now() -> None:
    def moves(ctx: Any) -> Any:
        yield from ()
        ctx.continue_as_new(task_queue="elsewhere")

    w = World(ScriptActivator(moves=moves))
    w.step(w.start("moves"))
    assert w.run().task_failure is not None and "elsewhere" in w.run().task_failure.message


def test_cancel_without_run_id_reaches_the_current_run_of_the_chain() -> None:
    def chain(ctx: Any) -> Any:
        yield lambda: ctx.cancel_requested or bool(ctx.signals)
        if ctx.cancel_requested:
            raise Canceled
        ctx.continue_as_new()

    w = World(ScriptActivator(chain=chain))
    w.step(w.start("chain", run_id="run-1"))
    w.step(w.signal("again"))
    w.step(CancelWorkflow("w", first_execution_run_id="run-1", reply_to="c"))
    assert [result.status for result in w.results] == ["CONTINUED_AS_NEW", "CANCELED"]


def test_signal_in_the_batch_of_continue_as_new_is_seen() -> None:
    def chain(ctx: Any, seen: list[str]) -> Any:
        yield lambda: bool(ctx.signals)
        seen = seen + [name for name, _ in ctx.signals]
        if len(seen) >= 4:
            return seen
        ctx.continue_as_new(seen)

    w = World(ScriptActivator(chain=chain))
    w.step(w.start("chain", []))
    w.step(w.signal("a", request_id="1"), w.signal("b", request_id="2"))
    w.step(w.signal("c", request_id="3"), w.signal("d", request_id="4"))
    assert values(w.results[-1].result) == [["a", "b", "c", "d"]]


# ---------------------------------------------------------------- workflow retries


def test_workflow_retry_policy() -> None:
    attempts: list[int] = []

    def flaky(ctx: Any) -> Any:
        attempts.append(ctx.start.attributes.attempt)
        yield from ()
        if ctx.start.attributes.attempt < 3:
            raise WorkflowFailure(f"attempt {ctx.start.attributes.attempt}", "Flaky")
        return ctx.start.attributes.continued_failure.message

    w = World(ScriptActivator(flaky=flaky), twice=False)
    w.step(w.start("flaky", retry_policy=RetryPolicy(), run_id="run-1"))
    w.advance(1_000)
    w.advance(2_000)
    assert attempts == [1, 2, 3]
    assert [result.status for result in w.results] == ["FAILED", "FAILED", "COMPLETED"]
    assert values(w.results[-1].result) == ["attempt 2"]
    assert {result.first_execution_run_id for result in w.results} == {"run-1"}
    event = w.history("run-1")[-1].attributes
    assert (
        isinstance(event, WorkflowExecutionFailed)
        and event.retry_state == "IN_PROGRESS"
        and event.new_execution_run_id
    )


@pytest.mark.parametrize(
    ("policy", "failure", "state"),
    [
        (None, {}, "RETRY_POLICY_NOT_SET"),
        (RetryPolicy(maximum_attempts=1), {}, "MAXIMUM_ATTEMPTS_REACHED"),
        (RetryPolicy(), {"non_retryable": True}, "NON_RETRYABLE_FAILURE"),
        (RetryPolicy(non_retryable_error_types=["Flaky"]), {}, "NON_RETRYABLE_FAILURE"),
    ],
)
def test_workflow_not_retried(
    policy: RetryPolicy | None, failure: dict[str, Any], state: str
) -> None:
    def flaky(ctx: Any) -> Any:
        yield from ()
        raise WorkflowFailure("no", "Flaky", **failure)

    w = World(ScriptActivator(flaky=flaky))
    w.step(w.start("flaky", retry_policy=policy))
    event = w.history()[-1].attributes
    assert (
        isinstance(event, WorkflowExecutionFailed)
        and event.retry_state == state
        and event.new_execution_run_id == ""
    )


def test_activity_error_fails_the_workflow_retryably() -> None:
    def flaky(ctx: Any) -> Any:
        try:
            yield ctx.activity("a", retry_policy=RetryPolicy(maximum_attempts=1))
        except ActivityFailure as error:
            raise WorkflowFailure("wrapped", kind="ACTIVITY", cause=error.failure.cause) from error

    from tests.engine.world import failed

    w = World(ScriptActivator(flaky=flaky))
    w.step(w.start("flaky", retry_policy=RetryPolicy(maximum_attempts=2)))
    w.step(failed(w.last_task()))
    w.advance(1_000)
    assert w.run().attempt == 2


# ---------------------------------------------------------------- cron


def test_cron_goes_on_after_success_and_failure_and_carries_both_over() -> None:
    def job(ctx: Any) -> Any:
        yield from ()
        a = ctx.start.attributes
        if len(a.last_completion_result) == 1 and a.continued_failure is None:
            raise WorkflowFailure("second run fails")
        return [
            values(a.last_completion_result),
            a.continued_failure.message if a.continued_failure else None,
        ]

    w = World(ScriptActivator(job=job))
    start = datetime.datetime.fromtimestamp(T0 / 1_000, datetime.UTC)
    w.step(w.start("job", cron_schedule="*/10 * * * *", run_id="run-1"))
    due = datetime.datetime.fromtimestamp(w.run().first_task_due_ms / 1_000, datetime.UTC)
    assert due > start and (due.minute % 10, due.second) == (0, 0)
    w.advance(1_800_000)
    assert [result.status for result in w.results] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert values(w.results[2].result) == [[[[[], None]], "second run fails"]]
    assert w.run().status == "RUNNING" and w.run().first_execution_run_id == "run-1"
    w.step(TerminateWorkflow("w"))
    w.advance(3_600_000)
    assert len(w.results) == 4


@pytest.mark.parametrize(
    ("schedule", "after", "fires"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:14:59", "2026-01-01T00:15:00"),
        ("30 2 * * *", "2026-01-01T02:30:00", "2026-01-02T02:30:00"),
        ("0 0 1 * *", "2026-01-31T12:00:00", "2026-02-01T00:00:00"),
        ("0 12 * * mon-fri", "2026-01-02T12:00:00", "2026-01-05T12:00:00"),
        ("0 0 13 * fri", "2026-02-01T00:00:00", "2026-02-06T00:00:00"),
        ("0 0 29 feb *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 * * 7", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("@hourly", "2026-01-01T00:30:00", "2026-01-01T01:00:00"),
        ("@every 1h30m", "2026-01-01T00:30:00", "2026-01-01T02:00:00"),
        ("5,10 0-1 * * *", "2026-01-01T00:10:00", "2026-01-01T01:05:00"),
    ],
)
def test_cron_schedules(schedule: str, after: str, fires: str) -> None:
    def ms(text: str) -> int:
        return int(datetime.datetime.fromisoformat(text + "+00:00").timestamp()) * 1_000

    assert ms(after) + cron.wait_ms(schedule, ms(after)) == ms(fires)


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * mox",
        "5-1 * * * *",
        "*/0 * * * *",
        "@every 0s",
        "CRON_TZ=UTC * * * * *",
        "@soon",
    ],
)
def test_bad_cron_schedules(schedule: str) -> None:
    assert bool(cron.problem_of(schedule)) is bool(schedule)


# ---------------------------------------------------------------- limits


def test_suggest_continue_as_new_is_the_same_at_replay() -> None:
    flags: list[tuple[bool, bool, int, int]] = []

    def code(ctx: Any) -> Any:
        while True:
            a = ctx.activation
            flags.append(
                (a.is_replaying, a.suggest_continue_as_new, a.history_length, a.history_size_bytes)
            )
            seen = len(ctx.signals)
            yield lambda: len(ctx.signals) > seen  # noqa: B023

    w = World(
        ScriptActivator(code=code),
        limits=EngineLimits(history_suggest_continue_as_new_events=10),
        twice=False,
    )
    w.step(w.start("code"))
    for _ in range(4):
        w.step(w.signal("x"))
    live = list(flags)
    flags.clear()
    w.restart()
    w.step(w.signal("x"))
    assert [flag[1:] for flag in flags[:-1]] == [flag[1:] for flag in live]
    assert [flag[0] for flag in flags] == [True] * 5 + [False]
    assert [flag[1] for flag in flags] == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (EngineLimits(history_max_events=12), "count"),
        (EngineLimits(history_max_bytes=3_000), "size"),
    ],
)
def test_history_without_bound_is_terminated(limits: EngineLimits, word: str) -> None:
    w = World(ScriptActivator(waiting=waiting), limits=limits)
    w.step(w.start("waiting"))
    for _ in range(10):
        if w.run().status == "RUNNING":
            w.step(w.signal("x", "y" * 500))
    event = w.history()[-1].attributes
    assert (
        isinstance(event, WorkflowExecutionTerminated)
        and word in event.reason
        and "continue-as-new" in event.reason
    )
    assert len(w.results) == 1


def test_big_steps_are_split_over_history_rows() -> None:
    def many(ctx: Any) -> Any:
        for _ in range(10):
            ctx.activity("a", "x" * 60_000)
        yield lambda: False

    w = World(ScriptActivator(many=many))
    w.step(w.start("many"))
    assert len(w.tables.table("history")) == 3
    w.restart()
    w.step(w.signal("x"))
    w.step(AwaitResult("w", reply_to="c", request_id="a"))
    assert len(w.history()) == 14


def once_more(ctx: Any, n: int) -> Any:
    yield ctx.timer(1_000)
    if n == 0:
        ctx.continue_as_new(1)


def test_a_run_that_nobody_is_the_parent_of_is_its_own_root() -> None:
    """Its row says so, for lists; its history names no root, as in Temporal: there `info().root`
    is None.
    """

    w = World(ScriptActivator(once_more=once_more))
    w.step(w.start("once_more", 0, run_id="first"))
    w.advance(1_000)
    assert w.run_id() != "first"
    for run_id in ("first", w.run_id()):
        started = w.history(run_id)[0].attributes
        assert isinstance(started, WorkflowExecutionStarted)
        assert (started.root_workflow_id, started.root_run_id) == ("", "")
        row = w.tables.table("run")[run_id]
        assert (row.root_workflow_id, row.root_run_id) == (row.workflow_id, "first")


def test_a_root_that_a_start_names_is_kept_by_the_runs_that_follow() -> None:
    w = World(ScriptActivator(once_more=once_more))
    parent = ParentExecution(workflow_id="parent", run_id="parent-run")
    w.step(
        w.start(
            "once_more", 0, run_id="first", parent=parent, root_workflow_id="top", root_run_id="r0"
        )
    )
    w.advance(1_000)
    assert w.run_id() != "first"
    for run_id in ("first", w.run_id()):
        started = w.history(run_id)[0].attributes
        assert isinstance(started, WorkflowExecutionStarted)
        assert (started.root_workflow_id, started.root_run_id) == ("top", "r0")
        assert w.tables.table("run")[run_id].root_workflow_id == "top"
