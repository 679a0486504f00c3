"""A read side that never was a complete copy refuses: half a list is a wrong list, and a batch
over it would leave runs out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.wire.events import TerminateWorkflow
from tests.unit.web_server import START_MS, WebServer, ok, summary
from tests.unit.web_ui import UiServer
from tests.web.scenes import some_backlog

TEMPORAL = "/api/v1/namespaces/default"
OWN = "/api/odradek/v1"
SAYS = "the read side is being built: 7 of about 1,000 records read"
BATCH = {
    "reason": "cleaning",
    "terminationOperation": {"identity": "me"},
    "visibilityQuery": "WorkflowType = 'OrderSaga'",
}
PAGE = {"accept": "text/html", "sec-fetch-site": "same-origin"}
REFRESH = '<noscript><meta http-equiv="refresh" content="5"></noscript>'


def build(server: WebServer) -> None:
    server.context.building = lambda: "7 of about 1,000 records read"
    server.add(summary("order-1"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    build(web)
    yield web
    web.store.close()


@pytest.mark.parametrize(
    "path",
    [
        f"{TEMPORAL}/workflows",
        f"{TEMPORAL}/workflow-count",
        f"{OWN}/workflows",
        f"{OWN}/workflow-count",
        f"{OWN}/query-completions",
        f"{OWN}/statistics?start_ms={START_MS}&end_ms={START_MS + 60_000}",
    ],
)
async def test_nothing_is_listed_or_counted_before_the_first_copy_is_whole(
    server: WebServer, path: str
) -> None:
    async with server.client() as client:
        response = await client.get(path)
        assert response.status_code == 503
        assert response.json() == {"code": 14, "message": SAYS, "details": []}
        server.context.building = lambda: ""
        ok(await client.get(path))


async def test_no_batch_over_half_a_list(server: WebServer) -> None:
    async with server.client() as client:
        response = await client.post(f"{TEMPORAL}/batch-operations/job-1", json=BATCH)
    assert response.status_code == 503 and response.json()["message"] == SAYS
    assert server.context.batches.latest() == [] and server.owner.seen == []


async def test_a_batch_of_named_runs_goes_on(server: WebServer) -> None:
    """They come from whoever asks, not from the read side."""
    given = {name: value for name, value in BATCH.items() if name != "visibilityQuery"}
    async with server.client() as client:
        ok(
            await client.post(
                f"{TEMPORAL}/batch-operations/job-1",
                json={**given, "executions": [{"workflowId": "order-1"}]},
            )
        )
        task = server.context.batches.get("job-1").task
        assert task is not None
        await task
    assert [
        record.workflow_id for record in server.owner.seen if isinstance(record, TerminateWorkflow)
    ] == ["order-1"]


async def test_a_run_and_its_trail_are_still_shown(server: WebServer) -> None:
    """Their owner knows them."""
    async with server.client() as client:
        assert ok(await client.get(f"{OWN}/workflows/order-1"))["run"]["workflow_id"] == "order-1"
        assert ok(await client.get(f"{OWN}/workflows/order-1/trail"))["records"]


async def test_pages_say_so_instead_of_numbers(tmp_path: Path) -> None:
    server = UiServer(tmp_path)
    build(server)
    async with server.client(headers=PAGE) as client:
        response = await client.get("/runs")
        assert response.status_code == 503 and "Not all is read yet" in response.text
        assert "7 of about 1,000 records read" in response.text and 'value="0"' not in response.text
        server.context.built_percent = lambda: 42
        text = (await client.get("/runs")).text
        assert ">42 %<" in text and 'value="42"' in text and REFRESH in text, (
            "a browser without JavaScript asks again too"
        )
        assert (await client.get("/dashboard/table?plot=runs")).status_code == 503
        assert (await client.get("/workflows/order-1/run-of-order-1")).status_code == 200
        form = {
            "action": "terminate",
            "scope": "query",
            "frozen": "ExecutionStatus = 'Running'",
            "expected": "1",
            "confirm": "1",
        }
        for path in ("/batches/preview", "/batches"):
            response = await client.post(path, data=form)
            assert response.status_code == 503 and ">42 %<" in response.text, path
            assert REFRESH not in response.text and "data-live" not in response.text, (
                "what was sent is not sent again by itself"
            )
    assert server.context.batches.latest() == []
    server.store.close()


async def test_the_dashboard_shows_what_does_not_depend_on_the_copy(tmp_path: Path) -> None:
    server = UiServer(tmp_path)
    build(server)
    some_backlog(server)
    server.member(time_ms=int(time.time() * 1000))
    server.context.built_percent = lambda: 42
    async with server.client(headers=PAGE) as client:
        for headers in ({}, {"x-part": "1"}):
            response = await client.get("/dashboard", headers=headers)
            text = response.text
            assert response.status_code == 200 and ">42 %<" in text and "data-again" in text
            assert (
                "Inputs that wait for workflows" in text
                and 'href="/queues/orders"' in text
                and "worker-a" in text
            )
            assert (
                "Median latency" not in text
                and "Nothing to plot" not in text
                and ">Completed<" not in text
            )
            assert (REFRESH in text) == (not headers)
        assert (await client.get("/dashboard/table?plot=backlog")).status_code == 200
        server.context.building = lambda: ""
        text = (await client.get("/dashboard")).text
        assert (
            "data-again" not in text
            and REFRESH not in text
            and "Inputs that wait for workflows" in text
        )
    server.store.close()
