"""start, signal-with-start, signal, cancel, terminate: requests that the run's owner decides.

With no owner alive they are accepted: they lie in the log of the task queue and are applied when
one comes. The answer is then Temporal's all the same, with the header `Odradek-Verdict:
pending`.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from odradek.client.encode import NO_FAIL_WITH_SIGNAL, check_id
from odradek.client.responses import check_start
from odradek.web.context import identity_of
from odradek.web.errors import invalid
from odradek.web.runs import check_reply
from odradek.web.temporal.endpoint import Call
from odradek.web.temporal.message import Message
from odradek.wire.events import (
    CancelWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.outcomes import Reply
from odradek.wire.request_ids import SIGNAL_WITH_START

VERDICT = "Odradek-Verdict"
_REUSE = {
    1: "ALLOW_DUPLICATE",
    2: "ALLOW_DUPLICATE_FAILED_ONLY",
    3: "REJECT_DUPLICATE",
    4: "TERMINATE_IF_RUNNING",
}
_CONFLICT = {1: "FAIL", 2: "USE_EXISTING", 3: "TERMINATE_EXISTING"}
_START = {
    "workflowId", "workflowType", "taskQueue", "input", "workflowExecutionTimeout", "workflowRunTimeout", "workflowTaskTimeout", "identity",
    "requestId", "workflowIdReusePolicy", "workflowIdConflictPolicy", "retryPolicy", "cronSchedule", "memo", "searchAttributes", "header",
    "workflowStartDelay", "userMetadata",
}  # fmt: skip
# Taken and without effect: hints, and what only tells where a request came from.
_START_IGNORED = {
    "namespace",
    "requestEagerExecution",
    "links",
    "control",
    "eagerWorkerDeploymentOptions",
}
_START_REFUSED = {
    "continuedFailure", "lastCompletionResult", "completionCallbacks", "versioningOverride", "onConflictOptions", "priority",
    "timeSkippingConfig", "timeSkippingStatePropagation", "propagatedNexusSerializationContext",
}  # fmt: skip
_EXECUTION = {"workflowId", "runId"}


async def start(call: Call) -> dict[str, Any]:
    """StartWorkflowExecution."""
    body = await call.body(_START, ignored=_START_IGNORED, refused=_START_REFUSED)
    record, queue = _start_record(call, body)
    reply = await _send_start(call, record, queue)
    if reply is None:
        return {
            "runId": record.run_id,
            "started": True,
            "status": "WORKFLOW_EXECUTION_STATUS_RUNNING",
        }
    answer: dict[str, Any] = {
        "runId": reply.run_id,
        "status": f"WORKFLOW_EXECUTION_STATUS_{reply.workflow_status or 'RUNNING'}",
    }
    return answer | ({"started": True} if reply.started else {})


async def signal_with_start(call: Call) -> dict[str, Any]:
    """SignalWithStartWorkflowExecution: one atomic request."""
    body = await call.body(
        _START | {"signalInput", "signalName"}, ignored=_START_IGNORED, refused=_START_REFUSED
    )
    record, queue = _start_record(call, body)
    record.signal_name = call.path("signal_name")
    record.signal_input = body.payloads("signalInput")
    record.signal_headers = record.headers
    if record.id_conflict_policy == "FAIL":
        if body.enum("workflowIdConflictPolicy", "WORKFLOW_ID_CONFLICT_POLICY_", _CONFLICT):
            raise invalid(NO_FAIL_WITH_SIGNAL)
        record.id_conflict_policy = "USE_EXISTING"
    reply = await _send_start(call, record, queue)
    if reply is None:
        return {"runId": record.run_id, "started": True}
    return {"runId": reply.run_id} | ({"started": True} if reply.started else {})


def _start_record(call: Call, body: Message) -> tuple[StartWorkflow, str]:
    workflow_id = call.path("workflow_id")
    workflow_type = body.message("workflowType", {"name"}).text("name")
    queue = body.message("taskQueue", {"name", "kind", "normalName"}).text("name")
    if not workflow_type:
        raise invalid("WorkflowType is not set on request.")
    check_id(workflow_id, queue)
    reuse, conflict = _policies(body)
    metadata = body.message("userMetadata", {"summary", "details"})
    record = StartWorkflow(
        workflow_id=workflow_id,
        workflow_type=workflow_type,
        request_id=body.text("requestId"),
        run_id=str(uuid.uuid4()),
        identity=body.text("identity") or identity_of(call.request),
        input=body.payloads("input"),
        headers=body.payload_map("header", "fields"),
        memo=body.payload_map("memo", "fields"),
        search_attributes=body.payload_map("searchAttributes", "indexedFields"),
        execution_timeout_ms=body.duration_ms("workflowExecutionTimeout"),
        run_timeout_ms=body.duration_ms("workflowRunTimeout"),
        task_timeout_ms=body.duration_ms("workflowTaskTimeout"),
        start_delay_ms=body.duration_ms("workflowStartDelay"),
        cron_schedule=body.text("cronSchedule"),
        retry_policy=body.retry_policy("retryPolicy"),
        id_reuse_policy=reuse,
        id_conflict_policy=conflict,
        static_summary=metadata.payload("summary"),
        static_details=metadata.payload("details"),
    )
    if record.cron_schedule and record.start_delay_ms:
        raise invalid("CronSchedule and WorkflowStartDelay may not be used together.")
    return record, queue


def _policies(body: Message) -> tuple[str, str]:
    reuse = (
        body.enum("workflowIdReusePolicy", "WORKFLOW_ID_REUSE_POLICY_", _REUSE) or "ALLOW_DUPLICATE"
    )
    conflict = body.enum("workflowIdConflictPolicy", "WORKFLOW_ID_CONFLICT_POLICY_", _CONFLICT)
    if reuse == "TERMINATE_IF_RUNNING":
        if conflict:
            raise invalid(
                "Invalid WorkflowIDReusePolicy: TERMINATE_IF_RUNNING cannot be used together with a"
                " WorkflowIDConflictPolicy."
            )
        return "ALLOW_DUPLICATE", "TERMINATE_EXISTING"
    return reuse, conflict or "FAIL"


async def _send_start(call: Call, record: StartWorkflow, queue: str) -> Reply | None:
    # A request id of the caller's may come again, after this process has died: the run id must then
    # be the same. As in Temporal it is an id of one call: a start with a signal under the id of a
    # start is no repeated one, and its signal is delivered.
    if record.request_id:
        kind = [SIGNAL_WITH_START] if record.signal_name else []
        what = json.dumps([queue, record.workflow_id, record.request_id, *kind])
        record.run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"odradek:start:{what}"))
    owners = call.server.need_owners()
    reply = await owners.change(
        record, task_queue=queue, create=True, timeout_s=call.server.options.request_timeout_s
    )
    if reply is None:
        call.headers[VERDICT] = "pending"
        return None
    return check_start(
        reply, workflow_id=record.workflow_id, workflow_type=record.workflow_type, task_queue=queue
    )


async def signal(call: Call) -> dict[str, Any]:
    """SignalWorkflowExecution."""
    body = await call.body(
        {"workflowExecution", "signalName", "input", "identity", "requestId", "header"},
        ignored={"namespace", "control", "links"},
    )
    record = SignalWorkflow(
        workflow_id=call.path("workflow_id"),
        signal_name=call.path("signal_name"),
        run_id=body.message("workflowExecution", _EXECUTION).text("runId"),
        request_id=body.text("requestId"),
        identity=body.text("identity") or identity_of(call.request),
        input=body.payloads("input"),
        headers=body.payload_map("header", "fields"),
    )
    return await _change(call, record)


async def cancel(call: Call) -> dict[str, Any]:
    """RequestCancelWorkflowExecution."""
    body = await call.body(
        {"workflowExecution", "identity", "requestId", "firstExecutionRunId", "reason"},
        ignored={"namespace", "links"},
    )
    record = CancelWorkflow(
        workflow_id=call.path("workflow_id"),
        run_id=body.message("workflowExecution", _EXECUTION).text("runId"),
        first_execution_run_id=body.text("firstExecutionRunId"),
        request_id=body.text("requestId"),
        identity=body.text("identity") or identity_of(call.request),
        reason=body.text("reason"),
    )
    return await _change(call, record)


async def terminate(call: Call) -> dict[str, Any]:
    """TerminateWorkflowExecution."""
    body = await call.body(
        {"workflowExecution", "reason", "details", "identity", "firstExecutionRunId"},
        ignored={"namespace", "links"},
    )
    record = TerminateWorkflow(
        workflow_id=call.path("workflow_id"),
        run_id=body.message("workflowExecution", _EXECUTION).text("runId"),
        first_execution_run_id=body.text("firstExecutionRunId"),
        identity=body.text("identity") or identity_of(call.request),
        reason=body.text("reason"),
        details=body.payloads("details"),
    )
    return await _change(call, record)


async def _change(call: Call, record: Request) -> dict[str, Any]:
    owners = call.server.need_owners()
    reply = await owners.change(
        record, task_queue=call.text("taskQueue"), timeout_s=call.server.options.request_timeout_s
    )
    if reply is None:
        call.headers[VERDICT] = "pending"
    else:
        check_reply(reply)
    return {}
