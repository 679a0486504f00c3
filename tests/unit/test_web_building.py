"""A read side that never was a complete copy refuses: half a list is a wrong list, and a batch over it would leave runs out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.wire.events import TerminateWorkflow
from tests.unit.web_server import START_MS, WebServer, ok, summary
from tests.unit.web_ui import UiServer

TEMPORAL = "/api/v1/namespaces/default"
OWN = "/api/odradek/v1"
SAYS = "the read side is being built: 7 of about 1,000 records read"
BATCH = {"reason": "cleaning", "terminationOperation": {"identity": "me"}, "visibilityQuery": "WorkflowType = 'OrderSaga'"}


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
async def test_nothing_is_listed_or_counted_before_the_first_copy_is_whole(server: WebServer, path: str) -> None:
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
        ok(await client.post(f"{TEMPORAL}/batch-operations/job-1", json={**given, "executions": [{"workflowId": "order-1"}]}))
        task = server.context.batches.get("job-1").task
        assert task is not None
        await task
    assert [record.workflow_id for record in server.owner.seen if isinstance(record, TerminateWorkflow)] == ["order-1"]


async def test_a_run_and_its_trail_are_still_shown(server: WebServer) -> None:
    """Their owner knows them."""
    async with server.client() as client:
        assert ok(await client.get(f"{OWN}/workflows/order-1"))["run"]["workflow_id"] == "order-1"
        assert ok(await client.get(f"{OWN}/workflows/order-1/trail"))["records"]


async def test_pages_say_so_instead_of_numbers(tmp_path: Path) -> None:
    server = UiServer(tmp_path)
    build(server)
    async with server.client(headers={"accept": "text/html", "sec-fetch-site": "same-origin"}) as client:
        for path in ("/runs", "/dashboard"):
            response = await client.get(path)
            assert response.status_code == 503 and SAYS in response.text and "Not all is read yet" in response.text, path
        assert (await client.get("/workflows/order-1/run-of-order-1")).status_code == 200
        form = {"action": "terminate", "scope": "query", "frozen": "ExecutionStatus = 'Running'", "expected": "1", "confirm": "1"}
        for path in ("/batches/preview", "/batches"):
            response = await client.post(path, data=form)
            assert response.status_code == 503 and SAYS in response.text, path
    assert server.context.batches.latest() == []
    server.store.close()
