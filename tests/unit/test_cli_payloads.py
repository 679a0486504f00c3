"""Payloads that the command line cannot decode (a codec wrote them, their bytes are damaged) are shown as such, and end no command."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from odradek import cli
from odradek.client import Client
from odradek.converter import DataConverter
from odradek.wire import events, outcomes
from odradek.wire.outcomes import ExecutionSummary, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.unit.client_fakes import FakeTransport, closed, connect, reply_to

SECRET = Payload({"encoding": b"binary/encrypted", "encryption-key-id": b"k1"}, b"\x00\x01secret")
DAMAGED = Payload({"encoding": b"json/plain"}, b'{"half": ')
READABLE = DataConverter.default.payload_converter.to_payloads(["fragile"])[0]
LONG = {
    "metadata": {name: base64.b64encode(value).decode() for name, value in SECRET.metadata.items()},
    "data": base64.b64encode(SECRET.data).decode(),
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


def test_describe_shows_a_memo_that_it_cannot_read(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    summary = ExecutionSummary("default", "q", "w", "r", "T", "RUNNING", memo={"card": SECRET, "bad": DAMAGED, "note": READABLE})
    description = WorkflowDescription(summary, static_summary=SECRET, static_details=SECRET)
    transport.serve("q", lambda _, record: reply_to(record, description=description))
    status, out, err = run(capsys, "workflow", "describe")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (status, err) == (0, "") and lines["Summary"] == lines["Details"] == TEXT
    memo = json.loads(lines["Memo"])
    assert memo["card"] == TEXT and memo["note"] == "fragile"
    assert memo["bad"].startswith("unreadable: encoding json/plain, 9 bytes, ") and "codec" not in memo["bad"]
    status, out, err = run(capsys, "workflow", "describe", "-o", "json")
    assert (status, err) == (0, "") and json.loads(out)["workflowExecutionInfo"]["memo"]["fields"]["card"] == LONG


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], None),
        (["-o", "json"], {"workflowId": "w", "status": "COMPLETED", "result": LONG}),
        (["-o", "jsonl"], {"workflowId": "w", "status": "COMPLETED", "result": LONG}),
    ],
)
def test_results(arguments: list[str], shown: Any, transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(_: str, record: Any) -> Any:
        reply = closed(record)
        reply.result.result = [SECRET]  # type: ignore[union-attr]
        return reply

    transport.serve("q", answer)
    status, out, err = run(capsys, "workflow", "result", *arguments)
    assert (status, err) == (0, "")
    assert json.loads(out) == (LONG if shown is None else shown)


@pytest.mark.parametrize(("arguments", "shown"), [([], LONG), (["-o", "json"], {"queryResult": LONG})])
def test_answers_of_queries(arguments: list[str], shown: Any, transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.serve("q", lambda _, record: reply_to(record, payloads=[SECRET]))
    status, out, err = run(capsys, "workflow", "query", "--name", "x", *arguments)
    assert (status, err) == (0, "") and json.loads(out) == shown


def test_a_call_stack(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.serve("q", lambda _, record: reply_to(record, payloads=[SECRET]))
    assert run(capsys, "workflow", "stack") == (0, TEXT + "\n", "")


def test_details_of_a_failure(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(message="no", encoded_attributes=SECRET, details=[SECRET])
    transport.serve("q", lambda _, record: closed(record, outcomes.FAILED, failure=failure))
    status, _, err = run(capsys, "workflow", "result")
    assert status == 1 and err.startswith("odradek: workflow failed: ") and err.count("\n") == 1


def test_arguments_are_written_as_ever(transport: FakeTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.serve("q", lambda _, record: reply_to(record))
    assert run(capsys, "workflow", "signal", "--name", "s", "-i", '{"a": 1}')[0] == 0
    (signal,) = transport.records(events.SignalWorkflow)
    assert signal.input == [Payload({"encoding": b"json/plain"}, b'{"a":1}')]
