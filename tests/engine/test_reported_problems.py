"""`TemporalReportedProblems`: which summaries a run whose workflow task keeps failing puts out.
One when that changes, none else.
"""

from __future__ import annotations

from typing import Any

import pytest

import odradek.engine.engine as engine_module
from odradek.engine.ports import EngineLimits
from odradek.wire.events import DescribeWorkflow, ReleaseWorkflow, TerminateWorkflow
from odradek.wire.history import WorkflowTaskFailed
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.problems import (
    NAME,
    QUARANTINED,
    TASK_FAILED,
    cause_value,
    shown_search_attributes,
    take_problems,
)
from odradek.wire.state import RunRow
from tests.engine.script import Crashed, ScriptActivator, payload
from tests.engine.world import World, completed

UNHANDLED = "cause=WorkflowTaskFailedCauseWorkflowWorkerUnhandledFailure"
NONDETERMINISM = "cause=WorkflowTaskFailedCauseNonDeterministicError"


class Code:
    """Workflow code that fails as long as it has an error, and else waits for a signal."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __call__(self, ctx: Any) -> Any:
        if self.error is not None:
            raise self.error
        yield lambda: any(name == "go" for name, _ in ctx.signals)


def begun(error: Exception | None, **limits: Any) -> tuple[World, Code]:
    code = Code(error)
    w = World(
        ScriptActivator(code=code),
        encoded=True,
        limits=EngineLimits(task_retry_initial_ms=1_000, **limits),
    )
    w.step(w.start("code"))
    return w, code


def said(w: World) -> list[list[str]]:
    return [summary.reported_problems for summary in w.summaries]


def test_from_the_second_failure_in_a_row_until_the_task_succeeds() -> None:
    w, code = begun(RuntimeError("bug"))
    assert said(w) == [[]], "a first failure may be nothing"
    w.advance(1_000)
    assert said(w) == [[], [TASK_FAILED, UNHANDLED]]
    w.advance(86_400_000)
    assert w.run().task_attempt > 100 and len(w.summaries) == 2, "retries have nothing new to say"
    code.error = None
    w.advance(120_000)
    assert said(w)[2:] == [[]] and w.run().status == "RUNNING" and w.run().reported_problems == []
    w.step(w.signal("go"))
    assert [(summary.status, summary.reported_problems) for summary in w.summaries[3:]] == [
        ("COMPLETED", [])
    ]


@pytest.mark.parametrize(("reported_from", "failures"), [(1, 1), (2, 2), (5, 5)])
def test_how_many_failures_it_takes(reported_from: int, failures: int) -> None:
    w, _ = begun(RuntimeError("bug"), problems_reported_from=reported_from)
    while w.run().task_attempt - 1 < failures:
        assert w.summaries[-1].reported_problems == []
        w.advance(w.run().task_retry_due_ms - w.now_ms)
    assert w.summaries[-1].reported_problems == [TASK_FAILED, UNHANDLED]


def test_a_task_that_succeeds_begins_the_count_anew() -> None:
    w, code = begun(RuntimeError("bug"))
    code.error = None
    w.advance(1_000)
    assert w.run().task_failure is None
    assert said(w) == [[]], "one failure was never told, so its end is not either"


def test_inputs_that_arrive_while_it_fails_do_not_take_it_away() -> None:
    w, _ = begun(RuntimeError("bug"))
    w.advance(1_000)
    for _ in range(3):
        w.step(w.signal("more"))
    w.advance(10_000)
    assert len(w.summaries) == 2 and w.run().reported_problems == [TASK_FAILED, UNHANDLED]


def test_unregistered_type() -> None:
    w = World(ScriptActivator())
    w.step(w.start("unknown"))
    w.advance(1_000)
    assert said(w) == [[], [TASK_FAILED, UNHANDLED]]


def test_nondeterminism_and_another_cause_after_it_are_each_said_once() -> None:
    def first(ctx: Any) -> Any:
        yield ctx.activity("charge")
        yield lambda: False

    def renamed(ctx: Any) -> Any:
        yield ctx.activity("refund")
        yield lambda: False

    w = World(ScriptActivator(code=first), twice=False)
    w.step(w.start("code"))
    w.step(completed(w.last_task(), 1))
    w.activator.workflows["code"] = renamed
    w.restart()
    w.step(w.signal("go"))
    w.advance(20_000)
    assert isinstance(w.history()[-1].attributes, WorkflowTaskFailed)
    assert said(w) == [[], [TASK_FAILED, NONDETERMINISM]]
    w.activator.workflows["code"] = Code(RuntimeError("another bug"))
    w.advance(600_000)
    assert said(w)[2:] == [[TASK_FAILED, UNHANDLED]]


def test_a_quarantined_run_says_so_at_once_and_a_release_takes_it_away() -> None:
    w, code = begun(Crashed("spins"), crashes_before_quarantine=1)
    assert said(w) == [[TASK_FAILED, UNHANDLED, QUARANTINED]], "started and quarantined in one step"
    before = len(w.summaries)
    code.error = RuntimeError("bug")
    w.step(ReleaseWorkflow("w", reply_to="c"))
    assert said(w)[before:] == [[TASK_FAILED, UNHANDLED]], "not quarantined any more, but failing"
    assert w.summaries[-1].quarantine_reason == ""
    code.error = None
    w.step(ReleaseWorkflow("w", reply_to="c", request_id="u2"))
    assert said(w)[before + 1 :] == [[]]


def test_quarantined_by_a_defect_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    w, _ = begun(None)
    real = engine_module.apply_input

    def broken(step: Any, input: Any) -> None:
        real(step, input)
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(engine_module, "apply_input", broken)
    w.dead_letters_allowed = True
    w.step(w.signal("poison"))
    assert said(w) == [[], [TASK_FAILED, QUARANTINED]]


def test_a_failing_run_that_is_closed_leaves_nothing() -> None:
    w, _ = begun(RuntimeError("bug"))
    w.advance(1_000)
    w.step(TerminateWorkflow("w", reply_to="c", request_id="t"))
    assert (w.summaries[-1].status, w.summaries[-1].reported_problems) == ("TERMINATED", [])


def test_a_step_that_does_not_commit_says_it_again() -> None:
    w, _ = begun(RuntimeError("bug"))
    w.twice = True  # each step is done, evicted and done again: both have to say the same
    w.advance(30_000)
    assert said(w) == [[], [TASK_FAILED, UNHANDLED]]


def test_describe_says_what_lists_say() -> None:
    w, _ = begun(RuntimeError("bug"))
    w.advance(1_000)
    w.step(DescribeWorkflow("w", reply_to="c"))
    assert w.replies[-1].description is not None
    assert w.replies[-1].description.summary.reported_problems == [TASK_FAILED, UNHANDLED]


@pytest.mark.parametrize(
    ("cause", "value"),
    [
        ("WORKFLOW_WORKER_UNHANDLED_FAILURE", UNHANDLED),
        ("NON_DETERMINISTIC_ERROR", NONDETERMINISM),
        (
            "SCHEDULE_ACTIVITY_DUPLICATE_ID",
            "cause=WorkflowTaskFailedCauseScheduleActivityDuplicateId",
        ),
        ("UNSPECIFIED", "cause=WorkflowTaskFailedCauseUnspecified"),
    ],
)
def test_causes_are_spelled_as_temporal_does(cause: str, value: str) -> None:
    assert cause_value(cause) == value


def test_what_is_shown_among_search_attributes() -> None:
    run = ExecutionSummary(
        "n",
        "q",
        "w",
        "r",
        "t",
        "RUNNING",
        search_attributes={"Colour": payload("blue"), NAME: payload("mine")},
    )
    assert shown_search_attributes(run) == {"Colour": payload("blue")}, "the name is the system's"
    run.reported_problems = [TASK_FAILED, NONDETERMINISM]
    shown = shown_search_attributes(run)
    assert shown[NAME].metadata == {"encoding": b"json/plain", "type": b"KeywordList"}
    assert (
        shown[NAME].data
        == b'["category=WorkflowTaskFailed","cause=WorkflowTaskFailedCauseNonDeterministicError"]'
    )
    assert take_problems(shown) == run.reported_problems and shown == {"Colour": payload("blue")}
    assert take_problems(shown) == []


def test_rows_begin_without() -> None:
    assert RunRow("w", "r", "t", "r").reported_problems == []
