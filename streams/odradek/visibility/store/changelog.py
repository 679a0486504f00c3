"""How the windows of a store stand to their changelog: which of them are not published yet, what
is restored, since when they are whole.

A window that changes is noted in the transaction of its counts, and the note goes when the value
that it had is durable in the topic and it has not changed since: a process killed anywhere
publishes it again, with the same value.

What is restored is collected beside the windows first, the greatest of each count of all records
of a key, and taken over in one transaction: again the greatest of what stands here and there.
That is right when nothing was counted there that is not counted here or gone for good, so it is
done when everything that the topic `executions` held *after* the reading is in; later
differences add to it. Where a window has both, runs that are gone and one whose record came days
late while nobody kept it, some are missing, never too many.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from odradek.visibility.store.windows import COLUMNS, WINDOW_MS
from odradek.wire.windows import LatencyBucket, Window

_COUNTS = ", ".join(COLUMNS)
_DEFINED = ", ".join(f"{column} INTEGER NOT NULL" for column in COLUMNS)

#: Not among the tables that FORMAT counts: a store that was made before there was a changelog goes
#: on, with all its windows noted.
TABLES = f"""
CREATE TABLE unpublished_windows (  -- changes: grows with each change, to see those that come while it is published
    start_ms INTEGER NOT NULL, workflow_type TEXT NOT NULL, changes INTEGER NOT NULL, PRIMARY KEY (start_ms, workflow_type)
) WITHOUT ROWID;
CREATE TABLE restored_windows (
    start_ms INTEGER NOT NULL, workflow_type TEXT NOT NULL, {_DEFINED}, PRIMARY KEY (start_ms, workflow_type)
) WITHOUT ROWID;
CREATE TABLE restored_latencies (
    start_ms INTEGER NOT NULL, workflow_type TEXT NOT NULL, bucket INTEGER NOT NULL, runs INTEGER NOT NULL,
    PRIMARY KEY (start_ms, workflow_type, bucket)
) WITHOUT ROWID;
"""
_AGAIN = "ON CONFLICT DO UPDATE SET changes = changes + 1"
_NOTE = f"INSERT INTO unpublished_windows VALUES (?, ?, 1) {_AGAIN}"
# `true`: SQLite's syntax
_NOTE_ALL = (
    "INSERT INTO unpublished_windows SELECT start_ms, workflow_type, 1 FROM windows WHERE true"
    f" {_AGAIN}"
)
_GREATEST = (
    "ON CONFLICT DO UPDATE SET"
    f" {', '.join(f'{column} = max({column}, excluded.{column})' for column in COLUMNS)}"
)
_MOST_RUNS = "ON CONFLICT DO UPDATE SET runs = max(runs, excluded.runs)"
_KEEP = f"INSERT INTO restored_windows VALUES (?, ?{', ?' * len(COLUMNS)}) {_GREATEST}"
_KEEP_LATENCY = f"INSERT INTO restored_latencies VALUES (?, ?, ?, ?) {_MOST_RUNS}"
_TAKE_OVER = f"""
INSERT INTO windows (start_ms, workflow_type, {_COUNTS})
    SELECT start_ms, workflow_type, {_COUNTS} FROM restored_windows WHERE true {_GREATEST};
INSERT INTO latencies (start_ms, workflow_type, bucket, runs) SELECT * FROM restored_latencies WHERE true {_MOST_RUNS};
DELETE FROM unpublished_windows WHERE (start_ms, workflow_type) IN (
    SELECT r.start_ms, r.workflow_type FROM restored_windows r JOIN windows w USING (start_ms, workflow_type)
    WHERE {" AND ".join(f"r.{column} = w.{column}" for column in COLUMNS)}
);
"""
_TAKEN = (
    "SELECT start_ms, workflow_type, changes FROM unpublished_windows WHERE start_ms >= ? AND"
    " start_ms < ? ORDER BY 1, 2 LIMIT ?"
)
_TAKEN_COUNTS = (
    f"SELECT start_ms, workflow_type, changes, {_COUNTS} FROM ({_TAKEN}) JOIN windows USING"
    " (start_ms, workflow_type)"
)
_TAKEN_LATENCIES = (
    f"SELECT start_ms, workflow_type, bucket, runs FROM ({_TAKEN}) JOIN latencies USING (start_ms,"
    " workflow_type) WHERE runs > 0"
)


def new_store_id() -> str:
    """Under which a store writes its checkpoints."""
    return secrets.token_hex(8)


def note(connection: sqlite3.Connection, keys: Iterable[tuple[int, str]]) -> None:
    """These windows change, in the transaction that is open."""
    connection.executemany(_NOTE, keys)


def note_lack(connection: sqlite3.Connection, before_ms: int) -> None:
    """Windows may lack runs before this, in the transaction that is open; then
    `Changelog.look_again`.
    """
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES ('windows_since_ms', ?)",
        (str(_begin_of_whole(before_ms)),),
    )
    connection.execute("DELETE FROM meta WHERE key = 'windows_restored'")


def prune(connection: sqlite3.Connection, before_ms: int) -> None:
    """Windows that began before this are no more."""
    connection.execute("DELETE FROM unpublished_windows WHERE start_ms < ?", (before_ms,))


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A window that is not published as it is now, and the number of its changes so far."""

    window: Window
    changes: int


class Changelog:
    """Of one store. Writing methods in its writing thread.

    reading: lends a connection that reads.  since_ms: of an earlier version's store, since when
    its windows are whole.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
        since_ms: int,
    ) -> None:
        self._connection = connection
        self._reading = reading
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        self.store_id = meta.get("store_id") or new_store_id()
        #: Windows that begin from then on have all runs, those before may lack some. 0: it has read
        #: all that there ever was.
        self.since_ms = _begin_of_whole(int(meta.get("windows_since_ms", since_ms)))
        #: Whether what others published was taken over since its windows began to lack runs.
        self.restored = "windows_restored" in meta
        if "store_id" not in meta:
            with self._transaction():
                for statement in TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(_NOTE_ALL)
                self._set_meta(store_id=self.store_id)

    def begin_at(self, since_ms: int) -> None:
        """Windows may lack runs before this."""
        with self._transaction():
            note_lack(self._connection, since_ms)
        self.look_again()

    def look_again(self) -> None:
        """A batch has noted that windows lack runs."""
        meta = dict(self._connection.execute("SELECT key, value FROM meta"))
        self.since_ms, self.restored = int(meta["windows_since_ms"]), "windows_restored" in meta

    # --- publishing

    def topic_is(self, topic_id: str) -> bool:
        """What was published is in this topic. With another id it was deleted and made anew:
        then all is to be published again, and the answer is True.
        """
        row = self._connection.execute(
            "SELECT value FROM meta WHERE key = 'windows_topic_id'"
        ).fetchone()
        if row == (topic_id,):
            return False
        with self._transaction():
            if row is not None:
                self._connection.execute(_NOTE_ALL)
            self._set_meta(windows_topic_id=topic_id)
        return row is not None

    def unpublished(self, source: str, until_ms: int, limit: int) -> list[Unpublished]:
        """Whole windows that began before `until_ms` and are not published as they are, the
        oldest first. In any thread.
        """
        bounds = (self.since_ms, until_ms, limit)
        with self._reading() as connection:
            connection.execute("BEGIN")  # one state of the store for both
            try:
                found = {
                    (start_ms, name): Unpublished(Window(source, start_ms, name, *counts), changes)
                    for start_ms, name, changes, *counts in connection.execute(
                        _TAKEN_COUNTS, bounds
                    )
                }
                for start_ms, name, bucket, runs in connection.execute(_TAKEN_LATENCIES, bounds):
                    found[start_ms, name].window.latencies.append(LatencyBucket(bucket, runs))
            finally:
                connection.execute("ROLLBACK")
        return list(found.values())

    def published(self, windows: Sequence[Unpublished]) -> None:
        """These lie in the topic. One that has changed meanwhile stays noted."""
        gone = (
            "DELETE FROM unpublished_windows WHERE start_ms = ? AND workflow_type = ? AND"
            " changes = ?"
        )
        with self._transaction():
            self._connection.executemany(
                gone,
                [
                    (each.window.start_ms, each.window.workflow_type, each.changes)
                    for each in windows
                ],
            )

    def forget_parts(self) -> None:
        """Windows that are not whole are never published: no longer note them, unless others may
        make them whole.
        """
        if self.restored:
            prune(self._connection, self.since_ms)

    @property
    def waiting(self) -> int:
        """How many windows are noted. In any thread."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM unpublished_windows").fetchone()[0])

    # --- restoring

    def begin_restore(self) -> None:
        """Nothing is kept of a reading that did not end."""
        with self._transaction():
            self._clear()

    def keep(self, windows: Sequence[Window]) -> None:
        """Windows from the topic, in any order, also several values of one."""
        counts = [
            (w.start_ms, w.workflow_type, *(getattr(w, column) for column in COLUMNS))
            for w in windows
        ]
        latencies = [
            (w.start_ms, w.workflow_type, each.bucket, each.runs)
            for w in windows
            for each in w.latencies
        ]
        with self._transaction():
            self._connection.executemany(_KEEP, counts)
            self._connection.executemany(_KEEP_LATENCY, latencies)

    def restore(self, since_ms: int, bound_ms: int | None = None) -> int:
        """Take over what was kept: windows are whole since then. How many windows it was. See
        above for when.

        bound_ms: from when on the store had all when that was found out. It may lack more by
        now: then nothing is taken over yet.
        """
        since_ms = _begin_of_whole(since_ms)
        if bound_ms is not None and bound_ms != self.since_ms:
            return 0
        with self._transaction():
            kept: int = self._connection.execute(
                "SELECT count(*) FROM restored_windows"
            ).fetchone()[0]
            for statement in _TAKE_OVER.split(";"):
                self._connection.execute(statement)
            self._clear()
            self._set_meta(windows_since_ms=since_ms, windows_restored=1)
        self.since_ms, self.restored = since_ms, True
        return kept

    # --- inside

    def _clear(self) -> None:
        self._connection.execute("DELETE FROM restored_windows")
        self._connection.execute("DELETE FROM restored_latencies")

    def _set_meta(self, **facts: Any) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [(key, str(value)) for key, value in facts.items()],
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _begin_of_whole(since_ms: int) -> int:
    """Where the first window begins that begins from then on."""
    return -(-since_ms // WINDOW_MS) * WINDOW_MS
