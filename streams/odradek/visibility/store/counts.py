"""Counts, by group if asked. Those over status, type and task queue are kept ready; others look
at runs.

A count by one search attribute alone, or with conditions on the start time, needs no look at the
runs: each has one row of the value, so the rows are counted. By status besides, the runs of the
rarer statuses are looked at and the commonest has the rest: of a million runs one in thirty is
running, failed or timed out.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from odradek.visibility.query import COLUMNS, Compiled, GroupKey, ValueType
from odradek.visibility.query.columns import ATTRIBUTE_TIME_NS
from odradek.visibility.query.terms import Term
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
    """How many runs. `groups` only with GROUP BY, largest first; `complete` False when there
    were more groups than are given.
    """

    count: int
    groups: list[CountGroup] = field(default_factory=list)
    complete: bool = True


def count_runs(connection: sqlite3.Connection, compiled: Compiled) -> Count:
    """Count the runs of a query. On a connection that sees one state."""
    lone, groups = _lone(compiled), [key.name for key in compiled.group_by]
    if lone is None or groups not in ([], ["ExecutionStatus"]):
        return _counted(connection, compiled)
    wanted, times = _statuses(compiled), times_of(compiled)
    if wanted is None and not groups:
        return Count(_rows(connection, lone, times))
    counts = _by_status(connection, lone, times, wanted)
    if counts is None:
        return _counted(connection, compiled)
    found = [
        CountGroup((status,), runs)
        for status, runs in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]
    return Count(sum(counts.values()), found if groups else [])


def _lone(compiled: Compiled) -> Term | None:
    """The one condition on a search attribute, of whose rows no run has two, where nothing is
    beside it but start times and statuses.
    """
    beside = (*times_of(compiled), *_status_terms(compiled))
    rest = [term for term in compiled.terms if term not in beside]
    return rest[0] if len(rest) == 1 and rest[0].single else None


def _status_terms(compiled: Compiled) -> Sequence[Term]:
    return [
        term for term in compiled.terms if term.column == "status" and term.operator in ("=", "IN")
    ]


def _statuses(compiled: Compiled) -> frozenset[str] | None:
    """Statuses that the filter names; None: any."""
    named = [frozenset(term.parameters) for term in _status_terms(compiled)]
    return frozenset.intersection(*named) if named else None


def _rows(connection: sqlite3.Connection, lone: Term, times: Sequence[Term]) -> int:
    found = 0
    for one in lone.ranges or ():
        where, parameters = in_times(one, times)
        found += connection.execute(
            f"SELECT count(*) FROM search_attributes WHERE {where}", parameters
        ).fetchone()[0]
    return found


def _by_status(
    connection: sqlite3.Connection, lone: Term, times: Sequence[Term], wanted: frozenset[str] | None
) -> dict[str, int] | None:
    """Runs by wanted status; None where the commonest is not wanted, or the rarer ones are too
    many to be looked at.
    """
    known = connection.execute(
        "SELECT status, sum(runs) FROM run_counts GROUP BY 1 HAVING sum(runs) > 0 ORDER BY 2 DESC"
    ).fetchall()
    if not known or (wanted is not None and known[0][0] not in wanted):
        return None
    runs, rarer = _rows(connection, lone, times), [status for status, _ in known[1:]]
    if sum(runs for _, runs in known[1:]) > runs * _WORTH:
        return None
    terms = (lone, *times)
    where = " AND ".join(
        (f"status IN ({', '.join('?' * len(rarer))})", *(term.sql for term in terms))
    )
    sql = (
        f"SELECT status, count(*) FROM executions e INDEXED BY executions_by_status WHERE {where}"
        " GROUP BY 1"
    )
    counts = dict(
        connection.execute(
            sql, (*rarer, *(value for term in terms for value in term.parameters))
        ).fetchall()
    )
    counts[known[0][0]] = runs - sum(counts.values())
    return {
        status: count
        for status, count in counts.items()
        if count and (wanted is None or status in wanted)
    }


def _counted(connection: sqlite3.Connection, compiled: Compiled) -> Count:
    runs, table, where, where_parameters = (
        "count(*)",
        compiled.table,
        compiled.where,
        compiled.parameters,
    )
    if compiled.counted:
        runs, table = "coalesce(sum(e.runs), 0)", "run_counts e"
    elif compiled.terms:
        way = way_to_count(connection, compiled)
        table, where, where_parameters = way.table, way.where, way.parameters
    if not compiled.group_by:
        return Count(
            connection.execute(
                f"SELECT {runs} FROM {table} WHERE {where}", where_parameters
            ).fetchone()[0]
        )
    columns = [column for key in compiled.group_by for column in key.columns]
    groups = ", ".join(columns)
    places = ", ".join(str(number + 1) for number in range(len(columns)))
    parameters = (
        *(value for key in compiled.group_by for value in key.parameters),
        *where_parameters,
    )
    grouped = (
        f"SELECT {groups}, {runs} AS runs FROM {table} WHERE {where} GROUP BY {places} HAVING"
        f" {runs} > 0"
    )
    ordered = f"SELECT *, sum(runs) OVER () FROM ({grouped}) ORDER BY runs DESC, {places} LIMIT ?"
    rows = connection.execute(ordered, (*parameters, MAX_GROUPS + 1)).fetchall()
    found = [
        CountGroup(_group_values(compiled.group_by, iter(row)), row[-2])
        for row in rows[:MAX_GROUPS]
    ]
    return Count(rows[0][-1] if rows else 0, found, len(rows) <= MAX_GROUPS)


def _group_values(keys: Sequence[GroupKey], row: Iterator[Any]) -> tuple[GroupValue, ...]:
    return tuple(_group_value(key, *itertools.islice(row, len(key.columns))) for key in keys)


def _group_value(key: GroupKey, value: Any, number: int | None = None) -> GroupValue:
    if value is None:
        return None
    match key.value_type(number):
        case ValueType.DATETIME:
            column = COLUMNS.get(key.name)
            return _EPOCH + timedelta(
                microseconds=value * (column.unit_ns if column else ATTRIBUTE_TIME_NS) // 1_000
            )
        case ValueType.DURATION:
            return timedelta(milliseconds=value)
        case ValueType.BOOL:
            return bool(value)
        case _:
            return value  # type: ignore[no-any-return]
