"""Runs that go: at the end of their retention, and by DeleteWorkflow; the tombstone in
`executions`.
"""

from __future__ import annotations

from typing import Any

import pytest

import odradek.engine.retention as retention_module
from odradek.engine.keys import request_prefix
from odradek.engine.ports import COMMANDS, EXECUTIONS, EngineLimits
from odradek.wire import outcomes
from odradek.wire.events import AwaitResult, DeleteWorkflow, DescribeWorkflow, QueryWorkflow
from odradek.wire.outcomes import ExecutionSummary, Reply
from tests.engine.script import ScriptActivator
from tests.engine.world import World

DAY = 86_400_000
HOUR = 3_600_000


def waiting(ctx: Any, *args: Any) -> Any:
    ctx.queries["count"] = lambda: len(ctx.signals)
    yield lambda: any(name == "finish" for name, _ in ctx.signals)
    return list(args)


def working(ctx: Any) -> Any:
    yield ctx.activity("charge")
    return None


def delete(
    request_id: str = "delete-1", run_id: str = "", workflow_id: str = "w"
) -> DeleteWorkflow:
    return DeleteWorkflow(
        workflow_id, run_id=run_id, request_id=request_id, reply_to="client", identity="me"
    )


def closed_world(**limits: int) -> World:
    w = World(
        ScriptActivator(waiting=waiting),
        limits=EngineLimits(retention_ms=DAY, **limits),
        encoded=True,
    )
    w.step(w.start("waiting", run_id="run-1"))
    w.step(w.signal("finish"))
    return w


def answer(w: World, request_id: str) -> Reply:
    (found,) = [reply for reply in w.effects[-1].replies if reply.request_id == request_id]
    return found


def test_tombstone_is_a_null_value_that_names_the_run() -> None:
    w = closed_world()
    w.advance(DAY)
    (output,) = w.effects[-1].outputs
    assert (output.kind, output.key, output.tombstone) == (EXECUTIONS, "w/run-1", True)
    assert isinstance(output.record, ExecutionSummary)
    assert (output.record.workflow_id, output.record.run_id, output.record.status) == (
        "w",
        "run-1",
        "COMPLETED",
    )


def test_closed_run_is_deleted_at_once() -> None:
    w = closed_world()
    w.step(delete())
    assert answer(w, "delete-1").status == outcomes.OK and answer(w, "delete-1").run_id == "run-1"
    assert w.tombstones == ["w/run-1"]
    assert set(w.tables.snapshot()) == {"request", "timer"}, (
        "only the verdict stays, with its timer"
    )
    w.step(DescribeWorkflow("w", request_id="d", reply_to="client"))
    assert answer(w, "d").status == outcomes.NOT_FOUND
    w.advance(HOUR)
    assert w.tables.snapshot() == {}
    w.advance(DAY)
    assert w.tombstones == ["w/run-1"], "its retention must not end a second time"


def test_open_run_is_terminated_first() -> None:
    w = World(ScriptActivator(working=working))
    w.step(w.start("working", run_id="run-1"))
    w.step(AwaitResult("w", request_id="poll", reply_to="waiter", deadline_ms=w.now_ms + DAY))
    w.step(delete())
    (result,) = w.results
    assert result.status == "TERMINATED"
    assert answer(w, "delete-1").status == outcomes.OK
    poll = answer(w, "poll")
    assert poll.result is not None and poll.result.status == "TERMINATED", (
        "who waits for the result learns it"
    )
    assert [summary.status for summary in w.summaries] == ["RUNNING", "TERMINATED"]
    kinds = [
        (output.kind, output.tombstone)
        for output in w.effects[-1].outputs
        if output.kind == EXECUTIONS
    ]
    assert kinds == [(EXECUTIONS, False), (EXECUTIONS, True)], "the tombstone is the last word"
    assert set(w.tables.snapshot()) == {"request", "timer"}
    assert not [output for output in w.effects[-1].outputs if output.kind == COMMANDS]


def test_deletion_of_a_run_nobody_knows() -> None:
    w = closed_world()
    w.step(delete("a", workflow_id="other"), delete("b", run_id="run-9"))
    assert [answer(w, id).status for id in "ab"] == [outcomes.NOT_FOUND] * 2
    assert w.tombstones == [] and w.run().run_id == "run-1"


@pytest.mark.parametrize("restart", [False, True])
def test_repeated_deletion_gets_its_verdict_and_leaves_the_next_run(restart: bool) -> None:
    w = closed_world()
    w.step(delete())
    w.step(w.start("waiting", run_id="run-2"))
    if restart:
        w.restart()
    w.step(delete())
    assert (answer(w, "delete-1").status, answer(w, "delete-1").run_id) == (outcomes.OK, "run-1")
    assert w.run().run_id == "run-2" and w.run().status == "RUNNING"
    assert w.tombstones == ["w/run-1"]
    w.step(delete("another"))
    assert answer(w, "another").run_id == "run-2" and w.tombstones == ["w/run-1", "w/run-2"]


def test_verdict_is_not_taken_for_a_workflow_whose_id_begins_alike() -> None:
    w = closed_world()
    w.step(w.start("waiting", workflow_id="w/x", run_id="run-2"))
    w.step(delete("same", workflow_id="w/x"))
    w.step(delete("same"))
    assert answer(w, "same").run_id == "run-1" and w.tombstones == ["w/x/run-2", "w/run-1"]


def test_named_run_is_deleted_and_the_current_one_stays() -> None:
    w = closed_world()
    w.step(w.start("waiting", run_id="run-2"))
    w.step(delete(run_id="run-1"))
    assert w.tombstones == ["w/run-1"]
    assert w.run().run_id == "run-2" and w.run().status == "RUNNING"


def test_inputs_behind_a_deletion_in_the_batch_do_not_find_the_run() -> None:
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", run_id="run-1"))
    w.step(
        QueryWorkflow("w", "count", request_id="before", reply_to="client"),
        delete(),
        w.signal("tick", request_id="late"),
        w.signal("tick", request_id="late-named", run_id="run-1"),
        w.start("waiting", run_id="run-2"),
    )
    assert answer(w, "before").status == outcomes.OK, "asked before the deletion"
    assert answer(w, "late").status == answer(w, "late-named").status == outcomes.NOT_FOUND
    assert w.run().run_id == "run-2" and w.tombstones == ["w/run-1"]


def test_query_and_end_of_retention_in_one_batch() -> None:
    w = closed_world()
    w.restart()
    w.now_ms += DAY
    w.step(QueryWorkflow("w", "count", request_id="q", reply_to="client"))
    assert answer(w, "q").status == outcomes.OK, "it came before the end"
    assert w.tables.snapshot() == {} and w.tombstones == ["w/run-1"]


def test_large_run_goes_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "RETENTION_ROWS_MAX", 3)
    w = World(ScriptActivator(waiting=waiting))
    w.step(w.start("waiting", run_id="run-1"))
    for n in range(10):
        w.step(w.signal("tick", n))
    w.step(delete())
    assert w.tombstones == ["w/run-1"] and w.tables.table("run") == {}
    assert w.tables.table("history"), "not all at once"
    while w.due():
        w.step()
    assert w.tables.table("history") == {} and w.tombstones == ["w/run-1"]
    w.advance(HOUR)
    assert w.tables.snapshot() == {}


@pytest.mark.parametrize(
    "name", ["deleted", request_prefix("other").rstrip("/")], ids=["deleted", "ring"]
)
def test_a_run_that_goes_takes_nothing_of_others_whatever_its_id(name: str) -> None:
    """Its id is the caller's: it may be what keys of others begin with."""
    w = World(ScriptActivator(waiting=waiting), encoded=True)
    w.step(
        w.start("waiting", workflow_id="gone", run_id="g1"),
        w.start("waiting", workflow_id="other", run_id="o1"),
    )
    w.step(delete(workflow_id="gone"), w.signal("tick", workflow_id="other", request_id="one"))
    kept = dict(w.tables.table("request"))
    assert len(kept) == 2
    w.step(w.start("waiting", workflow_id="w", run_id=name))
    w.step(w.signal("tick", workflow_id="w", request_id="one", run_id=name))
    w.step(delete("delete-2", run_id=name))
    now = w.tables.table("request")
    assert {key: now.get(key) for key in kept} == kept
