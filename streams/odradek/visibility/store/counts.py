"""Counts, by group if asked. Those over status, type and task queue are kept ready; others look at runs.

A count by one search attribute alone, or with conditions on the start time, needs no look at the runs: each has one row of the value, so
the rows are counted. By status besides, the runs of the rarer statuses are looked at and the commonest has the rest: of a million runs
one in thirty is running, failed or timed out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from odradek.visibility.query import COLUMNS, Compiled, GroupKey, ValueType
from odradek.visibility.query.columns import ATTRIBUTE_TIME_NS
from odradek.visibility.query.terms import Range, Term
from odradek.visibility.store.attempts import in_times, times_of, way_to_count

MAX_GROUPS = 1_000
_WORTH = 0.6  # a run that is looked at by its row of an attribute, to one that is tested for it

GroupValue: TypeAlias = str | int | float | bool | datetime | timedelta | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CountGroup:
    """One group: its values, in the order of GROUP BY, and its runs."""

    values: tuple[GroupValue, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many runs. `groups` only with GROUP BY, largest first; `complete` False when there were more groups than are given."""

    count: int
    groups: list[CountGroup] = field(default_factory=list)
    complete: bool = True


def count_runs(connection: sqlite3.Connection, compiled: Compiled) -> Count:
    """Count the runs of a query. On a connection that sees one state."""
    lone = _lone(compiled)
    if lone is not None:
        if not compiled.group_by:
            return Count(_rows(connection, lone, times_of(compiled)))
        if [key.name for key in compiled.group_by] == ["ExecutionStatus"]:
            count = _by_status(connection, compiled, _rows(connection, lone, times_of(compiled)))
            if count is not None:
                return count
    return _counted(connection, compiled)


def _lone(compiled: Compiled) -> Sequence[Range] | None:
    """Rows of search attributes that are as many as the runs that the filter finds, within its times; None: there are none such."""
    others = [term for term in compiled.terms if term not in times_of(compiled)]
    return others[0].ranges if len(others) == 1 and others[0].single else None


def _rows(connection: sqlite3.Connection, ranges: Sequence[Range], times: Sequence[Term]) -> int:
    found = 0
    for one in ranges:
        where, parameters = in_times(one, times)
        found += connection.execute(f"SELECT count(*) FROM search_attributes WHERE {where}", parameters).fetchone()[0]
    return found


def _by_status(connection: sqlite3.Connection, compiled: Compiled, runs: int) -> Count | None:
    """`runs` by status; None where the rarer statuses are too many to be looked at."""
    known = connection.execute("SELECT status, sum(runs) FROM run_counts GROUP BY 1 HAVING sum(runs) > 0 ORDER BY 2 DESC").fetchall()
    rarer = [status for status, _ in known[1:]]
    if not known or sum(runs for _, runs in known[1:]) > runs * _WORTH:
        return None
    tests = " AND ".join(term.sql for term in compiled.terms)
    marks = ", ".join("?" * len(rarer))
    sql = f"SELECT status, count(*) FROM executions e INDEXED BY executions_by_status WHERE status IN ({marks}) AND {tests} GROUP BY 1"
    counts = dict(connection.execute(sql, (*rarer, *(value for term in compiled.terms for value in term.parameters))).fetchall())
    counts[known[0][0]] = runs - sum(counts.values())
    groups = [CountGroup((status,), count) for status, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count]
    return Count(runs, groups)


def _counted(connection: sqlite3.Connection, compiled: Compiled) -> Count:
    runs, table, where, where_parameters = "count(*)", compiled.table, compiled.where, compiled.parameters
    if compiled.counted:
        runs, table = "coalesce(sum(e.runs), 0)", "run_counts e"
    elif compiled.terms:
        way = way_to_count(connection, compiled)
        table, where, where_parameters = way.table, way.where, way.parameters
    if not compiled.group_by:
        return Count(connection.execute(f"SELECT {runs} FROM {table} WHERE {where}", where_parameters).fetchone()[0])
    groups = ", ".join(key.sql for key in compiled.group_by)
    places = ", ".join(str(number + 1) for number in range(len(compiled.group_by)))
    parameters = (*(value for key in compiled.group_by for value in key.parameters), *where_parameters)
    grouped = f"SELECT {groups}, {runs} AS runs FROM {table} WHERE {where} GROUP BY {places} HAVING {runs} > 0"
    ordered = f"SELECT *, sum(runs) OVER () FROM ({grouped}) ORDER BY runs DESC, {places} LIMIT ?"
    rows = connection.execute(ordered, (*parameters, MAX_GROUPS + 1)).fetchall()
    found = [CountGroup(tuple(map(_group_value, compiled.group_by, row)), row[-2]) for row in rows[:MAX_GROUPS]]
    return Count(rows[0][-1] if rows else 0, found, len(rows) <= MAX_GROUPS)


def _group_value(key: GroupKey, value: Any) -> GroupValue:
    if value is None:
        return None
    match key.value_type:
        case ValueType.DATETIME:
            column = COLUMNS.get(key.name)
            return _EPOCH + timedelta(microseconds=value * (column.unit_ns if column else ATTRIBUTE_TIME_NS) // 1_000)
        case ValueType.DURATION:
            return timedelta(milliseconds=value)
        case ValueType.BOOL:
            return bool(value)
        case _:
            return value  # type: ignore[no-any-return]
