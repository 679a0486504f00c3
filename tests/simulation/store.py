"""In the place of RocksDB: a sorted dictionary of bytes that loses what was not flushed when its
process dies, as a store without a write-ahead log does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from tests.simulation.scheduler import Scheduler


class MemoryDb:
    """The methods of `rocksdict.Rdict` that the store calls. disk: path -> what was flushed."""

    disk: ClassVar[dict[str, dict[bytes, bytes]]] = {}
    opened: ClassVar[list[MemoryDb]] = []
    scheduler: ClassVar[Scheduler]

    def __init__(self, path: str, options: Any = None) -> None:
        self.path = str(path)
        mark = Path(path) / "CURRENT"  # RocksDB's, and what tells a folder that was deleted
        if not mark.exists():
            self.disk.pop(self.path, None)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        self.rows = dict(self.disk.get(self.path, {}))
        self._keys = sorted(self.rows)
        current = self.scheduler.current
        self.owner = current.process if current is not None else None
        self.opened.append(self)

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            insort(self._keys, key)
        self.rows[key] = value

    __setitem__ = put

    def delete(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def write(self, batch: MemoryBatch, options: Any = None) -> None:
        for key, value in batch.changes:
            if value is None:
                self.delete(key)
            else:
                self.put(key, value)

    def flush(self) -> None:
        self.disk[self.path] = dict(self.rows)

    def close(self) -> None:
        if self.owner is None or not self.owner.dead:
            self.flush()
        self.opened.remove(self)

    def items(self, from_key: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for key in self._keys[bisect_left(self._keys, from_key) :]:
            yield key, self.rows[key]

    def iter(self) -> _Cursor:
        return _Cursor(self)


class _Cursor:
    def __init__(self, db: MemoryDb) -> None:
        self._db = db
        self._keys = list(db._keys)
        self._at = 0

    def seek(self, key: bytes) -> None:
        self._at = bisect_left(self._keys, key)

    def seek_for_prev(self, key: bytes) -> None:
        self._at = bisect_right(self._keys, key) - 1

    def valid(self) -> bool:
        return 0 <= self._at < len(self._keys)

    def key(self) -> bytes:
        return self._keys[self._at]

    def value(self) -> bytes:
        return self._db.rows[self._keys[self._at]]

    def next(self) -> None:
        self._at += 1

    def prev(self) -> None:
        self._at -= 1

    def status(self) -> None:
        pass


class MemoryBatch:
    """`rocksdict.WriteBatch`."""

    def __init__(self, raw_mode: bool = True) -> None:
        self.changes: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.changes.append((key, value))

    def delete(self, key: bytes) -> None:
        self.changes.append((key, None))
