"""describe, history, history-reverse, query: answered by the run's owner."""

from __future__ import annotations

import json
import time
from typing import Any

from odradek.engine.json_fields import PAYLOADS, write_failure
from odradek.service import RPCStatusCode
from odradek.web.context import identity_of
from odradek.web.errors import DETAIL_TYPE, ApiError, invalid
from odradek.web.runs import RunReader, check_reply
from odradek.web.temporal import shapes
from odradek.web.temporal.endpoint import Call, new_token
from odradek.wire.events import QueryWorkflow
from odradek.wire.outcomes import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    QUERY_FAILED,
    QUERY_REJECTED,
)

PAGE_SIZE = 1_000
_FILTERS = {1: "ALL_EVENT", 2: "CLOSE_EVENT"}
_REJECT_CONDITIONS = {1: "NONE", 2: "NOT_OPEN", 3: "NOT_COMPLETED_CLEANLY"}
_CLOSING = frozenset(
    f"EVENT_TYPE_WORKFLOW_EXECUTION_{name}"
    for name in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW")
)


def _reader(call: Call, run_id: str) -> RunReader:
    server = call.server
    return RunReader(
        server.need_owners(),
        call.path("workflow_id"),
        run_id,
        task_queue=call.text("taskQueue"),
        timeout_s=server.options.request_timeout_s,
    )


async def describe(call: Call) -> dict[str, Any]:
    """DescribeWorkflowExecution."""
    return shapes.description(await _reader(call, call.text("execution.runId")).describe())


async def history(call: Call) -> dict[str, Any]:
    """GetWorkflowExecutionHistory: pages, long polls (`waitNewEvent`), the closing event alone."""
    run_id, first = _read_token(call.token()) or (call.text("execution.runId"), 1)
    reader = _reader(call, run_id)
    size = call.number("maximumPageSize", PAGE_SIZE, most=PAGE_SIZE)
    wait = call.flag("waitNewEvent")
    call.flag("skipArchival")
    if call.enum("historyEventFilterType", "HISTORY_EVENT_FILTER_TYPE_", _FILTERS) == "CLOSE_EVENT":
        return await _close_event(call, reader, first, wait)
    if wait:
        page = await reader.wait(first, size, call.server.options.long_poll_s)
        more = page.next_event_id != 0
    else:
        page = await reader.page(first, size)
        more = await reader.has_more(page, size)
    # Without an event there is nothing to go on behind, unless the caller waits for one.
    goes_on = more and (wait or bool(page.events))
    return _answer(
        shapes.history(page.events, reader.task_queue),
        _token(page.run_id, page.next_event_id) if goes_on else b"",
    )


async def _close_event(call: Call, reader: RunReader, first: int, wait: bool) -> dict[str, Any]:
    """The event that closed the run; of an open one the last there is, or, with `wait`, nothing
    and a token to ask again with.
    """
    page = await reader.last_event()
    events = shapes.history(page.events, reader.task_queue)[-1:]
    deadline_s = time.monotonic() + call.server.options.long_poll_s
    while wait and not (events and events[0]["eventType"] in _CLOSING):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return _answer([], _token(page.run_id, max(first, page.next_event_id)))
        page = await reader.wait(page.next_event_id or first, PAGE_SIZE, left_s)
        events = shapes.history(page.events, reader.task_queue)[-1:] or events
    return _answer(events, b"")


async def history_reverse(call: Call) -> dict[str, Any]:
    """GetWorkflowExecutionHistoryReverse: newest first."""
    token = _read_token(call.token())
    size = call.number("maximumPageSize", PAGE_SIZE, most=PAGE_SIZE)
    if token is None:
        reader = _reader(call, call.text("execution.runId"))
        summary = (await reader.describe()).summary
        run_id, last = summary.run_id, summary.history_length
    else:
        run_id, last = token
        reader = _reader(call, run_id)
    events = await reader.page_before(last, size)
    # A workflow task is three of them: a page may begin, and end, within one.
    written = [
        event
        for event in shapes.history(events[::-1], reader.task_queue)[::-1]
        if int(event["eventId"]) <= last
    ][:size]
    first = int(written[-1]["eventId"]) if written else 1
    return _answer(written, _token(run_id, first - 1) if first > 1 else b"")


def _answer(events: list[Any], token: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = {"history": {"events": events} if events else {}}
    text = new_token(token)
    return answer if text is None else {**answer, "nextPageToken": text}


def _token(run_id: str, event_id: int) -> bytes:
    return json.dumps([run_id, event_id], separators=(",", ":")).encode()


def _read_token(token: bytes) -> tuple[str, int] | None:
    if not token:
        return None
    try:
        run_id, event_id = json.loads(token)
    except (ValueError, TypeError, RecursionError):
        raise invalid("Invalid NextPageToken.") from None
    is_text = isinstance(run_id, str) and not any(
        letter == "\x00" or "\ud800" <= letter <= "\udfff" for letter in run_id
    )
    if not is_text or type(event_id) is not int or not 0 < event_id < 2**40:
        raise invalid("Invalid NextPageToken.")
    return run_id, event_id


async def query(call: Call) -> dict[str, Any]:
    """QueryWorkflow."""
    body = await call.body({"execution", "query", "queryRejectCondition"}, ignored={"namespace"})
    run_id = body.message("execution", {"workflowId", "runId"}).text("runId")
    asked = body.message("query", {"queryType", "queryArgs", "header"})
    record = QueryWorkflow(
        workflow_id=call.path("workflow_id"),
        query_type=call.path("query_type"),
        run_id=run_id,
        identity=identity_of(call.request),
        input=asked.payloads("queryArgs"),
        headers=asked.payload_map("header", "fields"),
        reject_condition=body.enum(
            "queryRejectCondition", "QUERY_REJECT_CONDITION_", _REJECT_CONDITIONS
        ),
    )
    owners = call.server.need_owners()
    reply = await owners.read(
        record, task_queue=call.text("taskQueue"), timeout_s=call.server.options.request_timeout_s
    )
    if reply.status == QUERY_REJECTED:
        return {"queryRejected": {"status": f"WORKFLOW_EXECUTION_STATUS_{reply.workflow_status}"}}
    if reply.status in (QUERY_FAILED, INVALID_ARGUMENT):
        detail = {"@type": DETAIL_TYPE + "QueryFailedFailure"}
        failure = write_failure(reply.failure)
        message = reply.message or (
            reply.failure.message if reply.failure is not None else "query failed"
        )
        raise ApiError(
            RPCStatusCode.INVALID_ARGUMENT,
            message,
            details=[detail if failure is None else {**detail, "failure": failure}],
        )
    if reply.status == FAILED_PRECONDITION:  # its task failed, or it has had none yet
        raise ApiError(
            RPCStatusCode.FAILED_PRECONDITION,
            reply.message,
            details=[{"@type": DETAIL_TYPE + "WorkflowNotReadyFailure"}],
        )
    check_reply(reply)
    result = PAYLOADS.write(reply.payloads)
    return {} if result is None else {"queryResult": result}
