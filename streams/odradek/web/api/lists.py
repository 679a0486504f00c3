"""Runs as the read side lists, sorts, counts and groups them; completion of queries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from odradek.visibility.errors import QueryError
from odradek.web.api.operation import Asked, Operation
from odradek.web.api.parameters import PageSize, Query
from odradek.web.errors import invalid
from odradek.web.kafka.views import record_value
from odradek.web.threads import in_thread
from odradek.wire.outcomes import ExecutionSummary


class RunView(msgspec.Struct):
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
    quarantine_reason: str
    reported_problems: list[str]
    memo: dict[str, Any]
    search_attributes: dict[str, Any]


class Runs(msgspec.Struct):
    """A page of runs. `next_page_token` is "" on the last page, `previous_page_token` on the
    first; both go where `page_token` goes.
    """

    runs: list[RunView]
    next_page_token: str
    previous_page_token: str = ""


class RunsParameters(msgspec.Struct):
    query: Query = ""
    sort: Annotated[
        str,
        msgspec.Meta(
            max_length=1_000,
            description="Columns, with `-` before one that falls: `-StartTime,WorkflowType`.",
        ),
    ] = ""
    page_size: PageSize = 100
    page_token: Annotated[str, msgspec.Meta(max_length=8_000)] = ""


async def list_runs(asked: Asked) -> Runs:
    given: RunsParameters = asked.parameters
    server = asked.server
    query = sorted_query(given.query, given.sort)
    if not given.page_token.isascii():
        raise invalid("page_token: not one that this server gave")
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s
    with _about("sort", given.query):
        page = await in_thread(
            store.list,
            query,
            page_size=given.page_size,
            page_token=given.page_token.encode(),
            timeout_s=timeout_s,
        )
    shown = [run_view(summary) for summary in page.executions]
    return Runs(
        shown, page.next_page_token.decode("ascii"), page.previous_page_token.decode("ascii")
    )


def sorted_query(query: str, sort: str) -> str:
    """A query with the order that `sort` says. Its own ORDER BY and `sort` exclude each other:
    the parser says so.
    """
    if not sort:
        return query
    keys = [key.strip() for key in sort.split(",")]
    words = []
    for key in keys:
        name = key.removeprefix("-")
        if not name or "`" in name:
            raise invalid(f"sort: {key!r} is no column")
        words.append(f"`{name}`{' DESC' if key.startswith('-') else ''}")
    return f"{query} ORDER BY {', '.join(words)}"


@contextlib.contextmanager
def _about(parameter: str, query: str) -> Iterator[None]:
    """Errors in what a parameter has put behind the query name it, and no place in a text that
    nobody wrote.
    """
    try:
        yield
    except QueryError as error:
        if error.column <= len(query):
            raise
        raise error.about(parameter) from None


def run_view(summary: ExecutionSummary) -> RunView:
    """A summary as it is shown."""
    values = {
        name: getattr(summary, name)
        for name in RunView.__struct_fields__
        if name not in ("memo", "search_attributes")
    }
    return RunView(
        **values,
        memo=record_value(summary.memo),
        search_attributes=record_value(summary.search_attributes),
    )


class Group(msgspec.Struct):
    """A group: its values in the order of GROUP BY (times as text, durations in milliseconds),
    and its runs.
    """

    values: list[str | int | float | bool | None]
    count: int


class RunsCount(msgspec.Struct):
    """A count. `complete` False: there are more groups than these."""

    count: int
    groups: list[Group]
    complete: bool


class CountParameters(msgspec.Struct):
    query: Query = ""
    group: Annotated[
        str, msgspec.Meta(max_length=1_000, description="Columns to group by, with commas.")
    ] = ""


async def count_runs(asked: Asked) -> RunsCount:
    given: CountParameters = asked.parameters
    query = given.query
    if given.group:
        names = [name.strip() for name in given.group.split(",")]
        if any(not name or "`" in name for name in names):
            raise invalid(f"group: {given.group!r} holds something that is no column")
        query = f"{query} GROUP BY {', '.join(f'`{name}`' for name in names)}"
    store, timeout_s = asked.server.need_visibility(), asked.server.options.request_timeout_s
    with _about("group", given.query):
        found = await in_thread(store.count, query, timeout_s=timeout_s)
    return RunsCount(
        found.count,
        [Group([_plain(value) for value in group.values], group.count) for group in found.groups],
        found.complete,
    )


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value / timedelta(milliseconds=1)
    return value  # type: ignore[no-any-return]


class Suggestion(msgspec.Struct):
    """A text to put in. `kind`: column, attribute, operator, keyword or value."""

    text: str
    kind: str
    detail: str


class Completions(msgspec.Struct):
    """What may stand in place of the characters `start` to `end` of the query.

    `error`: why there can be nothing, at `error_column`, from 1.
    """

    start: int
    end: int
    suggestions: list[Suggestion]
    error: str
    error_column: int


class CompleteParameters(msgspec.Struct):
    query: Query = ""
    position: (
        Annotated[
            int,
            msgspec.Meta(
                ge=0, le=10_000, description="Where the cursor stands; at the end when left out."
            ),
        ]
        | None
    ) = None
    grouping: Annotated[
        bool, msgspec.Meta(description="Whether GROUP BY is among them: a list has none.")
    ] = True


async def complete_query(asked: Asked) -> Completions:
    from odradek.visibility.query.complete import complete

    given: CompleteParameters = asked.parameters
    store = asked.server.need_visibility()
    position = len(given.query) if given.position is None else given.position

    def values_of(name: str, prefix: str) -> Any:
        return store.values_of(name, prefix)

    found = await in_thread(
        complete, given.query, position, store, values_of, grouping=given.grouping
    )
    error = found.error
    return Completions(
        found.start,
        found.end,
        [Suggestion(one.text, one.kind, one.detail) for one in found.suggestions],
        "" if error is None else error.problem,
        0 if error is None else error.column,
    )


LIST_OPERATIONS = [
    Operation(
        "GET",
        "/workflows",
        "list_runs",
        "Runs of a query, sorted, page by page.",
        "runs",
        list_runs,
        Runs,
        RunsParameters,
    ),
    Operation(
        "GET",
        "/workflow-count",
        "count_runs",
        "How many runs, by group.",
        "runs",
        count_runs,
        RunsCount,
        CountParameters,
    ),
    Operation(
        "GET",
        "/query-completions",
        "complete_query",
        "What may come next in a query.",
        "runs",
        complete_query,
        Completions,
        CompleteParameters,
    ),
]
