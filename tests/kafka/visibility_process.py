"""A read side in a process of its own, to be killed: `visibility_process.py ADDRESS NAMESPACE
STATE_DIR [FAULT]`.

Prints `ready RUNS` once everything is in, and `runs RUNS` after each batch. FAULT `commit` or
`begin`: it kills itself (as kill -9 would) at the third statement of that kind that the writer
gives to SQLite, that is between two calls of a transaction.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
from pathlib import Path

from odradek.config import Settings
from odradek.visibility.reader import VisibilityReader
from odradek.visibility.store import store as store_module


class Suicidal(sqlite3.Connection):
    """Dies before its third COMMIT, or right after its third BEGIN."""

    fault = ""
    seen = 0

    def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.fault == "commit" and self._third():
            os.kill(os.getpid(), signal.SIGKILL)
        cursor = super().execute(sql, *args)  # type: ignore[arg-type]
        if sql == "BEGIN IMMEDIATE" and self.fault == "begin" and self._third():
            os.kill(os.getpid(), signal.SIGKILL)
        return cursor

    def _third(self) -> bool:
        self.seen += 1
        return self.seen == 3


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, check_same_thread=False, isolation_level=None, factory=Suicidal
    )
    connection.executescript(store_module.WRITER_PRAGMAS)
    return connection


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    address, namespace, state_dir, *rest = sys.argv[1:]
    if rest:
        Suicidal.fault = rest[0]
        store_module._connect = connect
    with VisibilityReader(
        Settings(address=address, namespace=namespace, state_dir=Path(state_dir))
    ) as reader:
        reader.add_listener(lambda applied: print("runs", reader.store.count().count, flush=True))
        assert reader.wait_ready(60), reader.statistics()
        print("ready", reader.store.count().count, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
