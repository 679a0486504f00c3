"""Temporal's batch operations: which runs are asked what, what is told of it, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.web.batch import RUNNING_MAX
from odradek.wire.events import CancelWorkflow, DeleteWorkflow, SignalWorkflow, TerminateWorkflow
from odradek.wire.payload import Payload
from tests.support.transport import reply_to
from tests.unit.temporal_shapes import problems
from tests.unit.web_server import COMPLETED, START_MS, WebServer, ok, summary

BATCHES = "/api/v1/namespaces/default/batch-operations"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    for number in range(3):
        web.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    web.add(summary("closed", status=COMPLETED, close_time_ms=START_MS + 1))
    web.add(summary("refund", workflow_type="Refund"))
    yield web
    web.store.close()


def sent(server: WebServer, kind: type) -> list[Any]:
    return [record for record in server.owner.seen if isinstance(record, kind)]


async def finish(server: WebServer, job_id: str = "job-1") -> None:
    task = server.context.batches.get(job_id).task
    assert task is not None
    await asyncio.wait_for(task, 10)


def job(operation: str, what: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    given = (
        {"visibilityQuery": "WorkflowType = 'OrderSaga'"}
        if not {"executions", "targetExecutions"} & set(fields)
        else {}
    )
    return {"reason": "spring cleaning", f"{operation}Operation": what or {}, **given, **fields}


@pytest.mark.parametrize(
    ("operation", "what", "kind", "type_"),
    [
        (
            "signal",
            {"signal": "approve", "input": [7], "header": {"fields": {"k": "v"}}, "identity": "me"},
            SignalWorkflow,
            "SIGNAL",
        ),
        ("cancellation", {"identity": "me"}, CancelWorkflow, "CANCEL"),
        ("termination", {"identity": "me", "details": ["why"]}, TerminateWorkflow, "TERMINATE"),
        ("deletion", {"identity": "me"}, DeleteWorkflow, "DELETE"),
    ],
)
async def test_over_a_query(
    server: WebServer, operation: str, what: dict[str, Any], kind: type, type_: str
) -> None:
    async with server.client() as client:
        assert ok(await client.post(f"{BATCHES}/job-1", json=job(operation, what))) == {}
        await finish(server)
        found = ok(await client.get(f"{BATCHES}/job-1"))
    asked = sent(server, kind)
    # What can be done to open runs alone hits no others; a deletion takes closed ones too.
    hit = {"order-0", "order-1", "order-2"} | ({"closed"} if operation == "deletion" else set())
    assert {record.workflow_id for record in asked} == hit and len(asked) == len(hit)
    assert all(
        record.run_id == f"run-of-{record.workflow_id}" and record.identity == "me"
        for record in asked
    )
    assert len({record.request_id for record in asked}) == len(hit)
    if kind is SignalWorkflow:
        payload = {"encoding": b"json/plain"}
        assert all(
            (record.signal_name, record.input, record.headers)
            == ("approve", [Payload(payload, b"7")], {"k": Payload(payload, b'"v"')})
            for record in asked
        )
    if kind in (CancelWorkflow, TerminateWorkflow):
        assert all(record.reason == "spring cleaning" for record in asked)
    if kind is TerminateWorkflow:
        assert all(
            record.details == [Payload({"encoding": b"json/plain"}, b'"why"')] for record in asked
        )
    assert problems(found, "DescribeBatchOperationResponse") == []
    query = (
        "WorkflowType = 'OrderSaga'"
        if operation == "deletion"
        else "(WorkflowType = 'OrderSaga') AND ExecutionStatus = 'Running'"
    )
    assert found.pop("startTime") <= found.pop("closeTime")
    assert found == {
        "operationType": f"BATCH_OPERATION_TYPE_{type_}_WORKFLOW",
        "jobId": "job-1",
        "state": "BATCH_OPERATION_STATE_COMPLETED",
        "totalOperationCount": str(len(hit)),
        "completeOperationCount": str(len(hit)),
        "identity": "me",
        "reason": "spring cleaning",
        "query": query,
    }


@pytest.mark.parametrize("member", ["executions", "targetExecutions"])
async def test_over_executions(server: WebServer, member: str) -> None:
    """Runs that are named, with or without their run id; one that has closed meanwhile is no
    failure, as in Temporal's.
    """
    name, kind = (
        ("workflowId", {})
        if member == "executions"
        else ("businessId", {"type": "EXECUTION_TYPE_WORKFLOW"})
    )
    named = [
        {name: "order-0", "runId": "run-of-order-0", **kind},
        {name: "order-1", **kind},
        {name: "order-2", **kind},
    ]
    named.append({name: "nobody", **kind})
    async with server.client() as client:
        ok(await client.post(f"{BATCHES}/job-1", json=job("cancellation", **{member: named})))
        await finish(server)
        found = ok(await client.get(f"{BATCHES}/job-1"))
    asked = sent(server, CancelWorkflow)
    assert {(record.workflow_id, record.run_id) for record in asked} >= {
        ("order-0", "run-of-order-0"), ("order-1", ""), ("order-2", ""),
    }  # fmt: skip
    assert len({record.request_id for record in asked if record.workflow_id != "nobody"}) == 3
    assert (found["totalOperationCount"], found["completeOperationCount"]) == (
        "4",
        "4",
    ) and "failureOperationCount" not in found
    assert found["executions"][0] == {
        "type": "EXECUTION_TYPE_WORKFLOW",
        "businessId": "order-0",
        "runId": "run-of-order-0",
    }
    assert (
        found["executions"][1] == {"type": "EXECUTION_TYPE_WORKFLOW", "businessId": "order-1"}
        and "query" not in found
    )
    assert problems(found, "DescribeBatchOperationResponse") == []


async def test_failures_are_counted_and_accepted_requests_are_no_failures(
    server: WebServer,
) -> None:
    server.transport.serve(
        "orders", lambda name, record: reply_to(record, "RESOURCE_EXHAUSTED", message="full")
    )
    server.add(summary("elsewhere", task_queue="down"), owner=False)
    server.transport.serve("down", lambda name, record: None)
    server.transport.living.discard("down")
    async with server.client() as client:
        ok(await client.post(f"{BATCHES}/job-1", json=job("cancellation")))
        await finish(server)
        found = ok(await client.get(f"{BATCHES}/job-1"))
    assert (
        found["totalOperationCount"],
        found["completeOperationCount"],
        found["failureOperationCount"],
    ) == ("4", "1", "3")
    assert found["state"] == "BATCH_OPERATION_STATE_COMPLETED"


async def test_same_job_sends_the_same_request_ids_after_a_restart(
    server: WebServer, tmp_path: Path
) -> None:
    """The state is gone with the process; the job may be begun again, and whoever got its
    request already is not asked for another.
    """
    ids = []
    (tmp_path / "again").mkdir()
    for web in (server, WebServer(tmp_path / "again")):
        if web is not server:
            for number in range(3):
                web.add(summary(f"order-{number}", start_time_ms=START_MS + number))
        async with web.client() as client:
            ok(await client.post(f"{BATCHES}/job-1", json=job("termination")))
            await finish(web)
        ids.append(
            {(record.workflow_id, record.request_id) for record in sent(web, TerminateWorkflow)}
        )
    web.store.close()
    assert ids[0] == ids[1] and len(ids[0]) == 3


async def test_job_id_is_used_once(server: WebServer) -> None:
    async with server.client() as client:
        ok(await client.post(f"{BATCHES}/job-1", json=job("cancellation")))
        again = await client.post(f"{BATCHES}/job-1", json=job("termination"))
        assert (
            again.status_code == 409
            and again.json()["code"] == 6
            and "job-1" in again.json()["message"]
        )
        assert again.json()["details"][0]["@type"].endswith(
            "WorkflowExecutionAlreadyStartedFailure"
        )
        await finish(server)
    assert sent(server, TerminateWorkflow) == []


async def test_pace_and_stop(server: WebServer) -> None:
    """A stop is heeded at once, also by a job that waits for its turn; what was not asked is not
    asked.
    """
    async with server.client() as client:
        ok(
            await client.post(
                f"{BATCHES}/job-1", json=job("cancellation", maxOperationsPerSecond=0.01)
            )
        )
        for _ in range(1_000):
            if sent(server, CancelWorkflow):
                break
            await asyncio.sleep(0.01)
        running = ok(await client.get(f"{BATCHES}/job-1"))
        assert running["state"] == "BATCH_OPERATION_STATE_RUNNING" and "closeTime" not in running
        assert (
            running["totalOperationCount"] == "3"
            and problems(running, "DescribeBatchOperationResponse") == []
        )
        refused = await client.post(f"{BATCHES}/job-1/stop", json={})
        assert (
            refused.status_code == 400
            and refused.json()["message"] == "Reason is not set on request."
        )
        assert (
            ok(
                await client.post(
                    f"{BATCHES}/job-1/stop", json={"reason": "enough", "identity": "me"}
                )
            )
            == {}
        )
        await finish(server)
        stopped = ok(await client.get(f"{BATCHES}/job-1"))
        assert stopped["state"] == "BATCH_OPERATION_STATE_FAILED" and stopped["closeTime"]
        assert (stopped["totalOperationCount"], stopped["completeOperationCount"]) == ("3", "1")
        late = await client.post(f"{BATCHES}/job-1/stop", json={"reason": "enough"})
        assert late.status_code == 404 and late.json()["code"] == 5
    assert len(sent(server, CancelWorkflow)) == 1
    assert server.context.batches.get("job-1").problem == "stopped by me: enough"


async def test_list(server: WebServer) -> None:
    names = [f"job-{number}" for number in range(5)]
    async with server.client() as client:
        assert ok(await client.get(BATCHES)) == {}
        for name in names:
            ok(await client.post(f"{BATCHES}/{name}", json=job("signal", {"signal": "go"})))
            await finish(server, name)
        seen: list[str] = []
        token = ""
        for _ in range(3):
            page = ok(await client.get(BATCHES, params={"pageSize": "2", "nextPageToken": token}))
            assert problems(page, "ListBatchOperationsResponse") == []
            seen += [one["jobId"] for one in page["operationInfo"]]
            token = page.get("nextPageToken", "")
        assert seen == names[::-1] and token == ""
        assert (await client.get(BATCHES, params={"nextPageToken": "AAAA"})).status_code == 400


async def test_only_so_many_at_once(server: WebServer) -> None:
    async with server.client() as client:
        for number in range(RUNNING_MAX):
            ok(
                await client.post(
                    f"{BATCHES}/job-{number}", json=job("cancellation", maxOperationsPerSecond=0.01)
                )
            )
        refused = await client.post(f"{BATCHES}/one-more", json=job("cancellation"))
        assert (
            refused.status_code == 429
            and "Max concurrent batch operations is reached" in refused.json()["message"]
        )
        for number in range(RUNNING_MAX):
            ok(await client.post(f"{BATCHES}/job-{number}/stop", json={"reason": "enough"}))
            await finish(server, f"job-{number}")
        ok(await client.post(f"{BATCHES}/one-more", json=job("cancellation")))
        await finish(server, "one-more")


REQUIRED = (
    "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions"
    " OR TargetExecutions)"
)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, REQUIRED),
        (job("cancellation", reason=""), REQUIRED),
        (job("cancellation", visibilityQuery=""), REQUIRED),
        ({"reason": "x", "visibilityQuery": "WorkflowId = 'a'"}, REQUIRED),
        (job("cancellation", executions=[]), REQUIRED),
        (
            job(
                "cancellation", executions=[{"workflowId": "a"}], visibilityQuery="WorkflowId = 'a'"
            ),
            "mutually exclusive",
        ),
        (job("cancellation", executions=[{"runId": "a"}]), "executions[0].workflowId"),
        (
            job("cancellation", executions=[{"workflowId": "a", "x": 1}]),
            'unknown field "executions[0].x"',
        ),
        (job("cancellation", executions={}), "executions: not a list"),
        (
            job("cancellation", targetExecutions=[{"businessId": "a", "type": 2}]),
            "targetExecutions[0].type is ACTIVITY",
        ),
        (
            job("cancellation", targetExecutions=[{"businessId": "a"}]),
            "targetExecutions[0].type is UNSPECIFIED",
        ),
        (job("signal"), "must provide signal name"),
        (job("cancellation", terminationOperation={}), 'oneof "operation"'),
        (job("cancellation", {"reason": "x"}), 'unknown field "cancellationOperation.reason"'),
        (job("cancellation", visibilityQuery="WorkflowTyp = 'x'"), "WorkflowType"),
        (job("cancellation", visibilityQuery="WorkflowId = 'a') OR (WorkflowId = 'b'"), "query"),
        (job("cancellation", maxOperationsPerSecond=-1), "maxOperationsPerSecond"),
        (job("deletion", visibilityQuery="ORDER BY StartTime"), "no condition"),
        (job("termination", visibilityQuery=" "), "no condition"),
        (
            job("termination", visibilityQuery="WorkflowId = 'a' GROUP BY ExecutionStatus"),
            "GROUP BY",
        ),
    ],
)
async def test_wrong_requests(server: WebServer, body: dict[str, Any], says: str) -> None:
    async with server.client() as client:
        response = await client.post(f"{BATCHES}/job-1", json=body)
        assert response.status_code == 400 and response.json()["code"] == 3, response.text
        assert says in response.json()["message"]
    assert server.context.batches.latest() == [] and server.owner.seen == []


@pytest.mark.parametrize(
    "operation",
    ["reset", "updateWorkflowOptions", "unpauseActivities", "resetActivities", "updateActivityOptions", "cancelActivities",
     "terminateActivities", "deleteActivities"],
)  # fmt: skip
async def test_operations_that_are_not_served(server: WebServer, operation: str) -> None:
    async with server.client() as client:
        response = await client.post(f"{BATCHES}/job-1", json=job(operation))
    assert response.status_code == 501
    message = f"{operation}Operation of StartBatchOperation is not supported by Odradek"
    assert response.json() == {"code": 12, "message": message, "details": []}


async def test_what_is_not_known(server: WebServer) -> None:
    async with server.client() as client:
        for response in (
            await client.get(f"{BATCHES}/nothing"),
            await client.post(f"{BATCHES}/nothing/stop", json={"reason": "x"}),
        ):
            assert response.status_code == 404 and response.json()["code"] == 5
            assert "batch operation not found for ID: nothing" in response.json()["message"]
        server.context.read_side = None
        assert (await client.post(f"{BATCHES}/job-1", json=job("cancellation"))).status_code == 503
