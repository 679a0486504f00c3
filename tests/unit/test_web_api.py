"""`/api/odradek/v1`: answers, errors, event streams, and the OpenAPI document against which
schemathesis tries everything.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.parse import quote, unquote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from odradek.visibility import Change
from odradek.web.api import history
from odradek.web.hub import KEYS_MAX, MEMBERS, RUNS, Hub, hub_stream, sse
from odradek.web.kafka.facts import QueueView
from odradek.web.options import ServerOptions
from odradek.web.runs import Page, RunReader
from odradek.web.segments import segment, segment_text
from odradek.wire.events import UnparkWorkflow
from odradek.wire.history import ActivityTaskStartedEvent, HistoryEvent
from odradek.wire.outcomes import ExecutionSummary, LaneStatus, MemberStatus
from odradek.wire.partitioner import partition_for
from tests.support.transport import reply_to
from tests.unit.web_server import (
    COMPLETED,
    START_MS,
    WebServer,
    busy_description,
    completed_history,
    ok,
    plain,
    summary,
)

API = "/api/odradek/v1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    yield web
    web.store.close()


# ---------------------------------------------------------------- answers


async def test_list_sorted_and_paged(server: WebServer) -> None:
    for number, kind in enumerate(["B", "A", "B"]):
        server.add(
            summary(
                f"order-{number}",
                workflow_type=kind,
                start_time_ms=START_MS + number,
                memo={"n": plain(number)},
            )
        )
    async with server.client() as client:
        found = ok(
            await client.get(
                f"{API}/workflows", params={"sort": "WorkflowType,-StartTime", "page_size": 2}
            )
        )
        assert [run["workflow_id"] for run in found["runs"]] == ["order-1", "order-2"]
        assert found["runs"][0]["memo"]["n"] == {
            "encoding": "json/plain",
            "metadata": {},
            "size": 1,
            "value": 1,
        }
        following = {
            "sort": "WorkflowType,-StartTime",
            "page_size": 2,
            "page_token": found["next_page_token"],
        }
        last = ok(await client.get(f"{API}/workflows", params=following))
        assert [run["workflow_id"] for run in last["runs"]] == ["order-0"] and last[
            "next_page_token"
        ] == ""
        twice = await client.get(
            f"{API}/workflows", params={"query": "ORDER BY StartTime", "sort": "StartTime"}
        )
        assert twice.status_code == 400


async def test_count_by_group(server: WebServer) -> None:
    server.add(summary("a", workflow_type="A"))
    server.add(summary("b", workflow_type="A", status=COMPLETED, close_time_ms=START_MS + 1))
    async with server.client() as client:
        found = ok(
            await client.get(
                f"{API}/workflow-count", params={"group": "WorkflowType, ExecutionStatus"}
            )
        )
    assert found["count"] == 2 and found["complete"] is True
    assert sorted(map(json.dumps, found["groups"])) == [
        '{"values": ["A", "Completed"], "count": 1}',
        '{"values": ["A", "Running"], "count": 1}',
    ]


async def test_completion_of_queries(server: WebServer) -> None:
    server.add(summary("a"))
    async with server.client() as client:
        found = ok(
            await client.get(f"{API}/query-completions", params={"query": "WorkflowType = 'Or"})
        )
        assert {"text": "'OrderSaga'", "kind": "value", "detail": ""} in found["suggestions"]
        wrong = ok(await client.get(f"{API}/query-completions", params={"query": "= = Wor"}))
        assert wrong["suggestions"] == [] and wrong["error"] and wrong["error_column"] == 1


@pytest.mark.parametrize(
    ("workflow_id", "written"),
    [(".", "~."), ("..", "~.."), ("~..", "~~.."), ("~", "~"), ("...", "..."), ("~a/..", "~a%2F..")],
)
async def test_ids_that_addresses_cannot_hold(
    server: WebServer, workflow_id: str, written: str
) -> None:
    assert (segment(workflow_id), segment_text(unquote(written))) == (written, workflow_id)
    server.add(summary(workflow_id))
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflows/{written}"))
        assert found["run"]["workflow_id"] == workflow_id
        temporals = f"/api/v1/namespaces/default/workflows/{quote(workflow_id, safe='').replace('.', '%2E')}"
        assert (
            ok(await client.get(temporals))["workflowExecutionInfo"]["execution"]["workflowId"]
            == workflow_id
        )


async def test_describe_and_history_with_places(server: WebServer) -> None:
    run = server.add(summary("order/1"))
    server.owner.descriptions["order/1"] = busy_description(run)
    server.context.board.member(
        "member-1",
        MemberStatus(
            "member-1",
            "PROCESSOR",
            "default",
            "orders",
            "me",
            2**42,
            lanes=[LaneStatus(n, "RUNNING") for n in range(4)],
        ),
    )
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflows/order%2F1"))
        assert (
            found["owner"] == "member-1"
            and found["place"]["topic"] == "odradek.default.orders.events"
        )
        assert (
            found["pending_activities"][0]["last_failure"]["cause"]["message"]
            == "insufficient funds"
        )
        assert (
            found["pending_timers"][0]["due_ms"] == START_MS + 60_000
            and found["static_summary"]["value"] == "an order"
        )
        events = ok(await client.get(f"{API}/workflows/order%2F1/history"))
    assert [event["event_id"] for event in events["events"]] == list(range(1, 12)) and events[
        "open"
    ] is True
    first, task, *_, signal = events["events"][:8]
    assert first["place"] == {
        "topic": "odradek.default.orders.events",
        "partition": found["place"]["partition"],
        "offset": 7,
    }
    assert task["place"] is None and signal["event_type"] == "WorkflowExecutionSignaled"
    secret = events["events"][6]["attributes"]["result"][0]
    assert (
        secret["unreadable"].startswith("written by a payload codec (encoding binary/encrypted)")
        and "value" not in secret
    )


async def test_release(server: WebServer) -> None:
    server.add(summary("order-1", parked_reason="bug"))
    async with server.client() as client:
        assert ok(
            await client.post(f"{API}/workflows/order-1/release", json={"run_id": "run-of-order-1"})
        ) == {
            "applied": True,
            "message": "",
        }
        assert (
            await client.post(f"{API}/workflows/order-1/release", json={"run": "x"})
        ).status_code == 400
    (record,) = server.transport.records(UnparkWorkflow)
    assert record.run_id == "run-of-order-1" and record.identity == "anonymous@http"


async def test_release_of_a_run_that_is_not_quarantined_says_so(server: WebServer) -> None:
    server.add(summary("order-1"))

    def answer(queue: str, record: Any) -> Any:
        if isinstance(record, UnparkWorkflow):
            return reply_to(
                record,
                "FAILED_PRECONDITION",
                message="workflow 'order-1' is not parked: nothing was done",
            )
        return server.owner.answer(queue, record)

    server.transport.serve("orders", answer)
    async with server.client() as client:
        refused = await client.post(f"{API}/workflows/order-1/release", json={})
    assert (
        refused.status_code == 400
        and refused.json()["code"] == 9
        and "is not parked" in refused.json()["message"]
    )


async def test_queues_records_dead_letters(server: WebServer) -> None:
    server.add(summary("order-1"))
    async with server.client() as client:
        assert ok(await client.get(f"{API}/task-queues/orders"))["partitions"][0]["lag"] == 2
        assert (await client.get(f"{API}/task-queues/other")).status_code == 404
        assert (
            ok(await client.get(f"{API}/records/odradek.default.orders.events/1/7"))["kind"]
            == "StartWorkflow"
        )
        missing = await client.get(f"{API}/records/odradek.default.orders.events/1/8")
        assert missing.status_code == 404 and "offset 8" in missing.json()["message"]
        assert ok(await client.get(f"{API}/workflows/order-1/trail"))["workflow_id"] == "order-1"
        assert server.kafka.trail_options["reads_limit"] == 0
        ok(await client.get(f"{API}/workflows/order-1/trail?reads=true&limit=30"))
        assert server.kafka.trail_options["reads_limit"] == 30
        assert (
            server.kafka.trail_options["task_queue"] == "orders"
            and server.kafka.trail_options["since_ms"] == START_MS
        )
        assert server.kafka.trail_options["activity_queues"] == {"orders"}
        path = f"{API}/task-queues/orders/dead-letters"
        assert ok(await client.get(path))["dead_letters"][0]["reason"] == "NOT_APPLIED"
        assert ok(await client.post(f"{path}/3/redrive"))["place"][
            "offset"
        ] == -1 and server.kafka.redriven == [3]
        refused = await client.post(f"{path}/4/redrive")
        assert refused.status_code == 400 and refused.json()["code"] == 9
        assert (await client.post(f"{path}/5/redrive")).status_code == 404
        assert (await client.post(f"{path}/-1/redrive")).status_code == 400


def _told(run: ExecutionSummary) -> list[HistoryEvent]:
    """A history whose activity was tried twice, and whose service said where the second command
    stood.
    """
    events = completed_history(run)
    events[3] = HistoryEvent(
        6, START_MS + 4, ActivityTaskStartedEvent(5, 2, "service", None, 1, 31)
    )
    return events


async def test_a_trail_names_what_was_deleted(server: WebServer) -> None:
    run = summary("order-1")
    server.add(run, _told(run))
    topics = server.kafka.topics
    place = topics.events("orders"), partition_for(b"order-1", 4)
    commands = topics.commands("orders"), 1
    async with server.client() as client:

        async def trail() -> Any:
            return ok(await client.get(f"{API}/workflows/order-1/trail"))

        assert (await trail())["purged"] == []
        server.kafka.starts = {commands: 32, place: 9}
        found = await trail()
        assert found["complete"] is False
        assert [
            (one["kind"], one["event_type"], one["place"]["offset"]) for one in found["purged"]
        ] == [
            ("StartWorkflow", "WorkflowExecutionStarted", 7),
            ("ActivityTask", "ActivityTaskScheduled", 31),
        ]
        assert (
            found["purged"][1]["place"] == {"topic": commands[0], "partition": 1, "offset": 31}
            and found["purged"][1]["event_id"] == 5
        )
        said = " ".join(found["missing"])
        for part in (
            "1 command known from the history",
            "1 event known from the history",
            "1 more command deleted",
        ):
            assert part in said, part
        server.owner.muted = True
        silent = await trail()
        assert silent["complete"] is False and "the history cannot be read" in silent["missing"][0]


async def test_why_a_record_is_gone(server: WebServer) -> None:
    topic = server.kafka.topics.events("orders")
    server.kafka.starts = {(topic, 0): 20}
    async with server.client() as client:
        for offset, part in (
            (5, "begins at 20. Records of `events` are deleted"),
            (30, "marker"),
            (200, "the next one is 100"),
        ):
            gone = await client.get(f"{API}/records/{topic}/0/{offset}")
            assert gone.status_code == 404 and part in gone.json()["message"], gone.text


async def test_members_and_schemas(server: WebServer) -> None:
    now_ms = 2**42
    board = server.context.board
    told: list[int] = []
    board._on_members = lambda: told.append(1)
    lane = LaneStatus(2, "RUNNING", open_runs=4)
    for _ in range(3):  # only a change of who owns what is told
        board.member(
            "p", MemberStatus("p", "PROCESSOR", "default", "orders", "me", now_ms, lanes=[lane])
        )
    board.member(
        "s",
        MemberStatus(
            "s", "ACTIVITIES", "default", "payments", "svc", 1, slots_total=10, slots_used=3
        ),
    )
    async with server.client() as client:
        found = ok(await client.get(f"{API}/members"))
        assert [
            (one["member_id"], one["alive"], one["partitions"], one["open_runs"])
            for one in found["members"]
        ] == [("p", True, [2], 4)]
        assert (
            ok(await client.get(f"{API}/members", params={"task_queue": "payments"}))["members"]
            == []
        )
    assert len(told) == 2
    board.member("p", None)
    assert board.statuses() == [] and len(told) == 3


async def test_backlog(server: WebServer) -> None:
    queue = QueueView("orders", True, True, True, 1, 1, 1, 12, None, 0, 0, 0, 0, 0, 0, "share")
    async with server.client() as client:
        assert ok(await client.get(f"{API}/backlog")) == {"since_ms": 0, "windows": []}
        server.context.backlog.note([queue])
        found = ok(await client.get(f"{API}/backlog"))
        assert found["since_ms"] > 0
        assert [
            (one["task_queue"], one["lag"], one["activity_lag"])
            for one in found["windows"]
            if one["lag"]
        ] == [("orders", 12, None)]
        assert (
            await client.get(f"{API}/backlog", params={"start_ms": 5, "end_ms": 4})
        ).status_code == 400
        assert (
            await client.get(f"{API}/backlog", params={"start_ms": 0, "end_ms": START_MS})
        ).status_code == 400


async def test_statistics(server: WebServer) -> None:
    for number in range(3):
        server.add(summary(f"a-{number}", status=COMPLETED, close_time_ms=START_MS + 1_000))
    async with server.client() as client:
        period = {"start_ms": START_MS - 60_000, "end_ms": START_MS + 60_000}
        windows = ok(await client.get(f"{API}/statistics", params={**period, "together": "true"}))[
            "windows"
        ]
        assert sum(window["completed"] for window in windows) == 3
        # it was begun over a topic that had records: what was deleted before, it cannot count
        server.store.caught_up()
        since_ms = ok(await client.get(f"{API}/statistics"))["complete_since_ms"]
        assert abs(time.time() * 1000 - since_ms - 3 * 86_400_000) < 60_000
        assert 900 < max(window["latency_p95_ms"] or 0 for window in windows) < 1_100
        server.add(summary("open"))
        server.store.apply([Change(0, 99, b"open/run-of-open", None, START_MS + 2_000)])
        windows = ok(await client.get(f"{API}/statistics", params={**period, "together": "true"}))[
            "windows"
        ]
        assert sum(window["deleted"] for window in windows) == 1 and windows[-1]["open_runs"] == 0
        assert (
            await client.get(f"{API}/statistics", params={"start_ms": 5, "end_ms": 4})
        ).status_code == 400
        # Steps times types are bounded: such an answer took 24 s and half a gigabyte.
        server._offset = 100
        for number in range(40):
            server.add(summary(f"of-{number}", workflow_type=f"Type{number}"), owner=False)
        long = {"start_ms": START_MS - 1_999 * 60_000, "end_ms": START_MS + 1}
        refused = await client.get(f"{API}/statistics", params=long)
        assert refused.status_code == 400 and refused.json()["code"] == 3
        assert "2,000 steps of 41 workflow types are 82,000 windows" in refused.json()["message"]
        for narrower, expected in (
            ("workflow_type=Type1", 2_000),
            ("together=true", 2_000),
            ("step_ms=3600000", 41 * 35),
        ):
            name, _, value = narrower.partition("=")
            assert (
                len(
                    ok(await client.get(f"{API}/statistics", params={**long, name: value}))[
                        "windows"
                    ]
                )
                == expected
            )
        assert (
            await client.get(f"{API}/statistics", params={"start_ms": 0, "end_ms": START_MS})
        ).status_code == 400


async def test_wrong_parameters(server: WebServer) -> None:
    async with server.client() as client:
        for path, says in (
            ("/workflows?page_size=0", "page_size"),
            ("/workflows?page_size=x", "page_size"),
            ("/workflows?pagesize=1", "unknown parameter 'pagesize'"),
            ("/workflows?page_token=%25", "page token"),
            ("/workflows/x?workflow_id=y", "unknown parameter 'workflow_id'"),
            ("/changes?topics=weather", "weather"),
        ):
            response = await client.get(API + path)
            assert response.status_code == 400 and says in response.json()["message"], (
                path,
                response.text,
            )
        assert (await client.get(f"{API}/nothing")).status_code == 404


async def test_a_defect_does_not_show(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise RuntimeError("the password is swordfish")

    server.context.read_side = broken
    async with server.client() as client:
        response = await client.get(f"{API}/workflows")
    assert response.status_code == 500 and "swordfish" not in response.text
    reference = response.json()["message"].split("reference ")[1].split(":")[0]
    assert reference in caplog.text and "swordfish" in caplog.text


async def test_no_request_takes_longer_than_the_limit(server: WebServer) -> None:
    server.context.options = ServerOptions(request_limit_s=0.1, request_timeout_s=30.0)
    server.add(summary("order-1"))
    server.owner.muted = True
    async with server.client(timeout=5.0) as client:
        response = await client.get(f"{API}/workflows/order-1")
    assert response.status_code == 504 and response.json()["code"] == 4


# ---------------------------------------------------------------- event streams


async def read_messages(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, Any]]:
    """The next messages of a stream."""
    found: list[tuple[str, Any]] = []
    async for chunk in stream:
        fields = dict(
            line.split(": ", 1)
            for line in chunk.decode().splitlines()
            if ": " in line and not line.startswith(":")
        )
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
            if len(found) == count:
                break
    return found


async def test_changes_are_gathered_and_end_with_the_hub() -> None:
    hub = Hub()
    hub.open()
    stream = hub_stream(hub.listen([RUNS]), 5.0)
    assert (await anext(stream)).startswith(b"retry: ")
    for number in (*range(10), 3):
        hub.publish(RUNS, keys=[str(number)], many=False)
    hub.publish(MEMBERS)
    told = ("runs", {"keys": [str(number) for number in range(10)], "many": False})
    assert await asyncio.wait_for(read_messages(stream, 1), 30) == [told], "each run that changed"
    hub.publish(RUNS, keys=["a"], many=True)
    hub.publish(RUNS, keys=["b"], many=False)
    assert await asyncio.wait_for(read_messages(stream, 1), 30) == [
        ("runs", {"keys": ["a", "b"], "many": True})
    ]
    for number in range(KEYS_MAX + 1):
        hub.publish(RUNS, keys=[str(number)], many=False)
    ((_, facts),) = await asyncio.wait_for(read_messages(stream, 1), 30)
    assert len(facts["keys"]) == KEYS_MAX and facts["many"] is True
    ending = asyncio.ensure_future(anext(stream, b"end"))
    await asyncio.sleep(0)
    hub.close()
    assert await asyncio.wait_for(ending, 30) == b"end" and hub.statistics()["streams"] == 0


async def test_idle_streams_are_kept_open() -> None:
    hub = Hub()
    hub.open()
    stream = hub_stream(hub.listen([RUNS]), 0.01)
    await anext(stream)
    assert await asyncio.wait_for(anext(stream), 30) == b": \n\n"
    await stream.aclose()  # type: ignore[attr-defined]
    assert hub.statistics()["streams"] == 0


async def test_too_many_streams(server: WebServer) -> None:
    server.context.hub = Hub(limit=0)
    async with server.client() as client:
        response = await client.get(f"{API}/changes")
    assert response.status_code == 429 and response.json()["code"] == 8


async def test_events_of_a_run_as_they_come(server: WebServer) -> None:
    server.add(summary("order-1", status=COMPLETED, close_time_ms=START_MS + 1))
    async with server.client() as client:
        response = await client.get(
            f"{API}/workflows/order-1/events", headers={"last-event-id": "7"}
        )
    assert response.headers["content-type"].startswith("text/event-stream") and response.headers[
        "cache-control"
    ].startswith("no-cache")
    blocks = [block for block in response.text.split("\n\n") if "event: " in block]
    assert [block.split("event: ")[1].split("\n")[0] for block in blocks] == ["events", "closed"]
    assert "id: 12" in blocks[0]
    events = json.loads(blocks[0].split("data: ")[1])["events"]
    assert [event["event_id"] for event in events] == [8, 9, 10, 11, 12]


async def test_stream_of_a_run_whose_owner_is_away(server: WebServer, tmp_path: Path) -> None:
    """It says so, keeps asking, and goes on when the owner is back; it ends with the hub."""
    run = server.add(summary("order-1"))
    server.owner.muted = True
    server.transport.living.clear()
    async with server.client():
        stream = (await history.follow_run(server.context, "order-1")).body_iterator
        ((event, body),) = await asyncio.wait_for(read_messages(stream, 1), 10)
        assert event == "unavailable" and body["code"] == 14 and "'orders'" in body["message"]
        server.owner.muted = False
        server.transport.living.add("orders")
        ((event, body),) = await asyncio.wait_for(read_messages(stream, 1), 10)
        assert (
            event == "events"
            and [one["event_id"] for one in body["events"]] == list(range(1, 12))
            and body["open"] is True
        )
        run.status = COMPLETED
        server.owner.add(run)
        server.context.hub.close()
        assert await asyncio.wait_for(read_messages(stream, 100), 10) in (
            [],
            [("events", ANY)],
            [("events", ANY), ("closed", ANY)],
        )


async def test_an_owner_waits_no_longer_than_the_stream_has_lived(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page that is left at once has asked for would be kept there for a minute."""
    server.add(summary("order-1"))
    waited: list[float] = []
    now = 100.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    async def wait(self: RunReader, first: int, size: int, timeout_s: float) -> Page:
        nonlocal now
        waited.append(timeout_s)
        now += timeout_s
        return Page("run-of-order-1", [], first, True)

    monkeypatch.setattr(history, "time", Clock)
    monkeypatch.setattr(RunReader, "wait", wait)
    async with server.client():
        stream = (await history.follow_run(server.context, "order-1")).body_iterator
        async for _ in stream:
            if len(waited) == 6:
                break
        await stream.aclose()  # type: ignore[attr-defined]
    assert waited == [10, 10, 20, 40, 60, 60]


def test_messages_hold_one_line_each() -> None:
    assert sse("a", {"text": "two\nlines"}) == b'event: a\ndata: {"text":"two\\nlines"}\n\n'


# ---------------------------------------------------------------- OpenAPI


async def test_the_document_describes_every_path(server: WebServer) -> None:
    async with server.client() as client:
        described = ok(await client.get(f"{API}/openapi.json"))
    operations = [one for path in described["paths"].values() for one in path.values()]
    assert len(operations) == 23 and all(one["summary"] for one in operations)
    assert {"list_runs", "follow_run", "redrive"} <= {one["operationId"] for one in operations}
    assert "422" not in json.dumps(described), "what does not fit is 400, in gRPC's form"
    (trail,) = (path for path in described["paths"] if path.endswith("/trail"))
    assert trail == f"{API}/workflows/{{workflow_id}}/trail"


def test_everything_that_the_document_allows(tmp_path: Path) -> None:
    """Whatever is asked, the answer is one that the document describes. 503 is: this server has
    no owners to ask (a client belongs to one event loop, and each try here has its own).
    """
    options = ServerOptions(request_timeout_s=60, long_poll_s=0.1, allowed_hosts=["*"])
    web = WebServer(tmp_path, options, rpc_timeout=0.2)
    web.add(summary("order-1", status=COMPLETED, close_time_ms=START_MS + 1))
    web.context.owners = None
    schema = schemathesis.openapi.from_asgi(f"{API}/openapi.json", web.app)
    whole = schema.exclude(path_regex="/(changes|events)$").as_strategy()

    @seed(11)
    @settings(
        max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=whole)
    def every(case: schemathesis.Case) -> None:
        response = case.call()
        checks = [content_type_conformance, response_schema_conformance, status_code_conformance]
        if response.status_code != 503:
            checks.append(not_a_server_error)
        case.validate_response(response, checks=checks)

    every()
    web.store.close()
