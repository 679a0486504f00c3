"""workflows and workflow-count: answered by the read side, which may be a moment behind the
owners of runs.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from odradek.web.temporal.endpoint import Call, new_token, without_defaults
from odradek.web.temporal.shapes import execution_info
from odradek.web.threads import in_thread

MAX_PAGE_SIZE = 1_000


async def list_workflows(call: Call) -> dict[str, Any]:
    """ListWorkflowExecutions."""
    visibility = call.server.need_visibility()
    size = call.number("pageSize", MAX_PAGE_SIZE, most=MAX_PAGE_SIZE)
    timeout_s = call.server.options.request_timeout_s
    page = await in_thread(
        visibility.list,
        call.text("query"),
        page_size=size,
        page_token=call.token(),
        timeout_s=timeout_s,
    )
    executions = [execution_info(summary) for summary in page.executions]
    return without_defaults(executions=executions, nextPageToken=new_token(page.next_page_token))


async def count_workflows(call: Call) -> dict[str, Any]:
    """CountWorkflowExecutions, with GROUP BY."""
    visibility = call.server.need_visibility()
    found = await in_thread(
        visibility.count, call.text("query"), timeout_s=call.server.options.request_timeout_s
    )
    groups = [
        {"groupValues": [group_value(value) for value in group.values], "count": str(group.count)}
        for group in found.groups
    ]
    return without_defaults(count=str(found.count), groups=groups)


def group_value(value: Any) -> dict[str, Any]:
    """A group's value as Temporal's payload of a search attribute."""
    kind: str
    plain: Any
    if isinstance(value, bool):
        kind, plain = "Bool", value
    elif isinstance(value, int):
        kind, plain = "Int", value
    elif isinstance(value, float):
        kind, plain = "Double", value
    elif isinstance(value, datetime):
        kind, plain = "Datetime", _time(value)
    elif isinstance(value, timedelta):
        kind, plain = "Int", value // timedelta(microseconds=1) * 1000
    else:
        kind, plain = "Keyword", value
    metadata = (
        {"encoding": "json/plain", "type": kind}
        if plain is not None
        else {"encoding": "binary/null"}
    )
    payload: dict[str, Any] = {
        "metadata": {key: _base64(text.encode()) for key, text in metadata.items()}
    }
    return payload if plain is None else {**payload, "data": _base64(json.dumps(plain).encode())}


def _time(value: datetime) -> str:
    """RFC 3339 without zeros at the end, as Go writes a time: exact, so that two groups never
    look the same.
    """
    text = value.astimezone(UTC).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
