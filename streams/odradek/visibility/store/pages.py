"""The rows of a page: the query as it stands, or, where search attributes are in its filter, by
the attempts that were planned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from odradek.visibility.query import Compiled, SortKey
from odradek.visibility.query.terms import Range, Term
from odradek.visibility.store.attempts import Attempt, attempts_of, in_times
from odradek.visibility.store.paging import Cursor, order_of, order_sql, phases_after
from odradek.visibility.store.schema import ROW_COLUMNS
from odradek.visibility.store.zones import first_start

#: ROW_COLUMNS of a run `e`.
COLUMNS_SQL = ", ".join(f"e.{name}" for name in ROW_COLUMNS)
_FIRST_WINDOW = 2  # its rows, for each that the page has
_GROWTH = 8  # of a window, over the one before it

Rows = Sequence[tuple[Any, ...]]


def page_rows(
    connection: sqlite3.Connection, compiled: Compiled, cursor: Cursor | None, limit: int
) -> Rows:
    """The first `limit` rows behind the cursor: ROW_COLUMNS, then the sort values, then `turn`."""
    if not compiled.terms:
        return _rows(
            connection,
            compiled,
            Attempt(compiled.table, compiled.where, compiled.parameters),
            cursor,
            limit,
        )
    attempts = attempts_of(connection, compiled, limit)
    for attempt in attempts[:-1]:
        rows = _try(connection, compiled, attempt, cursor, limit)
        if rows is not None:
            return rows
    return _by_window(connection, compiled, attempts[-1], cursor, limit)


def _rows(
    connection: sqlite3.Connection,
    compiled: Compiled,
    attempt: Attempt,
    cursor: Cursor | None,
    limit: int,
) -> Rows:
    """One statement for each phase. Runs are sorted by their keys alone; the rows of those that
    are left are fetched last.
    """
    order = order_of(compiled)
    order_text, order_parameters = order_sql(order)
    sort_values = ", ".join(key.sql for key in order)
    sort_parameters = tuple(value for key in order for value in key.parameters)
    rows: list[tuple[Any, ...]] = []
    for phase in phases_after(order, cursor):
        found = (
            f"SELECT e.id FROM {attempt.table} WHERE {attempt.where} AND {phase.sql} ORDER BY"
            f" {order_text} LIMIT ?"
        )
        sql = (
            f"SELECT {COLUMNS_SQL}, {sort_values}, e.turn FROM executions e NOT INDEXED WHERE e.id"
            f" IN ({found}) ORDER BY {order_text}"
        )
        inner = (*attempt.parameters, *phase.parameters, *order_parameters, limit - len(rows))
        rows += connection.execute(sql, (*sort_parameters, *inner, *order_parameters)).fetchall()
        if len(rows) == limit:
            break
    return rows


def _try(
    connection: sqlite3.Connection,
    compiled: Compiled,
    attempt: Attempt,
    cursor: Cursor | None,
    limit: int,
) -> Rows | None:
    """The page, if it is full within the runs that may be walked over; None: it takes another
    attempt.
    """
    key = order_of(compiled)[0]
    if key.nullable and (cursor.values[0] is None if cursor is not None else not key.descending):
        return None  # runs without a value have no bound
    begin = None if cursor is None else cursor.values[0]
    for ranges in ((), attempt.onward) if attempt.onward else ((),):
        if ranges:
            begin = _latest(connection, attempt, ranges, key.descending, begin)
            if begin is None:
                return []
        end = _walked_to(connection, attempt, key, begin)
        where, parameters = attempt.where, attempt.parameters
        for value, comparison in (
            (begin, "<=" if key.descending else ">="),
            (end, ">=" if key.descending else "<="),
        ):
            if value is not None:
                where, parameters = f"{where} AND {key.sql} {comparison} ?", (*parameters, value)
        rows = _rows(connection, compiled, Attempt(attempt.table, where, parameters), cursor, limit)
        if len(rows) == limit or (end is None and not key.nullable):
            return rows
    return None


def _walked_to(connection: sqlite3.Connection, attempt: Attempt, key: SortKey, begin: Any) -> Any:
    """Sort value of the last run that may be walked over; None: there are not so many."""
    where, parameters = _and(attempt.walk, *attempt.also)
    if begin is not None:
        where, parameters = (
            f"{where} AND {key.sql} {'<=' if key.descending else '>='} ?",
            (*parameters, begin),
        )
    last = (
        f"SELECT {key.sql} FROM {attempt.table} WHERE {where} ORDER BY 1"
        f" {'DESC' if key.descending else 'ASC'} LIMIT 1 OFFSET ?"
    )
    found = connection.execute(last, (*parameters, attempt.walked)).fetchone()
    return None if found is None else found[0]


def _latest(
    connection: sqlite3.Connection,
    attempt: Attempt,
    ranges: Sequence[Range],
    descending: bool,
    begin: Any,
) -> Any:
    """The first start, in the order's direction and from `begin` on, of a run in the ranges;
    None: there is none.
    """
    known, found = first_start(connection, ranges, attempt.also, begin, descending=descending)
    if known:
        return found
    edge, values = (
        ("1", ())
        if begin is None
        else (f"start_time_ms {'<=' if descending else '>='} ?", (begin,))
    )
    starts, parameters = _select(
        "start_time_ms", [in_times(one, attempt.also) for one in ranges], edge, values
    )
    extreme = "max" if descending else "min"
    return connection.execute(
        f"SELECT {extreme}(start_time_ms) FROM ({starts})", parameters
    ).fetchone()[0]


def _by_window(
    connection: sqlite3.Connection,
    compiled: Compiled,
    attempt: Attempt,
    cursor: Cursor | None,
    limit: int,
) -> Rows:
    """An attempt by value, in windows of the start time: each holds more runs than the one
    before it, until the page is full.
    """
    rows: list[tuple[Any, ...]] = []
    for found, parameters in _windows(connection, compiled, attempt, cursor, limit):
        where = f"{attempt.where} AND e.id IN ({found})" if found else attempt.where
        part = Attempt(attempt.table, where, (*attempt.parameters, *parameters))
        rows += _rows(connection, compiled, part, cursor, limit - len(rows))
        if len(rows) == limit:
            break
    return rows


def _windows(
    connection: sqlite3.Connection,
    compiled: Compiled,
    attempt: Attempt,
    cursor: Cursor | None,
    limit: int,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Selections of runs, one behind the other in the page's order. "": all runs."""
    if attempt.windows is None:
        yield ("", ())
        return
    ranges = [in_times(one, attempt.also) for one in attempt.windows]
    if not ranges:
        return
    if not attempt.by_start:
        yield _select("execution", ranges, "1", ())
        return
    descending = order_of(compiled)[0].descending
    behind, within, direction = ("<", ">=", "DESC") if descending else (">", "<=", "ASC")
    edge, values = "1", tuple[Any, ...]()
    if cursor is not None:
        edge, values = f"start_time_ms {behind}= ?", (cursor.values[0],)
    size = _FIRST_WINDOW * limit
    while True:
        starts, parameters = _select("start_time_ms", ranges, edge, values)
        last = connection.execute(
            f"{starts} ORDER BY start_time_ms {direction} LIMIT 1 OFFSET ?", (*parameters, size)
        ).fetchone()
        if last is None:
            yield _select("execution", ranges, edge, values)
            return
        yield _select(
            "execution", ranges, f"{edge} AND start_time_ms {within} ?", (*values, last[0])
        )
        edge, values = f"start_time_ms {behind} ?", last
        size *= _GROWTH


def _select(
    column: str, ranges: Sequence[tuple[str, tuple[Any, ...]]], where: str, values: tuple[Any, ...]
) -> tuple[str, tuple[Any, ...]]:
    each = [f"SELECT {column} FROM search_attributes WHERE {sql} AND {where}" for sql, _ in ranges]
    return " UNION ALL ".join(each), tuple(
        value for _, parameters in ranges for value in (*parameters, *values)
    )


def _and(*terms: Term | None) -> tuple[str, tuple[Any, ...]]:
    known = [term for term in terms if term is not None]
    return " AND ".join(("1", *(term.sql for term in known))), tuple(
        value for term in known for value in term.parameters
    )
