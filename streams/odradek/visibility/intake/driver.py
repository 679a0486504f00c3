"""Faust's store driver over `VisibilityStore`, under the URL scheme `odradek-sqlite`.

A Faust table sees keys and values as bytes: the key of a run, and its summary in Avro. What is
written comes from the changelog and nowhere else, whole batches at a time: a row must carry its
record's offset, and a single `table[key] = value` has none. One SQLite file holds every
partition.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from faust.stores import STORES
from faust.stores.base import SerializedStore
from faust.types import TP, EventT

from odradek.visibility.errors import IntakeError
from odradek.visibility.intake.decode import SummaryDecoder
from odradek.visibility.store.rows import key_of
from odradek.visibility.store.store import VisibilityStore
from odradek.visibility.store.writer import Applied
from odradek.wire.codec import Codec, encode

SCHEME = "odradek-sqlite"
_PAGE = 1_000


class SQLiteStore(SerializedStore[bytes, bytes]):
    """One table's store.

    The table's `options` may hold "store" (an open VisibilityStore, whose owner closes it) and
    "decoder"; without them the driver opens the file that the URL names
    (`odradek-sqlite:///var/lib/odradek/visibility.sqlite`) and reads our own schemas.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = self.options or {}
        given: VisibilityStore | None = options.get("store")
        self._owned = given is None
        self.store = given if given is not None else VisibilityStore.open(Path(self.url.path))
        self.decoder: SummaryDecoder = options.get("decoder") or SummaryDecoder(Codec())

    async def on_stop(self) -> None:
        """Close what the driver opened itself."""
        if self._owned:
            self.store.close()

    # --- the changelog

    def persisted_offset(self, tp: TP) -> int | None:
        """Offset of the last record in the store; rows and offset commit together."""
        return self.store.position(tp.partition)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Nothing: the offset is part of each batch's transaction."""

    async def need_active_standby_for(self, tp: TP) -> bool:
        """No: every instance holds everything."""
        return False

    def apply_records(self, partition: int, records: Iterable[Any]) -> Applied:
        """Apply records that have `key`, `value`, `offset` and `timestamp` (ms), in one SQLite
        transaction. Blocks.
        """
        return self.apply_batches([(partition, records)])

    def apply_batches(self, batches: Iterable[tuple[int, Iterable[Any]]]) -> Applied:
        """As `apply_records`, for several partitions in one transaction."""
        changes = []
        ends: dict[int, int] = {}
        for partition, some in batches:
            records = list(some)
            changes += self.decoder.changes(partition, records)
            if records:
                ends[partition] = records[-1].offset
        applied = self.store.apply(changes)
        self.store.advance(ends)  # over trailing records that could not be read
        return applied

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT[Any]],
        to_key: Callable[[Any], bytes],
        to_value: Callable[[Any], bytes],
    ) -> None:
        """Faust's way to hand over changelog events."""
        by_partition: dict[int, list[Any]] = {}
        for event in batch:
            message = event.message
            time_ms = round(message.timestamp * 1000)  # Faust has seconds
            record = SimpleNamespace(
                key=message.key, value=message.value, offset=message.offset, timestamp=time_ms
            )
            by_partition.setdefault(message.partition, []).append(record)
        self.apply_batches(by_partition.items())

    # --- as a mapping

    def _get(self, key: bytes) -> bytes | None:
        workflow_id, _, run_id = key.decode().rpartition("/")
        summary = self.store.get(workflow_id, run_id) if run_id else None
        return None if summary is None else encode(summary)

    def _set(self, key: bytes, value: bytes | None) -> NoReturn:
        raise IntakeError(
            "this table changes by its changelog alone: produce a summary to the topic `executions`"
        )

    def _del(self, key: bytes) -> NoReturn:
        raise IntakeError(
            "this table changes by its changelog alone: produce a tombstone to the topic"
            " `executions`"
        )

    def _clear(self) -> NoReturn:
        raise IntakeError("this table changes by its changelog alone")

    def reset_state(self) -> None:
        """Nothing: state that does not fit its topic is deleted when the store is opened."""

    def _iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        token = b""
        while True:
            page = self.store.list("ORDER BY StartTime", page_size=_PAGE, page_token=token)
            for summary in page.executions:
                yield key_of(summary.workflow_id, summary.run_id), encode(summary)
            token = page.next_page_token
            if not token:
                return

    def _iterkeys(self) -> Iterator[bytes]:
        return (key for key, _ in self._iteritems())

    def _itervalues(self) -> Iterator[bytes | None]:
        return (value for _, value in self._iteritems())

    def _size(self) -> int:
        return self.store.count().count

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None

    # --- backups

    def _backup_path(self) -> Path:
        return self.store.path.with_name(self.store.path.name + ".backup")

    async def backup_partition(
        self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Copy the whole store (all partitions are in one file) beside it. One backup is kept."""
        target = self._backup_path()
        fresh = target.with_name(target.name + ".new")
        fresh.unlink(missing_ok=True)
        self.store.backup(fresh)
        fresh.replace(target)

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Put the backup in the store's place: only for a store that this driver opened itself.
        Records since are read again.
        """
        if not self._owned:
            raise IntakeError(
                "this store belongs to the read side that runs: stop it, then copy the backup over"
                " the file"
            )
        backup = self._backup_path()
        if not backup.exists():
            raise IntakeError(f"there is no backup {backup}")
        path, source = self.store.path, self.store.source
        self.store.close()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        fresh = path.with_name(path.name + ".restored")
        shutil.copyfile(backup, fresh)
        fresh.replace(
            path
        )  # another file under the name: readers that still map the old one keep it
        self.store = VisibilityStore.open(path, source)


STORES.aliases[SCHEME] = f"{__name__}:SQLiteStore"
