"""Temporal's HTTP API: paths, JSON shapes, parameters, errors."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.web.options import ServerOptions
from odradek.web.temporal.published import unserved
from odradek.web.temporal.shorthand import read_payload, read_payloads, shorten
from odradek.wire.events import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow
from odradek.wire.outcomes import WorkflowDescription
from odradek.wire.payload import Payload
from tests.support.transport import reply_to
from tests.unit.web_server import (
    COMPLETED,
    START_MS,
    WebServer,
    busy_description,
    ok,
    plain,
    summary,
)

API = "/api/v1/namespaces/default"
DETAILS = "type.googleapis.com/temporal.api.errordetails.v1."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    yield web
    web.store.close()


def done(server: WebServer, workflow_id: str = "order-1", **fields: Any) -> None:
    server.add(summary(workflow_id, status=COMPLETED, close_time_ms=START_MS + 1_500, **fields))


# ---------------------------------------------------------------- the server about itself


async def test_system_and_cluster(server: WebServer) -> None:
    server.context.cluster_id = "kafka-1"
    async with server.client() as client:
        assert ok(await client.get("/api/v1/system-info"))["capabilities"]["upsertMemo"] is True
        assert ok(await client.get("/api/v1/cluster-info"))["clusterId"] == "kafka-1"
        namespaces = ok(await client.get("/api/v1/namespaces"))["namespaces"]
        assert [one["namespaceInfo"]["name"] for one in namespaces] == ["default"]
        described = ok(await client.get(API))
        assert described["config"]["workflowExecutionRetentionTtl"] == "259200s"
        missing = await client.get("/api/v1/namespaces/other")
        assert missing.status_code == 404 and missing.json()["code"] == 5


async def test_search_attributes(server: WebServer) -> None:
    keyword = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"blue"')
    done(server, search_attributes={"Colour": keyword})
    async with server.client() as client:
        found = ok(await client.get(f"{API}/search-attributes"))
    assert found["customAttributes"] == {"Colour": "INDEXED_VALUE_TYPE_KEYWORD"}
    assert found["systemAttributes"]["StartTime"] == "INDEXED_VALUE_TYPE_DATETIME"


# ---------------------------------------------------------------- lists


async def test_list(server: WebServer) -> None:
    done(
        server,
        "order-1",
        memo={"note": plain("fragile")},
        parent_workflow_id="batch",
        parent_run_id="r",
        history_size_bytes=900,
    )
    server.add(summary("order-2", start_time_ms=START_MS + 5))
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflows"))
        assert [one["execution"]["workflowId"] for one in found["executions"]] == [
            "order-2",
            "order-1",
        ]
        assert "nextPageToken" not in found
        assert found["executions"][1] == {
            "execution": {"workflowId": "order-1", "runId": "run-of-order-1"},
            "type": {"name": "OrderSaga"},
            "startTime": "2026-09-21T14:13:20Z",
            "closeTime": "2026-09-21T14:13:21.500Z",
            "status": "WORKFLOW_EXECUTION_STATUS_COMPLETED",
            "historyLength": "12",
            "parentExecution": {"workflowId": "batch", "runId": "r"},
            "executionTime": "2026-09-21T14:13:20Z",
            "memo": {"fields": {"note": "fragile"}},
            "taskQueue": "orders",
            "historySizeBytes": "900",
            "executionDuration": "1.500s",
            "rootExecution": {"workflowId": "order-1", "runId": "run-of-order-1"},
            "firstRunId": "run-of-order-1",
        }
        filtered = ok(
            await client.get(f"{API}/workflows", params={"query": "ExecutionStatus = 'Running'"})
        )
        assert [one["execution"]["workflowId"] for one in filtered["executions"]] == ["order-2"]


async def test_list_pages(server: WebServer) -> None:
    for number in range(5):
        server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    seen: list[str] = []
    token = ""
    async with server.client() as client:
        for _ in range(3):
            page = ok(
                await client.get(
                    f"{API}/workflows", params={"pageSize": "2", "nextPageToken": token}
                )
            )
            seen += [one["execution"]["workflowId"] for one in page["executions"]]
            token = page.get("nextPageToken", "")
            base64.b64decode(token, validate=True)
    assert seen == ["order-4", "order-3", "order-2", "order-1", "order-0"] and token == ""


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"query": "WorkflowTyp = 'x'"}, "WorkflowType"),
        ({"query": "ExecutionStatus ="}, "column"),
        ({"pageSize": "-1"}, "pageSize"),
        ({"nextPageToken": "!!"}, "nextPageToken"),
        ({"nextPageToken": "AAAA"}, "token"),
    ],
)
async def test_list_refuses(server: WebServer, parameters: dict[str, str], says: str) -> None:
    async with server.client() as client:
        response = await client.get(f"{API}/workflows", params=parameters)
    assert response.status_code == 400
    assert (
        response.json()["code"] == 3
        and response.json()["details"] == []
        and says in response.json()["message"]
    )


async def test_count_with_groups(server: WebServer) -> None:
    done(server, "a")
    done(server, "b")
    server.add(summary("c"))
    async with server.client() as client:
        assert ok(await client.get(f"{API}/workflow-count")) == {"count": "3"}
        found = ok(
            await client.get(
                f"{API}/workflow-count",
                params={"query": "GROUP BY ExecutionStatus", "noPayloadShorthand": ""},
            )
        )
    values = [
        (json.loads(base64.b64decode(group["groupValues"][0]["data"])), group["count"])
        for group in found["groups"]
    ]
    assert values == [("Completed", "2"), ("Running", "1")]
    assert base64.b64decode(found["groups"][0]["groupValues"][0]["metadata"]["type"]) == b"Keyword"


async def test_list_without_read_side(server: WebServer) -> None:
    server.context.read_side = None
    async with server.client() as client:
        response = await client.get(f"{API}/workflows")
    assert response.status_code == 503 and response.json()["code"] == 14


# ---------------------------------------------------------------- one run


async def test_describe(server: WebServer) -> None:
    run = server.add(summary("order-1"))
    server.owner.descriptions["order-1"] = description = busy_description(run)
    async with server.client() as client:
        found = ok(await client.get(f"{API}/workflows/order-1"))
        description.task_timeout_ms = 25_000
        assert (
            ok(await client.get(f"{API}/workflows/order-1"))["executionConfig"][
                "defaultWorkflowTaskTimeout"
            ]
            == "25s"
        )
    assert found["executionConfig"] == {
        "taskQueue": {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"},
        "workflowExecutionTimeout": "60s",
        "workflowRunTimeout": "30.500s",
        "defaultWorkflowTaskTimeout": "10s",
        "userMetadata": {"summary": "an order"},
    }
    assert found["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    (activity,) = found["pendingActivities"]
    assert (
        activity["state"] == "PENDING_ACTIVITY_STATE_SCHEDULED"
        and activity["attempt"] == 3
        and activity["maximumAttempts"] == 5
    )
    assert activity["lastFailure"]["cause"]["message"] == "insufficient funds"
    assert activity["lastFailure"]["applicationFailureInfo"] == {"type": "CardError"}
    assert activity["heartbeatDetails"] == [1]
    assert found["pendingWorkflowTask"] == {
        "state": "PENDING_WORKFLOW_TASK_STATE_SCHEDULED",
        "attempt": 4,
    }


async def test_history(server: WebServer) -> None:
    done(server)
    async with server.client() as client:
        short = ok(await client.get(f"{API}/workflows/order-1/history"))
        long = ok(await client.get(f"{API}/workflows/order-1/history?noPayloadShorthand"))
    events = long["history"]["events"]
    assert [event["eventId"] for event in events] == [str(number) for number in range(1, 13)]
    assert events[0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    assert all("odradek" not in event for event in events), (
        "a strict reader of Temporal's messages refuses what it does not know"
    )
    assert events[8]["workflowTaskScheduledEventAttributes"]["taskQueue"]["name"] == "orders"
    started = events[0]["workflowExecutionStartedEventAttributes"]
    assert started["input"] == {
        "payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJvcmRlciI6IDF9"}]
    }
    assert short["history"]["events"][0]["workflowExecutionStartedEventAttributes"]["input"] == [
        {"order": 1}
    ]
    encrypted = short["history"]["events"][6]["activityTaskCompletedEventAttributes"]["result"]
    assert encrypted == {
        "payloads": [{"metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA=="}, "data": "AQI="}]
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_history_pages_both_ways(server: WebServer, size: int) -> None:
    done(server)
    async with server.client() as client:
        for path, order in (("history", range(1, 13)), ("history-reverse", range(12, 0, -1))):
            seen: list[str] = []
            token = ""
            for _ in range(20):
                page = ok(
                    await client.get(
                        f"{API}/workflows/order-1/{path}",
                        params={"maximumPageSize": str(size), "nextPageToken": token},
                    )
                )
                seen += [event["eventId"] for event in page["history"].get("events", [])]
                token = page.get("nextPageToken", "")
                if not token:
                    break
                assert "reverse" not in path or len(page["history"]["events"]) <= size
            assert seen == [str(number) for number in order], path


async def test_history_of_an_open_run_ends(server: WebServer) -> None:
    server.add(summary("order-1"))
    async with server.client() as client:
        page = ok(await client.get(f"{API}/workflows/order-1/history"))
    assert len(page["history"]["events"]) == 11 and "nextPageToken" not in page


async def test_history_of_an_open_run_cut_by_size(server: WebServer) -> None:
    run = summary("order-1")
    server.add(run)
    server.owner.events["order-1"][0].attributes.input = [plain("x" * 200_000)]  # type: ignore[union-attr]
    server.owner.page_max = 3  # the owner cuts pages by bytes; nothing in the reply says so
    async with server.client() as client:
        page = ok(await client.get(f"{API}/workflows/order-1/history"))
    assert "nextPageToken" in page


async def test_wait_new_event(server: WebServer) -> None:
    run = server.add(summary("order-1"))
    async with server.client() as client:
        first = ok(
            await client.get(f"{API}/workflows/order-1/history", params={"waitNewEvent": "true"})
        )
        assert len(first["history"]["events"]) == 11
        token = first["nextPageToken"]
        nothing = ok(
            await client.get(
                f"{API}/workflows/order-1/history",
                params={"waitNewEvent": "true", "nextPageToken": token},
            )
        )
        assert nothing["history"] == {}
        run.status = COMPLETED
        server.owner.add(run)
        parameters = {"waitNewEvent": "true", "nextPageToken": nothing["nextPageToken"]}
        last = ok(await client.get(f"{API}/workflows/order-1/history", params=parameters))
        assert [event["eventId"] for event in last["history"]["events"]] == [
            "12"
        ] and "nextPageToken" not in last


async def test_close_event(server: WebServer) -> None:
    done(server)
    server.add(summary("open"))
    wanted = {"historyEventFilterType": "HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT"}
    async with server.client() as client:
        closed = ok(await client.get(f"{API}/workflows/order-1/history", params=wanted))
        (event,) = closed["history"]["events"]
        assert event["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"
        still_open = ok(
            await client.get(
                f"{API}/workflows/open/history", params={**wanted, "waitNewEvent": "true"}
            )
        )
        assert still_open["history"] == {} and still_open["nextPageToken"]


async def test_query(server: WebServer) -> None:
    done(server)
    path = f"{API}/workflows/order-1/query"
    async with server.client() as client:
        assert ok(await client.post(f"{path}/status", json={"query": {"queryArgs": [1, 2]}})) == {
            "queryResult": [{"type": "status", "args": 2}]
        }
        assert ok(await client.post(f"{path}/status"))["queryResult"][0]["args"] == 0
        rejected = ok(
            await client.post(
                f"{path}/status", json={"queryRejectCondition": "QUERY_REJECT_CONDITION_NOT_OPEN"}
            )
        )
        assert rejected == {"queryRejected": {"status": "WORKFLOW_EXECUTION_STATUS_COMPLETED"}}
        failed = await client.post(f"{path}/broken")
        assert failed.status_code == 400 and failed.json()["message"] == "handler raised"
        (detail,) = failed.json()["details"]
        assert (
            detail["@type"].endswith("QueryFailedFailure")
            and detail["failure"]["message"] == "handler raised"
        )
        early = await client.post(f"{path}/early")
        assert early.status_code == 400
        assert early.json() == {
            "code": 9,
            "message": "not yet",
            "details": [{"@type": f"{DETAILS}WorkflowNotReadyFailure"}],
        }


async def test_run_that_is_not_there(server: WebServer) -> None:
    async with server.client() as client:
        for path in ("", "/history", "/history-reverse"):
            response = await client.get(f"{API}/workflows/nobody{path}")
            assert response.status_code == 404, path
            detail = {
                "@type": f"{DETAILS}NotFoundFailure",
                "currentCluster": "active",
                "activeCluster": "active",
            }
            assert response.json() == {
                "code": 5,
                "message": "workflow not found for ID: nobody",
                "details": [detail],
            }


async def test_processor_down_is_503_with_the_queue(server: WebServer) -> None:
    """Never a hang: the request ends in its time and names who would have to answer."""
    server.add(summary("order-1"))
    server.owner.muted = True
    server.transport.living.clear()
    async with server.client(timeout=5.0) as client:
        for path in ("", "/history", "/history?waitNewEvent=true", "/history-reverse"):
            response = await client.get(f"{API}/workflows/order-1{path}")
            assert response.status_code == 503, (path, response.text)
            assert "'orders'" in response.json()["message"]


# ---------------------------------------------------------------- changes


START = {"workflowType": {"name": "OrderSaga"}, "taskQueue": {"name": "orders"}}


async def test_start(server: WebServer) -> None:
    body = {
        **START,
        "input": [{"order": 1}, None],
        "workflow_run_timeout": "90.5s",
        "workflowExecutionTimeout": "3600s",
        "retryPolicy": {
            "initialInterval": "0.5s",
            "maximumAttempts": 3,
            "nonRetryableErrorTypes": ["Fatal"],
        },
        "workflowIdReusePolicy": "WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE",
        "workflowIdConflictPolicy": 2,
        "memo": {"fields": {"note": "fragile"}},
        "searchAttributes": {
            "indexedFields": {
                "Colour": {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "ImJsdWUi"}
            }
        },
        "userMetadata": {"summary": "an order"},
        "identity": "me",
        "requestId": "request-1",
    }
    async with server.client() as client:
        answer = ok(await client.post(f"{API}/workflows/order%2F1", json=body))
    (record,) = server.transport.records(StartWorkflow)
    assert answer == {
        "runId": record.run_id,
        "started": True,
        "status": "WORKFLOW_EXECUTION_STATUS_RUNNING",
    }
    assert (
        record.workflow_id == "order/1"
        and record.workflow_type == "OrderSaga"
        and record.request_id == "request-1"
    )
    assert record.input == [
        Payload({"encoding": b"json/plain"}, b'{"order":1}'),
        Payload({"encoding": b"binary/null"}),
    ]
    assert (record.run_timeout_ms, record.execution_timeout_ms) == (90_500, 3_600_000)
    assert (
        record.retry_policy.initial_interval_ms == 500 and record.retry_policy.maximum_attempts == 3
    )
    assert (record.id_reuse_policy, record.id_conflict_policy, record.identity) == (
        "REJECT_DUPLICATE",
        "USE_EXISTING",
        "me",
    )
    assert (
        record.memo["note"].data == b'"fragile"'
        and record.search_attributes["Colour"].data == b'"blue"'
    )
    assert record.static_summary.data == b'"an order"'


async def test_start_that_exists(server: WebServer) -> None:
    server.add(summary("order-1"))
    async with server.client() as client:
        response = await client.post(f"{API}/workflows/order-1", json=START)
    assert response.status_code == 409
    (detail,) = response.json()["details"]
    assert (
        detail["@type"]
        == "type.googleapis.com/temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure"
    )
    assert detail["runId"] == "run-of-order-1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"requestId": "a", "requestId": "b", %s', "requestId"),
        (
            '{"input": [{"amount": 1, "amount": 2}], %s',
            "amount",
        ),  # none of both is meant, in whosever JSON
    ],
)
async def test_a_member_that_is_given_twice(server: WebServer, body: str, field: str) -> None:
    async with server.client() as client:
        for path in (f"{API}/workflows/order-1", "/api/odradek/v1/workflows/order-1/unpark"):
            refused = await client.post(
                path,
                content=body % json.dumps(START)[1:],
                headers={"content-type": "application/json"},
            )
            assert (
                refused.status_code == 400
                and f'duplicate field "{field}"' in refused.json()["message"]
            ), refused.text
    assert server.transport.records(StartWorkflow) == []


async def test_repeated_request_id_gives_the_same_run(server: WebServer) -> None:
    async with server.client() as client:
        for _ in range(2):
            await client.post(f"{API}/workflows/order-1", json={**START, "requestId": "again"})
    first, second = server.transport.records(StartWorkflow)
    assert first.run_id == second.run_id and first.request_id == second.request_id == "again"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"workflowType": {}}, "WorkflowType"),
        ({"taskQueue": {"name": ""}}, "TaskQueue"),
        ({"workflowTyp": {}}, 'unknown field "workflowTyp"'),
        ({"workflowType": {"nam": "x"}}, 'unknown field "workflowType.nam"'),
        ({"request_id": "a", "requestId": "a"}, 'proto: duplicate field "requestId"'),
        (
            {"taskQueue": {"normal_name": None, "name": "q", "normalName": ""}},
            'proto: duplicate field "taskQueue.normalName"',
        ),
        ({"workflowRunTimeout": "fast"}, "workflowRunTimeout"),
        ({"workflowRunTimeout": "-1s"}, "negative"),
        ({"workflowIdReusePolicy": "SOMETIMES"}, "workflowIdReusePolicy"),
        ({"retryPolicy": {"backoffCoefficient": 0.5}}, "backoffCoefficient"),
        ({"retryPolicy": {"backoffCoefficient": 10**400}}, "backoffCoefficient"),
        ({"retryPolicy": {"maximumAttempts": "9" * 5_000}}, "maximumAttempts"),
        ({"input": "text"}, "input"),
        ({"cronSchedule": "* * * * *", "workflowStartDelay": "1s"}, "may not be used together"),
        ({"workflowIdReusePolicy": 4, "workflowIdConflictPolicy": 1}, "TERMINATE_IF_RUNNING"),
    ],
)
async def test_start_refuses(server: WebServer, change: dict[str, Any], says: str) -> None:
    async with server.client() as client:
        response = await client.post(f"{API}/workflows/order-1", json={**START, **change})
    assert (
        response.status_code == 400
        and response.json()["code"] == 3
        and says in response.json()["message"]
    ), response.text
    assert server.transport.records(StartWorkflow) == []


@pytest.mark.parametrize(
    ("name", "value", "empty"),
    [
        ("completionCallbacks", [{"nexus": {"url": "http://x"}}], []),
        (
            "priority",
            {"priorityKey": 1},
            {"priorityKey": 0, "fairnessKey": "", "fairnessWeight": 0.0},
        ),
        ("priority", {"fairnessKey": "a"}, {"priority_key": None}),
        (
            "versioningOverride",
            {"pinned": {"version": {"buildId": "1"}}},
            {"pinned": {"version": {}}},
        ),
    ],
)
async def test_start_with_what_odradek_cannot_do(
    server: WebServer, name: str, value: Any, empty: Any
) -> None:
    """501, never dropped; what has only defaults asks for nothing."""
    async with server.client() as client:
        for path in ("order-1", "order-1/signal-with-start/go"):
            response = await client.post(f"{API}/workflows/{path}", json={**START, name: value})
            assert response.status_code == 501 and name in response.json()["message"]
        assert not server.owner.seen
        ok(await client.post(f"{API}/workflows/order-1", json={**START, name: empty}))


async def test_signal_cancel_terminate(server: WebServer) -> None:
    server.add(summary("order-1"))
    path = f"{API}/workflows/order-1"
    async with server.client() as client:
        body = {"workflowExecution": {"runId": "run-of-order-1"}, "input": [True], "requestId": "s"}
        assert ok(await client.post(f"{path}/signal/approve", json=body)) == {}
        assert ok(await client.post(f"{path}/cancel", json={"reason": "changed my mind"})) == {}
        assert (
            ok(
                await client.post(
                    f"{path}/terminate", json={"reason": "enough", "details": ["why"]}
                )
            )
            == {}
        )
    (signal,) = server.transport.records(SignalWorkflow)
    assert (signal.signal_name, signal.run_id, signal.request_id, signal.input[0].data) == (
        "approve",
        "run-of-order-1",
        "s",
        b"true",
    )
    assert server.transport.records(CancelWorkflow)[0].reason == "changed my mind"
    (terminate,) = server.transport.records(TerminateWorkflow)
    assert (
        terminate.reason == "enough"
        and terminate.details[0].data == b'"why"'
        and terminate.identity == "anonymous@http"
    )


async def test_signal_with_start(server: WebServer) -> None:
    async with server.client() as client:
        body = {**START, "input": [1], "signalInput": ["now"]}
        refused = {**body, "workflowIdConflictPolicy": "WORKFLOW_ID_CONFLICT_POLICY_FAIL"}
        problem = await client.post(f"{API}/workflows/order-1/signal-with-start/go", json=refused)
        assert (
            problem.status_code == 400
            and "CONFLICT_POLICY_FAIL is not supported" in problem.json()["message"]
        )
        answer = ok(await client.post(f"{API}/workflows/order-1/signal-with-start/go", json=body))
    (record,) = server.transport.records(StartWorkflow)
    assert answer == {"runId": record.run_id, "started": True}
    assert (record.signal_name, record.signal_input[0].data, record.id_conflict_policy) == (
        "go",
        b'"now"',
        "USE_EXISTING",
    )


async def test_change_without_owner_is_accepted(server: WebServer) -> None:
    """It lies in the log; the answer says that no owner has seen it."""
    server.add(summary("order-1"))
    server.owner.muted = True
    server.transport.living.clear()
    async with server.client() as client:
        response = await client.post(f"{API}/workflows/order-1/signal/approve")
        assert response.status_code == 200 and response.headers["odradek-verdict"] == "pending"
        started = await client.post(f"{API}/workflows/new", json=START)
        assert ok(started)["started"] is True and started.headers["odradek-verdict"] == "pending"


async def test_change_of_a_start_that_nobody_has_seen(server: WebServer) -> None:
    """Start and signal lie in one log, in order, and neither read side nor owner knows of them
    yet.
    """
    server.owner.muted = True
    server.transport.living.clear()
    async with server.client() as client:
        assert ok(await client.post(f"{API}/workflows/new", json=START))["started"] is True
        signalled = await client.post(f"{API}/workflows/new/signal/go")
    assert signalled.status_code == 200 and signalled.headers["odradek-verdict"] == "pending"
    assert [queue for queue, _ in server.transport.sent] == ["orders"] * len(server.transport.sent)


async def test_change_where_the_read_side_is_wrong(server: WebServer) -> None:
    """Its hint leads to a queue that does not have the id: the id is looked for, and the change
    made where it is.
    """
    server.transport.serve(
        "moved",
        lambda queue, record: reply_to(
            record, run_id="r", description=WorkflowDescription(summary("order-1"))
        ),
    )
    server.add(summary("order-1"), owner=False)
    async with server.client() as client:
        assert ok(await client.post(f"{API}/workflows/order-1/signal/go")) == {}
        gone = await client.post(f"{API}/workflows/nobody/signal/go?taskQueue=orders")
        assert gone.status_code == 404
    assert [
        queue for queue, record in server.transport.sent if isinstance(record, SignalWorkflow)
    ] == ["orders", "moved", "orders"]


async def test_one_request_id_twice_at_once(server: WebServer) -> None:
    """The second shares the answer of the first; the owner sees it once."""
    server.add(summary("order-1"))
    async with server.client() as client:
        calls = [
            client.post(f"{API}/workflows/order-1/signal/go", json={"requestId": "same"})
            for _ in range(3)
        ]
        for response in await asyncio.gather(*calls):
            assert ok(response) == {}
    assert len(server.transport.records(SignalWorkflow)) == 1


async def test_one_request_id_for_many_workflows_and_calls_at_once(server: WebServer) -> None:
    """A correlation id: each workflow and each call gets its own request, and its own answer."""
    names = [f"order-{n}" for n in range(5)]
    async with server.client() as client:
        starts = [
            client.post(f"{API}/workflows/{name}", json={**START, "requestId": "same"})
            for name in names
        ]
        answers = await asyncio.gather(*starts)
        asked = {
            record.workflow_id: record.run_id for record in server.transport.records(StartWorkflow)
        }
        assert [ok(answer)["runId"] for answer in answers] == [
            asked[name] for name in names
        ] and len(set(asked.values())) == len(names)
        for name in names:
            server.add(summary(name))
        calls = ("signal/go", "signal/go?taskQueue=orders", "cancel")
        posts = [
            client.post(f"{API}/workflows/{name}/{call}", json={"requestId": "same"})
            for name in names
            for call in calls
        ]
        assert all(ok(response) == {} for response in await asyncio.gather(*posts))
    for kind in (SignalWorkflow, CancelWorkflow):
        assert sorted(record.workflow_id for record in server.transport.records(kind)) == names


async def test_run_of_a_start_is_of_its_workflow_and_request_id(server: WebServer) -> None:
    """Whatever characters they have: a run id that two workflow ids share is refused by their
    owner.
    """
    async with server.client() as client:
        for name, request_id in (("order:1", "2"), ("order", "1:2")):
            await client.post(f"{API}/workflows/{name}", json={**START, "requestId": request_id})
    first, second = server.transport.records(StartWorkflow)
    assert first.run_id != second.run_id


async def test_run_of_a_start_with_a_signal_is_none_of_a_start_under_its_request_id(
    server: WebServer,
) -> None:
    """Else the owner takes it for the start that it has answered, and the signal is lost."""
    async with server.client() as client:
        for path in ("order-1", "order-1/signal-with-start/go", "order-1/signal-with-start/go"):
            await client.post(f"{API}/workflows/{path}", json={**START, "requestId": "op"})
    start, first, again = (record.run_id for record in server.transport.records(StartWorkflow))
    assert start == str(
        uuid.uuid5(uuid.NAMESPACE_URL, 'odradek:start:["orders", "order-1", "op"]')
    ), "as older servers make it"
    assert first == again != start


async def test_id_in_two_queues(server: WebServer) -> None:
    """The error names both, and `taskQueue` says which is meant."""
    for queue in ("left", "right"):
        server.transport.serve(queue, lambda name, record: reply_to(record, run_id=f"run-{name}"))
    async with server.client() as client:
        response = await client.post(f"{API}/workflows/twice/signal/go")
        assert response.status_code == 400 and "'left', 'right'" in response.json()["message"]
        assert ok(await client.post(f"{API}/workflows/twice/signal/go?taskQueue=left")) == {}
    assert server.transport.sent[-1][0] == "left"


# ---------------------------------------------------------------- what is not served


@pytest.mark.parametrize(("method", "path", "name"), unserved())
async def test_unserved_calls_say_so(server: WebServer, method: str, path: str, name: str) -> None:
    concrete = path.replace("{namespace:segment}", "default")
    for number in range(4):
        concrete = concrete.replace(f"{{p{number}:segment}}", f"x{number}")
    async with server.client() as client:
        response = await client.request(method, "/api/v1" + concrete)
    assert response.status_code == 501
    assert response.json() == {
        "code": 12,
        "message": f"{name} is not supported by Odradek",
        "details": [],
    }


def test_unserved_calls_stand_in_the_documentation() -> None:
    """Each with a reason, and none that is served."""
    text = (Path(__file__).parents[2] / "docs/http-api.md").read_text(encoding="utf-8")
    rows = [
        line
        for line in text.partition("### What answers 501")[2].partition("## ")[0].splitlines()
        if line.startswith("| `")
    ]
    assert sorted(
        re.findall(r"`([A-Z]\w+)`", " ".join(row.split("|")[1] for row in rows))
    ) == sorted({name for *_, name in unserved()})
    assert all(row.split("|")[2].strip() for row in rows)


async def test_unknown_paths(server: WebServer) -> None:
    async with server.client() as client:
        unknown = await client.get("/api/v1/nothing/here")
        assert unknown.status_code == 404 and unknown.json() == {
            "code": 5,
            "message": "Not Found",
            "details": [],
        }


async def test_body_errors(server: WebServer) -> None:
    server.context.options = ServerOptions(body_max_bytes=100)
    async with server.client() as client:
        for content, status in (
            (b"{", 400),
            (b"[1]", 400),
            (b'{"input": NaN}', 400),
            (b"x" * 200, 429),
            (b"[" * 90, 400),
        ):
            response = await client.post(f"{API}/workflows/order-1", content=content)
            assert response.status_code == status, content[:10]
            assert set(response.json()) == {"code", "message", "details"}


async def test_forms_of_the_answer(server: WebServer) -> None:
    done(server, memo={"note": plain("fragile")})
    path = f"{API}/workflows/order-1"
    async with server.client() as client:
        pretty = await client.get(path, params={"pretty": ""})
        assert "\n  " in pretty.text and pretty.headers["content-type"] == "application/json"
        by_header = ok(
            await client.get(path, headers={"accept": "application/json+no-payload-shorthand"})
        )
        assert (
            by_header["workflowExecutionInfo"]["memo"]["fields"]["note"]["data"] == "ImZyYWdpbGUi"
        )
        body = {
            **START,
            "input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ=="}]},
        }
        await client.post(f"{API}/workflows/order-2?noPayloadShorthand", json=body)
        refused = await client.post(
            f"{API}/workflows/order-3?noPayloadShorthand", json={**START, "input": [1]}
        )
        assert refused.status_code == 400
    assert server.transport.records(StartWorkflow)[0].input == [
        Payload({"encoding": b"json/plain"}, b"1")
    ]


# ---------------------------------------------------------------- short payloads


@pytest.mark.parametrize(
    ("payload", "short"),
    [
        (plain({"a": [1, None]}), {"a": [1, None]}),
        (Payload({"encoding": b"binary/null"}), None),
        (
            Payload({"encoding": b"json/protobuf", "messageType": b"x.Y"}, b'{"a":1}'),
            {"a": 1, "_protoMessageType": "x.Y"},
        ),
    ],
)
def test_short_payloads_go_both_ways(payload: Payload, short: Any) -> None:
    long = {
        "metadata": {
            key: base64.b64encode(value).decode() for key, value in payload.metadata.items()
        }
    }
    if payload.data:
        long["data"] = base64.b64encode(payload.data).decode()  # type: ignore[assignment]
    assert shorten({"x": {"payloads": [long]}}) == {"x": [short]}
    read = read_payload(short, "x")
    assert read.metadata == payload.metadata and (
        not payload.data or json.loads(read.data) == json.loads(payload.data)
    )
    assert read_payload(long, "x") == payload


@pytest.mark.parametrize(
    "metadata",
    [
        {"encoding": b"binary/encrypted"},
        {"encoding": b"json/plain", "type": b"Keyword"},
        {"encoding": b"json/plain", "k": b""},
    ],
)
def test_payloads_with_more_to_say_keep_the_long_form(metadata: dict[str, bytes]) -> None:
    long = {
        "metadata": {key: base64.b64encode(value).decode() for key, value in metadata.items()},
        "data": "MQ==",
    }
    assert shorten(long) == long
    assert shorten({"payloads": [long, long]}) == {"payloads": [long, long]}


@pytest.mark.parametrize(
    ("given", "payload"),
    [
        ({"data": "AAEC"}, Payload({}, b"\x00\x01\x02")),
        ({"metadata": None, "data": "AAEC"}, Payload({}, b"\x00\x01\x02")),
        ({"metadata": {"encoding": "anNvbi9wbGFpbg=="}}, Payload({"encoding": b"json/plain"}, b"")),
        ({}, Payload({}, b"")),
    ],
)
def test_payloads_without_one_half(given: dict[str, Any], payload: Payload) -> None:
    """Legal to protobuf's reader. In the short form such an object stands for itself, as in
    Temporal.
    """
    assert read_payload(given, "x", short=False) == payload
    assert read_payload(given, "x").metadata == {"encoding": b"json/plain"}


def test_user_data_that_looks_like_a_payload() -> None:
    assert read_payload({"metadata": {"a": "b c"}, "data": "x"}, "x").metadata == {
        "encoding": b"json/plain"
    }
    assert read_payloads([{"payloads": []}], "x")[0].data == b'{"payloads":[]}'
