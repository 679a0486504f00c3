"""The list of runs: query box and chips, counts by status, chosen columns, pages by key."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

from starlette.responses import Response

from odradek.visibility.errors import QueryError, QueryTimeoutError
from odradek.visibility.query.columns import STATUS_NAMES
from odradek.web.api.lists import run_view
from odradek.web.context import ServerContext
from odradek.web.errors import invalid
from odradek.web.threads import in_thread
from odradek.web.ui.columns import COOKIE, chosen, columns_of
from odradek.web.ui.run_filter import RANGES, RunFilter
from odradek.web.ui.visit import Visit

PAGE_SIZE = 50
_SIZES = (20, 50, 100, 200)
_NAMES_SHOWN = 60


async def home(visit: Visit) -> Response:
    """The first page is the list of runs."""
    return visit.go("/runs")


async def runs(visit: Visit) -> Response:
    """The list."""
    choice = RunFilter.of(visit.request.query_params.multi_items(), visit.now_ms)
    store = visit.server.need_visibility()
    available = columns_of(await in_thread(store.attribute_names))
    names = visit.texts("column") or unquote(visit.request.cookies.get(COOKIE, "")).split(",")
    columns = chosen(names, available)
    token_text, size = visit.text("page"), visit.number("size", PAGE_SIZE, least=1, most=_SIZES[-1])
    values: dict[str, Any] = {"page": None, "counts": None, "failing": None, "total": 0, "error": None, "runs": [], "next_link": ""}
    try:
        values |= await _read(visit.server, choice, size, token_text)
    except QueryError as error:
        values["error"] = error
    if values["page"] is not None and values["page"].next_page_token:
        token = base64.urlsafe_b64encode(values["page"].next_page_token).rstrip(b"=").decode()
        extra = [("page", token), ("size", str(size))] + ([("at", str(choice.at_ms))] if choice.range or choice.closed else [])
        values["next_link"] = f"/runs?{urlencode([*choice.pairs(), *extra])}"
    types, queues = await asyncio.gather(_values(visit.server, "WorkflowType"), _values(visit.server, "TaskQueue"))
    response = visit.render(
        "runs.html",
        part="parts/runs_live.html",
        status=400 if values["error"] is not None else 200,
        choice=choice,
        columns=columns,
        available=available,
        statuses=list(STATUS_NAMES.values()),
        types=sorted({*types, *choice.types}),
        queues=sorted({*queues, *choice.queues}),
        ranges=list(RANGES),
        first_page=not token_text,
        size=size,
        **values,
    )
    if visit.texts("column"):
        value = quote(",".join(column.name for column in columns))
        response.set_cookie(COOKIE, value, max_age=365 * 86_400, path="/runs", samesite="strict", httponly=True)
    return response


async def _read(server: ServerContext, choice: RunFilter, size: int, token_text: str) -> dict[str, Any]:
    """A page of runs and their counts by status; a count that takes too long is left out rather than the list."""
    try:
        token = base64.urlsafe_b64decode(token_text + "=" * (-len(token_text) % 4))
    except (binascii.Error, ValueError):
        raise invalid("page: not base64") from None
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s
    query, counted = choice.query(), f"{choice.filter(statuses=False)} GROUP BY ExecutionStatus"
    failing_too = replace(choice, failing=True).filter(statuses=False)
    page, counts, failing = await asyncio.gather(
        in_thread(store.list, query, page_size=size, page_token=token, timeout_s=timeout_s),
        in_thread(store.count, counted, timeout_s=timeout_s),
        in_thread(store.count, failing_too, timeout_s=timeout_s),
        return_exceptions=True,
    )
    if isinstance(page, BaseException):
        raise page
    found: dict[str, Any] = {"page": page, "runs": [run_view(summary) for summary in page.executions]}
    for count in (counts, failing):
        if isinstance(count, BaseException) and not isinstance(count, QueryTimeoutError):
            raise count
    if not isinstance(failing, BaseException):
        found["failing"] = failing.count
    if isinstance(counts, BaseException):
        return found
    by_status = {str(group.values[0]): group.count for group in counts.groups}
    wanted = choice.statuses or tuple(by_status)
    return found | {"counts": by_status, "total": sum(by_status.get(status, 0) for status in wanted)}


async def _values(server: ServerContext, name: str) -> list[str]:
    """Values to choose from; none when they take too long to find."""
    try:
        return list(await in_thread(server.need_visibility().values_of, name, "", limit=_NAMES_SHOWN))
    except QueryTimeoutError:
        return []
