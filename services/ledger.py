"""A service's own database: effects, once a key. What an auditor counts.

An activity runs at least once, so a service makes its effect idempotent by the activity's key:
the first call with a key writes the effect, a later one gets the first one's answer and is
counted as absorbed. Nothing here knows Odradek.

A key begins with the id of its run, then `/`: an order number may be placed again when the first
order is forgotten, and is another run's. What one run undid, or was refused, it can do no more;
the next one can.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, order_no TEXT NOT NULL, data TEXT NOT NULL, at_ms INTEGER NOT NULL,
  absorbed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS effects_order ON effects (order_no, kind);
CREATE TABLE IF NOT EXISTS barred_steps (
  run_id TEXT NOT NULL, order_no TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (run_id, order_no, kind)
);
"""


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time, in autocommit, with the tables of
    `schema`. What keeps it from being opened ends the process with one line.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(schema)
        return database
    except (OSError, sqlite3.Error) as error:
        raise SystemExit(
            f"database {path} cannot be opened: {error} (key `database` of the service's file)"
        ) from None


class RefusedError(Exception):
    """Raised by `work`: the step is refused for good. No later attempt of it may have an effect."""


class BarredError(RefusedError):
    """The step was compensated, or refused for good, before this attempt ran: it must have no
    effect any more.
    """


@dataclass(frozen=True)
class Effect:
    """One row: what happened under `key`."""

    key: str
    kind: str
    order_no: str
    data: dict[str, Any]


class Ledger:
    """Effects of one service. `work` runs inside the same SQLite transaction as the effect's
    row, so both happen or neither does.
    """

    def __init__(self, path: Path, extra_schema: str = "") -> None:
        self._lock = threading.Lock()
        self._db = open_database(path, SCHEMA + extra_schema)

    def once(
        self,
        key: str,
        kind: str,
        order_no: str,
        work: Callable[[sqlite3.Connection], dict[str, Any]],
    ) -> Effect:
        """Make the effect, or give back the one that `key` made before.

        Raises BarredError if this run's step was undone or refused, and whatever `work` raises:
        then nothing is written, but for a RefusedError, which bars the step. So an attempt that
        was thought dead cannot do what another one said would not happen.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                effect = self._find(key)
                if effect is not None:
                    self._db.execute(
                        "UPDATE effects SET absorbed = absorbed + 1 WHERE key = ?", (key,)
                    )
                elif self._is_barred(key, order_no, kind):
                    raise BarredError(
                        f"{kind} of order {order_no} was compensated or refused before it ran"
                    )
                else:
                    effect = self._write(key, kind, order_no, work(self._db))
                self._db.execute("COMMIT")
            except BaseException as error:
                self._db.execute("ROLLBACK")
                if isinstance(error, RefusedError):
                    _bar(self._db, key, order_no, kind)
                raise
        return effect

    def undo(
        self,
        key: str,
        kind: str,
        undone_kind: str,
        order_no: str,
        work: Callable[[sqlite3.Connection], dict[str, Any]],
    ) -> Effect:
        """Compensate `undone_kind`: bar it for late attempts, then `work`. Also an effect, once
        a key.
        """

        def bar_and_work(db: sqlite3.Connection) -> dict[str, Any]:
            _bar(db, key, order_no, undone_kind)
            return work(db)

        return self.once(key, kind, order_no, bar_and_work)

    def has(self, key: str) -> bool:
        """Whether the effect of this key has happened."""
        with self._lock:
            return self._find(key) is not None

    def of_order(self, order_no: str, kind: str) -> list[Effect]:
        """All effects of one kind on one order; more than one means that something was doubled."""
        with self._lock:
            query = "SELECT key, kind, order_no, data FROM effects WHERE order_no = ? AND kind = ?"
            rows = self._db.execute(query, (order_no, kind)).fetchall()
        return [_effect(row) for row in rows]

    def run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Something of the service's own, outside any effect (autocommit)."""
        with self._lock:
            work(self._db)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _is_barred(self, key: str, order_no: str, kind: str) -> bool:
        query = "SELECT 1 FROM barred_steps WHERE run_id = ? AND order_no = ? AND kind = ?"
        return self._db.execute(query, (_run_of(key), order_no, kind)).fetchone() is not None

    def _find(self, key: str) -> Effect | None:
        row = self._db.execute(
            "SELECT key, kind, order_no, data FROM effects WHERE key = ?", (key,)
        ).fetchone()
        return _effect(row) if row else None

    def _write(self, key: str, kind: str, order_no: str, data: dict[str, Any]) -> Effect:
        self._db.execute(
            "INSERT INTO effects (key, kind, order_no, data, at_ms) VALUES (?, ?, ?, ?, ?)",
            (key, kind, order_no, json.dumps(data), time.time_ns() // 1_000_000),
        )
        return Effect(key, kind, order_no, data)


def happened_in_run(db: sqlite3.Connection, key: str, kind: str, order_no: str) -> bool:
    """Whether the run of `key` has had an effect of this kind on the order. For `work`, which
    has the connection.
    """
    rows = db.execute(
        "SELECT key FROM effects WHERE kind = ? AND order_no = ?", (kind, order_no)
    ).fetchall()
    return any(_run_of(found) == _run_of(key) for (found,) in rows)


def _run_of(key: str) -> str:
    return key.partition("/")[0]


def _bar(db: sqlite3.Connection, key: str, order_no: str, kind: str) -> None:
    db.execute(
        "INSERT OR IGNORE INTO barred_steps VALUES (?, ?, ?)", (_run_of(key), order_no, kind)
    )


def _effect(row: tuple[str, str, str, str]) -> Effect:
    return Effect(row[0], row[1], row[2], json.loads(row[3]))
