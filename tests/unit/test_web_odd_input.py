"""Input that no client of ours sends: paths that are no text, page tokens made by hand,
histories that cannot be. All of it is 400.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from odradek.engine.history_json import JsonHistory, from_json
from odradek.visibility.query import compile_query, parse
from odradek.visibility.query.columns import NoAttributes
from odradek.visibility.store import paging
from odradek.web.errors import ApiError
from odradek.web.ui import histories
from odradek.web.ui.histories import HistoryBook
from tests.unit.web_server import START_MS, summary
from tests.unit.web_ui import UiServer, long_history

API = "/api/v1/namespaces/default"
JSON = {"content-type": "application/json"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UiServer]:
    made = UiServer(tmp_path)
    for number in range(3):
        made.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    yield made
    made.store.close()


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "segment",
    [
        "u%ee%80%80b",
        "u%EE%80%80%2Fb",
        "a%00b",
        "a%ffb",
        "%ed%a0%80",
        "x%2fy%00",
        "x%2fy%ff",
        "%c0%af",
    ],
)
async def test_paths_that_are_no_text(server: UiServer, segment: str) -> None:
    """The rules of bodies: no NUL, text that UTF-8 carries (half a surrogate pair is none); and
    no character that stands for a slash.
    """
    async with server.client() as client:
        for path in (
            f"{API}/workflows/{segment}",
            f"/api/odradek/v1/workflows/{segment}",
            f"/workflows/{segment}",
            f"/queues/{segment}",
        ):
            assert (await client.get(path)).status_code == 400, path
        begun = await client.post(
            f"{API}/workflows/{segment}",
            json={"workflowType": {"name": "T"}, "taskQueue": {"name": "orders"}},
        )
        assert begun.status_code == 400 and not server.owner.seen
        for path in ("/workflows/%F0%9F%98%80/x", f"{API}/workflows/%E2%98%83"):
            assert (await client.get(path)).status_code == 404, path


# ---------------------------------------------------------------- names in bodies

ODD = "\udfff"
LONG_PAYLOAD = {"metadata": {"encoding": "anNvbi9wbGFpbg==", ODD: "eA=="}, "data": "MQ=="}


@pytest.mark.parametrize(
    "body",
    [
        {"memo": {"fields": {ODD: 1}}},
        {"memo": {"fields": {"a\x00": 1}}},
        {"searchAttributes": {"indexedFields": {ODD: 1}}},
        {"header": {"fields": {ODD: 1}}},
        {"retryPolicy": {"nonRetryableErrorTypes": [ODD]}},
        {"input": [LONG_PAYLOAD]},
        {"input": {"payloads": [LONG_PAYLOAD]}},
        {"userMetadata": {"summary": LONG_PAYLOAD}},
        {"header": {"fields": {"a": LONG_PAYLOAD}}},
    ],
)
async def test_names_that_are_no_text(server: UiServer, body: dict[str, Any]) -> None:
    """Values of fields were looked at, their names were not."""
    async with server.client() as client:

        async def post(path: str, value: Any) -> None:
            answer = await client.post(
                f"{API}/workflows/{path}", content=json.dumps(value), headers=JSON
            )
            assert answer.status_code == 400 and "not text" in answer.json()["message"], answer.text

        start = {"workflowType": {"name": "T"}, "taskQueue": {"name": "orders"}}
        await post("new", start | body)
        await post("new/signal-with-start/go", start | body)
        if body.keys() <= {"header", "input"}:
            await post("order-1/signal/go", body)
    assert not server.owner.seen


# ---------------------------------------------------------------- page tokens


def token_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "value", [["x\ud800", 1], ["x\x00", 1], ["r", True], ["r", 1.0], ["r", 2**70], [[], {}], {}]
)
async def test_tokens_of_histories_made_by_hand(server: UiServer, value: Any) -> None:
    async with server.client() as client:
        for call in ("history", "history-reverse"):
            answer = await client.get(
                f"{API}/workflows/order-1/{call}?nextPageToken={token_of(value)}"
            )
            assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("values", "turn", "tie"),
    [
        ((2**63,), 0, 0),
        ((1,), 2**63, 0),
        ((1,), 0, 2**64 - 1),
        ((["a"],), 0, 0),
        (({},), 0, 0),
        ((b"a",), 0, 0),
        ((float("nan"),), 0, 0),
    ],
)
async def test_tokens_of_lists_made_by_hand(
    server: UiServer, values: tuple[Any, ...], turn: int, tie: int
) -> None:
    """Their checksum is no secret: whoever has the source can make one."""
    fingerprint = paging._fingerprint(compile_query(parse(""), NoAttributes()))
    body = msgspec.msgpack.encode((paging._VERSION, fingerprint, values, turn, tie, 0))
    token = base64.urlsafe_b64encode(paging._checksum(body) + body).rstrip(b"=")
    async with server.client() as client:
        answer = await client.get(
            f"{API}/workflows", params={"nextPageToken": base64.b64encode(token).decode()}
        )
        assert answer.status_code == 400, answer.text
        answer = await client.get(
            "/api/odradek/v1/workflows", params={"page_token": token.decode()}
        )
        assert answer.status_code == 400, answer.text


# ---------------------------------------------------------------- histories


def event(
    number: Any, name: str = "WORKFLOW_EXECUTION_SIGNALED", **attributes: Any
) -> dict[str, Any]:
    return {
        "eventId": str(number),
        "eventTime": "2026-11-25T10:00:00Z",
        "eventType": f"EVENT_TYPE_{name}",
        **attributes,
    }


def failed_with(causes: int) -> dict[str, Any]:
    failure: dict[str, Any] = {"message": "the first"}
    for number in range(causes):
        failure = {"message": f"m{number}", "cause": failure}
    return event(
        2, "WORKFLOW_EXECUTION_FAILED", workflowExecutionFailedEventAttributes={"failure": failure}
    )


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([event(1), event(1)], "event id 1"),
        ([event(2), event(1)], "event id 1"),
        ([event(0)], "event id 0"),
        ([event(-1)], "event id -1"),
        ([event(2**62)], "event id"),
        ([event(1), failed_with(300)], "causes"),
    ],
)
async def test_histories_that_cannot_be(server: UiServer, events: list[Any], says: str) -> None:
    async with server.client() as client:
        refused = await client.post("/import", content=json.dumps({"events": events}), headers=JSON)
        assert refused.status_code == 400 and says in refused.text


async def test_as_many_causes_as_failures_keep_can_be_looked_at(server: UiServer) -> None:
    async with server.client() as client:
        taken = await client.post(
            "/import", content=json.dumps({"events": [event(1), failed_with(149)]}), headers=JSON
        )
        assert taken.status_code == 200, taken.text
        shown = await client.get(taken.json()["location"] + "/events/2")
        assert shown.status_code == 200 and "the first" in shown.text


# ---------------------------------------------------------------- what is kept


def test_kept_histories_are_bounded_by_their_bytes() -> None:
    book = HistoryBook(kept_bytes=100_000)
    attributes = {
        "signalName": "x",
        "input": {"payloads": [{"metadata": {}, "data": base64.b64encode(b"y" * 30_000).decode()}]},
    }
    large = from_json({"events": [event(1, workflowExecutionSignaledEventAttributes=attributes)]})
    names = [book.put(JsonHistory(list(large.events))) for _ in range(4)]
    book.imported(names[-1])
    with pytest.raises(ApiError):
        book.imported(names[0])


async def test_a_run_with_large_events_is_cut(
    server: UiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = summary("large", start_time_ms=START_MS)
    server.add(run, long_history(run, 400))
    monkeypatch.setattr(histories, "RUN_BYTES", 20_000)
    async with server.client() as client:
        page = await client.get(f"/workflows/large/{run.run_id}/history")
    assert page.status_code == 200 and "The download has all" in page.text
