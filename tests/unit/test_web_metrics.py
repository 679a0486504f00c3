"""`/metrics` of the server: counted by the route's pattern, behind the same gate as everything,
without Kafka too.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from odradek.config import Settings
from odradek.exceptions import OdradekError
from odradek.visibility.reader import IngestStatistics
from odradek.web.app import create_app
from odradek.web.context import ServerContext
from odradek.web.kafka.facts import QueueDetail
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import TokenAuthenticator
from tests.support.metrics import labels_by_name


def client_of(server: ServerContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=create_app(server)), base_url="http://127.0.0.1"
    )


@pytest.fixture
def server(tmp_path: Path) -> ServerContext:
    server = ServerContext(Settings(state_dir=tmp_path), ServerOptions())
    requests = {
        "waiting": 1,
        "requests": 7,
        "asked_again": 2,
        "unmatched_replies": 0,
        "response_ms": 5.0,
    }
    intake = IngestStatistics("RUNNING", True, 3, 1, 9, 2, 8, 1, 0, 0, 0)
    server.statistics["requests"] = lambda: requests
    server.statistics["read side"] = lambda: dataclasses.asdict(intake)
    return server


async def test_requests_are_counted_by_route_and_status_and_everything_is_in_the_catalog(
    server: ServerContext,
) -> None:
    async with client_of(server) as client:
        for workflow_id in ("a", "b", "c%2Fd"):
            assert (
                await client.get(f"/api/v1/namespaces/default/workflows/{workflow_id}")
            ).status_code == 503  # no Kafka here
        assert (await client.get("/nowhere/at/all")).status_code == 404
        answer = await client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]
    found = {(s.name, s.labels.get("route"), s.labels.get("status")): s.value for s in samples}
    route = next(
        r for name, r, status in found if name == "odradek_http_requests_total" and status == "503"
    )
    assert (
        route is not None
        and "{" in route
        and found["odradek_http_requests_total", route, "503"] >= 1
    )
    assert found["odradek_http_requests_total", "(none)", "404"] >= 1
    assert (
        found["odradek_visibility_lag", None, None] == 3
        and found["odradek_client_waiting", None, None] == 1
    )
    assert found["odradek_client_response_seconds", None, None] == 0.005
    known = set(labels_by_name())
    names = {
        s.name
        for s in samples
        if s.name.startswith("odradek_") and not s.name.endswith(("_bucket", "_sum", "_count"))
    }
    assert names <= known and len(names) > 10


async def test_metrics_ask_for_the_token_and_probes_do_not(tmp_path: Path) -> None:
    server = ServerContext(
        Settings(state_dir=tmp_path),
        ServerOptions(authenticator=TokenAuthenticator("a secret of sixteen")),
    )
    async with client_of(server) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (
            await client.get("/metrics", headers={"authorization": "Bearer a secret of sixteen"})
        ).status_code == 200
        assert (await client.get("/health/live")).status_code == 200


async def test_open_runs_of_a_queue_without_processors(server: ServerContext) -> None:
    """Its timers may be overdue, and nobody else knows that there are any."""
    asked: list[str] = []

    def count(query: str, *, timeout_s: float) -> SimpleNamespace:
        asked.append(query)
        if len(asked) > 1:
            raise OdradekError("the read side is away")
        return SimpleNamespace(groups=[SimpleNamespace(values=("asleep",), count=3)], complete=True)

    def queue(name: str) -> QueueDetail:
        return QueueDetail(
            name, True, False, False, 2, 0, 0, 0, None, 0, 0, None, None, None, 0, ""
        )

    visibility: Any = SimpleNamespace(count=count)
    queues: Any = SimpleNamespace(kinds=lambda: ["asleep", "retired"], queue=queue)
    server.queues, server.read_side = queues, lambda: visibility
    async with client_of(server) as client:
        text = (await client.get("/metrics")).text
        assert 'odradek_queue_open_runs{namespace="default",task_queue="asleep"} 3.0' in text
        assert 'odradek_queue_open_runs{namespace="default",task_queue="retired"} 0.0' in text
        assert asked == ["ExecutionStatus = 'Running' GROUP BY TaskQueue"]
        server.known_queues.read_at = float("-inf")
        text = (await client.get("/metrics")).text
    assert (
        "odradek_queue_open_runs{" not in text
        and 'odradek_queue_processors{namespace="default",task_queue="asleep"} 0.0' in text
    )
