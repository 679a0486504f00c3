"""A partition's local store: RocksDB, one small instance a partition, a copy of what is committed in
`state`.

Duties: serve the engine's reads (`Tables`), take the rows of a committed transaction together
with the changelog offset they stand for in one write batch, and know whose copy it is (cluster,
topic ids, partition, format).

Never: hold anything that is not committed, or lead the changelog. There is no write-ahead log: a
write batch is atomic, and what a crash takes from the memtable is read again from the changelog.
A store that does not fit or is damaged is deleted and rebuilt.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from odradek.engine.ports import TablesError
from odradek.exceptions import (
    DiskFullError,
    LaneError,
    OdradekError,
    StateFormatError,
    StateStoreError,
)
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.processor.errors import TopicUnavailableError
from odradek.wire.codec import decode_row as default_decode_row
from odradek.wire.errors import NewerFormatError, UndecodableRecord, UnknownSchemaError
from odradek.wire.state import FORMAT, Row

logger = logging.getLogger(__name__)

STORE_FORMAT = 1  # of the store's own keys; a row's is `wire.state.FORMAT`

_IDENTITY = b"\x00identity"
_APPLIED = b"\x00applied"  # no table name begins with NUL

# One process may own dozens of lanes: the block cache and the budget of memtables are shared by all
# of them.
_MB = 1024 * 1024
_CACHE_BYTES = 64 * _MB
_MEMTABLES_BYTES = 128 * _MB
_MEMTABLE_BYTES = 8 * _MB
_shared: tuple[Cache, WriteBufferManager] | None = None

_DISK_FULL = ("No space left", "File too large", "quota exceeded", "Disk full")
_LOCKED = ("lock hold by current process", "While lock file", "Resource temporarily unavailable")


class StoreIdentity(msgspec.Struct, frozen=True):
    """Whose copy a store is. Any difference, and it is rebuilt."""

    cluster_id: str
    state_topic_id: str
    events_topic_id: str
    partition: int
    store_format: int = STORE_FORMAT
    row_format: int = FORMAT


class StoreCorruptError(StateStoreError):
    """The files are damaged. The partition deletes the store and restores it."""


class StoreLockedError(StateStoreError):
    """Somebody else has the store open: it is left alone."""


class _Applied(msgspec.Struct, array_like=True):
    changelog_offset: int
    time_ms: int


_decode_identity = msgspec.json.Decoder(StoreIdentity).decode
_decode_applied = msgspec.msgpack.Decoder(_Applied).decode


class PartitionStore:
    """An open store. Reads and writes come from the partition's thread alone.

    `changelog_offset` is the next offset of `state` to apply; `as_of_ms` when it last stood
    there, by this host's clock. `decode_row`: the codec's, which also knows rows that carry a
    registry's framing.
    """

    def __init__(
        self, path: Path, db: Rdict, applied: _Applied, decode_row: Callable[[bytes], Row]
    ) -> None:
        self.path = path
        self.decode_row = decode_row
        self.changelog_offset = applied.changelog_offset
        self.as_of_ms = applied.time_ms
        self._db = db
        self._write_options = WriteOptions()
        # a property; the stubs say method
        self._write_options.disable_wal = True  # type: ignore[method-assign, assignment]
        self._flushed_at = time.monotonic()
        self._dirty = False
        # Of scans that nobody has read to their end: a cursor holds the files, and with them the
        # lock, also of a store that was closed.
        self._cursors: dict[int, list[Any]] = {}

    # --- Tables

    def get(self, table: str, key: str) -> Row | None:
        """The row under `table`/`key` as of the last commit."""
        try:
            raw = self._db.get(f"{table}/{key}".encode())
        except Exception as error:
            raise translate(error, self.path) from error
        return None if raw is None else self._decode(raw, f"{table}/{key}")

    def scan(
        self,
        table: str,
        prefix: str,
        *,
        start: str = "",
        limit: int = 0,
        reverse: bool = False,
    ) -> Iterator[tuple[str, Row]]:
        """Rows whose key begins with `prefix`, from key `start` on, in key order; reverse: from
        `start` (or the end) down. 0: no limit.
        """
        head = f"{table}/".encode()
        low, begin, cut, found = head + prefix.encode(), head + start.encode(), len(head), 0
        held = [
            self._db.iter()
        ]  # bounds in ReadOptions do not hold in raw mode: each key is looked at
        self._cursors[id(held)] = held
        try:
            cursor: Any = held[0]
            if reverse:
                cursor.seek_for_prev(
                    min(low + b"\xff", begin) if start else low + b"\xff"
                )  # no UTF-8 text holds this byte
            else:
                cursor.seek(max(low, begin))
            while cursor.valid():
                key = cursor.key()
                if not key.startswith(low):
                    return
                name = key.decode()
                row = self._decode(cursor.value(), name)
                cursor = None  # `close` takes it from whoever reads no further
                yield name[cut:], row
                found += 1
                if found == limit:
                    return
                if not held:
                    raise StateStoreError(str(self.path), "it was closed while it was read")
                cursor = held[0]
                if reverse:
                    cursor.prev()
                else:
                    cursor.next()
            try:
                cursor.status()
            except Exception as error:
                raise translate(error, self.path) from error
        finally:
            cursor = None  # not with this frame, which an error's traceback may keep
            held.clear()
            self._cursors.pop(id(held), None)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row as it stands, encoded: for comparisons of a restored store."""
        yield from typing.cast("Iterator[tuple[bytes, bytes]]", self._db.items(from_key=b"\x01"))

    # --- writing

    def apply(
        self, changes: Iterable[tuple[bytes, bytes | None]], changelog_offset: int, now_ms: int
    ) -> None:
        """Take the rows of a committed transaction (None deletes) and the changelog offset
        behind them, all or nothing.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_APPLIED, msgspec.msgpack.encode(_Applied(changelog_offset, now_ms)))
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise translate(error, self.path) from error
        self.changelog_offset = changelog_offset
        self.as_of_ms = now_ms
        self._dirty = True

    def flush_if_older(self, seconds: float) -> None:
        """Write the memtable out when the last time is longer ago: bounds what a crash makes the
        next owner read again.
        """
        now = time.monotonic()
        if self._dirty and now - self._flushed_at >= seconds:
            self.flush()

    def flush(self) -> None:
        try:
            self._db.flush()
        except Exception as error:
            raise translate(error, self.path) from error
        self._flushed_at = time.monotonic()
        self._dirty = False

    def close(self) -> None:
        """Flush and let go of the files. A full disk only costs the tail, which the changelog
        holds.
        """
        for held in list(self._cursors.values()):
            held.clear()
        try:
            if self._dirty:
                self.flush()
        except OdradekError as error:
            logger.warning("closing the store at %s: %s", self.path, error)
        _close(self._db, self.path)

    # --- opening

    @classmethod
    def open(
        cls,
        path: Path,
        identity: StoreIdentity,
        decode_row: Callable[[bytes], Row] = default_decode_row,
        *,
        oldest_ms: int = 0,
    ) -> PartitionStore:
        """Open the store at `path`, or begin a new one there.

        One that belongs to something else, is damaged, or last stood before `oldest_ms` (older
        than the tombstones that would tell it what was deleted), as far as its clock can be
        believed, is deleted first. Raises StateStoreError for one that somebody else has open
        (left alone), DiskFullError.
        """
        reason = ""
        try:
            store = cls._open_existing(path, identity, decode_row)
            if store is not None:
                if store.as_of_ms >= oldest_ms:
                    return store
                reason = "it is older than the retention of tombstones"
                store.close()
                del store  # with the files, which a close that failed keeps
            elif path.exists():
                reason = "it belongs to another cluster, topic or format"
        except StoreCorruptError as error:
            reason = error.reason
        if reason:
            logger.warning("the local store at %s is rebuilt from the changelog: %s", path, reason)
        destroy(path)
        return cls._create(path, identity, decode_row)

    @classmethod
    def _open_existing(
        cls, path: Path, identity: StoreIdentity, decode_row: Callable[[bytes], Row]
    ) -> PartitionStore | None:
        if not (path / "CURRENT").exists():
            return None
        db = _open_db(path)
        try:
            raw_identity, raw_applied = db.get(_IDENTITY), db.get(_APPLIED)
            found = _decode_identity(raw_identity) if raw_identity else None
            applied = _decode_applied(raw_applied) if raw_applied else None
        except msgspec.DecodeError as error:
            _close(db, path)
            raise StoreCorruptError(str(path), f"its identity cannot be read: {error}") from error
        except Exception as error:
            _close(db, path)
            raise translate(error, path) from error
        if found != identity or applied is None:
            _close(db, path)
            return None
        return cls(path, db, applied, decode_row)

    @classmethod
    def _create(
        cls, path: Path, identity: StoreIdentity, decode_row: Callable[[bytes], Row]
    ) -> PartitionStore:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate(error, path) from error
        store = cls(path, _open_db(path), _Applied(0, 0), decode_row)
        try:
            store.apply([(_IDENTITY, msgspec.json.encode(identity))], 0, int(time.time() * 1000))
            # there is no log: a store that was never flushed would be nobody's after a crash
            store.flush()
        except OdradekError:
            _close(store._db, path)
            raise
        return store

    def _decode(self, raw: bytes, key: str) -> Row:
        try:
            return self.decode_row(raw)
        except NewerFormatError as error:
            raise StateFormatError(found=error.found, supported=error.known) from error
        except SchemaRegistryUnreachableError as error:
            raise TopicUnavailableError(str(error)) from error
        except UnknownSchemaError as error:
            raise StoreCorruptError(
                str(self.path),
                f"row {key!r} cannot be read: {error}. Most likely a newer version wrote it: run"
                " that version, or a newer one; nothing is lost",
            ) from error
        except UndecodableRecord as error:
            raise StoreCorruptError(
                str(self.path), f"row {key!r} cannot be read: {error}"
            ) from error


class StoredTables:
    """`Tables` over a store. Raises TablesError, whose `reason` is the store's error."""

    def __init__(self, store: PartitionStore) -> None:
        self._store = store

    def get(self, table: str, key: str) -> Row | None:
        try:
            return self._store.get(table, key)
        except (LaneError, TopicUnavailableError) as error:
            raise TablesError(error) from error

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        try:
            yield from self._store.scan(table, prefix, start=start, limit=limit, reverse=reverse)
        except (LaneError, TopicUnavailableError) as error:
            raise TablesError(error) from error


def destroy(path: Path) -> None:
    """Delete a store that nobody has open."""
    if path.exists():
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise translate(error, path) from error


def prune(directory: Path, older_than_ms: int) -> list[Path]:
    """Delete stores that nobody came back to: older than the tombstones, they would be rebuilt
    anyway. `directory` must be ours alone.
    """
    gone = []
    for path in directory.iterdir():
        marks = (
            [file.stat().st_mtime for file in path.glob("*")]
            if path.is_dir() and path.name.isdigit()
            else []
        )
        if marks and max(marks) * 1000 < older_than_ms:
            destroy(path)
            gone.append(path)
    return gone


def translate(error: Exception, path: Path | str) -> OdradekError:
    """RocksDB reports by text alone: the error of ours that it means."""
    if isinstance(error, OdradekError):
        return error
    text = str(error)
    if any(sign in text for sign in _DISK_FULL):
        return DiskFullError(str(path))
    if any(sign in text for sign in _LOCKED):
        return StoreLockedError(str(path), f"another process or thread has it open ({text})")
    if (
        text.startswith(("Corruption", "Invalid argument", "Not implemented"))
        or "No such file" in text
        or "Corruption" in text
    ):
        return StoreCorruptError(str(path), text)
    return StateStoreError(str(path), text)


def _open_db(path: Path) -> Rdict:
    try:
        return Rdict(os.fspath(path), _options())
    except Exception as error:
        raise translate(error, path) from error


def _close(db: Rdict, path: Path) -> None:
    """Let go of the files, whatever it says: a close flushes once more, and tells of damage that
    a compaction in the background has met.
    """
    try:
        db.close()
    except Exception as error:  # the files are given back with the object
        logger.warning("closing the store at %s: %s", path, error)


def _options() -> Options:
    global _shared
    if _shared is None:
        cache = Cache(_CACHE_BYTES)
        _shared = cache, WriteBufferManager(_MEMTABLES_BYTES, False)
    cache, memtables = _shared
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(10, False)  # most look-ups of new ids miss
    table.set_format_version(5)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_manager(memtables)
    options.set_write_buffer_size(_MEMTABLE_BYTES)
    options.set_arena_block_size(256 * 1024)  # an idle lane's memtable stays small
    options.set_max_write_buffer_number(3)
    options.set_max_background_jobs(2)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_target_file_size_base(16 * _MB)
    options.set_max_open_files(128)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(_MB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_paranoid_checks(True)
    options.add_compact_on_deletion_collector_factory(
        1_024, 512, 0.5
    )  # runs end: their rows become tombstones in long ranges
    return options
