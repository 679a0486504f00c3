"""Zones: between which values and which starts the rows of a search attribute lie, for each
stretch of runs as they came.

What only old runs have (a due date that has passed) lies in few zones, all of them early: so the
latest of them is found in one, where a look at all rows of the range would take as long as there
are. Zones only widen, rows that go leave them as they were: they say where nothing is, never
where something is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from odradek.visibility.query.terms import Range, Term
from odradek.visibility.store.attempts import in_times

#: 2,048 runs a zone: some 14,000 rows are looked through in half a millisecond.
ZONE_BITS = 11
#: Zones that are looked through; where more could have it, they tell little.
_LOOKED_THROUGH = 4
_NEVER = (1 << 63) - 1  # later than each start

_WIDEN = """
INSERT INTO attribute_zones (attribute, zone, low, high, first_ms, last_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET low = min(low, excluded.low), high = max(high, excluded.high),
    first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)
"""
# The key of the table, which has a run's rows together; its index by value would walk over the
# range.
_BY_RUN = "search_attributes INDEXED BY sqlite_autoindex_search_attributes_1"


def widen(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, Any, int]]) -> None:
    """Take rows of `search_attributes` in: run, attribute, value, start."""
    zones: dict[tuple[int, int], list[Any]] = {}
    for run, attribute, value, start_ms in rows:
        zone = zones.get((attribute, run >> ZONE_BITS))
        if zone is None:
            zones[attribute, run >> ZONE_BITS] = [value, value, start_ms, start_ms]
            continue
        if value < zone[0]:
            zone[0] = value
        elif value > zone[1]:
            zone[1] = value
        if start_ms < zone[2]:
            zone[2] = start_ms
        elif start_ms > zone[3]:
            zone[3] = start_ms
    connection.executemany(_WIDEN, [(*key, *zone) for key, zone in zones.items()])


def prune(connection: sqlite3.Connection) -> None:
    """Drop the zones of runs that are gone, all of them, and of attributes that are forgotten."""
    first = connection.execute("SELECT coalesce(min(id), 0) FROM executions").fetchone()[0]
    connection.execute("DELETE FROM attribute_zones WHERE zone < ?", (first >> ZONE_BITS,))
    connection.execute(
        "DELETE FROM attribute_zones WHERE attribute NOT IN (SELECT id FROM attributes)"
    )


def first_start(
    connection: sqlite3.Connection,
    ranges: Sequence[Range],
    times: Sequence[Term],
    begin: int | None,
    *,
    descending: bool,
) -> tuple[bool, int | None]:
    """The first start, in the order's direction and from `begin` on, of a run in the ranges, and
    True; False where zones do not tell.
    """
    best: int | None = None
    for looked_through, (bound, zone, one) in enumerate(
        _candidates(connection, ranges, begin, descending=descending)
    ):
        if best is not None and (bound <= best if descending else bound >= best):
            break
        if looked_through == _LOOKED_THROUGH:
            return False, None
        found = _in_zone(connection, zone, in_times(one, times), begin, descending=descending)
        if found is not None and (best is None or (found > best if descending else found < best)):
            best = found
    return True, best


def _candidates(
    connection: sqlite3.Connection, ranges: Sequence[Range], begin: int | None, *, descending: bool
) -> list[tuple[int, int, Range]]:
    """Zones that may have a row of a range, with the first start that it could have, in the
    order's direction.
    """
    bound, behind = (
        ("min(last_ms, ?)", "first_ms <= ?") if descending else ("max(first_ms, ?)", "last_ms >= ?")
    )
    edge = begin if begin is not None else _NEVER if descending else -_NEVER
    found: list[tuple[int, int, Range]] = []
    for one in ranges:
        where, parameters = f"attribute = ? AND {behind}", [edge, one.parameters[0], edge]
        for condition, value in (("high >= ?", one.low), ("low <= ?", one.high)):
            if value is not None:
                where, parameters = f"{where} AND {condition}", [*parameters, value]
        zones = connection.execute(
            f"SELECT {bound}, zone FROM attribute_zones WHERE {where}", parameters
        )
        found += [(start_ms, zone, one) for start_ms, zone in zones]
    return sorted(found, key=lambda one: one[0], reverse=descending)


def _in_zone(
    connection: sqlite3.Connection,
    zone: int,
    rows: tuple[str, tuple[Any, ...]],
    begin: int | None,
    *,
    descending: bool,
) -> int | None:
    first = zone << ZONE_BITS
    where, parameters = (
        f"execution BETWEEN ? AND ? AND {rows[0]}",
        (first, first + (1 << ZONE_BITS) - 1, *rows[1]),
    )
    if begin is not None:
        where, parameters = (
            f"{where} AND start_time_ms {'<=' if descending else '>='} ?",
            (*parameters, begin),
        )
    sql = f"SELECT {'max' if descending else 'min'}(start_time_ms) FROM {_BY_RUN} WHERE {where}"
    found: int | None = connection.execute(sql, parameters).fetchone()[0]
    return found
