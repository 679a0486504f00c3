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
from odradek.wire.outcomes import ExecutionSummary, WorkflowDescription
from odradek.wire.payload import Payload
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
