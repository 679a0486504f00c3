"""Payloads that the command line cannot decode (a codec wrote them, their bytes are damaged) are
shown as such, and end no command.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from odradek import cli
from odradek.client import Client
from odradek.converter import DataConverter
from odradek.wire import events, outcomes
from odradek.wire.history import (
    HistoryEvent,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from odradek.wire.outcomes import ExecutionSummary, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.support.transport import FakeTransport, closed, connect, reply_to

SECRET = Payload({"encoding": b"binary/encrypted", "encryption-key-id": b"k1"}, b"\x00\x01secret")
DAMAGED = Payload({"encoding": b"json/plain"}, b'{"half": ')
READABLE = DataConverter.default.payload_converter.to_payloads(["fragile"])[0]
LONG = {
    "metadata": {name: base64.b64encode(value).decode() for name, value in SECRET.metadata.items()},
    "data": base64.b64encode(SECRET.data).decode(),
}
RESULT = {
    "workflowId": "w",
    "runId": "run",
    "namespace": "default",
    "status": "COMPLETED",
    "closeEvent": None,
    "result": LONG,
}
TEXT = "unreadable: encoding binary/encrypted, 8 bytes, written by a payload codec"


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """Where commands ask, in place of Kafka; the client is made as they make it."""
    made = FakeTransport()

    async def connected(*, settings: Any, api_key: Any, lazy: bool, **more: Any) -> Any:
        return connect(made, **more)

    monkeypatch.setattr(Client, "connect", connected)
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main([*arguments, "-w", "w", "-t", "q"])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_describe_shows_a_memo_that_it_cannot_read(
    transport: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = ExecutionSummary(
        "default",
        "q",
        "w",
        "r",
        "T",
        "RUNNING",
        memo={"card": SECRET, "bad": DAMAGED, "note": READABLE},
    )
    description = WorkflowDescription(summary, static_summary=SECRET, static_details=SECRET)
    transport.serve("q", lambda _, record: reply_to(record, description=description))
    status, out, err = run(capsys, "workflow", "describe")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (status, err) == (0, "") and lines["Summary"] == lines["Details"] == TEXT
    memo = json.loads(lines["Memo"])
    assert memo["card"] == TEXT and memo["note"] == "fragile"
    assert (
        memo["bad"].startswith("unreadable: encoding json/plain, 9 bytes, ")
        and "codec" not in memo["bad"]
    )
    status, out, err = run(capsys, "workflow", "describe", "-o", "json")
    assert (status, err) == (0, "") and json.loads(out)["workflowExecutionInfo"]["memo"]["fields"][
        "card"
    ] == LONG


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], None),
        (["-o", "json"], RESULT),
        (["-o", "jsonl"], RESULT),
    ],
)
def test_results(
    arguments: list[str], shown: Any, transport: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_: str, record: Any) -> Any:
        if isinstance(record, events.FetchHistory):
            return reply_to(record, outcomes.NOT_FOUND)
        reply = closed(record)
        reply.result.result = [SECRET]  # type: ignore[union-attr]
        return reply

    transport.serve("q", answer)
    status, out, err = run(capsys, "workflow", "result", *arguments)
    assert (status, err) == (0, "")
    assert out == TEXT + "\n" if shown is None else json.loads(out) == shown


@pytest.mark.parametrize(
    ("arguments", "shown"), [([], None), (["-o", "json"], {"queryResult": {"payloads": [LONG]}})]
)
def test_answers_of_queries(
    arguments: list[str], shown: Any, transport: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    transport.serve("q", lambda _, record: reply_to(record, payloads=[SECRET]))
    status, out, err = run(capsys, "workflow", "query", "--name", "x", *arguments)
    assert (status, err) == (0, "")
    assert out == TEXT + "\n" if shown is None else json.loads(out) == shown


def test_events_in_detail(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever payloads stand in an event: alone, in a list beside one that can be read, by
    name, in a failure.
    """
    failure = Failure(message="no", encoded_attributes=SECRET, details=[READABLE, SECRET])
    noted = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"x"')
    bare = Payload({}, b"12")
    events = [
        HistoryEvent(
            1,
            1_000,
            WorkflowExecutionStarted(
                "w", "r", "T", "q", [READABLE, SECRET], {"h": SECRET}, {"m": DAMAGED, "n": noted}
            ),
        ),
        HistoryEvent(2, 2_000, WorkflowExecutionSignaled("s", [SECRET])),
        HistoryEvent(3, 3_000, WorkflowExecutionSignaled("t", [READABLE, bare])),
        HistoryEvent(4, 4_000, WorkflowExecutionFailed(failure)),
    ]
    transport.serve(
        "q", lambda _, record: reply_to(record, history=events, workflow_status="FAILED")
    )
    status, out, err = run(capsys, "workflow", "show", "--detailed")
    assert (status, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert f'input: ["fragile", "{TEXT}"]' in lines and f'input: ["{TEXT}"]' in lines
    assert f'header: {{"fields": {{"h": "{TEXT}"}}}}' in lines
    (memo,) = [line.removeprefix("memo: ") for line in lines if line.startswith("memo: ")]
    shown = json.loads(memo)["fields"]
    assert shown["m"].startswith("unreadable: encoding json/plain, 9 bytes, ")
    assert base64.b64decode(shown["n"]["data"]) == b'"x"', (
        "what can be read keeps metadata of its own"
    )
    assert (
        'input: ["fragile", "unreadable: encoding none, 2 bytes, written by a payload codec"]'
        in lines
    )
    (failed,) = [
        json.loads(line.removeprefix("failure: ")) for line in lines if line.startswith("failure: ")
    ]
    assert failed["encodedAttributes"] == TEXT and failed["applicationFailureInfo"]["details"] == [
        "fragile",
        TEXT,
    ]
    written = [
        json.loads(line) for line in run(capsys, "workflow", "show", "-o", "jsonl")[1].splitlines()
    ]
    assert written[1]["workflowExecutionSignaledEventAttributes"]["input"]["payloads"] == [LONG]


def test_a_call_stack(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.serve("q", lambda _, record: reply_to(record, payloads=[SECRET]))
    assert run(capsys, "workflow", "stack") == (0, TEXT + "\n", "")


def test_details_of_a_failure(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(message="no", encoded_attributes=SECRET, details=[SECRET])
    transport.serve("q", lambda _, record: closed(record, outcomes.FAILED, failure=failure))
    status, _, err = run(capsys, "workflow", "result")
    assert status == 1 and err.startswith("odradek: workflow failed: ") and err.count("\n") == 1


def test_arguments_are_written_as_ever(
    transport: FakeTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    transport.serve("q", lambda _, record: reply_to(record))
    assert run(capsys, "workflow", "signal", "--name", "s", "-i", '{"a": 1}')[0] == 0
    (signal,) = transport.records(events.SignalWorkflow)
    assert signal.input == [Payload({"encoding": b"json/plain"}, b'{"a":1}')]
