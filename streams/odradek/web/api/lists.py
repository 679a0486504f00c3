"""Runs as the read side lists, sorts, counts and groups them; completion of queries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query

from odradek.visibility.errors import QueryError
from odradek.web.api.router import PageSize, Server, Text, new_router
from odradek.web.errors import invalid
from odradek.web.kafka.views import record_value
from odradek.web.threads import in_thread
from odradek.wire.outcomes import ExecutionSummary

router = new_router("runs")


@dataclass
class RunView:
    """A run as lists show it. Payloads are shown with what they hold."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: str
    start_time_ms: int
    execution_time_ms: int
    close_time_ms: int
    history_length: int
    history_size_bytes: int
    state_transition_count: int
    first_execution_run_id: str
    parent_workflow_id: str
    parent_run_id: str
    root_workflow_id: str
    root_run_id: str
    parked_reason: str
    reported_problems: list[str]
    memo: dict[str, Any]
    search_attributes: dict[str, Any]


@dataclass
class Runs:
    """A page of runs. `next_page_token` is "" on the last page, `previous_page_token` on the
    first; both go where `page_token` goes.
    """

    runs: list[RunView]
    next_page_token: str
    previous_page_token: str = ""


def run_view(summary: ExecutionSummary) -> RunView:
    """A summary as it is shown."""
    names = RunView.__dataclass_fields__
    return RunView(**{name: record_value(getattr(summary, name)) for name in names})


@router.get("/workflows", summary="Runs of a query, sorted, page by page.")
async def list_runs(
    server: Server,
    query: Text = "",
    sort: Annotated[
        str,
        Query(
            max_length=1_000,
            description="Columns, with `-` before one that falls: `-StartTime,WorkflowType`.",
        ),
    ] = "",
    page_size: PageSize = 100,
    page_token: Annotated[str, Query(max_length=8_000)] = "",
) -> Runs:
    if not page_token.isascii():
        raise invalid("page_token: not one that this server gave")
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s
    with _about("sort", query):
        page = await in_thread(
            store.list,
            sorted_query(query, sort),
            page_size=page_size,
            page_token=page_token.encode(),
            timeout_s=timeout_s,
        )
    return Runs(
        [run_view(summary) for summary in page.executions],
        page.next_page_token.decode("ascii"),
        page.previous_page_token.decode("ascii"),
    )


def sorted_query(query: str, sort: str) -> str:
    """A query with the order that `sort` says. Its own ORDER BY and `sort` exclude each other:
    the parser says so.
    """
    if not sort:
        return query
    keys = [key.strip() for key in sort.split(",")]
    columns = _columns("sort", [key.removeprefix("-") for key in keys])
    order = [
        column + (" DESC" if key.startswith("-") else "")
        for key, column in zip(keys, columns, strict=True)
    ]
    return f"{query} ORDER BY {', '.join(order)}"


def _columns(parameter: str, names: list[str]) -> list[str]:
    for name in names:
        if not name or "`" in name:
            raise invalid(f"{parameter}: {name!r} is no column")
    return [f"`{name}`" for name in names]


@contextlib.contextmanager
def _about(parameter: str, query: str) -> Iterator[None]:
    """Errors in what a parameter has put behind the query name the parameter, and no place in a
    text that nobody wrote.
    """
    try:
        yield
    except QueryError as error:
        if error.column <= len(query):
            raise
        raise error.about(parameter) from None


@dataclass
class Group:
    """A group: its values in the order of GROUP BY (times as text, durations in milliseconds),
    and its runs.
    """

    values: list[str | int | float | bool | None]
    count: int


@dataclass
class RunsCount:
    """A count. `complete` False: there are more groups than these."""

    count: int
    groups: list[Group]
    complete: bool


@router.get("/workflow-count", summary="How many runs, by group.")
async def count_runs(
    server: Server,
    query: Text = "",
    group: Annotated[
        str, Query(max_length=1_000, description="Columns to group by, with commas.")
    ] = "",
) -> RunsCount:
    grouped = query
    if group:
        columns = _columns("group", [name.strip() for name in group.split(",")])
        grouped = f"{query} GROUP BY {', '.join(columns)}"
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s
    with _about("group", query):
        found = await in_thread(store.count, grouped, timeout_s=timeout_s)
    groups = [Group([_plain(value) for value in one.values], one.count) for one in found.groups]
    return RunsCount(found.count, groups, found.complete)


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value / timedelta(milliseconds=1)
    return value  # type: ignore[no-any-return]


@dataclass
class Suggestion:
    """A text to put in. `kind`: column, attribute, operator, keyword or value."""

    text: str
    kind: str
    detail: str


@dataclass
class Completions:
    """What may stand in place of the characters `start` to `end` of the query.

    `error`: why there can be nothing, at `error_column`, from 1.
    """

    start: int
    end: int
    suggestions: list[Suggestion]
    error: str
    error_column: int


@router.get("/query-completions", summary="What may come next in a query.")
async def complete_query(
    server: Server,
    query: Text = "",
    position: Annotated[
        int | None, Query(ge=0, le=10_000, description="Of the cursor; the end when left out.")
    ] = None,
    grouping: Annotated[
        bool, Query(description="Whether GROUP BY is among them: a list has none.")
    ] = True,
) -> Completions:
    from odradek.visibility.query.complete import complete

    store = server.need_visibility()
    at = len(query) if position is None else position
    found = await in_thread(complete, query, at, store, store.values_of, grouping=grouping)
    error = found.error
    return Completions(
        found.start,
        found.end,
        [Suggestion(one.text, one.kind, one.detail) for one in found.suggestions],
        "" if error is None else error.problem,
        0 if error is None else error.column,
    )
