"""Opens a service's SQLite database. What keeps it from being opened ends the process with one
line that names the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """A connection that any thread may use (one at a time), in autocommit, with a write-ahead
    log and the tables of `schema`.

    Raises SystemExit, with the cause and the cure, where there can be none.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(schema)
        return database
    except sqlite3.OperationalError as error:
        what = (
            f"{path} is a directory"
            if _seen(path.is_dir)
            else f"{error}. Free it, or make the place writable for this user"
        )
        raise SystemExit(
            f"database {path} cannot be opened: {what} (key `database` of the service's file)"
        ) from None
    except sqlite3.DatabaseError as error:
        cure = "Put back a copy of it; an empty one would forget which effects were made"
        raise SystemExit(
            f"database {path} cannot be read: {error}. {cure} (key `database` of the service's"
            " file)"
        ) from None
    except OSError as error:
        reason = (
            f"{path.parent} is a file"
            if _seen(path.parent.is_file)
            else error.strerror or str(error)
        )
        raise SystemExit(
            f"the directory of database {path} cannot be made: {reason} (key `database` of the"
            " service's file)"
        ) from None


def _seen(what: Callable[[], bool]) -> bool:
    """Nothing is, below a directory that this user may not search."""
    try:
        return what()
    except OSError:
        return False
