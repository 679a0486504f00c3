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
from odradek.web.ui.columns import COOKIE, aligned, chosen, columns_of
from odradek.web.ui.run_filter import RANGES, RunFilter
from odradek.web.ui.visit import Visit

PAGE_SIZE = 50
_SIZES = (20, 50, 100, 200)
_NAMES_SHOWN = 60


async def home(visit: Visit) -> Response:
    """The first page is the list of runs, of the query that is asked for."""
    query = visit.request.url.query
    return visit.go(f"/runs?{query}" if query else "/runs")


async def runs(visit: Visit) -> Response:
    """The list."""
    choice = RunFilter.of(visit.request.query_params.multi_items(), visit.now_ms)
    store = visit.server.need_visibility()
    available = columns_of(await in_thread(store.attribute_names))
    names = visit.texts("column") or unquote(visit.request.cookies.get(COOKIE, "")).split(",")
    token_text, size = visit.text("page"), visit.number("size", PAGE_SIZE, least=1, most=_SIZES[-1])
    values: dict[str, Any] = {
        "page": None,
        "counts": None,
        "failing": None,
        "total": 0,
        "error": None,
        "runs": [],
    }
    try:
        values |= await _read(visit.server, choice, size, token_text)
    except QueryError as error:
        values["error"] = choice.in_the_box(error)
    page = values["page"]
    if page is not None and token_text and page.executions and not page.previous_page_token:
        return visit.go(
            _link(choice, size)
        )  # back at the first page: it has an address of its own, and is live
    available = aligned(available, values["runs"])
    columns = chosen(names, available)
    links = {
        "first_link": _link(choice, size),
        "next_link": (
            _link(choice, size, page.next_page_token)
            if page is not None and page.next_page_token
            else ""
        ),
        "previous_link": (
            _link(choice, size, page.previous_page_token)
            if page is not None and page.previous_page_token
            else ""
        ),
    }
    (types, more_types), (queues, more_queues) = await asyncio.gather(
        _values(visit.server, "WorkflowType"), _values(visit.server, "TaskQueue")
    )
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
        more_names={"types": more_types, "queues": more_queues},
        names_shown=_NAMES_SHOWN,
        ranges=list(RANGES),
        first_page=not token_text,
        size=size,
        **links,
        **values,
    )
    if visit.texts("column"):
        value = quote(",".join(column.name for column in columns))
        response.set_cookie(
            COOKIE, value, max_age=365 * 86_400, path="/runs", samesite="strict", httponly=True
        )
    return response


def _link(choice: RunFilter, size: int, page_token: bytes = b"") -> str:
    """The address of a page of this list. Ranges count from where they counted on the first page."""
    extra: list[tuple[str, str]] = []
    if page_token:
        extra = [("page", base64.urlsafe_b64encode(page_token).rstrip(b"=").decode())]
        extra += [("at", str(choice.at_ms))] if choice.range or choice.closed else []
    if page_token or size != PAGE_SIZE:
        extra.append(("size", str(size)))
    pairs = [*choice.pairs(), *extra]
    return f"/runs?{urlencode(pairs)}" if pairs else "/runs"


async def _read(
    server: ServerContext, choice: RunFilter, size: int, token_text: str
) -> dict[str, Any]:
    """A page of runs and their counts by status; a count that takes too long is left out rather
    than the list.
    """
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
    found: dict[str, Any] = {
        "page": page,
        "runs": [run_view(summary) for summary in page.executions],
    }
    for count in (counts, failing):
        if isinstance(count, BaseException) and not isinstance(count, QueryTimeoutError):
            raise count
    if not isinstance(failing, BaseException):
        found["failing"] = failing.count
    if isinstance(counts, BaseException):
        return found
    by_status = {str(group.values[0]): group.count for group in counts.groups}
    wanted = choice.statuses or tuple(by_status)
    return found | {
        "counts": by_status,
        "total": sum(by_status.get(status, 0) for status in wanted),
    }


async def _values(server: ServerContext, name: str) -> tuple[list[str], bool]:
    """Values to choose from, those with the most runs, and whether there are more; none when
    they take too long to find.
    """
    try:
        found = list(
            await in_thread(server.need_visibility().values_of, name, "", limit=_NAMES_SHOWN + 1)
        )
    except QueryTimeoutError:
        return [], False
    return found[:_NAMES_SHOWN], len(found) > _NAMES_SHOWN
