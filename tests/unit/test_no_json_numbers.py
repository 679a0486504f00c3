"""NaN, Infinity and numbers beyond a double, which Python reads and writes and JSON has not:
payloads that hold them are shown as what they are, whole answers stay JSON, and nobody's input
becomes one.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from odradek import cli
from odradek.cli.app import build_parser
from odradek.cli.inputs import inputs_of
from odradek.cli.output import json_text
from odradek.cli.status import UsageError
from odradek.cli.workflow.start import start_keywords
from odradek.client import Client
from odradek.web.errors import ApiError
from odradek.web.hub import sse
from odradek.web.shown_json import parse_shown
from odradek.web.temporal.endpoint import json_response
from odradek.web.ui.arguments import payloads_of
from odradek.wire.events import StartWorkflow
from odradek.wire.history import HistoryEvent, WorkflowExecutionCompleted
from odradek.wire.payload import Payload
from odradek.wire.standard_json import loads
from tests.support.transport import FakeTransport, closed, connect, reply_to
from tests.unit.web_server import COMPLETED, START_MS, WebServer, completed_history, summary

API, OURS = "/api/v1/namespaces/default", "/api/odradek/v1"
TEXTS = ["NaN", '{"x":Infinity}', "[-Infinity]", "[1e999]", "-1e999"]
START = {"workflowType": {"name": "T"}, "taskQueue": {"name": "orders"}}


def odd(text: str) -> Payload:
    return Payload({"encoding": b"json/plain"}, text.encode())


def long_form(text: str) -> Any:
    return {
        name: _deep_base64(value)
        for name, value in (("metadata", {"encoding": "json/plain"}), ("data", text))
    }


def _deep_base64(value: Any) -> Any:
    return (
        {key: _deep_base64(part) for key, part in value.items()}
        if isinstance(value, dict)
        else base64.b64encode(value.encode()).decode()
    )


def refuse(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def strict(text: str | bytes) -> Any:
    """What any other language reads."""
    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    yield web
    web.store.close()


@pytest.mark.parametrize("text", TEXTS)
def test_parsers(text: str) -> None:
    for parse in (loads, parse_shown):
        with pytest.raises(ValueError, match=r"no JSON (value|number)"):
            parse(text)
        assert parse('{"a": [1.5, -1e300, 1e-999, 12345678901234567890]}') == {
            "a": [1.5, -1e300, 0.0, 12345678901234567890]
        }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_writers(value: float) -> None:
    """Nothing that is no JSON leaves: whoever gets so far has forgotten to look."""
    for write in (lambda: json_response([value]), lambda: sse("runs", [value])):
        with pytest.raises(ValueError, match="JSON"):
            write()
    assert strict(json_text({"rate": value})) == {"rate": str(value)}


@pytest.mark.parametrize("text", TEXTS)
async def test_temporals_api(server: WebServer, text: str) -> None:
    run = summary("order-1", status=COMPLETED, close_time_ms=START_MS + 5, memo={"x": odd(text)})
    events = completed_history(run)
    events[-1] = HistoryEvent(12, START_MS + 9, WorkflowExecutionCompleted([odd(text)], 11))
    server.add(run, events)
    server.transport.serve("other", lambda _, record: reply_to(record, payloads=[odd(text)]))
    async with server.client() as client:
        history = strict((await client.get(f"{API}/workflows/order-1/history")).content)["history"][
            "events"
        ]
        assert history[-1]["workflowExecutionCompletedEventAttributes"]["result"] == {
            "payloads": [long_form(text)]
        }
        listed = strict((await client.get(f"{API}/workflows")).content)["executions"]
        assert listed[0]["memo"]["fields"]["x"] == long_form(text)
        queried = await client.post(f"{API}/workflows/q/query/state?taskQueue=other", json={})
        assert strict(queried.content)["queryResult"] == {"payloads": [long_form(text)]}


@pytest.mark.parametrize("text", TEXTS)
async def test_our_api(server: WebServer, text: str) -> None:
    run = summary("order-1", status=COMPLETED, close_time_ms=START_MS + 5, memo={"x": odd(text)})
    events = completed_history(run)
    events[-1] = HistoryEvent(12, START_MS + 9, WorkflowExecutionCompleted([odd(text)], 11))
    server.add(run, events)

    def shown(payload: dict[str, Any]) -> None:
        assert (
            "value" not in payload
            and "is no JSON" in payload["unreadable"]
            and base64.b64decode(payload["data"]) == text.encode()
        )

    async with server.client() as client:
        shown(
            strict((await client.get(f"{OURS}/workflows/order-1/history")).content)["events"][-1][
                "attributes"
            ]["result"][0]
        )
        shown(strict((await client.get(f"{OURS}/workflows")).content)["runs"][0]["memo"]["x"])
        stream = await client.get(f"{OURS}/workflows/order-1/events")
        messages = [
            strict(line.removeprefix("data: "))
            for line in stream.text.splitlines()
            if line.startswith("data: ")
        ]
        shown(messages[0]["events"][-1]["attributes"]["result"][0])


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_command_line_shows_them(
    text: str, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = FakeTransport()

    async def connected(*, settings: Any, api_key: Any, lazy: bool, **more: Any) -> Any:
        return connect(transport, **more)

    def answer(_: str, record: Any) -> Any:
        reply = (
            closed(record)
            if type(record).__name__ == "AwaitResult"
            else reply_to(record, payloads=[odd(text)])
        )
        if reply.result is not None:
            reply.result.result = [odd(text)]
        return reply

    monkeypatch.setattr(Client, "connect", connected)
    transport.serve("q", answer)
    for command in (["result"], ["query", "--name", "state"]):
        assert cli.main(["workflow", *command, "-w", "w", "-t", "q", "-o", form]) == 0
        out = capsys.readouterr().out
        if form == "text":
            assert out.startswith("unreadable: ") and out.count("\n") == 1, out
            continue
        value = strict(out)
        found = [value, *value.values(), *value.get("queryResult", {}).get("payloads", [])]
        assert long_form(text) in found, found


# ---------------------------------------------------------------- what comes in


@pytest.mark.parametrize("text", TEXTS)
async def test_bodies(server: WebServer, text: str) -> None:
    server.add(summary("order-1"))
    async with server.client() as client:
        for path, name in (("new", "input"), ("order-1/signal/go", "input")):
            body = (
                json.dumps(START if path == "new" else {})[:-1].rstrip()
                + ("," if path == "new" else "")
                + f'"{name}":[{text}]}}'
            )
            answer = await client.post(
                f"{API}/workflows/{path}",
                content=body,
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 400 and "no JSON" in answer.json()["message"], answer.text
    assert not server.transport.records(StartWorkflow)


@pytest.mark.parametrize("text", TEXTS)
def test_arguments_that_people_type(text: str) -> None:
    with pytest.raises(ApiError, match="no JSON"):
        payloads_of(f'"a" {text}')


@pytest.mark.parametrize("text", TEXTS)
def test_arguments_of_the_command_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text(text)
    parser = build_parser()
    for more in (
        [f"--input={text}"],
        ["--input-file", str(file)],
        [f"--input={text}", "--input-meta", "kind=x"],
    ):
        with pytest.raises(UsageError, match="no JSON"):
            inputs_of(parser.parse_args(["workflow", "signal", "-w", "w", "--name", "s", *more]))
    with pytest.raises(UsageError, match="no JSON"):
        start_keywords(
            parser.parse_args(
                ["workflow", "start", "-w", "w", "-t", "q", "--type", "T", "--memo", f"x={text}"]
            )
        )
