"""A workflow id that two task queues have: refused, naming both, whatever the server remembers
and however far its read side is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from odradek.web import elsewhere
from odradek.wire.events import DescribeWorkflow, SignalWorkflow, TerminateWorkflow
from odradek.wire.outcomes import MemberStatus
from tests.unit.web_server import COMPLETED, START_MS, Owner, WebServer, ok, summary

API = "/api/v1/namespaces/default"
BOTH = "'orders', 'stock'"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    for queue in ("orders", "stock"):
        web.context.board.member(
            queue,
            MemberStatus(queue, "PROCESSOR", "default", queue, "me", time.time_ns() // 1_000_000),
        )
    web.context.board.complete = True
    yield web
    web.store.close()


@pytest.fixture
def stock(server: WebServer) -> Owner:
    return Owner(server.transport, "stock")


async def refused(client: httpx.AsyncClient) -> None:
    """Reads and changes, each without and with a queue's name."""
    base = f"{API}/workflows/order-1"
    answers = [
        await client.get(f"{base}{path}")
        for path in ("", "/history", "/history?waitNewEvent=true", "/history-reverse")
    ]
    answers += [
        await client.get(f"/api/odradek/v1/workflows/order-1{path}") for path in ("", "/history")
    ]
    answers += [
        await client.post(f"{base}/{path}", json={})
        for path in ("query/state", "signal/go", "terminate", "cancel")
    ]
    for answer in answers:
        assert answer.status_code == 400 and BOTH in answer.json()["message"], (
            f"{answer.request.url}: {answer.text}"
        )
    assert answers[0].json()["message"].endswith("with `taskQueue`") and answers[4].json()[
        "message"
    ].endswith("with `task_queue`")
    assert (
        ok(await client.get(f"{base}?taskQueue=stock"))["executionConfig"]["taskQueue"]["name"]
        == "stock"
    )


def changed(server: WebServer) -> list[Any]:
    return server.transport.records(SignalWorkflow) + server.transport.records(TerminateWorkflow)


async def test_the_read_side_has_both(server: WebServer, stock: Owner) -> None:
    server.add(summary("order-1", "run-a"))
    stock.add(
        server.add(
            summary(
                "order-1", "run-b", task_queue="stock", status=COMPLETED, close_time_ms=START_MS + 5
            ),
            owner=False,
        )
    )
    async with server.client() as client:
        await refused(client)
        assert not changed(server)
        trail = await client.get("/api/odradek/v1/workflows/order-1/trail")
        assert trail.status_code == 400 and BOTH in trail.json()["message"]
        for named in ("task_queue=stock", "run_id=run-b"):
            ok(await client.get(f"/api/odradek/v1/workflows/order-1/trail?{named}"))
        assert (
            ok(await client.get(f"{API}/workflows/order-1?execution.runId=run-b"))[
                "executionConfig"
            ]["taskQueue"]["name"]
            == "stock"
        )


async def test_the_read_side_has_both_and_one_is_not_served(server: WebServer) -> None:
    """It still has the id; that nobody answers for it just now makes the other no answer."""
    server.add(summary("order-1", "run-a"))
    server.transport.existing.add("stock")
    server.context.board.member("stock", None)
    server.add(summary("order-1", "run-b", task_queue="stock"), owner=False)
    async with server.client() as client:
        answer = await client.post(f"{API}/workflows/order-1/terminate", json={})
    assert answer.status_code == 400 and BOTH in answer.json()["message"] and not changed(server)


async def test_the_read_side_has_one_yet(server: WebServer, stock: Owner) -> None:
    """Another server has started it in the other queue a moment ago."""
    server.add(summary("order-1", "run-a"))
    stock.add(summary("order-1", "run-b", task_queue="stock"))
    async with server.client() as client:
        await refused(client)
    assert not changed(server)


async def test_it_was_started_here(server: WebServer, stock: Owner) -> None:
    """What the server remembers of a start is no more than a hint either."""
    server.owner.add(summary("order-1", "run-a"))
    async with server.client() as client:
        body = {"workflowType": {"name": "W"}, "taskQueue": {"name": "stock"}}
        assert ok(await client.post(f"{API}/workflows/order-1", json=body))["started"] is True
        await refused(client)
    assert not changed(server)


async def test_started_here_and_nobody_has_applied_it(server: WebServer) -> None:
    """The one server that knows of the start does not take the other run for it."""
    server.add(summary("order-1", "run-a"))
    server.context.board.member("stock", None)
    async with server.client() as client:
        body = {"workflowType": {"name": "W"}, "taskQueue": {"name": "stock"}}
        assert (await client.post(f"{API}/workflows/order-1", json=body)).headers[
            "odradek-verdict"
        ] == "pending"
        for _ in range(2):
            answer = await client.post(f"{API}/workflows/order-1/terminate", json={})
            assert answer.status_code == 400 and BOTH in answer.json()["message"]
    assert not changed(server)


async def test_one_queue_has_it(server: WebServer, stock: Owner) -> None:
    """A start and what follows it: the other queue is asked beside the request, not before it,
    and not for a run by its id.
    """
    async with server.client() as client:
        body = {"workflowType": {"name": "W"}, "taskQueue": {"name": "stock"}}
        run_id = ok(await client.post(f"{API}/workflows/order-1", json=body))["runId"]
        assert (
            ok(await client.get(f"{API}/workflows/order-1"))["executionConfig"]["taskQueue"]["name"]
            == "stock"
        )
        assert [type(record) for record in server.owner.seen] == [DescribeWorkflow]
        assert ok(await client.post(f"{API}/workflows/order-1/signal/go", json={})) == {}
        server.owner.seen.clear()
        ok(await client.get(f"{API}/workflows/order-1?execution.runId={run_id}"))
        assert not server.owner.seen


async def test_the_read_side_is_behind_a_deletion(server: WebServer, stock: Owner) -> None:
    server.add(summary("order-1", "run-a"), owner=False)
    stock.add(server.add(summary("order-1", "run-b", task_queue="stock"), owner=False))
    async with server.client() as client:
        assert (
            ok(await client.get(f"{API}/workflows/order-1"))["executionConfig"]["taskQueue"]["name"]
            == "stock"
        )


@pytest.mark.parametrize("hint", ["the read side", "a start here"])
async def test_the_queue_that_had_it_was_deleted(
    server: WebServer, stock: Owner, hint: str
) -> None:
    """As where its owner does not know the id: it is looked for, and acted on where it is;
    NOT_FOUND where it is nowhere.
    """
    server.context.board.member("stock", None)
    async with server.client() as client:
        if hint == "the read side":
            server.add(summary("order-1", "run-a"), owner=False)
        else:
            ok(
                await client.post(
                    f"{API}/workflows/order-1",
                    json={"workflowType": {"name": "W"}, "taskQueue": {"name": "orders"}},
                )
            )
        server.transport.delete("orders")
        base = f"{API}/workflows/order-1"
        for path in ("", "?taskQueue=orders"):
            gone = [
                await client.get(f"{base}{path}"),
                await client.post(f"{base}/signal/go{path}", json={}),
            ]
            assert [answer.status_code for answer in gone] == [404, 404]
            assert all(
                "workflow not found for ID: order-1" in answer.json()["message"] for answer in gone
            )
            assert all(
                "'orders' was never used" in answer.json()["message"] for answer in gone
            ) is bool(path)
        stock.add(summary("order-1", "run-b", task_queue="stock"))
        ok(await client.post(f"{base}/signal/go", json={}))
        assert ok(await client.get(base))["executionConfig"]["taskQueue"]["name"] == "stock"
        assert "order-1" in stock.runs and [record.workflow_id for record in changed(server)] == [
            "order-1"
        ]
        if hint == "the read side":
            server.context.owners._channel.forget_queue("order-1")
            assert ok(await client.get(base))["executionConfig"]["taskQueue"]["name"] == "stock"


async def test_a_queue_that_says_nothing_holds_up_one_request(
    server: WebServer, stock: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "WAIT_S", 0.1)
    stock.muted = True
    server.add(summary("order-1", "run-a"))
    async with server.client() as client:
        for _ in range(3):
            ok(await client.get(f"{API}/workflows/order-1"))
    assert len([queue for queue, _ in server.transport.sent if queue == "stock"]) == 1
