"""Verdicts on requests, deduplication, id policies, guards."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import msgspec
import pytest

from odradek.engine.ports import EngineLimits, RowChange
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    CancelWorkflow,
    DeleteWorkflow,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    ReleaseWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.history import (
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
)
from odradek.wire.payload import RetryPolicy
from tests.engine.script import Canceled, ScriptActivator, payloads, values
from tests.engine.world import T0, World, completed


def waiting(ctx: Any) -> Any:
    ctx.queries["signals"] = lambda: ctx.signals
    yield lambda: any(name == "finish" for name, _ in ctx.signals) or ctx.cancel_requested
    if ctx.cancel_requested:
        raise Canceled
    return [args for _, args in ctx.signals]


def failing(ctx: Any) -> Any:
    from tests.engine.script import WorkflowFailure

    yield from ()
    raise WorkflowFailure("no", "Nope")


def returning(ctx: Any) -> Any:
    yield from ()
    return "done"


def world(**options: Any) -> World:
    return World(ScriptActivator(waiting=waiting, failing=failing, returning=returning), **options)


def test_run_id_of_a_raw_start_is_derived_from_its_place() -> None:
    ids = set()
    for _ in range(2):
        w = world()
        w.step(StartWorkflow("w", "waiting"))
        assert w.replies == []
        ids.add(w.run_id())
    assert len(ids) == 1
    other = world()
    other.offset = 7
    other.step(StartWorkflow("w", "waiting"))
    assert other.run_id() not in ids


def test_run_id_of_the_client_is_kept_and_seed_is_stored() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    assert w.run_id() == "run-1"
    event = w.history()[0].attributes
    assert isinstance(event, WorkflowExecutionStarted)
    assert event.random_seed > 0 and event.first_execution_run_id == "run-1"


def test_repeated_start_gets_the_same_verdict_and_starts_nothing() -> None:
    w = world()
    start = w.start("waiting", request_id="r", run_id="run-1")
    w.step(start)
    history = w.names()
    for _ in range(2):
        w.step(start)
    w.step(w.signal("finish"))
    assert w.run().status == "COMPLETED"
    w.step(start)
    assert [
        (reply.status, reply.run_id, reply.started)
        for reply in w.replies
        if reply.kind == "StartWorkflow"
    ] == [(outcomes.OK, "run-1", True)] * 4
    assert w.names()[: len(history)] == history
    assert len(w.results) == 1


def test_second_start_of_an_open_id_is_already_exists_and_stays_so() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    second = w.start("waiting", request_id="second", run_id="run-2")
    w.step(second)
    w.step(w.signal("finish"))
    w.step(second)  # the run has closed: the verdict does not change
    verdicts = [
        (reply.status, reply.run_id, reply.started)
        for reply in w.replies
        if reply.request_id == "second"
    ]
    assert verdicts == [(outcomes.ALREADY_EXISTS, "run-1", False)] * 2
    assert w.run_id() == "run-1"


def test_use_existing() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    w.step(w.start("waiting", run_id="run-2", id_conflict_policy="USE_EXISTING"))
    assert (w.replies[-1].status, w.replies[-1].run_id, w.replies[-1].started) == (
        outcomes.OK,
        "run-1",
        False,
    )


@pytest.mark.parametrize(
    "policy",
    [{"id_conflict_policy": "TERMINATE_EXISTING"}, {"id_reuse_policy": "TERMINATE_IF_RUNNING"}],
)
def test_terminate_existing(policy: dict[str, str]) -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    w.step(w.start("waiting", run_id="run-2", **policy))
    assert (w.replies[-1].status, w.replies[-1].run_id, w.replies[-1].started) == (
        outcomes.OK,
        "run-2",
        True,
    )
    assert w.run_row("run-1").status == "TERMINATED" and w.run().run_id == "run-2"
    assert [(result.run_id, result.status) for result in w.results] == [("run-1", "TERMINATED")]
    (terminated,) = [
        event.attributes
        for event in w.history("run-1")
        if isinstance(event.attributes, WorkflowExecutionTerminated)
    ]
    assert terminated.reason == "TerminateIfRunning WorkflowIdReusePolicy"
    assert [payload.data for payload in terminated.details] == [b'"terminated by new runID: run-2"']


@pytest.mark.parametrize(
    ("type", "policy", "status"),
    [
        ("returning", "ALLOW_DUPLICATE", outcomes.OK),
        ("returning", "ALLOW_DUPLICATE_FAILED_ONLY", outcomes.ALREADY_EXISTS),
        ("returning", "REJECT_DUPLICATE", outcomes.ALREADY_EXISTS),
        ("failing", "ALLOW_DUPLICATE", outcomes.OK),
        ("failing", "ALLOW_DUPLICATE_FAILED_ONLY", outcomes.OK),
        ("failing", "REJECT_DUPLICATE", outcomes.ALREADY_EXISTS),
    ],
)
def test_reuse_of_a_closed_id(type: str, policy: str, status: str) -> None:
    w = world()
    w.step(w.start(type, run_id="run-1"))
    w.step(w.start(type, run_id="run-2", id_reuse_policy=policy))
    assert w.replies[-1].status == status
    assert w.replies[-1].run_id == ("run-2" if status == outcomes.OK else "run-1")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"workflow_type": ""}, "workflow_type"),
        ({"run_id": "a/b"}, "'/'"),
        ({"id_reuse_policy": "SOMETIMES"}, "SOMETIMES"),
        ({"id_conflict_policy": "SOMETIMES"}, "SOMETIMES"),
        (
            {"id_reuse_policy": "REJECT_DUPLICATE", "id_conflict_policy": "TERMINATE_EXISTING"},
            "cannot go together",
        ),
        ({"run_timeout_ms": -1}, "negative"),
        ({"cron_schedule": "* * * * *", "start_delay_ms": 5}, "start_delay"),
        ({"cron_schedule": "every day"}, "five fields"),
        ({"cron_schedule": "0 0 30 2 *"}, "never fires"),
        ({"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, "backoff_coefficient"),
        ({"retry_policy": RetryPolicy(backoff_coefficient=math.nan)}, "backoff_coefficient"),
        (
            {"search_attributes": {"ExecutionStatus": payloads("x")[0]}},
            "ExecutionStatus attribute can't be set in SearchAttributes",
        ),
        (
            {"search_attributes": {"TemporalWorkerDeployment": payloads("x")[0]}},
            "TemporalWorkerDeployment attribute can't be set",
        ),
    ],
)
def test_invalid_starts(fields: dict[str, Any], text: str) -> None:
    w = world()
    w.step(
        StartWorkflow(**{"workflow_id": "w", "workflow_type": "waiting", "reply_to": "c", **fields})
    )
    assert w.replies[-1].status == outcomes.INVALID_ARGUMENT and text in w.replies[-1].message
    assert w.tables.table("run") == {}


def test_signal_with_start_starts_once_then_signals() -> None:
    w = world()
    for n in range(2):
        w.step(
            w.start(
                "waiting",
                signal_name="tick",
                signal_input=payloads(n),
                id_conflict_policy="UNSPECIFIED",
            )
        )
    assert [reply.started for reply in w.replies] == [True, False]
    assert [type(event.attributes).__name__ for event in w.history()[:3]] == [
        "WorkflowExecutionStarted",
        "WorkflowExecutionSignaled",
        "WorkflowTask",
    ]
    w.step(w.signal("finish", 9))
    assert values(w.results[0].result) == [[[0], [1], [9]]]


def test_signal_with_start_repeated_signals_once() -> None:
    w = world()
    request = w.start(
        "waiting",
        signal_name="tick",
        signal_input=payloads(1),
        id_conflict_policy="UNSPECIFIED",
        request_id="r",
    )
    w.step(request)
    w.step(request)
    second = w.start(
        "waiting",
        signal_name="tick",
        signal_input=payloads(2),
        id_conflict_policy="UNSPECIFIED",
        request_id="r2",
    )
    w.step(second)
    w.step(second)
    w.step(w.signal("finish"))
    assert values(w.results[0].result) == [[[1], [2], []]]


def test_signal_with_start_that_may_not_use_the_running_one() -> None:
    w = world()
    w.step(w.start("waiting"))
    w.step(w.start("waiting", signal_name="tick", id_conflict_policy="FAIL"))
    assert w.replies[-1].status == outcomes.ALREADY_EXISTS
    assert "WorkflowExecutionSignaled" not in w.names()


REQUESTS = [
    lambda **f: SignalWorkflow("w", "tick", request_id="r", reply_to="c", **f),
    lambda **f: CancelWorkflow("w", request_id="r", reply_to="c", **f),
    lambda **f: TerminateWorkflow("w", request_id="r", reply_to="c", **f),
]


@pytest.mark.parametrize("request_of", REQUESTS)
def test_requests_to_nobody(request_of: Any) -> None:
    w = world()
    w.step(request_of())
    assert w.replies[-1].status == outcomes.NOT_FOUND and "w" in w.replies[-1].message
    w.step(w.start("waiting", run_id="run-1"))
    w.step(request_of(run_id="other"))
    assert w.replies[-1].status == outcomes.NOT_FOUND
    w.step(TerminateWorkflow("w"))
    completed = (outcomes.NOT_FOUND, "workflow execution already completed")
    expected = (outcomes.OK, "") if isinstance(request_of(), CancelWorkflow) else completed
    w.step(request_of())
    assert (w.replies[-1].status, w.replies[-1].message) == expected
    w.step(request_of(run_id="run-1"))
    assert (w.replies[-1].status, w.replies[-1].message) == expected
    assert w.run().next_event_id == len(w.names()) + 1 + 2


def test_cancel_of_a_closed_run_is_a_success_that_changes_nothing() -> None:
    """As Temporal's: what was asked for is so, whichever chain it was meant for. An open run of
    another chain is not meant.
    """
    w = world()
    w.step(w.start("returning", run_id="run-1"))
    before = len(w.names())
    for of in ({}, {"run_id": "run-1"}, {"first_execution_run_id": "other"}):
        effects = w.step(CancelWorkflow("w", request_id=f"r{of}", reply_to="c", **of))
        assert (w.replies[-1].status, w.replies[-1].run_id, w.replies[-1].workflow_status) == (
            outcomes.OK,
            "run-1",
            outcomes.COMPLETED,
        )
        assert {change.table for change in effects.rows} <= {
            "request",
            "run",
        } and effects.outputs == []
    assert len(w.names()) == before
    assert not w.step(CancelWorkflow("w")).dead_letters, "one from a shell, that nobody waits for"
    w.step(w.start("waiting", run_id="run-2"))
    w.step(CancelWorkflow("w", first_execution_run_id="run-1", request_id="r2", reply_to="c"))
    assert w.replies[-1].status == outcomes.NOT_FOUND and not w.run().cancel_requested


def test_cancel_of_a_closed_run_that_comes_again_does_not_reach_the_next_chain() -> None:
    w = world()
    w.step(w.start("returning", run_id="run-1"))
    cancel = CancelWorkflow("w", request_id=MADE_ONCE[0], reply_to="client")
    w.step(cancel)
    w.now_ms += 1_000
    w.step(w.start("waiting", run_id="run-2"))
    w.step(cancel)
    assert (w.replies[-1].status, w.replies[-1].run_id) == (
        outcomes.OK,
        "run-1",
    ) and not w.run().cancel_requested


@pytest.mark.parametrize("kind", [CancelWorkflow, TerminateWorkflow])
def test_first_execution_run_id_guards_a_later_chain(kind: Any) -> None:
    w = world()
    w.step(w.start("returning", run_id="run-1"))
    w.step(w.start("waiting", run_id="run-2"))
    w.step(kind("w", first_execution_run_id="run-1", reply_to="c"))
    assert w.replies[-1].status == outcomes.NOT_FOUND and w.run().status == "RUNNING"
    w.step(kind("w", first_execution_run_id="run-2", reply_to="c"))
    assert w.replies[-1].status == outcomes.OK and w.run().status in ("CANCELED", "TERMINATED")


def test_repeated_signal_is_delivered_once_also_by_the_next_owner() -> None:
    w = world()
    w.step(w.start("waiting"))
    signal = w.signal("tick", 1, request_id="s")
    w.step(signal, signal)
    w.restart()
    w.step(signal)
    assert w.names().count("WorkflowExecutionSignaled") == 1
    assert [reply.status for reply in w.replies if reply.request_id == "s"] == [outcomes.OK] * 3


def test_repeated_request_does_not_reach_the_next_run_of_the_id() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    signal, terminate = (
        w.signal("tick", request_id="s"),
        TerminateWorkflow("w", request_id="t", reply_to="client"),
    )
    w.step(signal)
    w.step(terminate)
    w.step(w.start("waiting", run_id="run-2"))
    w.step(signal, terminate)  # at the same time: the same records
    assert [(reply.status, reply.run_id) for reply in w.replies[-2:]] == [
        (outcomes.OK, "run-1")
    ] * 2
    assert w.run().status == "RUNNING" and "WorkflowExecutionSignaled" not in w.names()


def chained(ctx: Any) -> Any:
    from odradek.engine.activation import ContinueAsNew

    yield lambda: bool(ctx.signals)
    if ctx.signals[-1][0] == "next":
        ctx.commands.append(ContinueAsNew(workflow_type="chained", input=[]))
        yield lambda: False
    return None


@pytest.mark.parametrize("restart", [False, True])
def test_repeated_request_is_known_over_any_number_of_continued_runs(restart: bool) -> None:
    """Bounded by age and number, as within one run; not by how often the workflow went on as a
    new run meanwhile.
    """
    w = World(
        ScriptActivator(chained=chained),
        limits=EngineLimits(request_window=100, request_window_ms=60_000),
    )
    w.step(w.start("chained"))
    first = w.run_id()
    signal = w.signal("next", request_id="s")
    for n in range(40):
        w.step(signal if n == 0 else w.signal("next", request_id=f"s{n}"))
        w.now_ms += 1_000
    last = w.run_id()
    if restart:
        w.restart()
    w.step(signal)
    assert (w.replies[-1].status, w.replies[-1].run_id) == (outcomes.OK, first)
    assert w.run_id() == last and w.names() == ["WorkflowExecutionStarted", "WorkflowTask"]
    w.now_ms += 30_000
    w.step(signal)
    assert w.run_id() != last, "older than the window"


def test_ring_outlives_the_runs_that_filled_it_and_goes_with_the_last() -> None:
    w = World(ScriptActivator(chained=chained), limits=EngineLimits(retention_ms=5_000))
    w.step(w.start("chained"))
    w.step(w.start("chained", workflow_id="w/0001"))
    w.step(w.signal("next", workflow_id="w/0001", request_id="other"))
    signal = w.signal("next", request_id="s")
    w.step(signal)
    w.advance(5_000)
    assert len(w.tables.table("run")) == 2, "the first run of each is gone"
    w.step(signal)
    assert (
        w.names() == ["WorkflowExecutionStarted", "WorkflowTask"]
        and w.replies[-1].status == outcomes.OK
    )
    w.step(w.signal("end"))
    w.advance(5_000)
    assert {row.request_id for row in w.tables.table("request").values()} == {"other"}  # type: ignore[union-attr]
    w.step(w.signal("end", workflow_id="w/0001"))
    w.advance(5_000)
    assert w.tables.snapshot().get("request", {}) == {}


def test_repeated_start_is_known_over_many_later_starts() -> None:
    w = world()
    start = w.start("returning", request_id="first")
    w.step(start)
    first = w.run_id()
    for n in range(40):
        w.step(w.start("returning", request_id=f"s{n}"))
    w.step(start)
    assert (w.replies[-1].run_id, w.replies[-1].started) == (first, True) and len(
        w.tables.table("run")
    ) == 41


def test_requests_without_an_id_are_all_applied() -> None:
    w = world()
    w.step(w.start("waiting"))
    w.step(SignalWorkflow("w", "tick"), SignalWorkflow("w", "tick"))
    assert w.names().count("WorkflowExecutionSignaled") == 2


def test_the_ring_forgets_by_number_and_by_age() -> None:
    w = world(limits=EngineLimits(request_window=3, request_window_ms=60_000))
    w.step(w.start("waiting"))
    for n in range(4):
        w.step(w.signal("tick", n, request_id=f"s{n}"))
    w.step(w.signal("tick", request_id="s1"))
    assert w.names().count("WorkflowExecutionSignaled") == 4
    w.step(w.signal("tick", request_id="s0"))
    assert w.names().count("WorkflowExecutionSignaled") == 5
    assert len(w.tables.table("request")) == 3
    w.now_ms += 60_001
    w.step(w.signal("tick", request_id="s3"))
    assert w.names().count("WorkflowExecutionSignaled") == 6


# ---------------------------------------------------------------- what a request id is an id of

# Ids that nobody makes twice: of our client, and drawn UUIDs.
MADE_ONCE = [
    "3f9c0a7be1d24c6f8a11-2f",
    "0b7c1c4e-5d0e-4f57-9c0e-6a2f7d9b1c11",
    "0b7c1c4e5d0e4f579c0e6a2f7d9b1c11",
]


def signals(w: World) -> int:
    return w.names().count("WorkflowExecutionSignaled")


def next_chain(w: World, run_id: str) -> None:
    """The open run is terminated, and the id is started anew."""
    w.now_ms += 1_000
    w.step(TerminateWorkflow("w"))
    w.step(w.start("waiting", run_id=run_id))
    w.now_ms += 1_000


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "run_id", [{}, {"run_id": "made-of-op"}], ids=["own run ids", "one run id"]
)
def test_one_id_for_requests_of_different_kinds_is_an_id_of_each(
    restart: bool, run_id: dict[str, str]
) -> None:
    w = world()
    w.step(w.start("waiting", request_id="op", **run_id))
    kinds = [
        w.signal("tick", request_id="op"),
        CancelWorkflow("w", request_id="op", reply_to="client"),
    ]
    with_start = w.start(
        "waiting", request_id="op", signal_name="tock", id_conflict_policy="USE_EXISTING", **run_id
    )
    for request in (kinds[0], kinds[0], with_start, with_start, kinds[1]):
        w.step(request)
        if restart:
            w.restart()
    assert [
        event.attributes.signal_name
        for event in w.history()
        if isinstance(event.attributes, WorkflowExecutionSignaled)
    ] == [
        "tick",
        "tock",
    ]
    assert (
        w.run().status == "CANCELED" and [reply.status for reply in w.replies] == [outcomes.OK] * 6
    )


def test_start_with_a_signal_that_came_twice_is_one_also_under_the_id_of_a_start() -> None:
    w = world()
    both = w.start(
        "waiting", request_id="op", signal_name="tick", id_conflict_policy="USE_EXISTING"
    )
    w.step(both)
    w.step(both)
    assert signals(w) == 1
    w.step(w.start("waiting", request_id="op"))
    assert (w.replies[-1].status, w.replies[-1].started) == (outcomes.OK, True), (
        "as Temporal: the run was started under that id"
    )


@pytest.mark.parametrize(("first", "open"), [("returning", False), ("waiting", True)])
def test_start_with_a_signal_under_a_run_id_that_a_start_took_is_not_that_start(
    first: str, open: bool
) -> None:
    """As of servers that made the run id of the request id alone: the signal is delivered, in a
    run that it may have to make.
    """
    w = world()
    w.step(w.start(first, run_id="taken", request_id="op"))
    both = w.start(
        "waiting",
        run_id="taken",
        request_id="op",
        signal_name="tick",
        id_conflict_policy="TERMINATE_EXISTING",
    )
    for _ in range(2):
        w.step(both)
        assert (w.replies[-1].status, w.replies[-1].run_id, w.replies[-1].started) == (
            outcomes.OK,
            w.run_id(),
            True,
        )
    assert w.run_id() != "taken" and signals(w) == 1
    assert w.run_row("taken").status == ("TERMINATED" if open else "COMPLETED")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("deadline", [False, True])
def test_one_id_in_two_chains_of_a_workflow_is_two_requests(restart: bool, deadline: bool) -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    for n in (1, 2, 3):
        for _ in range(2):
            w.step(w.signal("tick", request_id="tick", deadline_ms=T0 + n if deadline else 0))
            assert (w.replies[-1].status, w.replies[-1].run_id) == (outcomes.OK, f"run-{n}")
        assert signals(w) == 1
        w.now_ms += 1
        next_chain(w, f"run-{n + 1}")
        if restart:
            w.restart()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "of",
    [{"request_id": "tick", "deadline_ms": T0 + 10_000}, *({"request_id": id} for id in MADE_ONCE)],
    ids=["same deadline", "client", "uuid", "hex"],
)
def test_record_that_comes_again_when_its_chain_is_over_does_not_reach_the_next(
    of: dict[str, Any], restart: bool
) -> None:
    """A plain producer is not idempotent, and clients ask again: each record may come twice, the
    second time late.
    """
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    requests = [w.signal("tick", **of), TerminateWorkflow("w", reply_to="client", **of)]
    for request in requests:
        w.step(request)
    w.step(w.start("waiting", run_id="run-2"))
    w.now_ms += 5_000
    w.step(
        w.signal("tick", request_id="tick", deadline_ms=w.now_ms + 10_000),
        w.signal("tock", request_id="tock"),
    )
    if restart:
        w.restart()
    for request in requests:
        w.step(request)
    assert [(reply.status, reply.run_id) for reply in w.replies[-2:]] == [
        (outcomes.OK, "run-1")
    ] * 2
    assert w.run().status == "RUNNING" and signals(w) == 2


def test_record_without_a_deadline_that_was_written_twice_is_told_by_its_timestamp() -> None:
    """As a producer's own retry writes it: with the time of its first try."""
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    signal = w.signal("tick", request_id="tick")
    w.step(signal, TerminateWorkflow("w"), w.start("waiting", run_id="run-2"), signal)
    assert (w.replies[-1].status, w.replies[-1].run_id) == (outcomes.OK, "run-1") and signals(
        w
    ) == 0


def test_request_that_names_its_chain_is_of_that_chain() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    w.step(
        CancelWorkflow("w", first_execution_run_id="run-1", request_id="stop", reply_to="client")
    )
    next_chain(w, "run-2")
    w.step(
        CancelWorkflow("w", first_execution_run_id="run-1", request_id="stop", reply_to="client")
    )
    assert (w.replies[-1].status, w.replies[-1].run_id) == (
        outcomes.OK,
        "run-1",
    ) and not w.run().cancel_requested
    w.step(CancelWorkflow("w", request_id="stop", reply_to="client"))
    assert w.run().status == "CANCELED"


def test_request_of_a_run_that_is_no_more_is_still_of_its_chain() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    kept = w.signal("tick", request_id=MADE_ONCE[0])
    w.step(kept, w.signal("tick", request_id="tick"))
    next_chain(w, "run-2")
    w.step(DeleteWorkflow("w", run_id="run-1"))
    assert w.tables.get("run", "run-1") is None
    w.step(kept)
    assert signals(w) == 0
    w.step(w.signal("tick", request_id="tick"))
    assert signals(w) == 1


def test_deletion_under_an_id_that_a_deletion_before_had_is_another() -> None:
    w = world()
    delete = DeleteWorkflow("w", request_id="del", reply_to="client", deadline_ms=T0 + 10_000)
    for n in (1, 2):
        w.step(w.start("returning", run_id=f"run-{n}"))
        if n == 2:
            w.step(delete)
            assert w.tables.get("run", "run-2") is not None, "the same record again"
            delete = DeleteWorkflow(
                "w", request_id="del", reply_to="client", deadline_ms=T0 + 20_000
            )
        w.step(delete)
        assert w.replies[-1].status == outcomes.OK and w.tables.get("run", f"run-{n}") is None
        w.now_ms += 1_000
    w.step(w.start("returning", run_id="run-3"))
    w.step(DeleteWorkflow("w", run_id="run-3", request_id="del", reply_to="client"))
    w.step(DeleteWorkflow("w", run_id="run-3", request_id="del", reply_to="client"))
    assert [reply.status for reply in w.replies[-2:]] == [outcomes.OK] * 2 and not w.tables.table(
        "run"
    )


def test_cancel_is_a_state_not_an_event() -> None:
    def stubborn(ctx: Any) -> Any:
        yield lambda: ctx.cancel_requested
        yield lambda: bool(ctx.signals)
        return ctx.cancel_reason

    w = World(ScriptActivator(stubborn=stubborn))
    w.step(w.start("stubborn"))
    w.step(CancelWorkflow("w", request_id="c1", reply_to="c", reason="enough"))
    w.step(CancelWorkflow("w", request_id="c2", reply_to="c", reason="really"))
    assert [reply.status for reply in w.replies[-2:]] == [outcomes.OK] * 2
    assert w.names().count("WorkflowExecutionCancelRequested") == 1
    w.step(w.signal("go"))
    assert values(w.results[0].result) == ["enough"]


def test_cancel_in_the_same_batch_as_the_start() -> None:
    w = world()
    w.step(w.start("waiting"), CancelWorkflow("w"))
    assert w.run().status == "CANCELED"
    assert w.results[0].failure is not None and w.results[0].failure.kind == "CANCELED"


def test_terminate_runs_no_code_and_keeps_reason_and_details() -> None:
    w = world()
    w.step(w.start("waiting"))
    tasks = len(w.activator.log)
    w.step(TerminateWorkflow("w", reason="budget", details=payloads(1, 2), identity="me"))
    assert len(w.activator.log) == tasks
    event = w.history()[-1].attributes
    assert isinstance(event, WorkflowExecutionTerminated) and (event.reason, event.identity) == (
        "budget",
        "me",
    )
    failure = w.results[0].failure
    assert failure is not None and (failure.kind, failure.message, values(failure.details)) == (
        "TERMINATED",
        "budget",
        [1, 2],
    )


def test_start_delay_and_the_signal_that_ends_it() -> None:
    w = world()
    w.step(w.start("waiting", start_delay_ms=60_000))
    assert w.names() == ["WorkflowExecutionStarted"]
    w.step(w.signal("tick"))
    assert w.names()[1:] == ["WorkflowExecutionSignaled", "WorkflowTask"]
    assert w.tables.table("timer") == {}


@pytest.mark.parametrize("wait", [{"start_delay_ms": 60_000}, {"cron_schedule": "0 0 1 1 *"}])
def test_a_cancel_request_ends_the_wait_for_the_first_task(wait: dict[str, Any]) -> None:
    w = world()
    w.step(w.start("waiting", **wait))
    assert w.names() == ["WorkflowExecutionStarted"]
    w.step(CancelWorkflow("w", reason="enough"))
    assert w.names()[1:3] == ["WorkflowExecutionCancelRequested", "WorkflowTask"]
    assert w.run().first_task_due_ms == 0


def test_start_delay_passes() -> None:
    w = world()
    w.step(w.start("returning", start_delay_ms=60_000, signal_name="tick"))
    assert w.names() == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
    w.advance(59_999)
    assert w.run().status == "RUNNING"
    w.advance(1)
    assert w.run().status == "COMPLETED"
    assert w.run().execution_time_ms == T0 + 60_000


def test_signals_of_one_batch_are_one_task_and_run_before_main() -> None:
    seen: list[int] = []

    def first(ctx: Any) -> Any:
        seen.append(len(ctx.signals))
        yield lambda: len(ctx.signals) >= 3
        return None

    w = World(ScriptActivator(first=first), twice=False)
    w.step(w.start("first"), w.signal("a", request_id="1"), w.signal("b", request_id="2"))
    assert seen == [2]
    assert w.names() == [
        "WorkflowExecutionStarted",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
        "WorkflowTask",
    ]


def test_late_signals_after_the_end_in_one_batch() -> None:
    w = world()
    w.step(w.start("returning"), w.signal("late"))
    assert [reply.status for reply in w.replies] == [outcomes.OK, outcomes.OK]
    assert w.run().status == "COMPLETED"
    assert isinstance(w.history()[1].attributes, WorkflowExecutionSignaled)


def test_runs_do_not_depend_on_neighbours_in_a_batch() -> None:
    def apart() -> World:
        w = world()
        for id in ("a", "b", "c"):
            w.step(w.start("waiting", workflow_id=id, run_id=f"run-{id}"))
            w.step(w.signal("finish", id, workflow_id=id))
        return w

    def together() -> World:
        w = world()
        w.step(*[w.start("waiting", workflow_id=id, run_id=f"run-{id}") for id in ("a", "b", "c")])
        w.step(*[w.signal("finish", id, workflow_id=id, request_id=id) for id in ("a", "b", "c")])
        return w

    one, other = apart(), together()
    for id in ("a", "b", "c"):
        attributes = [[event.attributes for event in w.history(f"run-{id}")] for w in (one, other)]
        for events in attributes:
            for event in events:
                if isinstance(event, WorkflowExecutionSignaled):
                    event.request_id = ""
        assert attributes[0] == attributes[1]


def test_a_run_id_of_another_workflow_is_refused() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    w.step(w.start("waiting", run_id="run-1", workflow_id="other"))
    assert (
        w.replies[-1].status == outcomes.INVALID_ARGUMENT
        and "another workflow" in w.replies[-1].message
    )
    assert w.run_row("run-1").workflow_id == "w" and len(w.tables.table("run")) == 1


def test_a_stranger_cannot_reach_a_run_under_another_workflow_id() -> None:
    w = world()
    w.step(w.start("waiting", run_id="run-1"))
    w.step(
        SignalWorkflow("other", "tick", run_id="run-1", reply_to="c"),
        DescribeWorkflow("other", run_id="run-1", reply_to="c"),
    )
    assert [reply.status for reply in w.replies[-2:]] == [outcomes.NOT_FOUND] * 2


def test_activity_reports_of_unknown_runs_change_nothing() -> None:
    def one(ctx: Any) -> Any:
        yield ctx.activity("a")

    w = World(ScriptActivator(one=one))
    w.step(w.start("one"))
    task = w.last_task()
    report = completed(task)
    report.run_id = "gone"
    assert w.step(report).rows == []
    report = completed(task)
    report.workflow_id = "other"
    assert w.step(report).rows == []


LONG = "x" * 1_001

# The requests that name a run.
BY_RUN: Any = (
    partial(SignalWorkflow, signal_name="s"),
    partial(QueryWorkflow, query_type="q"),
    CancelWorkflow,
    TerminateWorkflow,
    DescribeWorkflow,
    FetchHistory,
    AwaitResult,
    ReleaseWorkflow,
    DeleteWorkflow,
)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (StartWorkflow(LONG, "waiting"), "WorkflowId"),
        (StartWorkflow("w", LONG), "WorkflowType"),
        (StartWorkflow("w", "waiting", run_id=LONG), "RunId"),
        (StartWorkflow("w", "waiting", request_id=LONG), "RequestId"),
        (StartWorkflow("w", "waiting", signal_name=LONG), "SignalName"),
        (StartWorkflow("w", "waiting", cron_schedule=LONG), "CronSchedule"),
        (StartWorkflow("w", "waiting", reply_to=LONG), "reply_to"),
        (SignalWorkflow("open", LONG), "SignalName"),
        (SignalWorkflow("open", "s", request_id=LONG), "RequestId"),
        (CancelWorkflow("open", request_id=LONG), "RequestId"),
        (TerminateWorkflow("open", request_id=LONG), "RequestId"),
    ],
)
def test_name_that_is_too_long_is_refused(event: Any, name: str) -> None:
    """Names become keys and headers: a megabyte of one would be refused by Kafka, and hold its
    partition up.
    """
    w = world()
    w.step(w.start("waiting", workflow_id="open"))
    rows = dict(w.tables.table("run"))
    event.reply_to = event.reply_to or "client"
    assert w.step(event).rows == []
    assert (w.replies[-1].status, w.replies[-1].message) == (
        outcomes.INVALID_ARGUMENT,
        f"{name} length 1001 exceeds 1000 bytes",
    )
    assert w.tables.table("run") == rows


def test_names_of_a_thousand_bytes_are_taken() -> None:
    w = world()
    name = "ö" * 500
    w.step(StartWorkflow(name, "waiting", request_id=name, run_id=name, reply_to="client"))
    w.step(SignalWorkflow(name, name, request_id=name, run_id=name, reply_to="client"))
    assert [reply.status for reply in w.replies] == [outcomes.OK, outcomes.OK]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            StartWorkflow(LONG, "waiting"),
            "INVALID_ARGUMENT: WorkflowId length 1001 exceeds 1000 bytes",
        ),
        (
            StartWorkflow("\U0001f600" * 251, "waiting"),
            "INVALID_ARGUMENT: WorkflowId length 1004 exceeds 1000 bytes",
        ),
        (SignalWorkflow("open", ""), "INVALID_ARGUMENT: SignalName is not set on request."),
        (SignalWorkflow("", "s"), "INVALID_ARGUMENT: WorkflowId is not set on request."),
        (StartWorkflow("w", "waiting", cron_schedule="nope"), "INVALID_ARGUMENT: "),
        (StartWorkflow("w", "waiting", run_id="a/b"), "INVALID_ARGUMENT: run_id"),
        (StartWorkflow("open", "waiting"), "ALREADY_EXISTS: Workflow execution is already running"),
        (SignalWorkflow("w", "finish"), "NOT_FOUND: workflow not found for ID: w"),
        (SignalWorkflow("closed", "finish"), "NOT_FOUND: workflow execution already completed"),
        (CancelWorkflow("w"), "NOT_FOUND: "),
        (TerminateWorkflow("w"), "NOT_FOUND: "),
    ],
)
def test_refusal_that_nobody_waits_for_is_a_dead_letter(event: Any, told: str) -> None:
    w = world()
    w.step(w.start("waiting", workflow_id="open"), w.start("returning", workflow_id="closed"))
    place = w.offset
    effects = w.step(event)
    (letter,) = effects.dead_letters
    assert letter.rejected and letter.offset == place and letter.reason.startswith(told)
    event.reply_to, event.request_id = "client", "r"
    assert not w.step(event).dead_letters
    assert w.replies[-1].request_id == "r"


def test_repeated_start_without_an_ear_is_one_start_and_no_dead_letter() -> None:
    w = world()
    for _ in range(2):
        assert not w.step(StartWorkflow("w", "waiting", request_id="once")).dead_letters
    refused = StartWorkflow("w", "waiting", request_id="other")
    assert [len(w.step(refused).dead_letters) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize("again_ms", [0, 2 * 3_600_000])
@pytest.mark.parametrize("signal", [{}, {"signal_name": "tick"}])
def test_start_that_was_put_back_makes_one_run(signal: dict[str, Any], again_ms: int) -> None:
    """Also when its run is over, others have begun, and the ring has forgotten."""
    w = world()
    put_back = StartWorkflow("w", "waiting", request_id="redriven-x", run_id="derived", **signal)
    w.step(put_back, redriven=True)
    w.step(w.signal("finish"))
    w.step(w.start("waiting", run_id="later"))
    w.advance(again_ms)
    assert not w.step(put_back, redriven=True).dead_letters
    assert w.run_id() == "later" and "WorkflowExecutionSignaled" not in w.names()


def test_start_that_was_refused_may_be_put_back_once_nothing_is_in_its_way() -> None:
    w = world()
    w.step(w.start("waiting", run_id="first"))
    for request_id in ("mine", "redriven-00000000-0000-5000-8000-000000000000"):
        put_back = StartWorkflow("w", "waiting", request_id=request_id, run_id=f"of-{request_id}")
        for redriven in (False, True, True):
            assert len(w.step(put_back, redriven=redriven).dead_letters) == 1
        w.step(w.signal("finish"))
        for _ in range(2):
            assert not w.step(put_back, redriven=True).dead_letters
        assert w.run_id() == f"of-{request_id}"


def test_request_that_was_put_back_does_not_reach_the_next_chain() -> None:
    w = world()
    signal = SignalWorkflow("w", "tick", request_id="redriven-00000000-0000-5000-8000-000000000000")
    cancel = TerminateWorkflow("w", request_id="redriven-00000000-0000-5000-8000-000000000001")
    for run_id, count in (("run-1", 1), ("run-2", 0)):
        w.step(w.start("waiting", run_id=run_id))
        w.advance(1_000)  # it is another record
        w.step(signal, redriven=True)
        w.step(signal, cancel, redriven=True)
        assert w.names(run_id).count("WorkflowExecutionSignaled") == count
    assert w.run().status == "RUNNING"


def test_read_that_nobody_waits_for_is_nothing() -> None:
    w = world()
    effects = w.step(DescribeWorkflow("w"))
    assert not effects.dead_letters and not w.replies


@pytest.mark.parametrize(
    ("request_of", "told"),
    [
        (lambda **f: SignalWorkflow("open", "", **f), "SignalName is not set on request."),
        (lambda **f: QueryWorkflow("open", "", **f), "QueryType is not set on request."),
        *((partial(kind, workflow_id=""), "WorkflowId is not set on request.") for kind in BY_RUN),
        *((partial(kind, workflow_id="open", run_id="a/b"), "Invalid RunId.") for kind in BY_RUN),
    ],
)
def test_names_that_are_missing_or_impossible_are_refused_by_every_request(
    request_of: Any, told: str
) -> None:
    w = world()
    w.step(w.start("waiting", workflow_id="open"))
    history = dict(w.tables.table("history"))
    effects = w.step(request_of(request_id="r", reply_to="c"))
    assert (w.replies[-1].request_id, w.replies[-1].status, w.replies[-1].message) == (
        "r",
        outcomes.INVALID_ARGUMENT,
        told,
    )
    assert effects.rows == [] and w.tables.table("history") == history


def ring_of_run(w: World) -> None:
    """The ring as the version before wrote it: one a run, under the run's id, of no chain."""
    run_id, table = w.run_id(), w.tables.table("request")
    moves = [RowChange("request", key, None) for key in table]
    moves += [
        RowChange(
            "request",
            f"{run_id}/{row.seq:04d}",
            msgspec.structs.replace(row, first_execution_run_id="", made_ms=0),
        )
        for row in table.values()
    ]
    w.tables.apply(moves)
    w.restart()


def continuing(ctx: Any) -> Any:
    yield lambda: any(name == "next" for name, _ in ctx.signals)
    ctx.continue_as_new()


def of_the_version_before(w: World, runs: dict[str, str]) -> None:
    """Each request's row stands with the run that it was for, by id; the newest run has had none
    of its own.
    """
    table = w.tables.table("request")
    moves = [RowChange("request", key, None) for key in table]
    for seq, (request_id, run_id) in enumerate(runs.items()):
        [row] = [row for row in table.values() if row.request_id == request_id]
        moves.append(
            RowChange(
                "request",
                f"{run_id}/{seq:04d}",
                msgspec.structs.replace(row, seq=seq, first_execution_run_id="", made_ms=0),
            )
        )
    w.tables.apply(
        [*moves, RowChange("run", w.run_id(), msgspec.structs.replace(w.run(), request_seq=0))]
    )
    w.restart()


def signals_of(w: World) -> int:
    return sum(
        w.names(run_id).count("WorkflowExecutionSignaled") for run_id in w.tables.table("run")
    )


@pytest.mark.parametrize("ids", [101, 150, 199, 250])
def test_memory_has_no_more_of_a_ring_than_counts(ids: int) -> None:
    """Ids that come again and again, each time outside of the window."""
    w = world(limits=EngineLimits(request_window=100), twice=False)
    w.step(w.start("waiting", run_id="run-1"))
    for _ in range(6):
        for number in range(0, ids, 50):
            w.step(
                *[
                    w.signal("tick", request_id=f"id-{each}")
                    for each in range(number, min(ids, number + 50))
                ]
            )
    run = w.engine._cache.get("run-1")
    assert run is not None and run.requests is not None
    assert sum(map(len, run.requests.values())) <= 200
    assert len(w.tables.table("request")) == 100
    assert w.names().count("WorkflowExecutionSignaled") == 6 * ids
