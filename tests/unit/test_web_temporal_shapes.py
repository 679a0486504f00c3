"""Every served call of Temporal's HTTP API against the shapes of its published messages, with
all that our records can hold.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from odradek.engine.json_fields import write_time
from odradek.web.temporal.routes import SERVED
from odradek.wire.history import HistoryEvent, WorkflowExecutionStarted
from odradek.wire.outcomes import LaneStatus, MemberStatus, PendingActivity, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.unit.temporal_shapes import MESSAGES, problems
from tests.unit.test_history_json import FULL, chain
from tests.unit.web_server import COMPLETED, START_MS, WebServer, busy_description, plain, summary

N = "/api/v1/namespaces/default"
START = {"workflowType": {"name": "OrderSaga"}, "taskQueue": {"name": "orders"}}
BATCH = {"reason": "x", "visibilityQuery": "WorkflowId = 'a'", "cancellationOperation": {}}
CALLS: list[tuple[str, str, str, Any]] = [
    ("GET", "/api/v1/system-info", "GetSystemInfoResponse", None),
    ("GET", "/api/v1/cluster-info", "GetClusterInfoResponse", None),
    ("GET", "/api/v1/namespaces", "ListNamespacesResponse", None),
    ("GET", N, "DescribeNamespaceResponse", None),
    ("GET", f"{N}/search-attributes", "ListSearchAttributesResponse", None),
    ("GET", f"{N}/workflows", "ListWorkflowExecutionsResponse", None),
    ("GET", f"{N}/workflows?pageSize=1", "ListWorkflowExecutionsResponse", None),
    ("GET", f"{N}/workflows?query=WorkflowId='none'", "ListWorkflowExecutionsResponse", None),
    ("GET", f"{N}/workflow-count?query=WorkflowId='none'", "CountWorkflowExecutionsResponse", None),
    ("GET", f"{N}/workflow-count", "CountWorkflowExecutionsResponse", None),
    (
        "GET",
        f"{N}/workflow-count?query=GROUP+BY+ExecutionStatus",
        "CountWorkflowExecutionsResponse",
        None,
    ),
    (
        "GET",
        f"{N}/workflow-count?query=GROUP+BY+StartTime,ExecutionDuration,HistoryLength",
        "CountWorkflowExecutionsResponse",
        None,
    ),
    ("GET", f"{N}/workflows/busy", "DescribeWorkflowExecutionResponse", None),
    ("GET", f"{N}/workflows/full", "DescribeWorkflowExecutionResponse", None),
    ("GET", f"{N}/workflows/full/history", "GetWorkflowExecutionHistoryResponse", None),
    (
        "GET",
        f"{N}/workflows/full/history?maximumPageSize=3",
        "GetWorkflowExecutionHistoryResponse",
        None,
    ),
    (
        "GET",
        f"{N}/workflows/busy/history?waitNewEvent=true",
        "GetWorkflowExecutionHistoryResponse",
        None,
    ),
    (
        "GET",
        f"{N}/workflows/full/history?historyEventFilterType=2",
        "GetWorkflowExecutionHistoryResponse",
        None,
    ),
    (
        "GET",
        f"{N}/workflows/full/history-reverse?maximumPageSize=3",
        "GetWorkflowExecutionHistoryReverseResponse",
        None,
    ),
    ("POST", f"{N}/workflows/busy/query/state", "QueryWorkflowResponse", {}),
    (
        "POST",
        f"{N}/workflows/full/query/state",
        "QueryWorkflowResponse",
        {"queryRejectCondition": "QUERY_REJECT_CONDITION_NOT_OPEN"},
    ),
    ("POST", f"{N}/workflows/new-1", "StartWorkflowExecutionResponse", START),
    (
        "POST",
        f"{N}/workflows/new-2/signal-with-start/go",
        "SignalWithStartWorkflowExecutionResponse",
        START,
    ),
    ("POST", f"{N}/workflows/busy/signal/go", "SignalWorkflowExecutionResponse", {}),
    ("POST", f"{N}/workflows/busy/cancel", "RequestCancelWorkflowExecutionResponse", {}),
    ("POST", f"{N}/workflows/busy/terminate", "TerminateWorkflowExecutionResponse", {}),
    (
        "POST",
        f"{N}/workflows/wanted/activities/1/complete",
        "RespondActivityTaskCompletedByIdResponse",
        {},
    ),
    (
        "POST",
        f"{N}/workflows/wanted/activities/1/fail",
        "RespondActivityTaskFailedByIdResponse",
        {},
    ),
    (
        "POST",
        f"{N}/workflows/wanted/activities/1/heartbeat",
        "RecordActivityTaskHeartbeatByIdResponse",
        {},
    ),
    (
        "POST",
        f"{N}/workflows/wanted/activities/1/resolve-as-canceled",
        "RespondActivityTaskCanceledByIdResponse",
        {},
    ),
    ("POST", f"{N}/batch-operations/new", "StartBatchOperationResponse", BATCH),
    ("GET", f"{N}/batch-operations", "ListBatchOperationsResponse", None),
    ("GET", f"{N}/batch-operations?pageSize=1", "ListBatchOperationsResponse", None),
    ("GET", f"{N}/batch-operations/waits", "DescribeBatchOperationResponse", None),
    ("GET", f"{N}/batch-operations/named", "DescribeBatchOperationResponse", None),
    ("POST", f"{N}/batch-operations/waits/stop", "StopBatchOperationResponse", {"reason": "x"}),
    ("GET", f"{N}/task-queues/orders", "DescribeTaskQueueResponse", None),
    (
        "GET",
        f"{N}/task-queues/orders?includeTaskQueueStatus=true&reportStats=true&taskQueueType=2",
        "DescribeTaskQueueResponse",
        None,
    ),
    (
        "GET",
        f"{N}/task-queues/orders?apiMode=DESCRIBE_TASK_QUEUE_MODE_ENHANCED",
        "DescribeTaskQueueResponse",
        None,
    ),
    ("GET", f"{N}/task-queues/never", "DescribeTaskQueueResponse", None),
    ("GET", f"{N}/workers?pageSize=1", "ListWorkersResponse", None),
    ("GET", f"{N}/workers?query=TaskQueue='none'", "ListWorkersResponse", None),
    ("GET", f"{N}/worker-count?query=TaskQueue='none'", "CountWorkersResponse", None),
    ("GET", f"{N}/worker-count", "CountWorkersResponse", None),
    ("GET", f"{N}/workers/describe/m-1", "DescribeWorkerResponse", None),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    attribute = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"blue"')
    full = summary(
        "full",
        status=COMPLETED,
        close_time_ms=START_MS + 1_500,
        execution_time_ms=START_MS + 3,
        memo={"a": plain(1)},
        search_attributes={"Colour": attribute},
        parent_workflow_id="p",
        parent_run_id="pr",
        root_workflow_id="r",
        root_run_id="rr",
        history_size_bytes=9,
        state_transition_count=4,
    )
    started = next(one for one in FULL if isinstance(one, WorkflowExecutionStarted))
    rest = [one for one in FULL if one is not started]
    web.add(
        full,
        [
            HistoryEvent(number, START_MS + number, one, number)
            for number, one in enumerate([started, *rest], 1)
        ],
    )
    busy = web.add(summary("busy"))
    web.owner.descriptions["busy"] = busy_description(busy)
    wanted = web.add(summary("wanted"))
    asked = PendingActivity(
        "1", "charge", "orders", "CANCEL_REQUESTED", 1, last_failure=chain(), scheduled_event_id=5
    )
    web.owner.descriptions["wanted"] = WorkflowDescription(
        wanted, cancel_requested=True, pending_activities=[asked]
    )
    now_ms = int(time.time() * 1000)
    for member_id, kind in (("m-1", "ACTIVITIES"), ("m-2", "PROCESSOR")):
        lanes = [LaneStatus(0, "RUNNING", cached_runs=2)] if kind == "PROCESSOR" else []
        web.context.board.member(
            member_id,
            MemberStatus(
                member_id,
                kind,
                "default",
                "orders",
                "me",
                now_ms,
                "h",
                1,
                lanes,
                ["charge"],
                [],
                9,
                2,
            ),
        )
    yield web
    web.store.close()


@pytest.mark.parametrize(
    ("method", "path", "message", "body"),
    CALLS,
    ids=[f"{method} {path}" for method, path, _, _ in CALLS],
)
async def test_shape(server: WebServer, method: str, path: str, message: str, body: Any) -> None:
    async with server.client() as client:
        if "/batch-operations" in path:
            await _two_batches(client)
        long = f"{path}{'&' if '?' in path else '?'}noPayloadShorthand"
        answered = await client.request(method, long, json=body)
        for job in server.context.batches.latest():
            job.stop()
    assert answered.status_code == 200, answered.text
    assert problems(answered.json(), message) == []


async def _two_batches(client: httpx.AsyncClient) -> None:
    """One that goes on, one over runs that are named."""
    body = {"reason": "x", "signalOperation": {"signal": "go"}}
    named = {
        **body,
        "executions": [{"workflowId": "busy"}, {"workflowId": "full", "runId": "run-of-full"}],
    }
    waits = {**named, "maxOperationsPerSecond": 0.01}
    for name, given in (("named", named), ("waits", waits)):
        assert (await client.post(f"{N}/batch-operations/{name}", json=given)).status_code == 200


async def test_pages_of_a_history_one_event_at_a_time(server: WebServer) -> None:
    """Each event by itself, and all of them met: a page may begin anywhere."""
    seen: set[str] = set()
    async with server.client() as client:
        token = ""
        while True:
            parameters = {"maximumPageSize": "1", "nextPageToken": token, "noPayloadShorthand": ""}
            page = (await client.get(f"{N}/workflows/full/history", params=parameters)).json()
            assert problems(page, "GetWorkflowExecutionHistoryResponse", seen=seen) == []
            token = page.get("nextPageToken", "")
            if not token:
                break
    written = {name for name in seen if name.endswith("EventAttributes") and "." not in name}
    assert written == {name for name in MESSAGES if name.endswith("EventAttributes")}


def test_every_served_call_is_among_them() -> None:
    segments = [f"{method} {path.partition('?')[0]}".count("/") for method, path, _, _ in CALLS]
    assert segments
    shapes = {(method, _names(path)) for method, path, _, _ in CALLS}
    other_ways = ("/activities/", "/activity-")  # the same handlers by other names
    missing = [
        (method, path)
        for method, path, _ in SERVED
        if (method, _names(path)) not in shapes
        and not path.removeprefix("/api/v1/namespaces/{namespace:segment}").startswith(other_ways)
    ]
    assert missing == []


def _names(path: str) -> tuple[str, ...]:
    """A path's fixed words."""
    fixed = {
        "api",
        "v1",
        "system-info",
        "cluster-info",
        "namespaces",
        "search-attributes",
        "workflows",
        "workflow-count",
        "history",
    }
    fixed |= {
        "history-reverse",
        "query",
        "signal-with-start",
        "signal",
        "cancel",
        "terminate",
        "activities",
        "complete",
        "fail",
    }
    fixed |= {
        "batch-operations",
        "stop",
        "heartbeat",
        "resolve-as-canceled",
        "task-queues",
        "workers",
        "worker-count",
        "describe",
    }
    return tuple(
        part if part in fixed else "*" for part in path.partition("?")[0].strip("/").split("/")
    )


async def test_errors_have_the_shape_of_a_status(server: WebServer) -> None:
    async with server.client() as client:
        for method, path, body in (
            ("GET", f"{N}/workflows/none", None),
            ("GET", f"{N}/workflows?query=Colour", None),
            ("GET", f"{N}/schedules", None),
            ("POST", f"{N}/workflows/busy", START),
            ("POST", f"{N}/workflows/busy/query/broken", {}),
            ("GET", "/api/v1/nothing", None),
        ):
            error = (await client.request(method, path, json=body)).json()
            assert (
                error.keys() == {"code", "message", "details"}
                and isinstance(error["code"], int)
                and error["message"]
            ), path
            assert all(
                detail["@type"].startswith("type.googleapis.com/temporal.api.errordetails.v1.")
                for detail in error["details"]
            )
            for detail in error["details"]:
                assert "failure" not in detail or problems(detail["failure"], "Failure") == []


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "int64"),
        ("05", "int64"),
        ("5", "int32"),
        (True, "int32"),
        ("2026-01-01", "time"),
        ("5", "duration"),
        ("RUNNING", "enum:WORKFLOW_EXECUTION_STATUS_"),
        ("WORKFLOW_EXECUTION_STATUS_OPEN", "enum:WORKFLOW_EXECUTION_STATUS_"),
        ("?", "bytes"),
        (None, "text"),
        ({"workflow_id": "a"}, "WorkflowExecution"),
        ({"workflowId": None}, "WorkflowExecution"),
        ([{}], "WorkflowExecution"),
        ({"executions": {}}, "ListWorkflowExecutionsResponse"),
        ({"executions": []}, "ListWorkflowExecutionsResponse"),
        ({"count": "0"}, "CountWorkflowExecutionsResponse"),
        ({"customAttributes": {}}, "ListSearchAttributesResponse"),
    ],
)
def test_what_has_another_shape_is_found(value: Any, kind: str) -> None:
    assert problems(value, kind)


def test_failures_of_every_kind() -> None:
    from odradek.engine.json_fields import write_failure

    seen: set[str] = set()
    for failure in (chain(), Failure("x", type="T", next_retry_delay_ms=1_500, category="BENIGN")):
        assert problems(json.loads(json.dumps(write_failure(failure))), "Failure", seen=seen) == []
    assert {name.partition(".")[2] for name in seen if name.startswith("Failure.")} >= {
        "cause",
        "stackTrace",
        "encodedAttributes",
    }


async def test_expirations_are_what_the_engine_keeps(server: WebServer) -> None:
    """Not this run's start and its timeouts, which are wrong with a cron, a start delay, and in
    a chain. What an engine of a version before does not say is left out.
    """
    run = server.add(summary("order-1"))
    server.owner.descriptions["order-1"] = WorkflowDescription(
        run,
        execution_timeout_ms=900_000,
        run_timeout_ms=600_000,
        execution_expiration_time_ms=START_MS + 1_000_000,
        run_expiration_time_ms=START_MS + 700_000,
    )
    other = server.add(summary("order-2"))
    server.owner.descriptions["order-2"] = WorkflowDescription(
        other, execution_timeout_ms=900_000, run_timeout_ms=600_000
    )
    async with server.client() as client:
        told = (await client.get(f"{N}/workflows/order-1")).json()["workflowExtendedInfo"]
        assert (told["executionExpirationTime"], told["runExpirationTime"]) == (
            write_time(START_MS + 1_000_000),
            write_time(START_MS + 700_000),
        )
        told = (await client.get(f"{N}/workflows/order-2")).json()["workflowExtendedInfo"]
        assert "executionExpirationTime" not in told and "runExpirationTime" not in told
