"""`workflow describe`, `metadata`, `show` and `task-queue describe --task-queue-type`: what they
write of scripted answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from odradek import cli
from odradek.cli import times
from odradek.client import Client
from odradek.wire.events import (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    AwaitResult,
    QueryWorkflow,
)
from odradek.wire.outcomes import PendingActivity, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.support.transport import FakeTransport, closed, connect, reply_to
from tests.unit.web_server import COMPLETED, START_MS, Owner, busy_description, plain, summary

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def owner(transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> Owner:
    """The owner of queue `orders`, whom commands ask in place of Kafka."""

    async def connected(*, settings: Any, api_key: Any, lazy: bool, **more: Any) -> Any:
        return connect(transport, **more)

    monkeypatch.setattr(Client, "connect", connected)
    monkeypatch.setattr(times, "now_ms", lambda: START_MS + 3_600_000)
    return Owner(transport)


@pytest.fixture
def odradek(owner: Owner, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        status = cli.main(
            [*arguments, "-w", "order-1", *(() if arguments[0] == "activity" else ("-t", "orders"))]
        )
        said = capsys.readouterr()
        assert said.err == "", said.err
        return status, said.out

    return run


def fields(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)


# --- describe


def test_times_are_relative_unless_told_otherwise(owner: Owner, odradek: Run) -> None:
    owner.add(summary("order-1"))
    owner.descriptions["order-1"] = busy_description(owner.runs["order-1"])
    out = odradek("workflow", "describe")[1]
    assert (
        fields(out)["StartTime"] == "1 hour ago"
        and "58 minutes ago" not in out
        and "\nPending timers: 1\n" in out
    )
    assert out.splitlines()[-1].split() == ["1", "59", "minutes", "ago"]  # its timer is late
    out = odradek("workflow", "describe", "--time-format", "iso")[1]
    assert fields(out)["StartTime"] == "2026-09-21T14:13:20.000Z" and out.splitlines()[
        -1
    ].split() == ["1", "2026-09-21T14:14:20.000Z"]
    assert (
        fields(odradek("workflow", "describe", "--time-format", "raw")[1])["StartTime"]
        == "2026-09-21 14:13:20 +0000 UTC"
    )


def test_its_colors(owner: Owner, odradek: Run) -> None:
    owner.add(summary("order-1"))
    owner.descriptions["order-1"] = busy_description(owner.runs["order-1"])
    out = odradek("workflow", "describe", "--color", "always")[1]
    assert (
        "\x1b[34mRunning\x1b[0m" in out
        and "\x1b[35mPending activities: 1\x1b[0m" in out
        and "\x1b[31mdeclined\x1b[0m" in out
    )
    assert "\x1b[31mattempt 4: bug\x1b[0m" in out
    parked = summary(
        "order-1", reported_problems=["category=WorkflowTaskFailed", "category=Parked"]
    )
    owner.descriptions["order-1"] = busy_description(parked)
    assert (
        "\x1b[31mRunning (parked)\x1b[0m" in odradek("workflow", "describe", "--color", "always")[1]
    ), "as in the list"
    assert "\x1b" not in odradek("workflow", "describe", "--color", "never")[1]
    assert "\x1b" not in odradek("workflow", "describe", "--color", "always", "-o", "json")[1]


def test_raw(owner: Owner, odradek: Run) -> None:
    owner.add(summary("order-1", memo={"note": plain("fragile")}))
    owner.descriptions["order-1"] = busy_description(owner.runs["order-1"])
    told = fields(odradek("workflow", "describe", "--raw")[1])
    assert told["workflowExecutionInfo.status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    assert told["workflowExecutionInfo.startTime"] == "2026-09-21T14:13:20Z"
    assert told["workflowExecutionInfo.memo.fields.note.metadata.encoding"] == "anNvbi9wbGFpbg=="
    assert (
        told["pendingActivities.0.state"] == "PENDING_ACTIVITY_STATE_SCHEDULED"
        and told["pendingActivities.0.attempt"] == "3"
    )
    assert told["odradek.failingTask.message"] == "bug"
    long = json.loads(odradek("workflow", "describe", "--raw", "-o", "json")[1])[
        "workflowExecutionInfo"
    ]["memo"]["fields"]["note"]
    assert long["data"] == "ImZyYWdpbGUi"
    assert (
        json.loads(odradek("workflow", "describe", "-o", "json")[1])["workflowExecutionInfo"][
            "memo"
        ]["fields"]["note"]
        == "fragile"
    )


def closing(
    owner: Owner, transport: FakeTransport, status: str, value: Any = None, **outcome: Any
) -> None:
    """A run that closed so, an hour and a half after its start."""
    owner.add(summary("order-1", status=status, close_time_ms=START_MS + 5_400_000))

    def answer(queue: str, record: Any) -> Any:
        return (
            closed(record, status, value, **outcome)
            if isinstance(record, AwaitResult)
            else owner.answer(queue, record)
        )

    transport.serve("orders", answer)


@pytest.mark.parametrize(
    ("status", "outcome", "shown", "in_json", "ours"),
    [
        (
            COMPLETED,
            {"value": {"a": [1]}},
            ['Result   {"a": [1]}', "ResultEncoding json/plain"],
            {"result": {"a": [1]}},
            None,
        ),
        (COMPLETED, {}, ["Result   null", "ResultEncoding binary/null"], {"result": None}, None),
        (
            "FAILED",
            {"failure": Failure("no money", type="T")},
            ["Failure  T: no money"],
            {},
            {"failure": "T: no money"},
        ),
        ("TIMED_OUT", {}, ["Failure  Workflow timed out"], {}, {"failure": "Workflow timed out"}),
        ("TERMINATED", {"failure": Failure("stale")}, ["Failure  stale"], {}, {"failure": "stale"}),
        (
            "CONTINUED_AS_NEW",
            {"new_execution_run_id": "run-2"},
            ["ContinuedAs  run-2"],
            {},
            {"newExecutionRunId": "run-2"},
        ),
    ],
)
def test_what_a_closed_run_ended_with(
    status: str,
    outcome: dict[str, Any],
    shown: list[str],
    in_json: dict[str, Any],
    ours: dict[str, Any] | None,
    transport: FakeTransport,
    owner: Owner,
    odradek: Run,
) -> None:
    closing(owner, transport, status, **outcome)
    lines = odradek("workflow", "describe")[1].partition("\nResults:\n")[2].splitlines()
    word = "TIMEOUT" if status == "TIMED_OUT" else status
    assert [line.split(maxsplit=1) for line in lines] == [
        one.split(maxsplit=1) for one in ("RunTime 1.5 h", f"Status {word}", *shown)
    ]
    told = json.loads(odradek("workflow", "describe", "-o", "json")[1])
    assert {name: told[name] for name in told if name == "result"} == in_json and told.get(
        "odradek"
    ) == ours
    if status == COMPLETED:  # the only one whose history is complete in this test
        event = told["closeEvent"]
        assert (event["eventId"], event["eventType"]) == (
            "12",
            "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED",
        )
        assert event["workflowExecutionCompletedEventAttributes"]["result"] == ["done"], (
            "payloads in short form"
        )


# --- metadata

METADATA = {
    "definition": {
        "type": "OrderSaga",
        "queryDefinitions": [
            {"name": "__stack_trace", "description": ""},
            {"name": "status", "description": "where it\nis"},
        ],
        "signalDefinitions": [{"name": "cancel", "description": ""}],
        "updateDefinitions": [],
    },
    "currentDetails": "waits for\nthe post\x1b",
}


def test_metadata(owner: Owner, odradek: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[QueryWorkflow] = []

    def query(record: QueryWorkflow, _: Any) -> Any:
        asked.append(record)
        return reply_to(record, payloads=[plain(METADATA)])

    owner.add(summary("order-1"))
    monkeypatch.setattr(owner, "_query", query)
    out = odradek("workflow", "metadata", "--reject-condition", "not_open")[1]
    assert (asked[0].query_type, asked[0].reject_condition) == (
        "__temporal_workflow_metadata",
        "NOT_OPEN",
    )
    assert out.splitlines() == [
        "Type  OrderSaga",
        "",
        "Query definitions: 2",
        "NAME           DESCRIPTION",
        "__stack_trace  -",
        "status         where it is",
        "",
        "Signal definitions: 1",
        "NAME    DESCRIPTION",
        "cancel  -",
        "",
        "Current details:",
        "waits for",
        "the post\\x1b",
    ]
    assert json.loads(odradek("workflow", "metadata", "-o", "json")[1]) == {
        "queryResult": [METADATA]
    }


# --- show


def test_times_and_colors_of_events(owner: Owner, odradek: Run) -> None:
    owner.add(summary("order-1", status=COMPLETED, close_time_ms=START_MS + 9))
    lines = odradek("workflow", "show")[1].splitlines()
    assert lines[1].split() == [
        "1",
        "2026-09-21T14:13:20.000Z",
        "WorkflowExecutionStarted",
    ], "iso, where they stand close to each other"
    assert odradek("workflow", "show", "--time-format", "relative")[1].splitlines()[1].split()[
        1:4
    ] == ["1", "hour", "ago"]
    for arguments in ((), ("--detailed",)):
        out = odradek("workflow", "show", "--color", "always", *arguments)[1]
        assert (
            "\x1b[34mWorkflowExecutionStarted\x1b[0m" in out
            and "\x1b[32mWorkflowExecutionCompleted\x1b[0m" in out
        )
    assert "\x1b" not in odradek("workflow", "show", "--color", "always", "-o", "jsonl")[1]


# --- activities that are completed from outside


def pending(owner: Owner) -> None:
    owner.add(summary("order-1"))
    activity = PendingActivity("approval", "approve", "orders", "STARTED", 2, scheduled_event_id=5)
    owner.descriptions["order-1"] = WorkflowDescription(
        owner.runs["order-1"], pending_activities=[activity]
    )


def test_complete_an_activity(owner: Owner, odradek: Run) -> None:
    pending(owner)
    status, out = odradek("activity", "complete", "-a", "approval", "--result", '{"by": "Milena"}')
    assert (status, out) == (0, "order-1: activity approval reported as completed\n")
    (report,) = [record for record in owner.seen if isinstance(record, ActivityTaskCompleted)]
    assert (report.workflow_id, report.activity_id, report.attempt, report.scheduled_event_id) == (
        "order-1",
        "approval",
        2,
        5,
    )
    assert report.result == [Payload({"encoding": b"json/plain"}, b'{"by":"Milena"}')]


def test_fail_an_activity(owner: Owner, odradek: Run) -> None:
    pending(owner)
    told = json.loads(
        odradek(
            "activity", "fail", "-a", "approval", "--reason", "no", "--detail", "[1]", "-o", "json"
        )[1]
    )
    assert told == {"workflowId": "order-1", "activityId": "approval", "reported": "failed"}
    (report,) = [record for record in owner.seen if isinstance(record, ActivityTaskFailed)]
    assert (
        report.failure.message == "no"
        and report.failure.non_retryable
        and [one.data for one in report.failure.details] == [b"[1]"]
    )


# --- task queues
