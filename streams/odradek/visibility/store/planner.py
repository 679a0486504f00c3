"""Which index a list should use, where SQLite would have to guess.

SQLite knows how many rows a value has on average; `run_counts` knows it exactly, and here values
differ by orders of magnitude (a thousand runs are running, a million completed). A column that
should not choose the index is written `+e.column` in its conditions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from odradek.visibility.query import Compiled
from odradek.visibility.store.paging import order_of

_BY_START = frozenset({"status", "workflow_type"})  # their indices go on with the start time
_ORDER_INDICES = frozenset({"StartTime", "CloseTime"})  # columns with an index of their own
_SORTING = 3  # a row that is fetched to be sorted costs about so many rows that are walked over


def unindexed_columns(
    connection: sqlite3.Connection, compiled: Compiled, limit: int
) -> frozenset[str]:
    """Columns whose conditions should not choose the index of this list."""
    equal = {column: value for column, value in compiled.equalities.items() if column in _BY_START}
    first = order_of(compiled)[0].name
    if not equal or (first == "StartTime" and len(equal) == 1) or first not in _ORDER_INDICES:
        return frozenset()
    both = max(1, _runs(connection, equal))
    alone = {column: _runs(connection, {column: value}) for column, value in equal.items()}
    best = min(alone, key=lambda column: alone[column])
    if first == "StartTime":
        return frozenset(equal) - {best}
    walked = _runs(connection, {}) * limit / both
    if walked < alone[best] * _SORTING:
        return frozenset(equal)
    return frozenset(equal) - {best}


def _runs(connection: sqlite3.Connection, equal: Mapping[str, object]) -> int:
    where = " AND ".join(["1", *(f"{column} = ?" for column in equal)])  # column names are ours
    return int(
        connection.execute(
            f"SELECT coalesce(sum(runs), 0) FROM run_counts WHERE {where}", tuple(equal.values())
        ).fetchone()[0]
    )
