"""`workflow trace`: the tree of a run from its events and its description; how it is drawn on a
terminal, and written elsewhere.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytest

from odradek import cli
from odradek.cli.workflow import trace
from odradek.cli.workflow.trace_state import TracedRun
from odradek.client import Client
from odradek.wire import history
from odradek.wire.events import DescribeWorkflow
from odradek.wire.history import HistoryEvent
from odradek.wire.payload import Failure
from tests.support.transport import FakeTransport, connect
from tests.unit.test_cli_style import ESCAPE, Terminal
from tests.unit.web_server import START_MS, Owner, completed_history, summary

NOW_MS = START_MS + 60_000


def traced(*attributes: history.Attributes, step_ms: int = 1_000) -> TracedRun:
    """A run with these events, a second apart, the first of them 1."""
    run = TracedRun("order-1", "run-1", "OrderSaga")
    started = history.WorkflowExecutionStarted("order-1", "run-1", "OrderSaga", "orders")
    for number, one in enumerate((started, *attributes)):
        run.update(HistoryEvent(number + 1, START_MS + number * step_ms, one))
    return run


def text(run: TracedRun) -> list[str]:
    return [trace._text(line) for line in run.lines()]


HEAD = [" ╪ ▷ OrderSaga (1 minute ago)", " │   wfId: order-1, runId: run-1"]
SCHEDULED = history.ActivityTaskScheduled("a", "charge", "payments")


def test_activities() -> None:
    run = traced(
        SCHEDULED,
        history.ActivityTaskStartedEvent(2, 3),
        history.ActivityTaskCompletedEvent(2, 3),
        SCHEDULED,
        history.ActivityTaskStartedEvent(5, 1),
        history.ActivityTaskFailedEvent(
            5,
            6,
            Failure("declined\nfor good", cause=Failure("no funds")),
            "MAXIMUM_ATTEMPTS_REACHED",
        ),
        SCHEDULED,
        history.ActivityTaskStartedEvent(8),
        history.ActivityTaskTimedOutEvent(8, 9, Failure("too late"), "TIMEOUT"),
        SCHEDULED,
        history.ActivityTaskCancelRequested(11),
        history.ActivityTaskCanceledEvent(11),
        SCHEDULED,
    )
    assert text(run) == [
        *HEAD,
        " │   ┼ ✓ charge (1.0 s, 3 attempts)",
        " │   ┼ ! charge (1.0 s)",
        " │   │   Failure: declined",
        " │   │            for good",
        " │   │            no funds",
        " │   │   Retry state: MAXIMUM_ATTEMPTS_REACHED",
        " │   ┼ ⏱ charge (1.0 s)",
        " │   │   Failure: too late",
        " │   │   Retry state: TIMEOUT",
        " │   ┼ x charge",
        " │   ┼ • charge",
    ]


def test_timers() -> None:
    timer = history.TimerStarted("1", 90_000)
    run = traced(timer, timer, history.TimerFired("1", 2), history.TimerCanceled("1", 3), timer)
    done = " │   ┼ ⧖ Timer 1 (1.5 min) (2.0 s)"
    assert text(run)[2:] == [done, done, " │   ┼ ⧖ Timer 1 (1.5 min) (55 seconds ago)"]
    assert [step.status for step in run.steps.values()] == ["FIRED", "TIMER_CANCELED", "WAITING"]


@pytest.mark.parametrize(
    ("attributes", "icon", "more"),
    [
        (history.WorkflowExecutionCompleted(), "✓", []),
        (history.WorkflowExecutionFailed(Failure("no")), "!", [" │   Failure: no"]),
        (
            history.WorkflowExecutionFailed(
                Failure("no"), "IN_PROGRESS", new_execution_run_id="run-2"
            ),
            "!",
            [" │   Failure: no", " │   Retry state: IN_PROGRESS", " │   Goes on in runId: run-2"],
        ),
        (history.WorkflowExecutionTimedOut("TIMEOUT"), "⏱", [" │   Retry state: TIMEOUT"]),
        (history.WorkflowExecutionCanceled(), "x", []),
        (
            history.WorkflowExecutionTerminated("stale", identity="me"),
            "x",
            [" │   Termination reason: stale", " │   Terminated by: me"],
        ),
        (
            history.WorkflowExecutionContinuedAsNew("run-2", "OrderSaga", "orders"),
            "»",
            [" │   Goes on in runId: run-2"],
        ),
    ],
)
def test_ends(attributes: Any, icon: str, more: list[str]) -> None:
    assert text(traced(attributes)) == [f" ╪ {icon} OrderSaga (1.0 s)", HEAD[1], *more]


# --- what waits, by the description


# --- the command


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def owner(transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> Owner:
    async def connected(*, settings: Any, api_key: Any, lazy: bool, **more: Any) -> Any:
        return connect(transport, **more)

    monkeypatch.setattr(Client, "connect", connected)
    monkeypatch.setattr(trace, "_REFRESH_S", 0.02)
    return Owner(transport)


COMMAND = ("workflow", "trace", "-w", "order-1", "-t", "orders")


def close(owner: Owner, *attributes: history.Attributes, status: str) -> None:
    run = owner.runs["order-1"]
    run.status, run.close_time_ms = status, START_MS + 2_000
    events = owner.events["order-1"]
    events.extend(
        HistoryEvent(20 + number, START_MS + 2_000, one) for number, one in enumerate(attributes)
    )


def test_a_run_that_has_closed(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    owner.add(summary("order-1"))
    close(owner, history.WorkflowExecutionCompleted(), status="COMPLETED")
    assert cli.main(COMMAND) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.splitlines() == [
        "Execution summary:",
        "WorkflowId  order-1",
        "RunId       run-of-order-1",
        "Type        OrderSaga",
        "Namespace   default",
        "TaskQueue   orders",
        "",
        "Progress:",
        " ╪ ✓ OrderSaga (2.0 s)",
        " │   wfId: order-1, runId: run-of-order-1",
        " │   ┼ ✓ charge (1 ms, 2 attempts)",
    ]


def test_on_a_terminal_it_is_drawn_anew_until_the_run_closes(
    transport: FakeTransport, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.add(
        summary("order-1"),
        [
            HistoryEvent(
                1, START_MS, history.WorkflowExecutionStarted("order-1", "r", "OrderSaga", "orders")
            )
        ],
    )
    terminal, asked = Terminal(), []

    def answered(queue: str, record: Any) -> Any:
        reply = owner.answer(queue, record)
        if isinstance(record, DescribeWorkflow):
            asked.append(record)
            if len(asked) == 3:  # behind the summary and two drawings
                owner.events["order-1"].append(HistoryEvent(5, START_MS + 1, SCHEDULED))
            if len(asked) == 5:
                close(owner, history.WorkflowExecutionCompleted(), status="COMPLETED")
        return reply

    transport.serve("orders", answered)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((100, 24)))
    assert cli.main(COMMAND) == 0
    frames = terminal.getvalue().split("Progress:")[1]
    erased = re.findall(r"\x1b\[(\d+)A\x1b\[0G\x1b\[0J", frames)
    assert len(erased) >= 3 and erased[0] == "2" and erased[-1] == "3", (
        "each over the last, as many lines as that had"
    )
    last = ESCAPE.sub("", re.split(r"\x1b\[\d+A\x1b\[0G\x1b\[0J", frames)[-1]).splitlines()
    assert (
        last[0].startswith(" ╪ ✓ OrderSaga")
        and last[2] == " │   ┼ • charge"
        and frames.count("✓") == 1
    )


def test_the_history_of_the_example_has_no_step_without_a_name() -> None:
    run = TracedRun("w", "r", "?")
    for event in completed_history(summary("order-1")):
        run.update(event)
    assert [(step.name, step.status, step.attempt) for step in run.steps.values()] == [
        ("charge", "COMPLETED", 2)
    ]
    assert run.workflow_type == "OrderSaga"
