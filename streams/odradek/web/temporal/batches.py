"""batch-operations: `odradek.web.batch`'s jobs in Temporal's words. They live in this process:
another server, or this one started anew, knows nothing of them, and what they had done is done.
"""

from __future__ import annotations

from typing import Any

from odradek.engine.json_fields import INT64, TIME, Json, without_none
from odradek.web.batch import CANCEL, DELETE, OPEN, SIGNAL, TERMINATE, BatchJob, Order, Target
from odradek.web.context import identity_of
from odradek.web.errors import ApiError, invalid, not_found, unimplemented
from odradek.web.temporal.endpoint import Call, new_token, without_defaults
from odradek.web.temporal.message import Message
from odradek.web.threads import in_thread
from odradek.web.ui.run_filter import split_order

MAX_PAGE_SIZE = 1_000
_TYPE = "BATCH_OPERATION_TYPE_"
_STATE = "BATCH_OPERATION_STATE_"
# Members of the oneof `operation`: what is served, with the members of its message, and what is
# not.
_SERVED: dict[str, tuple[str, set[str]]] = {
    "terminationOperation": (TERMINATE, {"details", "identity"}),
    "signalOperation": (SIGNAL, {"signal", "input", "header", "identity"}),
    "cancellationOperation": (CANCEL, {"identity"}),
    "deletionOperation": (DELETE, {"identity"}),
}
_UNSERVED = (
    "resetOperation", "updateWorkflowOptionsOperation", "unpauseActivitiesOperation", "resetActivitiesOperation",
    "updateActivityOptionsOperation", "cancelActivitiesOperation", "terminateActivitiesOperation", "deleteActivitiesOperation",
)  # fmt: skip
_REQUEST = {
    "visibilityQuery",
    "reason",
    "executions",
    "targetExecutions",
    "maxOperationsPerSecond",
    *_SERVED,
    *_UNSERVED,
}
_EXECUTION_TYPES = {1: "WORKFLOW", 2: "ACTIVITY"}
_TARGETS = ("visibilityQuery", "executions", "targetExecutions")


async def start(call: Call) -> Json:
    """StartBatchOperation. Answers when the job has begun; the runs of a query are those that
    fit when their turn comes.
    """
    body = await call.body(_REQUEST, ignored={"namespace", "jobId"})
    operation = _operation(body)
    reason = body.text("reason")
    selectors = [name for name in _TARGETS if body.has(name) and not body.is_empty(name)]
    if not operation or not reason or not selectors:
        raise invalid(
            "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR"
            " Executions OR TargetExecutions)"
        )
    if len(selectors) > 1:
        raise invalid("visibility query, executions, and target executions are mutually exclusive")
    order = _order(call, body, operation, reason)
    per_second = body.real("maxOperationsPerSecond")
    if per_second < 0:
        raise invalid("maxOperationsPerSecond: not a number from 0 on")
    job_id, jobs = call.path("job_id"), call.server.batches
    jobs.check_new(job_id)
    query, picked = "", _picked(body)
    if picked is None:
        query, expected = await _counted(
            call, body.text("visibilityQuery"), narrow=order.action != DELETE
        )
    else:
        expected = len(picked)
    jobs.start(
        call.server,
        order,
        query=query,
        picked=picked,
        expected=expected,
        job_id=job_id,
        per_second=per_second,
    )
    return {}


def _operation(body: Message) -> str:
    """The operation that is asked for; "" for none."""
    given = [name for name in (*_SERVED, *_UNSERVED) if body.has(name)]
    if len(given) > 1:
        raise invalid(f'proto: oneof "operation" is set more than once: {", ".join(given)}')
    if given and given[0] in _UNSERVED:
        raise unimplemented(f"{given[0]} of StartBatchOperation")
    return given[0] if given else ""


def _order(call: Call, body: Message, operation: str, reason: str) -> Order:
    action, members = _SERVED[operation]
    part = body.message(operation, members)
    signal = part.text("signal")
    if action == SIGNAL and not signal:
        raise invalid("must provide signal name")
    return Order(
        action,
        part.text("identity") or identity_of(call.request),
        reason=reason,
        signal_name=signal,
        signal_input=tuple(part.payloads("input")),
        signal_headers=part.payload_map("header", "fields"),
        details=tuple(part.payloads("details")),
    )


def _picked(body: Message) -> list[Target] | None:
    """Runs that are named; None when a query is meant."""
    found = []
    for one in body.messages("executions", {"workflowId", "runId"}):
        found.append(Target(_named(one, "workflowId"), one.text("runId")))
    for one in body.messages("targetExecutions", {"type", "businessId", "runId"}):
        kind = one.enum("type", "EXECUTION_TYPE_", _EXECUTION_TYPES)
        if kind != "WORKFLOW":
            raise invalid(
                f"{one.what}.type is {kind or 'UNSPECIFIED'}, but the operation requires"
                " EXECUTION_TYPE_WORKFLOW"
            )
        found.append(Target(_named(one, "businessId"), one.text("runId")))
    return found or None


def _named(execution: Message, member: str) -> str:
    found = execution.text(member)
    if not found:
        raise invalid(f"{execution.what}.{member} is not set on request.")
    return found


async def _counted(call: Call, given: str, *, narrow: bool) -> tuple[str, int]:
    """The query that is run, narrowed to open runs, and how many it has now. A wrong one says
    where, as it was written.
    """
    visibility, timeout_s = call.server.need_visibility(), call.server.options.request_timeout_s
    await in_thread(visibility.list, given, page_size=1, timeout_s=timeout_s)
    own, order = split_order(given)
    if not own:
        raise invalid(f"visibilityQuery has no condition: for all open workflows write {OPEN}")
    filtered = f"({own}) AND {OPEN}" if narrow else own
    count = await in_thread(visibility.count, filtered, timeout_s=timeout_s)
    return f"{filtered} {order}".strip(), count.count


async def stop(call: Call) -> Json:
    """StopBatchOperation: no more runs after those that are being asked."""
    body = await call.body({"reason", "identity"}, ignored={"namespace", "jobId"})
    reason = body.text("reason")
    if not reason:
        raise invalid("Reason is not set on request.")
    job = _job(call)
    if not job.running:
        raise not_found(f"batch operation {job.id} is not running: it has finished")
    job.stop(f"stopped by {body.text('identity') or identity_of(call.request)}: {reason}")
    return {}


async def describe(call: Call) -> Json:
    """DescribeBatchOperation. `total` is what was counted at the start until it has finished,
    then what was asked.
    """
    job = _job(call)
    finished = not job.running
    return without_none(
        **_info(job),
        totalOperationCount=INT64.write(
            job.handled if finished and not _failed(job) else max(job.expected, job.handled)
        ),
        completeOperationCount=INT64.write(job.done + job.gone + job.pending),
        failureOperationCount=INT64.write(job.failed),
        identity=job.order.identity or None,
        reason=job.order.reason or None,
        query=job.query or None,
        executions=[
            without_none(
                type="EXECUTION_TYPE_WORKFLOW", businessId=one.workflow_id, runId=one.run_id or None
            )
            for one in job.picked or ()
        ]
        or None,
    )


async def list_operations(call: Call) -> Json:
    """ListBatchOperations, latest first."""
    size, before = call.number("pageSize", MAX_PAGE_SIZE, most=MAX_PAGE_SIZE), _before(call)
    jobs = [job for job in call.server.batches.latest() if not before or job.number < before]
    page = jobs[:size]
    token = new_token(str(page[-1].number).encode() if len(jobs) > size else b"")
    return without_defaults(operationInfo=[_info(job) for job in page], nextPageToken=token)


def _before(call: Call) -> int:
    token = call.token()
    if token and not (token.isdigit() and len(token) < 10):
        raise invalid("Invalid NextPageToken.")
    return int(token or 0)


def _job(call: Call) -> BatchJob:
    job_id = call.path("job_id")
    try:
        return call.server.batches.get(job_id)
    except ApiError as error:
        raise not_found(f"batch operation not found for ID: {job_id}: {error.message}") from None


def _failed(job: BatchJob) -> bool:
    return not job.running and (job.stopped or bool(job.problem))


def _info(job: BatchJob) -> dict[str, Any]:
    """BatchOperationInfo."""
    state = "RUNNING" if job.running else "FAILED" if _failed(job) else "COMPLETED"
    return without_none(
        operationType=f"{_TYPE}{job.order.action.upper()}_WORKFLOW",
        jobId=job.id,
        state=_STATE + state,
        startTime=TIME.write(job.started_ms),
        closeTime=TIME.write(job.finished_ms),
    )
