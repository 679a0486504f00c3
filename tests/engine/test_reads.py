"""Queries, describe, pages of history, long polls."""

from __future__ import annotations

from typing import Any

import pytest

from odradek.engine.ports import EngineLimits
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    TerminateWorkflow,
)
from odradek.wire.payload import RetryPolicy
from tests.engine.script import ScriptActivator, WorkflowFailure, payload, values
from tests.engine.world import T0, World, failed, heartbeat, started


def waiting(ctx: Any) -> Any:
    ctx.queries["signals"] = lambda: [name for name, _ in ctx.signals]
    ctx.queries["echo"] = lambda value: value
    yield lambda: any(name == "finish" for name, _ in ctx.signals)
    return "done"


def world(**options: Any) -> World:
    w = World(ScriptActivator(waiting=waiting, failing=failing), **options)
    w.step(w.start("waiting", run_id="run-1"))
    return w


def failing(ctx: Any) -> Any:
    yield from ()
    raise WorkflowFailure("no")


def query(type: str = "signals", **fields: Any) -> QueryWorkflow:
    return QueryWorkflow("w", type, reply_to="c", request_id="q", **fields)


# ---------------------------------------------------------------- queries


def test_query_sees_the_signals_before_it_and_writes_nothing() -> None:
    w = world()
    w.step(w.signal("a", request_id="1"), query(), w.signal("b", request_id="2"))
    assert w.replies[-1].status == outcomes.OK and values(w.replies[-1].payloads)[0][:1] == ["a"]
    history = w.names()
    tasks = len(w.activator.log)
    effects = w.step(query(), query("echo", input=[payload(3)]))
    assert effects.rows == [] and w.names() == history
    assert [values(reply.payloads) for reply in w.replies[-2:]] == [[["a", "b"]], [3]]
    (_, activation, _) = w.activator.log[-1]
    assert (
        not activation.is_replaying and len(activation.jobs) == 2 and len(w.activator.log) > tasks
    )


def test_query_failures() -> None:
    w = world()
    w.step(query("nothing"))
    assert w.replies[-1].status == outcomes.QUERY_FAILED and w.replies[-1].failure is not None
    assert w.replies[-1].message == "unknown query nothing"
    w.step(QueryWorkflow("nobody", "x", reply_to="c"), query(run_id="nowhere"))
    assert [reply.status for reply in w.replies[-2:]] == [outcomes.NOT_FOUND] * 2


def test_query_that_raises_harms_nothing() -> None:
    def code(ctx: Any) -> Any:
        ctx.queries["bad"] = lambda: 1 / 0
        ctx.queries["good"] = lambda: 1
        yield lambda: bool(ctx.signals)

    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    w.step(query("bad"))
    assert w.replies[-1].status == outcomes.QUERY_FAILED and "division" in w.replies[-1].message
    assert w.run().task_failure is None
    w.step(query("good"))
    assert values(w.replies[-1].payloads) == [1]
    w.step(w.signal("x"))
    assert w.run().status == "COMPLETED"


def test_expired_query_is_dropped() -> None:
    w = world()
    count = len(w.replies)
    effects = w.step(
        query(deadline_ms=w.now_ms - 1), DescribeWorkflow("w", reply_to="c", deadline_ms=1)
    )
    assert effects.replies == [] and len(w.replies) == count


@pytest.mark.parametrize("restart", [False, True])
def test_closed_runs_answer_until_retention(restart: bool) -> None:
    w = world()
    w.step(w.signal("a"))
    w.step(w.signal("finish"))
    if restart:
        w.restart()
    history = w.names()
    w.step(query())
    assert (
        values(w.replies[-1].payloads) == [["a", "finish"]]
        and w.replies[-1].workflow_status == "COMPLETED"
    )
    assert w.names() == history


def test_terminated_run_answers_with_what_its_code_last_saw() -> None:
    w = world()
    w.step(w.signal("a"))
    w.step(w.signal("unseen"), TerminateWorkflow("w"))
    w.step(query())
    assert values(w.replies[-1].payloads) == [["a"]]


@pytest.mark.parametrize(
    ("type", "condition", "rejected"),
    [
        ("waiting", "NOT_OPEN", True),
        ("waiting", "NOT_COMPLETED_CLEANLY", False),
        ("failing", "NOT_COMPLETED_CLEANLY", True),
        ("failing", "NONE", False),
        ("failing", "", False),
    ],
)
def test_reject_condition(type: str, condition: str, rejected: bool) -> None:
    w = World(ScriptActivator(waiting=waiting, failing=failing))
    w.step(w.start(type))
    if type == "waiting":
        w.step(query(reject_condition=condition))
        assert w.replies[-1].status == outcomes.OK
        w.step(w.signal("finish"))
    w.step(query("nothing", reject_condition=condition))
    assert (w.replies[-1].status == outcomes.QUERY_REJECTED) is rejected
    assert w.replies[-1].workflow_status == w.run().status


def test_query_before_the_first_task() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", start_delay_ms=1_000))
    w.step(query())
    assert w.replies[-1].status == outcomes.FAILED_PRECONDITION


def test_query_result_is_answered_whole() -> None:
    """A page of history has a size; one value is whatever it is. What its topic does not take,
    the host says (`processor/replies.py`).
    """
    w = world(limits=EngineLimits(page_max_bytes=1_000))
    w.step(query("echo", input=[payload("x" * 2_000)]))
    assert w.replies[-1].status == outcomes.OK and values(w.replies[-1].payloads) == ["x" * 2_000]


# ---------------------------------------------------------------- describe


def test_describe() -> None:
    def code(ctx: Any) -> Any:
        ctx.activity("a", heartbeat_timeout_ms=9_000)
        ctx.activity("b", retry_policy=RetryPolicy(maximum_attempts=5))
        ctx.timer(60_000)
        yield lambda: bool(ctx.signals)

    w = World(ScriptActivator(code=code))
    w.step(
        w.start(
            "code",
            memo={"m": payload(1)},
            static_summary=payload("s"),
            run_timeout_ms=99_000,
            search_attributes={"K": payload("v")},
        )
    )
    w.step(started(w.tasks[0], identity="svc"), heartbeat(w.tasks[0], 4))
    w.step(failed(w.tasks[1]))
    w.restart()
    w.step(DescribeWorkflow("w", reply_to="c", request_id="d"))
    reply = w.replies[-1]
    assert (reply.kind, reply.status, reply.request_id) == ("DescribeWorkflow", outcomes.OK, "d")
    d = reply.description
    assert d is not None
    assert (d.summary.status, d.summary.workflow_type, d.run_timeout_ms, d.static_summary) == (
        "RUNNING",
        "code",
        99_000,
        payload("s"),
    )
    assert d.summary.memo == {"m": payload(1)} and d.summary.history_length == 7
    a, b = d.pending_activities
    assert (
        a.state,
        a.last_worker_identity,
        values(a.heartbeat_details),
        a.last_started_time_ms,
    ) == ("STARTED", "svc", [4], T0)
    assert (b.state, b.attempt, b.maximum_attempts, b.next_attempt_time_ms) == (
        "SCHEDULED",
        2,
        5,
        T0 + 1_000,
    )
    assert b.last_failure is not None and b.last_failure.message == "boom"
    assert [(timer.timer_id, timer.due_ms) for timer in d.pending_timers] == [("3", T0 + 60_000)]


def expirations(w: World, run_id: str = "") -> tuple[int, int]:
    w.step(DescribeWorkflow("w", run_id=run_id, reply_to="c"))
    found = w.replies[-1].description
    assert found is not None
    return found.execution_expiration_time_ms - T0, found.run_expiration_time_ms - T0


def test_describe_says_when_the_engine_ends_it() -> None:
    """The wait for the first task does not count, and the execution's time is the whole chain's."""

    def code(ctx: Any) -> Any:
        yield lambda: bool(ctx.signals)
        ctx.continue_as_new()

    w = World(ScriptActivator(code=code))
    w.step(
        w.start(
            "code", execution_timeout_ms=900_000, run_timeout_ms=600_000, start_delay_ms=100_000
        )
    )
    assert expirations(w) == (1_000_000, 700_000)
    first = w.run_id()
    w.advance(100_000)
    w.step(w.signal("go"))
    assert w.run_id() != first
    assert expirations(w) == (1_000_000, 700_000)  # the next run began 100 s after the first
    assert expirations(w, first) == (1_000_000, 700_000)
    w = World(ScriptActivator(code=code))
    w.step(w.start("code"))
    assert expirations(w) == (-T0, -T0)


def test_describe_by_run_id_and_of_nobody() -> None:
    w = world()
    w.step(w.signal("finish"))
    w.step(w.start("waiting", run_id="run-2"))
    w.step(
        DescribeWorkflow("w", reply_to="c"),
        DescribeWorkflow("w", run_id="run-1", reply_to="c"),
        DescribeWorkflow("x", reply_to="c"),
    )
    assert [(reply.status, reply.run_id, reply.workflow_status) for reply in w.replies[-3:]] == [
        (outcomes.OK, "run-2", "RUNNING"),
        (outcomes.OK, "run-1", "COMPLETED"),
        (outcomes.NOT_FOUND, "", ""),
    ]


# ---------------------------------------------------------------- history


def fetch(**fields: Any) -> FetchHistory:
    return FetchHistory("w", reply_to="c", request_id="h", **fields)


def test_pages_by_number_and_bytes() -> None:
    w = world(limits=EngineLimits(page_max_bytes=1_500))
    for n in range(8):
        w.step(w.signal("x", "y" * 400, n))
    w.step(w.signal("finish"))
    events, at, pages = [], 1, 0
    while at:
        w.step(fetch(from_event_id=at))
        reply = w.replies[-1]
        events.extend(reply.history)
        at = reply.next_event_id
        pages += 1
    assert events == w.history() and pages > 3
    w.step(fetch(max_events=2))
    assert [event.event_id for event in w.replies[-1].history] == [1, 2] and w.replies[
        -1
    ].next_event_id == 5


def test_page_of_an_open_run_says_where_the_next_begins() -> None:
    w = world()
    w.step(fetch())
    assert w.replies[-1].next_event_id == w.run().next_event_id == 5
    w.step(fetch(from_event_id=5))
    assert (w.replies[-1].history, w.replies[-1].next_event_id) == ([], 5)
    w.step(fetch(from_event_id=3))
    assert [event.event_id for event in w.replies[-1].history] == [2], "inside a workflow task"


def test_wait_for_new_events() -> None:
    w = world(twice=False)
    w.step(fetch(from_event_id=5, wait_new_event=True, deadline_ms=w.now_ms + 10_000))
    assert w.replies[-1].kind == "StartWorkflow" and w.engine.statistics()["waiters"] == 1
    w.step(w.signal("x"))
    reply = next(reply for reply in w.replies if reply.kind == "FetchHistory")
    assert [type(event.attributes).__name__ for event in reply.history] == [
        "WorkflowExecutionSignaled",
        "WorkflowTask",
    ]
    assert w.engine.statistics()["waiters"] == 0


def test_wait_for_events_that_are_there_answers_at_once() -> None:
    w = world()
    w.step(fetch(from_event_id=1, wait_new_event=True))
    assert len(w.replies[-1].history) == 2


# ---------------------------------------------------------------- long polls


def poll(**fields: Any) -> AwaitResult:
    return AwaitResult("w", reply_to="c", request_id="p", **fields)


def test_await_result_is_answered_when_the_run_closes() -> None:
    w = world()
    w.step(poll(deadline_ms=w.now_ms + 60_000))
    assert w.engine.expired_waiters(w.now_ms) == []
    w.step(w.signal("finish"))
    reply = w.replies[-1]
    assert (reply.kind, reply.status, reply.request_id) == ("AwaitResult", outcomes.OK, "p")
    assert (
        reply.result is not None
        and values(reply.result.result) == ["done"]
        and reply.result == w.results[0]
    )
    w.step(poll())
    assert w.replies[-1].result == w.results[0]


@pytest.mark.parametrize("how", ["terminate", "time out", "fail", "cancel", "complete"])
def test_result_rebuilt_from_history_is_the_one_that_was_published(how: str) -> None:
    from odradek.wire.events import CancelWorkflow
    from tests.engine.script import Canceled, payloads

    def code(ctx: Any) -> Any:
        yield lambda: bool(ctx.signals) or ctx.cancel_requested
        if ctx.cancel_requested:
            raise Canceled
        if ctx.signals[0][0] == "fail":
            raise WorkflowFailure("no", "T")
        return 1

    w = World(ScriptActivator(code=code))
    w.step(w.start("code", run_timeout_ms=5_000))
    w.now_ms += 100
    if how == "terminate":
        w.step(TerminateWorkflow("w", reason="r", details=payloads(1)))
    elif how == "time out":
        w.advance(6_000)
    elif how == "cancel":
        w.step(CancelWorkflow("w"))
    else:
        w.step(w.signal(how))
    w.restart()
    w.step(poll())
    assert w.replies[-1].result == w.results[0]


def test_deadline_of_a_long_poll() -> None:
    w = world()
    w.step(poll(deadline_ms=w.now_ms + 1_000))
    assert w.engine.expired_waiters(w.now_ms + 999) == []
    (reply,) = w.engine.expired_waiters(w.now_ms + 1_000)
    assert (reply.kind, reply.status, reply.client_id, reply.request_id) == (
        "AwaitResult",
        outcomes.DEADLINE_EXCEEDED,
        "c",
        "p",
    )
    assert w.engine.expired_waiters(w.now_ms + 5_000) == []
    count = len(w.replies)
    w.step(w.signal("finish"))
    assert [reply.kind for reply in w.replies[count:]] == ["SignalWorkflow"]


def test_start_that_waits_for_the_result() -> None:
    w = World(ScriptActivator(waiting=waiting, failing=failing))
    w.step(w.start("failing", workflow_id="f", await_result=True, request_id="s"))
    assert [(reply.kind, reply.status) for reply in w.replies] == [
        ("StartWorkflow", outcomes.OK),
        ("AwaitResult", outcomes.OK),
    ]
    assert w.replies[1].result is not None and w.replies[1].result.status == "FAILED"
    w.step(w.start("waiting", await_result=True, request_id="s2", deadline_ms=w.now_ms + 60_000))
    w.step(w.signal("finish"))
    assert (w.replies[-1].kind, w.replies[-1].request_id) == ("AwaitResult", "s2")


def test_an_aborted_step_changes_no_long_poll() -> None:
    w = world(twice=False)
    w.step(poll(deadline_ms=w.now_ms + 60_000))
    from odradek.engine.ports import Batch, Input

    batch = Batch(w.now_ms, [Input(w.signal("finish"), 90, "t/0/90")])
    aborted = w.engine.step(w.tables, batch)
    assert [reply.kind for reply in aborted.replies] == ["SignalWorkflow", "AwaitResult"]
    w.engine.evict(aborted.touched)
    assert w.engine.statistics()["waiters"] == 1
    again = w.engine.step(w.tables, batch)
    assert [reply.kind for reply in again.replies] == ["SignalWorkflow", "AwaitResult"]
    batch = Batch(w.now_ms, [Input(poll(deadline_ms=w.now_ms + 9), 91, "t/0/91")])
    w.tables.apply(again.rows)
    assert w.engine.step(w.tables, batch).replies[0].result is not None
    assert w.engine.statistics()["waiters"] == 0


@pytest.mark.parametrize("fails", [False, True])
def test_result_is_answered_whole(fails: bool) -> None:
    """Results and failures that `results` took reach whoever waits, at once and later, however
    long a page of history is.
    """

    def big(ctx: Any) -> Any:
        yield from ()
        if fails:
            raise WorkflowFailure("x" * 2_000, "T")
        return "x" * 2_000

    w = World(ScriptActivator(big=big), limits=EngineLimits(page_max_bytes=1_000))
    w.step(w.start("big", await_result=True))
    w.restart()
    w.step(poll())
    for reply in [reply for reply in w.replies if reply.kind == "AwaitResult"]:
        assert (reply.status, reply.result) == (outcomes.OK, w.results[0])
    assert len([reply for reply in w.replies if reply.kind == "AwaitResult"]) == 2
    w.step(fetch())
    assert len(w.replies[-1].history) == 2, "two events, one over a page"


def test_requests_without_a_client_get_no_reply() -> None:
    w = world()
    count = len(w.replies)
    w.step(
        QueryWorkflow("w", "signals"),
        DescribeWorkflow("w"),
        FetchHistory("w"),
        AwaitResult("w"),
        TerminateWorkflow("w"),
    )
    assert len(w.replies) == count


def test_a_description_has_the_task_timeout_of_its_start() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", task_timeout_ms=25_000))
    w.step(DescribeWorkflow("w", request_id="describe", reply_to="client"))
    assert (
        w.replies[-1].description is not None
        and w.replies[-1].description.task_timeout_ms == 25_000
    )
