"""Activities that are completed from outside: complete, fail, heartbeat and resolve-as-canceled,
by ids or by task token.

A report has no reply of its own: it answers the attempt that the run waits for now, and the call
ends when Kafka has it. An activity that no run waits for is NOT_FOUND, as with Temporal.
"""

from __future__ import annotations

from typing import Any

from odradek.activities.token import TaskToken
from odradek.web.context import identity_of
from odradek.web.errors import invalid, not_found, unavailable, unimplemented
from odradek.web.runs import RunReader
from odradek.web.temporal.endpoint import Call
from odradek.web.temporal.message import Message
from odradek.wire.events import (
    ActivityReport,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskHeartbeat,
)
from odradek.wire.outcomes import PendingActivity

_NAMES = {"workflowId", "runId", "activityId", "taskToken", "identity"}
_IGNORED = {"namespace", "resourceId", "cause", "workerVersion", "deployment", "deploymentOptions"}
_GONE = "invalid activityID or activity already timed out or invoking workflow is completed"


async def complete(call: Call) -> dict[str, Any]:
    """RespondActivityTaskCompletedById, RespondActivityTaskCompleted."""
    body = await call.body(_NAMES | {"result"}, ignored=_IGNORED)
    result = body.payloads("result")
    queue, facts, _ = await _attempt(call, body)
    return await _report(call, queue, ActivityTaskCompleted(**facts, result=result))


async def fail(call: Call) -> dict[str, Any]:
    """RespondActivityTaskFailedById, RespondActivityTaskFailed. Whether it is tried again is the
    engine's decision.
    """
    body = await call.body(_NAMES | {"failure", "lastHeartbeatDetails"}, ignored=_IGNORED)
    failure, details = body.failure("failure"), body.payloads("lastHeartbeatDetails")
    queue, facts, _ = await _attempt(call, body)
    return await _report(
        call, queue, ActivityTaskFailed(**facts, failure=failure, last_heartbeat_details=details)
    )


async def heartbeat(call: Call) -> dict[str, Any]:
    """RecordActivityTaskHeartbeatById, RecordActivityTaskHeartbeat: says whether the workflow
    wants it to stop.
    """
    body = await call.body(_NAMES | {"details"}, ignored=_IGNORED)
    details = body.payloads("details")
    queue, facts, pending = await _attempt(call, body)
    await _report(call, queue, ActivityTaskHeartbeat(**facts, details=details))
    return {"cancelRequested": True} if pending.state == "CANCEL_REQUESTED" else {}


async def resolve_as_canceled(call: Call) -> dict[str, Any]:
    """RespondActivityTaskCanceledById, RespondActivityTaskCanceled."""
    body = await call.body(_NAMES | {"details"}, ignored=_IGNORED)
    details = body.payloads("details")
    queue, facts, pending = await _attempt(call, body)
    if pending.state != "CANCEL_REQUESTED":
        raise invalid(
            "ActivityTaskCancelRequested event was not found: nobody has asked this activity to"
            " stop"
        )
    return await _report(call, queue, ActivityTaskCanceled(**facts, details=details))


async def _attempt(call: Call, body: Message) -> tuple[str, dict[str, Any], PendingActivity]:
    """The queue of the workflow, what names the attempt in a report, and how it stands."""
    path = call.request.path_params
    token: TaskToken | None = None
    if "activity_id" in path:
        workflow_id, activity_id = (
            path.get("workflow_id") or body.text("workflowId"),
            call.path("activity_id"),
        )
        run_id, queue, attempt = body.text("runId"), call.text("taskQueue"), 0
        if not workflow_id:
            raise unimplemented("An activity without a workflow")
    else:
        token = _token(body, call.server.namespace)
        workflow_id, run_id, activity_id = token.workflow_id, token.run_id, token.activity_id
        queue, attempt = token.queue, token.attempt
    reader = RunReader(
        call.server.need_owners(),
        workflow_id,
        run_id,
        task_queue=queue,
        timeout_s=call.server.options.request_timeout_s,
    )
    description = await reader.describe()
    pending = next(
        (one for one in description.pending_activities if one.activity_id == activity_id), None
    )
    # One that waits for its next attempt, or for its topic, runs nowhere: what is said of it would
    # be said of an attempt that is over.
    waits = pending is not None and (
        pending.waiting_reason or (pending.state == "SCHEDULED" and pending.next_attempt_time_ms)
    )
    if pending is None or waits or (attempt and attempt != pending.attempt):
        raise not_found(_GONE)
    scheduled_event_id = pending.scheduled_event_id or (
        token.scheduled_event_id if token is not None else 0
    )
    if not scheduled_event_id:
        raise unavailable(
            f"the owner of task queue {reader.task_queue!r} is of an older version, which does not"
            " tell the event"
        )
    facts = {
        "workflow_id": workflow_id,
        "run_id": description.summary.run_id,
        "scheduled_event_id": scheduled_event_id,
        "activity_id": activity_id,
        "attempt": pending.attempt,
        "identity": body.text("identity") or identity_of(call.request),
    }
    return reader.task_queue, facts, pending


def _token(body: Message, namespace: str) -> TaskToken:
    try:
        token = TaskToken.decode(body.data("taskToken"))
    except ValueError as error:
        raise invalid(f"taskToken: {error}") from error
    if token.namespace != namespace:
        raise invalid(f"taskToken: it is of namespace {token.namespace!r}")
    return token


async def _report(call: Call, queue: str, record: ActivityReport) -> dict[str, Any]:
    await call.server.need_owners().report(
        record, task_queue=queue, timeout_s=call.server.options.request_timeout_s
    )
    return {}
