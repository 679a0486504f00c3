"""What Temporal's own clients send and expect: its web UI, programs generated from its OpenAPI
description, users' scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from odradek.web.context import server_version
from odradek.web.options import ServerOptions
from odradek.web.temporal.cluster import API_VERSION
from odradek.web.temporal.routes import SERVED, older_path, temporal_routes
from odradek.wire.outcomes import PendingActivity, WorkflowDescription
from odradek.wire.payload import Payload
from tests.unit.web_server import COMPLETED, START_MS, WebServer, ok, summary

API = "/api/v1/namespaces/default"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    yield web
    web.store.close()


# ---------------------------------------------------------------- names of parameters


async def test_parameters_in_snake_case(server: WebServer) -> None:
    """As in the proto file, which its web UI sends: a page token that is overlooked is the first
    page for ever.
    """
    for number in range(3):
        server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    async with server.client() as client:
        first = ok(await client.get(f"{API}/workflows", params={"page_size": "2"}))
        second = ok(
            await client.get(
                f"{API}/workflows",
                params={"page_size": "2", "next_page_token": first["nextPageToken"]},
            )
        )
    pages = [
        [run["execution"]["workflowId"] for run in page["executions"]] for page in (first, second)
    ]
    assert pages == [["order-2", "order-1"], ["order-0"]] and "nextPageToken" not in second


async def test_history_follows_a_token_in_snake_case(server: WebServer) -> None:
    run = server.add(summary("order-1", status=COMPLETED, close_time_ms=START_MS + 1_500))
    seen: list[str] = []
    parameters = {
        "execution.run_id": run.run_id,
        "maximum_page_size": "5",
        "wait_new_event": "true",
    }
    async with server.client() as client:
        for _ in range(10):
            page = ok(await client.get(f"{API}/workflows/order-1/history", params=parameters))
            seen += [event["eventId"] for event in page["history"].get("events", [])]
            if "nextPageToken" not in page:
                break
            parameters["next_page_token"] = page["nextPageToken"]
        other = await client.get(
            f"{API}/workflows/order-1/history", params={"execution.run_id": "another"}
        )
    assert seen == [str(number) for number in range(1, run.history_length + 1)]
    assert other.status_code == 404


async def test_a_parameter_given_twice(server: WebServer) -> None:
    """grpc-gateway refuses it, by either name: which one was meant?"""
    async with server.client() as client:
        for query in ("pageSize=1&pageSize=2", "pageSize=1&page_size=2"):
            response = await client.get(f"{API}/workflows?{query}")
            assert response.status_code == 400 and "pageSize" in response.json()["message"]


# ---------------------------------------------------------------- paths


OLDER = [
    ("GET", "/system-info", "/system-info"),
    ("GET", "/cluster-info", "/cluster"),
    ("GET", "/namespaces", "/cluster/namespaces"),
    ("GET", "/namespaces/default", "/cluster/namespaces/default"),
    (
        "GET",
        "/namespaces/default/search-attributes",
        "/cluster/namespaces/default/search-attributes",
    ),
    ("POST", "/namespaces/default/update", "/cluster/namespaces/default/update"),
    ("GET", "/nexus/endpoints/x", "/cluster/nexus/endpoints/x"),
    ("GET", "/namespaces/default/workflows", "/namespaces/default/workflows"),
    (
        "GET",
        "/namespaces/default/workflows/order-1/history",
        "/namespaces/default/workflows/order-1/history",
    ),
    ("GET", "/namespaces/default/schedules", "/namespaces/default/schedules"),
]


@pytest.mark.parametrize(("method", "path", "older"), OLDER)
async def test_older_paths(server: WebServer, method: str, path: str, older: str) -> None:
    """The published description has each call twice; programs generated from it take the path
    without `/api/v1`.
    """
    server.add(summary("order-1"))
    async with server.client() as client:
        new, old = (
            await client.request(method, "/api/v1" + path),
            await client.request(method, older),
        )
    assert old.status_code == new.status_code in (200, 501) and old.json() == new.json()


def test_every_call_has_an_older_path() -> None:
    paths = {
        (method, route.path)
        for route in temporal_routes()
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    for method, path, _ in SERVED:
        assert {(method, path), (method, older_path(path))} <= paths, path


async def test_a_query_by_its_older_path_only_reads(tmp_path: Path) -> None:
    read_only = WebServer(tmp_path, ServerOptions(read_only=True))
    read_only.add(summary("order-1"))
    async with read_only.client() as client:
        ok(await client.post("/namespaces/default/workflows/order-1/query/state", json={}))
        refused = await client.post("/namespaces/default/workflows/order-1/cancel", json={})
    read_only.store.close()
    assert refused.status_code == 403 and refused.json()["code"] == 7


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/system-info"),
        ("DELETE", f"{API}/workflows/order-1"),
        ("PUT", "/namespaces/default/workflows/x"),
    ],
)
async def test_a_method_that_a_path_does_not_have(
    server: WebServer, method: str, path: str
) -> None:
    """grpc-gateway has no 405."""
    async with server.client() as client:
        response = await client.request(method, path)
    assert response.status_code == 501 and response.json() == {
        "code": 12,
        "message": "Method Not Allowed",
        "details": [],
    }


# ---------------------------------------------------------------- what they decide by


async def test_server_version_is_that_of_the_api(server: WebServer) -> None:
    """Clients read off it what they may send: to Odradek's own, Temporal's web UI has neither
    batches nor children.
    """
    async with server.client() as client:
        system, cluster = (
            ok(await client.get("/api/v1/system-info")),
            ok(await client.get("/api/v1/cluster-info")),
        )
    assert system["serverVersion"] == cluster["serverVersion"] == API_VERSION
    assert tuple(map(int, API_VERSION.split("."))) >= (1, 32, 0)
    assert cluster["versionInfo"] == {"current": {"version": server_version()}}


async def test_capabilities_of_the_namespace_are_served(server: WebServer) -> None:
    """Workers, and runs whose tasks fail, by the query that Temporal's web UI counts them with."""
    server.add(
        summary(
            "order-1",
            reported_problems=[
                "category=WorkflowTaskFailed",
                "cause=WorkflowTaskFailedCauseUnspecified",
            ],
        )
    )
    server.add(summary("order-2"))
    query = (
        '`ExecutionStatus`="Running" AND `TemporalReportedProblems` IN'
        ' ("category=WorkflowTaskFailed", "category=WorkflowTaskTimedOut")'
    )
    async with server.client() as client:
        capabilities = ok(await client.get(API))["namespaceInfo"]["capabilities"]
        ok(await client.get(f"{API}/workers"))
        failing = ok(await client.get(f"{API}/workflow-count", params={"query": query}))
    assert capabilities == {
        "workerHeartbeats": True,
        "reportedProblemsSearchAttribute": True,
    } and failing == {"count": "1"}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("`TemporalScheduledById` is not null", "0"),  # its chip "Scheduled"
        (
            'TemporalNamespaceDivision="TemporalScheduler" AND ExecutionStatus="Running"',
            "0",
        ),  # what it counts schedules with
        (
            (
                "TemporalSchedulePaused = true OR TemporalScheduledStartTime > '2020-01-01' OR"
                " BuildIds = 'unversioned'"
            ),
            "0",
        ),
        (
            "TemporalScheduledById IS NULL AND BuildIds IS NULL AND TemporalSchedulePaused IS NULL",
            "2",
        ),
        ('`TemporalChangeVersion`="gift-wrap-1"', "1"),
    ],
)
async def test_attributes_that_temporal_defines_are_known(
    server: WebServer, query: str, count: str
) -> None:
    """Though no run may have one."""
    version = Payload({"encoding": b"json/plain", "type": b"KeywordList"}, b'["gift-wrap-1"]')
    server.add(summary("order-1", search_attributes={"TemporalChangeVersion": version}))
    server.add(summary("order-2"))
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflow-count", params={"query": query}))
        listed = ok(await client.get(f"{API}/workflows", params={"query": query}))
        grouped = ok(
            await client.get(
                f"{API}/workflow-count", params={"query": f"{query} GROUP BY ExecutionStatus"}
            )
        )
        wrong = await client.get(f"{API}/workflows", params={"query": "TemporalScheduledBy = 'x'"})
    assert (
        found.get("count", "0")
        == count
        == grouped.get("count", "0")
        == str(len(listed.get("executions", [])))
    )
    assert wrong.status_code == 400


async def test_settings_of_temporals_web_ui(server: WebServer) -> None:
    """Its own server answers them; by them it greys out what would be 501."""
    async with server.client() as client:
        found = ok(await client.get("/api/v1/settings"))
    switched_off = {name for name, value in found.items() if name.endswith("Disabled") and value}
    assert switched_off == {
        "WorkflowUpdateDisabled",
        "WorkflowResetDisabled",
        "WorkflowPauseDisabled",
        "ActivityCommandsDisabled",
    }
    assert (
        found["DefaultNamespace"] == "default"
        and found["DisableWriteActions"] is False
        and found["Auth"] == {"Enabled": False}
    )
    # From 2.45.3 on paths are encoded once, and activities are paused by the path that answers 501.
    assert tuple(map(int, found["Version"].split("."))) >= (2, 45, 3)


async def test_settings_of_a_server_that_is_read_only(tmp_path: Path) -> None:
    web = WebServer(tmp_path, ServerOptions(read_only=True))
    async with web.client() as client:
        assert ok(await client.get("/api/v1/settings"))["DisableWriteActions"] is True
    web.store.close()


# ---------------------------------------------------------------- what they show


async def test_scheduled_time_is_that_of_the_next_attempt(server: WebServer) -> None:
    """As in Temporal's server; its web UI counts down to it. Before the first retry it is when
    the workflow asked.
    """
    run = server.add(summary("order-1"))
    again = PendingActivity(
        "1",
        "charge",
        "orders",
        "SCHEDULED",
        3,
        START_MS,
        START_MS + 2_000,
        next_attempt_time_ms=START_MS + 60_000,
    )
    first = PendingActivity("2", "notify", "orders", "STARTED", 1, START_MS, START_MS + 2_000)
    server.owner.descriptions["order-1"] = WorkflowDescription(
        run, pending_activities=[again, first]
    )
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflows/order-1"))["pendingActivities"]
    assert [one["scheduledTime"] for one in found] == [
        "2026-09-21T14:14:20Z",
        "2026-09-21T14:13:20Z",
    ]
    assert (
        found[0]["nextAttemptScheduleTime"] == found[0]["scheduledTime"]
        and "nextAttemptScheduleTime" not in found[1]
    )
