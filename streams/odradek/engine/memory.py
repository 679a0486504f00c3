"""Tables in memory: for tests and for the in-memory host of the test environment.

Rows are kept as they come (the engine never changes a row that it gave away); `apply` is what a
host does after its commit.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from odradek.engine.ports import RowChange
from odradek.wire.state import Row


class MemoryTables:
    """`Tables` over sorted keys."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        self._keys: dict[str, list[str]] = {}

    def get(self, table: str, key: str) -> Row | None:
        """The row, or None."""
        rows = self._rows.get(table)
        return None if rows is None else rows.get(key)

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        """Rows in key order. `start` is the first key looked at: the lowest, or with `reverse`
        the highest, inclusive.
        """
        keys = self._keys.get(table)
        if not keys:
            return
        low, high = bisect_left(keys, prefix), bisect_right(keys, prefix + "\U0010ffff")
        if start and reverse:
            high = min(high, bisect_right(keys, start))
        elif start:
            low = max(low, bisect_left(keys, start))
        selected = keys[low:high]
        if reverse:
            selected.reverse()
        rows = self._rows[table]
        for key in selected[:limit] if limit else selected:
            yield key, rows[key]

    def apply(self, changes: Iterable[RowChange]) -> None:
        """Write what a step changed."""
        for change in changes:
            rows = self._rows.setdefault(change.table, {})
            keys = self._keys.setdefault(change.table, [])
            if change.row is None:
                if rows.pop(change.key, None) is not None:
                    del keys[bisect_left(keys, change.key)]
            else:
                if change.key not in rows:
                    insort(keys, change.key)
                rows[change.key] = change.row

    def table(self, table: str) -> dict[str, Row]:
        """A copy of one table."""
        return dict(self._rows.get(table, {}))

    def snapshot(self) -> dict[str, dict[str, Row]]:
        """A copy of all tables that hold something."""
        return {name: dict(rows) for name, rows in self._rows.items() if rows}
