"""The lock beside the store: one process writes. The kernel frees it when its holder dies,
however it dies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from odradek.visibility.errors import StoreLockedError


class StoreLock:
    """Held from construction to `release`. The file says who holds it; it is never deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = path.open("a+")
        try:
            _lock(self._file)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(200).strip() or "unknown"
            self._file.close()
            self._file = None
            raise StoreLockedError(
                f"the read side's store {path.with_suffix('')} is in use by process {holder}. Stop"
                " that process, or give this one a `state_dir` of its own: each instance keeps a"
                " whole copy"
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let it go. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1 << 20)  # a byte behind the text, so that others can read who holds it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
