"""The writer: changes in, one SQLite transaction a batch. Rows, search attributes, counts,
windows and positions commit together.

Reading again is harmless: a record at or below its partition's position is dropped, so what was
counted is not counted twice, and a run whose row a tombstone deleted does not come back. Beside
it each row carries its record's offset, and a lower one never replaces it.

A batch is worked in memory first (the last record of each key wins), then written by a few
statements of many rows each.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odradek.visibility.query.columns import ValueType, tie_of
from odradek.visibility.store import zones
from odradek.visibility.store.rows import (
    Change,
    IndexedValue,
    Row,
    indexed_values,
    is_open,
    key_of,
    row_of,
)
from odradek.visibility.store.schema import ROW_COLUMNS
from odradek.visibility.store.windows import WindowChanges

_AT = {name: index for index, name in enumerate(ROW_COLUMNS)}
_TIE, _WORKFLOW_ID, _RUN_ID, _TYPE, _QUEUE, _STATUS = (
    _AT[name] for name in ("tie", "workflow_id", "run_id", "workflow_type", "task_queue", "status")
)
_START, _CLOSE, _DURATION, _TRANSITIONS, _EXTRA, _PARTITION, _OFFSET = (
    _AT[name]
    for name in (
        "start_time_ms",
        "close_time_ms",
        "execution_duration_ms",
        "state_transition_count",
        "extra",
        "partition",
        "offset",
    )
)

_LOOK_UP = 250  # ties a statement
_VALUES = ", ".join(f"?{number + 1}" for number in range(1 + len(ROW_COLUMNS)))  # id first
_TURN = (
    f"SELECT coalesce(max(turn) + 1, 0) FROM executions WHERE workflow_id = ?{_WORKFLOW_ID + 2} AND"
    f" start_time_ms = ?{_START + 2}"
)
_INSERT = (
    f"INSERT INTO executions (id, {', '.join(ROW_COLUMNS)}, turn) VALUES ({_VALUES}, ({_TURN}))"
)
_SELECT = (
    f"SELECT id, {', '.join(ROW_COLUMNS)} FROM executions WHERE tie IN"
    f" ({', '.join('?' * _LOOK_UP)})"
)

# An update touches the indices of the columns it names: most updates name none that has one.
_PROGRESS = (
    "execution_time_ms",
    "history_length",
    "history_size_bytes",
    "state_transition_count",
    "extra",
    "partition",
    "offset",
)
_CLOSING = (
    "status",
    "close_time_ms",
    "execution_duration_ms",
    "quarantine_reason",
    "reported_problems",
    *_PROGRESS,
)


def _update(columns: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    return (
        f"UPDATE executions SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
        tuple(_AT[name] for name in columns),
    )


_UPDATES: dict[tuple[str, ...], tuple[str, tuple[int, ...]]] = {
    kind: _update(kind) for kind in (_PROGRESS, _CLOSING, ROW_COLUMNS)
}
_COMPARED: dict[tuple[str, ...], tuple[int, ...]] = {
    kind: tuple(index for name, index in _AT.items() if name not in kind)
    for kind in (_PROGRESS, _CLOSING)
}


@dataclass(slots=True)
class Applied:
    """What a batch did. `changes`: those that changed a row, the last of each run."""

    written: int = 0
    deleted: int = 0
    skipped: int = 0
    changes: list[Change] = field(default_factory=list)


class Writer:
    """Owns the store's writing connection. One thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._attributes: dict[tuple[str, str], int] = {
            (name, kind): number
            for number, name, kind in connection.execute("SELECT id, name, type FROM attributes")
        }
        self._next_attribute = max(self._attributes.values(), default=0) + 1
        self.positions: dict[int, int] = dict(
            connection.execute("SELECT partition, offset FROM positions")
        )
        self._next_id: int = (
            connection.execute("SELECT max(id) FROM executions").fetchone()[0] or 0
        ) + 1
        #: Search attributes that could not be indexed: damaged, or of no known type.
        self.refused_attributes: Counter[str] = Counter()

    def apply(self, changes: Iterable[Change], read: Mapping[int, int]) -> Applied:
        """Apply changes in one transaction. Changes of a partition come in order of their
        offsets, and may come again. read: by partition, the offset of the last record that was
        read, also of those that make no change.
        """
        applied = Applied()
        positions: dict[int, int] = {}
        latest: dict[bytes, Change] = {}
        ended: dict[bytes, Change] = {}
        for change in changes:
            partition, offset = change.partition, change.offset
            if offset <= positions.get(partition, self.positions.get(partition, -1)):
                applied.skipped += 1
                continue
            positions[partition] = offset
            before = latest.get(change.key)
            if change.summary is None and before is not None and before.summary is not None:
                ended[change.key] = before
            latest[change.key] = change
        for partition, offset in read.items():
            if offset > positions.get(partition, self.positions.get(partition, -1)):
                positions[partition] = offset
        if positions:
            self._write(positions, latest, _Batch(self, self._connection, applied, ended))
        return applied

    def _write(self, positions: dict[int, int], latest: dict[bytes, Change], batch: _Batch) -> None:
        attributes, next_id = dict(self._attributes), self._next_id
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            batch.write(latest)
            self._connection.executemany(
                "INSERT OR REPLACE INTO positions (partition, offset) VALUES (?, ?)",
                positions.items(),
            )
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._attributes, self._next_id = attributes, next_id
            raise
        self.positions.update(positions)

    def forget_attributes(self) -> list[str]:
        """Drop search attributes that no run has any more: their names are those that were never
        used. A look into the index for each.
        """
        unused = {
            pair: number
            for pair, number in self._attributes.items()
            if self._connection.execute(
                "SELECT 1 FROM search_attributes WHERE attribute = ? LIMIT 1", (number,)
            ).fetchone()
            is None
        }
        # A Text without a word has no words in any row, and needs their number all the same.
        gone = {
            pair: number
            for pair, number in unused.items()
            if pair[1] != WORDS or (pair[0], ValueType.TEXT.value) in unused
        }
        if gone:
            self._connection.executemany(
                "DELETE FROM attributes WHERE id = ?", [(number,) for number in gone.values()]
            )
            for pair in gone:
                del self._attributes[pair]
        return sorted({name for name, _ in gone})

    @property
    def rows_ever(self) -> int:
        """Rows that were ever inserted: at least as many as there are."""
        return self._next_id - 1

    # --- for the batch

    def take_id(self) -> int:
        """A row number that was never used."""
        number = self._next_id
        self._next_id += 1
        return number

    def attribute_id(self, name: str, kind: str) -> int:
        """The number of a search attribute of this name and type."""
        number = self._attributes.get((name, kind))
        if number is None:
            number = (
                self._next_attribute
            )  # none that another had: a query may be under way that means that one
            self._next_attribute += 1
            self._connection.execute(
                "INSERT INTO attributes (id, name, type) VALUES (?, ?, ?)", (number, name, kind)
            )
            self._attributes[name, kind] = number
        return number


WORDS = "+words"  # type under which the words of a Text stand


class _Batch:
    """One batch: what is there, what becomes of it, and the statements.

    ended: the last summary of runs whose tombstone is in the same batch: no row comes of it, but
    windows count it, as they would have done had a batch ended between the two.
    """

    def __init__(
        self,
        writer: Writer,
        connection: sqlite3.Connection,
        applied: Applied,
        ended: dict[bytes, Change],
    ) -> None:
        self._writer = writer
        self._ended = ended
        self._connection = connection
        self._applied = applied
        self._inserts: list[Row] = []
        self._updates: dict[tuple[str, ...], list[Row]] = {kind: [] for kind in _UPDATES}
        self._deletes: list[tuple[int]] = []
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._windows = WindowChanges()
        self._attribute_deletes: list[tuple[int]] = []
        self._attribute_inserts: list[tuple[int, int, Any, int]] = []

    def write(self, latest: dict[bytes, Change]) -> None:
        """Work out the batch and write it."""
        ties = {key: tie_of(key) for key in latest}
        existing = self._existing(list(ties.values()))
        for key, change in latest.items():
            self._one(change, ties[key], existing.get(key))
        connection = self._connection
        connection.executemany(
            "DELETE FROM search_attributes WHERE execution = ?", self._attribute_deletes
        )
        connection.executemany("DELETE FROM executions WHERE id = ?", self._deletes)
        connection.executemany(_INSERT, self._inserts)
        for kind, rows in self._updates.items():
            connection.executemany(_UPDATES[kind][0], rows)
        connection.executemany(
            "INSERT OR IGNORE INTO search_attributes VALUES (?, ?, ?, ?)", self._attribute_inserts
        )
        zones.widen(connection, self._attribute_inserts)
        connection.executemany(
            "INSERT INTO run_counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs +"
            " excluded.runs",
            [(*group, runs) for group, runs in self._counts.items() if runs],
        )
        self._windows.write(connection)

    def _existing(self, ties: list[int]) -> dict[bytes, Row]:
        """Rows of these ties by key, each with its id in front."""
        found: dict[bytes, Row] = {}
        for begin in range(0, len(ties), _LOOK_UP):
            some = ties[begin : begin + _LOOK_UP]
            some += [-1] * (_LOOK_UP - len(some))  # one statement for all sizes
            for row in self._connection.execute(_SELECT, some):
                found[key_of(row[1 + _WORKFLOW_ID], row[1 + _RUN_ID])] = row
        return found

    def _one(self, change: Change, tie: int, existing: Row | None) -> None:
        if existing is None:
            if change.summary is not None:
                self._insert(change, row_of(change, tie))
            elif change.key in self._ended:
                last = row_of(self._ended[change.key], tie)
                self._count_windows(None, last)
                self._count_deleted(change, last)
            else:
                self._applied.skipped += 1  # a tombstone of a run that is not here
            return
        number, old = existing[0], existing[1:]
        if _is_older(change, old):
            self._applied.skipped += 1
        elif change.summary is None:
            last = old
            if change.key in self._ended:
                last = row_of(self._ended[change.key], tie)
                self._count_windows(old, last)
            self._count_deleted(change, last)
            self._delete(change, number, old)
        else:
            self._change(change, number, old, row_of(change, tie))

    def _insert(self, change: Change, row: Row) -> None:
        number = self._writer.take_id()
        self._inserts.append((number, *row))
        self._counts[row[_STATUS], row[_TYPE], row[_QUEUE]] += 1
        self._count_windows(None, row)
        if row[_EXTRA] is not None:
            self._index(number, change)
        self._applied.written += 1
        self._applied.changes.append(change)

    def _change(self, change: Change, number: int, old: Row, new: Row) -> None:
        kind = next(
            (
                kind
                for kind, rest in _COMPARED.items()
                if all(old[index] == new[index] for index in rest)
            ),
            ROW_COLUMNS,
        )
        self._updates[kind].append((*(new[index] for index in _UPDATES[kind][1]), number))
        if kind is not _PROGRESS:
            self._counts[old[_STATUS], old[_TYPE], old[_QUEUE]] -= 1
            self._counts[new[_STATUS], new[_TYPE], new[_QUEUE]] += 1
            self._count_windows(old, new)
        if (old[_EXTRA], old[_START]) != (new[_EXTRA], new[_START]):
            self._attribute_deletes.append((number,))
            self._index(number, change)
        self._applied.written += 1
        self._applied.changes.append(change)

    def _count_windows(self, old: Row | None, new: Row) -> None:
        restarted = old is None or (old[_TYPE], old[_START]) != (new[_TYPE], new[_START])
        if old is not None:
            self._windows.add(
                old[_TYPE], old[_STATUS], old[_START], old[_CLOSE], old[_DURATION], -1, restarted
            )
        self._windows.add(
            new[_TYPE], new[_STATUS], new[_START], new[_CLOSE], new[_DURATION], 1, restarted
        )

    def _count_deleted(self, tombstone: Change, last: Row) -> None:
        if is_open(last[_STATUS]):
            self._windows.delete_open(last[_TYPE], last[_START], tombstone.time_ms)

    def _delete(self, change: Change, number: int, old: Row) -> None:
        self._deletes.append((number,))
        if old[_EXTRA] is not None:
            self._attribute_deletes.append((number,))
        self._counts[old[_STATUS], old[_TYPE], old[_QUEUE]] -= 1
        self._applied.deleted += 1
        self._applied.changes.append(change)

    def _index(self, number: int, change: Change) -> None:
        assert change.summary is not None
        found, refused = indexed_values(change.summary.search_attributes)
        self._writer.refused_attributes.update(refused)
        for indexed in found:
            self._index_one(number, indexed, change.summary.start_time_ms)

    def _index_one(self, number: int, indexed: IndexedValue, start_ms: int) -> None:
        attribute = self._writer.attribute_id(indexed.name, indexed.value_type.value)
        self._attribute_inserts += [
            (number, attribute, value, start_ms) for value in indexed.values
        ]
        if indexed.value_type is ValueType.TEXT:
            words = self._writer.attribute_id(indexed.name, WORDS)
            self._attribute_inserts += [(number, words, word, start_ms) for word in indexed.words]


def _is_older(change: Change, old: Row) -> bool:
    """Whether the row is from a later record. After a change of the number of partitions a run's
    records lie on two: the run's own count of transitions decides then.
    """
    if change.partition == old[_PARTITION]:
        return change.offset <= int(old[_OFFSET])
    return change.summary is not None and change.summary.state_transition_count < int(
        old[_TRANSITIONS]
    )
