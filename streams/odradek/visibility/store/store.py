"""`VisibilityStore`: one SQLite file with its lock, its writer and its readers.

It is a copy of one topic. Opening it compares what it is a copy of (namespace, cluster, topic)
and of which format; where that does not fit, where the file is damaged, or where it is so old
that it may have missed tombstones, the file is deleted and begins anew, and `rebuilt_because`
says why. So it is where somebody has removed files beneath an open store (`gone`): its owner
opens it anew.

Rows are complete then; statistics are not: runs that closed and were deleted before are not in
the topic, so statistics of before the topic's retention are lost. `windows_complete_since_ms`
says since when they are complete.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from odradek.visibility.errors import StoreNotOpenError
from odradek.visibility.store import windows, zones
from odradek.visibility.store.lock import StoreLock
from odradek.visibility.store.reader import StoreReader
from odradek.visibility.store.rows import Change
from odradek.visibility.store.schema import FORMAT, TABLES, WRITER_PRAGMAS
from odradek.visibility.store.writer import Applied, Writer
from odradek.wire.topic_configs import TOMBSTONE_RETENTION_MS

logger = logging.getLogger("odradek.visibility")

_PRUNE_EVERY_MS = 3_600_000
_ANALYZE_FROM = 1_000  # rows; then at each doubling
_RUNS_KEPT_MS = 3 * 24 * 3_600_000  # the default of the setting `retention`
Listener = Callable[[Applied], None]


@dataclass(frozen=True, slots=True)
class Source:
    """What a store is a copy of. `topic_id` changes when a topic is deleted and made anew. "":
    not known yet, and not compared.
    """

    namespace: str = "default"
    cluster_id: str = ""
    topic_id: str = ""


class VisibilityStore(StoreReader):
    """Open with `open`. Reading may go on in any thread, writing in one at a time.

    clock_ms: the time, tests give their own.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        clock_ms: Callable[[], int],
        tombstone_retention_ms: int,
        runs_kept_ms: int = _RUNS_KEPT_MS,
        begin_anew: str = "",
    ) -> None:
        super().__init__(path, source.namespace)
        self.path = path
        self.source = source
        self.rebuilt_because = begin_anew
        #: Whether it ever held everything that its topic held: from then on it may lag, before it
        #: is a part that means nothing.
        self.complete = False
        self._caught_up_ms = 0
        self._statistics_since_ms = 0
        self._runs_kept_ms = runs_kept_ms
        self._clock_ms = clock_ms
        self._tombstone_retention_ms = tombstone_retention_ms
        self._listeners: list[Listener] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = StoreLock(path.with_name(path.name + ".lock"))
        self._writing = threading.RLock()
        self._files: dict[Path, int] = {}
        try:
            self._connection = self._open_file()
            self._writer = Writer(self._connection)
            self._files = {file: inode for file in files_of(path) if (inode := _inode(file))}
        except BaseException:
            self._lock.release()
            raise
        self._pruned_ms = 0
        self._analyze_at = max(_ANALYZE_FROM, 2 * self._writer.rows_ever)
        self.rows_written = self.rows_deleted = self.records_skipped = 0

    @classmethod
    def open(
        cls,
        path: str | Path,
        source: Source | None = None,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        tombstone_retention_ms: int = TOMBSTONE_RETENTION_MS,
        runs_kept_ms: int = _RUNS_KEPT_MS,
        begin_anew: str = "",
    ) -> VisibilityStore:
        """The store in this file, made if missing. Raises StoreLockedError when another process
        (or this one) has it open.

        tombstone_retention_ms: of the topic, `delete.retention.ms`. runs_kept_ms: how long
        closed runs stay there, the setting `retention`. begin_anew: why a file that is there is
        not gone on with.
        """
        return cls(
            Path(path),
            source or Source(),
            clock_ms,
            tombstone_retention_ms,
            runs_kept_ms,
            begin_anew,
        )

    def close(self) -> None:
        """Close connections, release the lock. Waits for a transaction under way. Idempotent."""
        with self._writing:
            if self._closed:
                return
            super().close()
            self._connection.close()
            self._lock.release()

    def __enter__(self) -> VisibilityStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- writing

    def apply(self, changes: Iterable[Change], read: Mapping[int, int] | None = None) -> Applied:
        """Apply changes in one transaction, see `Writer.apply`; then call the listeners."""
        with self._writing:
            self._check_open()
            applied = self._writer.apply(changes, read or {})
            self.rows_written += applied.written
            self.rows_deleted += applied.deleted
            self.records_skipped += applied.skipped
            if self._writer.rows_ever >= self._analyze_at:
                self._analyze()
        if applied.changes:
            for listener in list(self._listeners):
                listener(applied)
        return applied

    def position(self, partition: int) -> int | None:
        """Offset of the last record of a partition that is in the store; None: none is."""
        return self._writer.positions.get(partition)

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each batch that changed rows, in the writer's thread; it must be
        quick. Returns how to remove it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def caught_up(self, *, first: bool = True) -> None:
        """Note that the store has everything that the topic held just now; and clean up what is old.

        first: whether the topic was empty when the store began, so that statistics lack nothing.
        """
        with self._writing:
            self._check_open()
            now_ms = self._clock_ms()
            since_ms = self._statistics_since_ms
            if not self.complete:
                since_ms = (
                    0 if first and not self._writer.positions else now_ms - self._runs_kept_ms
                )
            elif now_ms - self._caught_up_ms > self._runs_kept_ms:  # runs came and went meanwhile
                since_ms = max(since_ms, now_ms - self._runs_kept_ms)
            self._set_meta("statistics_since_ms", str(since_ms))
            self._set_meta("caught_up_ms", str(now_ms))
            if not self.complete:
                self._set_meta("complete", "1")
            self._statistics_since_ms, self._caught_up_ms, self.complete = since_ms, now_ms, True
            if now_ms - self._pruned_ms >= _PRUNE_EVERY_MS:
                self._pruned_ms = now_ms
                self._prune(now_ms)

    def _prune(self, now_ms: int) -> None:
        windows.prune(self._connection, now_ms)
        if gone := self._writer.forget_attributes():
            logger.info("search attributes that no run has any more: %s", ", ".join(gone))
        zones.prune(self._connection)

    @property
    def windows_complete_since_ms(self) -> int:
        """Statistics of before this may lack runs that were deleted before this store could read
        them, or are themselves deleted.
        """
        since_ms = -(-self._statistics_since_ms // windows.WINDOW_MS) * windows.WINDOW_MS
        return max(since_ms, self._clock_ms() - windows.RETENTION_MS)

    def matches(self, source: Source) -> bool:
        """Whether this store is a copy of that topic. What it did not know of its source it
        learns here. In the writing thread.
        """
        self._check_open()
        meta = dict(self._connection.execute("SELECT key, value FROM meta"))
        wanted = {
            "namespace": source.namespace,
            "cluster_id": source.cluster_id,
            "topic_id": source.topic_id,
        }
        if any(value and meta.get(key) and meta[key] != value for key, value in wanted.items()):
            return False
        for key, value in wanted.items():
            if value and not meta.get(key):
                self._set_meta(key, value)
        self.source = source
        return True

    def gone(self) -> bool:
        """Whether somebody has removed, or replaced, a file of it since it was opened. What is
        written then is nowhere.
        """
        return any(_inode(file) != inode for file, inode in self._files.items())

    def may_miss_tombstones(self, retention_ms: int) -> bool:
        """Whether it was last up to date before the topic began to drop what it has not seen. In
        the writing thread.
        """
        return self._age_ms(self._connection) > retention_ms * 9 // 10

    @property
    def refused_attributes(self) -> dict[str, int]:
        """Search attributes that could not be indexed, with how many values: damaged, or of no
        known type.
        """
        return dict(self._writer.refused_attributes)

    # --- the file

    def _open_file(self) -> sqlite3.Connection:
        if self.path.exists():
            try:
                connection = _connect(self.path)
                self.rebuilt_because = self.rebuilt_because or self._mismatch(connection)
                if not self.rebuilt_because:
                    meta = dict(connection.execute("SELECT key, value FROM meta"))
                    self.complete = "complete" in meta
                    self._caught_up_ms = int(meta["caught_up_ms"])
                    self._statistics_since_ms = int(meta.get("statistics_since_ms", 0))
                    return connection
                connection.close()
            except sqlite3.DatabaseError as error:
                self.rebuilt_because = f"the file is damaged: {error}"
            logger.warning("%s begins anew: %s", self.path, self.rebuilt_because)
            delete_files(self.path)
        connection = _connect(self.path)
        connection.executescript(f"BEGIN;\n{TABLES}")
        self._caught_up_ms = self._clock_ms()
        facts = {**self._identity(), "caught_up_ms": str(self._caught_up_ms)}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        connection.execute("COMMIT")
        return connection

    def _identity(self) -> dict[str, str]:
        source = self.source
        return {
            "format": str(FORMAT),
            "namespace": source.namespace,
            "cluster_id": source.cluster_id,
            "topic_id": source.topic_id,
        }

    def _mismatch(self, connection: sqlite3.Connection) -> str:
        """Why the file cannot be gone on with; "" if it can."""
        if (
            connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[
                0
            ]
            == 0
        ):
            return "it has no format"
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        for key, wanted in self._identity().items():
            if wanted and meta.get(key) and meta[key] != wanted:
                return f"its {key} is {meta.get(key)!r}, here it is {wanted!r}"
        age_ms = self._age_ms(connection)
        if age_ms > self._tombstone_retention_ms * 9 // 10:
            return (
                f"it was last up to date {timedelta(seconds=age_ms // 1_000)} ago and may have"
                " missed tombstones"
            )
        return ""

    def _age_ms(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT value FROM meta WHERE key = 'caught_up_ms'").fetchone()
        return self._clock_ms() - int(row[0] if row is not None else 0)

    def _set_meta(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _analyze(self) -> None:
        """Have the planner know how selective the indices are; readers begin afresh to see it."""
        self._connection.execute("PRAGMA analysis_limit = 1000")
        self._connection.execute("ANALYZE")
        self._analyze_at = 2 * self._writer.rows_ever
        self.renew()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreNotOpenError("the read side's store is closed")


def files_of(path: Path) -> list[Path]:
    """The database and what SQLite keeps beside it."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def delete_files(path: Path) -> None:
    """All of them."""
    for file in files_of(path):
        file.unlink(missing_ok=True)


def _inode(file: Path) -> int:
    """0 where there is no such file."""
    try:
        return file.stat().st_ino
    except OSError:
        return 0


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.executescript(WRITER_PRAGMAS)
    except BaseException:
        connection.close()
        raise
    return connection
