"""Temporal's HTTP API: activities that are completed from outside, workers."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.activities.token import TaskToken
from odradek.exceptions import BrokerUnreachableError
from odradek.wire.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskHeartbeat,
)
from odradek.wire.outcomes import LaneStatus, MemberStatus, PendingActivity, WorkflowDescription
from odradek.wire.payload import Failure
from tests.unit.web_server import WebServer, ok, plain, summary

API = "/api/v1/namespaces/default"
BY_ID = f"{API}/workflows/order-1/activities/charge%2F1"
ATTEMPT = ("order-1", "run-of-order-1", 17, "charge/1", 3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    pending(web)
    yield web
    web.store.close()


def pending(web: WebServer, **fields: Any) -> None:
    given = {"state": "STARTED", "attempt": 3, "scheduled_event_id": 17, **fields}
    run = web.add(summary("order-1"))
    web.owner.descriptions["order-1"] = WorkflowDescription(
        run, pending_activities=[PendingActivity("charge/1", "charge", "pay", **given)]
    )


def token(**fields: Any) -> str:
    given = {
        "namespace": "default",
        "queue": "orders",
        "workflow_id": "order-1",
        "run_id": "run-of-order-1",
        "scheduled_event_id": 17,
    }
    return base64.b64encode(
        TaskToken(**{**given, "activity_id": "charge/1", "attempt": 3, **fields}).encode()
    ).decode()


def addresses(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The three ways to name an activity."""
    return [
        (f"{BY_ID}/{name}", {}),
        (
            f"{API}/activities/charge%2F1/{name}",
            {"workflowId": "order-1", "runId": "run-of-order-1"},
        ),
        (f"{API}/activity-{name}", {"taskToken": token()}),
    ]


def facts(record: Any) -> tuple[Any, ...]:
    return (
        record.workflow_id,
        record.run_id,
        record.scheduled_event_id,
        record.activity_id,
        record.attempt,
    )


@pytest.mark.parametrize("way", range(3))
async def test_four_reports(server: WebServer, way: int) -> None:
    async with server.client() as client:

        async def say(name: str, **body: Any) -> Any:
            path, names = addresses(name)[way]
            return ok(await client.post(path, json={**names, **body}))

        assert await say("complete", result=["receipt"], identity="cashier") == {}
        failure = {
            "message": "no",
            "applicationFailureInfo": {"type": "CardError", "nonRetryable": True, "details": [1]},
            "cause": None,
        }
        assert await say("fail", failure=failure, lastHeartbeatDetails=[7]) == {}
        assert await say("heartbeat", details=[1, 2]) == {}
        pending(server, state="CANCEL_REQUESTED")
        assert await say("heartbeat") == {"cancelRequested": True}
        assert await say("resolve-as-canceled", details={"payloads": []}) == {}
    kinds = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskHeartbeat, ActivityTaskCanceled)
    [completed], [failed], [first, _], [canceled] = [
        server.transport.records(kind) for kind in kinds
    ]
    assert {facts(one) for one in (completed, failed, first, canceled)} == {ATTEMPT}
    assert (completed.result, completed.identity, failed.identity) == (
        [plain("receipt")],
        "cashier",
        "anonymous@http",
    )
    assert failed.failure == Failure(
        "no", source="", type="CardError", non_retryable=True, details=[plain(1)]
    )
    assert failed.last_heartbeat_details == [plain(7)] and first.details == [plain(1), plain(2)]
    assert {queue for queue, record in server.transport.sent if isinstance(record, kinds)} == {
        "orders"
    }


@pytest.mark.parametrize("way", range(3))
@pytest.mark.parametrize(
    "fields",
    [
        {"state": "SCHEDULED", "next_attempt_time_ms": 5},
        {"state": "SCHEDULED", "waiting_reason": "no topic"},
    ],
)
async def test_what_runs_nowhere_is_not_found(
    server: WebServer, way: int, fields: dict[str, Any]
) -> None:
    pending(server, **fields)
    async with server.client() as client:
        path, names = addresses("complete")[way]
        missing = await client.post(path, json=names)
    assert missing.status_code == 404 and "activity already timed out" in missing.json()["message"]
    assert server.transport.records(ActivityTaskCompleted) == []


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (f"{API}/workflows/order-1/activities/other/complete", {}, 404, "activity"),
        (f"{API}/workflows/order-2/activities/charge%2F1/complete", {}, 404, "order-2"),
        (f"{API}/activities/charge%2F1/complete", {}, 501, "without a workflow"),
        (f"{API}/activity-complete", {"taskToken": token(attempt=2)}, 404, "activity"),
        (f"{API}/activity-complete", {"taskToken": token(namespace="other")}, 400, "'other'"),
        (f"{API}/activity-complete", {"taskToken": "bm8="}, 400, "not a task token"),
        (f"{API}/activity-complete", {"taskToken": "?"}, 400, "base64"),
        (f"{API}/activity-complete", {}, 400, "taskToken"),
        (f"{BY_ID}/resolve-as-canceled", {}, 400, "nobody has asked"),
        (f"{BY_ID}/fail", {"failure": []}, 400, "failure"),
        (f"{BY_ID}/fail", {"failure": {"cause": {"cause": 7}}}, 400, "failure"),
        (f"{BY_ID}/complete", {"failure": {}}, 400, "unknown field"),
    ],
)
async def test_refused(
    server: WebServer, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    async with server.client() as client:
        refused = await client.post(path, json=body)
    assert refused.status_code == status and says in refused.json()["message"], refused.text


async def test_a_report_that_kafka_does_not_confirm_ends(server: WebServer) -> None:
    async with server.client() as client:
        await client.get(f"{API}/workflows/order-1")  # its queue is known
        server.transport.deliver = False
        began = time.monotonic()
        silent = await client.post(f"{BY_ID}/complete", json={})
        assert (
            silent.status_code == 503
            and "'orders'" in silent.json()["message"]
            and time.monotonic() - began < 30
        )
        server.transport.deliver = BrokerUnreachableError("localhost:9092")
        down = await client.post(f"{BY_ID}/complete", json={})
        assert down.status_code == 503 and "localhost:9092" in down.json()["message"]
        server.transport.deliver, server.transport.full = True, 1_000_000
        full = await client.post(f"{BY_ID}/complete", json={})
        assert full.status_code == 429 or full.status_code == 503


# ---------------------------------------------------------------- workers


def member(server: WebServer, member_id: str, kind: str = "ACTIVITIES", **fields: Any) -> None:
    given: dict[str, Any] = {
        "host": "h1",
        "pid": 7,
        "slots_total": 20,
        "slots_used": 5,
        "time_ms": int(time.time() * 1000),
        **fields,
    }
    queue = given.pop("queue", "orders")
    server.context.board.member(
        member_id, MemberStatus(member_id, kind, "default", queue, f"{member_id}@h1", **given)
    )


async def test_workers(server: WebServer) -> None:
    member(server, "m-1")
    member(
        server,
        "m-2",
        "PROCESSOR",
        lanes=[LaneStatus(0, "RUNNING", cached_runs=3), LaneStatus(1, "RUNNING", cached_runs=4)],
    )
    member(server, "m-3", queue="payments")
    member(server, "m-4", time_ms=1)
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workers"))
        assert [one["workerInstanceKey"] for one in found["workers"]] == [
            "m-1",
            "m-2",
            "m-3",
        ], "m-4 has been silent for long"
        beats = [one["workerHeartbeat"] for one in found["workersInfo"]]
        assert beats[0]["activityTaskSlotsInfo"] == {
            "currentAvailableSlots": 15,
            "currentUsedSlots": 5,
            "slotSupplierKind": "Fixed",
        }
        assert beats[1]["currentStickyCacheSize"] == 7 and beats[0]["hostInfo"] == {
            "hostName": "h1",
            "processId": "7",
        }
        first = ok(await client.get(f"{API}/workers?pageSize=2"))
        rest = ok(
            await client.get(
                f"{API}/workers", params={"pageSize": 2, "nextPageToken": first["nextPageToken"]}
            )
        )
        assert (
            len(first["workers"]) == 2
            and [one["workerInstanceKey"] for one in rest["workers"]] == ["m-3"]
            and "nextPageToken" not in rest
        )
        for query, count in (
            ("TaskQueue = 'orders'", "2"),
            ("TaskQueue=\"orders\" and WorkerIdentity = 'm-2@h1'", "1"),
            ("HostName = 'h2'", "0"),
            ('`WorkerStatus`="Running"', "3"),  # as Temporal's web UI counts them
            ('`WorkerStatus`="ShuttingDown"', "0"),
            ("TaskQueue = 'payments' OR WorkerInstanceKey IN ('m-1', 'm-9')", "2"),
            ("WorkerInstanceKey NOT IN ('m-1') AND NOT TaskQueue STARTS_WITH 'pay'", "1"),
            ("SdkName = 'temporal-go'", "0"),
            ("SdkName IS NULL AND TaskQueue IS NOT NULL", "3"),
            (
                "NOT SdkName = 'temporal-go' OR DeploymentName != 'x'",
                "0",
            ),  # neither true nor false, as in lists
            ("NOT (SdkName = 'temporal-go' AND TaskQueue = 'payments')", "2"),
            (
                (
                    "HeartbeatTime > '2020-01-01' AND HeartbeatTime BETWEEN '2020-01-01' AND"
                    " '2999-01-01'"
                ),
                "3",
            ),
            ("HeartbeatTime < '2020-01-01T00:00:00Z' OR StartTime > '2020-01-01'", "0"),
        ):
            assert (
                ok(await client.get(f"{API}/worker-count", params={"query": query})).get(
                    "count", "0"
                )
                == count
            ), query
        assert (
            ok(await client.get(f"{API}/workers/describe/m-1"))["workerInfo"]["workerHeartbeat"][
                "taskQueue"
            ]
            == "orders"
        )
        assert (await client.get(f"{API}/workers/describe/m-4")).status_code == 404
        for query, says in (
            ("TaskQueue > 'a'", "column 1: TaskQueue is text"),
            ("Colour = 'x'", "column 1: a worker has no Colour; it has WorkerInstanceKey"),
            ("TaskQueue = 5", "column 13: a text was expected"),
            ("HeartbeatTime = 'soon'", "column 17: expected a time such as"),
            ("HeartbeatTime IN ('2020-01-01')", "column 1: HeartbeatTime is a time"),
            (
                "TaskQueue = 'a' ORDER BY TaskQueue",
                "column 26: workers can be neither grouped nor ordered",
            ),
            ("TaskQueue = ", "column 13: "),
        ):
            refused = await client.get(f"{API}/workers", params={"query": query})
            assert refused.status_code == 400 and says in refused.json()["message"], refused.text
        assert (await client.get(f"{API}/workers?nextPageToken=eA==")).status_code == 400
