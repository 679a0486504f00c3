"""`workflow trace`: the tree of a run from its events and its description; how it is drawn on a
terminal, and written elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sys
import time
from typing import Any

import pytest

from odradek import cli
from odradek.cli import times
from odradek.cli.app import build_parser
from odradek.cli.workflow import trace
from odradek.cli.workflow.trace_state import TracedRun
from odradek.client import Client
from odradek.wire import history
from odradek.wire.events import DescribeWorkflow
from odradek.wire.history import HistoryEvent
from odradek.wire.outcomes import PendingActivity, PendingTimer, WorkflowDescription
from odradek.wire.payload import Failure
from tests.support.transport import FakeTransport, connect, reply_to
from tests.unit.test_cli_style import ESCAPE, Terminal
from tests.unit.web_server import START_MS, Owner, completed_history, summary

NOW_MS = START_MS + 60_000


@pytest.fixture(autouse=True)
def at_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now_ms", lambda: NOW_MS)


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


def test_a_cancel_request_and_the_attempt_of_a_retried_run() -> None:
    run = traced(history.WorkflowExecutionCancelRequested("customer called", "me"))
    assert text(run)[2:] == [" │   Cancel cause: customer called", " │   Cancel requested by: me"]
    run.update(
        HistoryEvent(
            1,
            START_MS,
            history.WorkflowExecutionStarted("order-1", "run-1", "OrderSaga", "orders", attempt=2),
        )
    )
    assert text(run)[0] == " ╪ ▷ OrderSaga (1 minute ago, 2 attempts)"


def test_what_no_trace_shows_is_passed_over() -> None:
    run = traced(
        history.WorkflowTask(START_MS),
        history.WorkflowTaskScheduled(),
        history.WorkflowTaskStarted(3),
        history.WorkflowTaskFailed(3, 4),
        history.WorkflowExecutionSignaled("go"),
        history.MarkerRecorded("patch"),
        history.OtherEvent("NexusOperationScheduled", "{}"),
        history.ActivityTaskCompletedEvent(99, 100),
    )
    assert text(run) == HEAD


def test_icons_have_colors() -> None:
    run = traced(
        SCHEDULED,
        history.ActivityTaskStartedEvent(2),
        history.ActivityTaskFailedEvent(2, 3, Failure("no")),
    )
    colors = {
        str(part): part.color
        for line in run.lines()
        for part in line
        if isinstance(part, trace.Painted)
    }
    assert (colors["▷"], colors["!"], colors["Failure:"], colors["order-1"]) == (34, 31, 31, 34)


# --- what waits, by the description


def described(run: TracedRun, **fields: Any) -> list[str]:
    status = fields.pop("status", "RUNNING")
    parked = fields.pop("quarantine_reason", "")
    run.describe(
        WorkflowDescription(
            summary("order-1", "run-1", status=status, quarantine_reason=parked), **fields
        )
    )
    return text(run)


def pending(state: str, attempt: int, **fields: Any) -> PendingActivity:
    return PendingActivity(
        "a", "charge", "payments", state, attempt, scheduled_event_id=2, **fields
    )


def test_an_activity_between_two_attempts() -> None:
    activity = pending(
        "SCHEDULED",
        4,
        last_started_time_ms=NOW_MS - 9_000,
        next_attempt_time_ms=NOW_MS + 3_000,
        last_failure=Failure("declined"),
    )
    run = traced(SCHEDULED)
    assert described(run, pending_activities=[activity])[2:] == [
        " │   ┼ • charge (9 seconds ago, 3 attempts)",
        " │   │   Failure: declined",
        " │   │   attempt 4: 3 seconds from now",
    ]
    assert described(run, pending_activities=[pending("STARTED", 5, last_started_time_ms=NOW_MS)])[
        2:
    ] == [" │   ┼ ▷ charge (now, 5 attempts)"]
    run.update(HistoryEvent(3, NOW_MS, history.ActivityTaskStartedEvent(2, 5)))
    run.update(HistoryEvent(4, NOW_MS + 2_000, history.ActivityTaskCompletedEvent(2, 3)))
    late = described(
        run,
        pending_activities=[
            pending("STARTED", 5, last_started_time_ms=NOW_MS, waiting_reason="slow")
        ],
    )
    assert late[2:] == [" │   ┼ ✓ charge (2.0 s, 5 attempts)"], "its end is known already"


def test_an_activity_whose_last_start_is_not_known() -> None:
    run = traced(SCHEDULED)
    assert (
        described(run, pending_activities=[pending("SCHEDULED", 3, last_failure=Failure("no"))])[2]
        == " │   ┼ • charge (2 attempts)"
    )
    assert described(run, pending_activities=[pending("SCHEDULED", 2)])[2] == " │   ┼ • charge"


def test_an_activity_that_nobody_takes() -> None:
    assert described(
        traced(SCHEDULED), pending_activities=[pending("SCHEDULED", 1, waiting_reason="no service")]
    )[2:] == [
        " │   ┼ • charge",
        " │   │   waits: no service",
    ]


def test_a_timer_that_is_due() -> None:
    run = traced(history.TimerStarted("1", 90_000))
    assert (
        described(run, pending_timers=[PendingTimer("1", 2, START_MS + 91_000)])[3]
        == " │   │   due 2026-09-21T14:14:51.000Z"
    )
    run.update(HistoryEvent(3, NOW_MS, history.TimerFired("1", 2)))
    assert len(text(run)) == 3


def test_a_run_that_does_not_get_on() -> None:
    run = traced()
    failing = " │   Does not get on: workflow task fails, attempt 3: bug"
    assert described(run, pending_task_attempt=3, pending_task_failure=Failure("bug"))[2:] == [
        failing
    ]
    assert described(run, quarantine_reason="it blocks")[2:] == [" │   Does not get on: it blocks"]
    run.update(HistoryEvent(2, NOW_MS, history.WorkflowExecutionTerminated()))
    assert described(run, quarantine_reason="it blocks") == [" ╪ x OrderSaga (1.0 min)", HEAD[1]]


def test_what_is_pending_of_a_run_that_has_closed_is_not_taken() -> None:
    assert described(
        traced(SCHEDULED), status="COMPLETED", pending_activities=[pending("STARTED", 9)]
    )[2:] == [" │   ┼ • charge"]


def test_it_steers_no_terminal() -> None:
    evil = "a\x1b[2J\nb"
    run = TracedRun(evil, evil, evil)
    for number, one in enumerate(
        (history.ActivityTaskScheduled("a", evil, evil), history.TimerStarted(evil, 1)), 1
    ):
        run.update(HistoryEvent(number, START_MS, one))
    run.update(HistoryEvent(3, START_MS, history.WorkflowExecutionFailed(Failure(evil))))
    lines = text(run)
    assert len(lines) == 6 and all(line.isprintable() for line in lines)


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


@pytest.mark.parametrize(
    ("attributes", "status", "returned"),
    [
        (history.WorkflowExecutionFailed(Failure("no money")), "FAILED", 1),
        (history.WorkflowExecutionTimedOut(), "TIMED_OUT", 1),
        (history.WorkflowExecutionCanceled(), "CANCELED", 1),
        (history.WorkflowExecutionTerminated(), "TERMINATED", 1),
        (
            history.WorkflowExecutionContinuedAsNew("next", "OrderSaga", "orders"),
            "CONTINUED_AS_NEW",
            0,
        ),
    ],
)
def test_its_exit_status(
    attributes: Any, status: str, returned: int, owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.add(summary("order-1"))
    close(owner, attributes, status=status)
    assert cli.main(COMMAND) == returned
    err = capsys.readouterr().err
    assert (
        (err == "")
        if not returned
        else (f"workflow 'order-1' is {status}" in err and err.count("\n") == 1)
    )
    assert ("no money" in err) is (status == "FAILED")


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


def test_a_tree_that_is_too_large_for_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((30, 12)))
    run = traced(
        *(
            history.ActivityTaskScheduled("a", f"activity-{number}-{'x' * 40}", "payments")
            for number in range(40)
        )
    )
    drawing = trace._Drawing()
    drawing.draw(run)
    lines = terminal.getvalue().splitlines()
    assert (
        len(lines) == 10
        and all(len(line) < 30 for line in lines)
        and lines[2] == " … 33 lines more"
    )
    assert (
        lines[0].startswith(" ╪ ▷")
        and "activity-33" in lines[3]
        and "activity-39" in lines[-1]
        and lines[-1].endswith("…")
    )
    drawing.end(run)
    assert (
        terminal.getvalue().count("\x1b[10A") == 1
        and len(terminal.getvalue().splitlines()) == 10 + 42
    )


def test_ctrl_c_writes_what_there_is(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.add(
        summary("order-1"),
        [
            HistoryEvent(
                1, START_MS, history.WorkflowExecutionStarted("order-1", "r", "OrderSaga", "orders")
            )
        ],
    )
    owner.descriptions["order-1"] = WorkflowDescription(
        owner.runs["order-1"], pending_task_attempt=3, pending_task_failure=Failure("bug")
    )
    monkeypatch.setattr(trace, "_LAST_WORD_S", 60.0)
    assert interrupted(owner)[:3] == [
        " ╪ ▷ OrderSaga (1 minute ago)",
        " │   wfId: order-1, runId: r",
        " │   Does not get on: workflow task fails, attempt 3: bug",
    ]
    monkeypatch.setattr(trace, "_LAST_WORD_S", 0.05)
    began = time.monotonic()
    assert (
        interrupted(owner, muted=True)[:1] == [" ╪ ▷ OrderSaga (1 minute ago)"]
        and time.monotonic() - began < 60
    ), "nobody answers"


def interrupted(owner: Owner, *, muted: bool = False) -> list[str]:
    """What a trace writes that is cancelled, as by Ctrl-C, once it has read the history. muted:
    its owner says nothing any more then.
    """

    async def run() -> None:
        client: Client = await Client.connect(
            settings=None, api_key=None, lazy=True
        )  # the scripted one
        handle = client.get_workflow_handle("order-1", task_queue="orders")
        run = TracedRun("order-1", "r", "OrderSaga")
        tracing = asyncio.ensure_future(
            trace._follow(
                handle, run, build_parser().parse_args([*COMMAND, "--rpc-timeout", "120s"])
            )
        )
        while not run.started_ms:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        owner.muted = muted
        tracing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tracing

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        asyncio.run(run())
    return out.getvalue().splitlines()


def test_a_history_that_cannot_be_read_ends_it(
    owner: Owner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.add(summary("order-1"))
    monkeypatch.setattr(
        owner,
        "_page",
        lambda _, record, run: reply_to(record, "NOT_FOUND", message="deleted meanwhile"),
    )
    assert cli.main(COMMAND) == 4
    said = capsys.readouterr()
    assert (
        "deleted meanwhile" in said.err
        and said.err.count("\n") == 1
        and " ╪ ▷ OrderSaga" in said.out
    )


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_no_json(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*COMMAND, "-o", form]) == 2
    assert "`odradek workflow show -w order-1 --follow -o jsonl`" in capsys.readouterr().err


def test_of_a_workflow_that_is_not_there(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(COMMAND) == 4 and "order-1" in capsys.readouterr().err


def test_the_history_of_the_example_has_no_step_without_a_name() -> None:
    run = TracedRun("w", "r", "?")
    for event in completed_history(summary("order-1")):
        run.update(event)
    assert [(step.name, step.status, step.attempt) for step in run.steps.values()] == [
        ("charge", "COMPLETED", 2)
    ]
    assert run.workflow_type == "OrderSaga"
