"""Readers: list, count, group, get. Each call takes a connection of its own from a pool;
SQLite's WAL lets them read beside the writer.

Every call has a deadline, after which SQLite gives the query up. Blocking: asyncio code runs
these in threads.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from odradek.visibility.errors import QueryError, QueryTimeoutError, StoreNotOpenError
from odradek.visibility.query import (
    COLUMNS,
    Attribute,
    AttributeKey,
    Compiled,
    Query,
    ValueType,
    compile_query,
    parse,
)
from odradek.visibility.query.columns import tie_of
from odradek.visibility.store.counts import Count, count_runs
from odradek.visibility.store.pages import COLUMNS_SQL, Rows, page_rows
from odradek.visibility.store.paging import Cursor, decode_token, encode_token, turned_round
from odradek.visibility.store.planner import unindexed_columns
from odradek.visibility.store.rows import key_of, summary_of
from odradek.visibility.store.schema import READER_PRAGMAS, ROW_COLUMNS
from odradek.visibility.store.windows import WindowStatistics, busiest_types, read_windows
from odradek.visibility.store.writer import WORDS
from odradek.wire.outcomes import ExecutionSummary

MAX_PAGE_SIZE = 1_000
DEFAULT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 8
MAX_WINDOWS = 50_000  # of one answer: half a second, 14 MB as JSON
_RUN = "e.tie = ? AND e.workflow_id = ? AND e.run_id = ?"
_CHECK_EVERY = 20_000  # SQLite instructions between two looks at the deadline: about a millisecond


@dataclass(frozen=True, slots=True)
class Page:
    """A page of runs. `next_page_token` is empty on the last one, `previous_page_token` on the
    first one.
    """

    executions: list[ExecutionSummary]
    next_page_token: bytes = b""
    previous_page_token: bytes = b""


class StoreReader:
    """The reading side of one store file."""

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._slots: queue.LifoQueue[None] = queue.LifoQueue()
        for _ in range(MAX_CONNECTIONS):
            self._slots.put(None)
        self._closed = False

    def close(self) -> None:
        """Close idle connections; those in use close as they come back. Idempotent."""
        self._closed = True
        self._drain()

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self._closed

    def renew(self) -> None:
        """Have the next reads use fresh connections, which see new planner statistics."""
        self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    # --- queries

    def list(
        self,
        query: str | Query = "",
        *,
        page_size: int = 100,
        page_token: bytes = b"",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Page:
        """Runs of a query, latest start first unless it says ORDER BY. Raises QueryError,
        PageTokenError, QueryTimeoutError.

        page_token: of another page of the same query, for the one behind or before it. Where
        less than a page lies before it, that is the first page, whole.
        """
        page_size = max(1, min(page_size, MAX_PAGE_SIZE))
        with self._reading(timeout_s) as connection:
            now_ms = _now_ms()
            compiled = self._compiled(connection, query, now_ms)
            if compiled.group_by:
                self._refuse(
                    compiled,
                    "GROUP BY belongs to a count, a list has ORDER BY",
                    compiled.query.group_by[0],
                )
            cursor = decode_token(compiled, page_token) if page_token else None
            if cursor is not None:
                now_ms = cursor.now_ms
            unindexed = (
                frozenset()
                if compiled.terms
                else unindexed_columns(connection, compiled, page_size + 1)
            )
            if unindexed or cursor is not None:
                compiled = compile_query(
                    compiled.query, _Catalog(connection), unindexed=unindexed, now_ms=now_ms
                )
            with _snapshot(connection):
                if cursor is not None and cursor.backward:
                    rows = page_rows(connection, turned_round(compiled), cursor, page_size + 1)
                    if len(rows) > page_size:
                        return self._page(
                            compiled, rows[page_size - 1 :: -1], now_ms, before=True, behind=True
                        )
                    cursor = None
                rows = page_rows(connection, compiled, cursor, page_size + 1)
        return self._page(
            compiled,
            rows[:page_size],
            now_ms,
            before=cursor is not None,
            behind=len(rows) > page_size,
        )

    def count(self, query: str | Query = "", *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Count:
        """How many runs a query finds, by group with GROUP BY. Counts over status, type and task
        queue are kept ready.
        """
        with self._reading(timeout_s) as connection:
            compiled = self._compiled(connection, query)
            if compiled.order_by:
                self._refuse(
                    compiled,
                    "ORDER BY belongs to a list, a count has none",
                    compiled.query.order_by[0].name,
                )
            with _snapshot(connection):
                return count_runs(connection, compiled)

    def get(
        self, workflow_id: str, run_id: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> ExecutionSummary | None:
        """One run; without a run id the workflow's latest. None when there is none."""
        with self._reading(timeout_s) as connection:
            parameters: tuple[Any, ...]
            if run_id:
                where, parameters = _RUN, (tie_of(key_of(workflow_id, run_id)), workflow_id, run_id)
            else:
                where, parameters = (
                    (
                        "e.workflow_id = ? ORDER BY e.start_time_ms DESC, e.turn DESC, e.tie DESC"
                        " LIMIT 1"
                    ),
                    (workflow_id,),
                )
            row = connection.execute(
                f"SELECT {COLUMNS_SQL} FROM executions e WHERE {where}", parameters
            ).fetchone()
        return None if row is None else summary_of(self._namespace, row)

    def queues_of(
        self, workflow_id: str, run_id: str = "", *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Sequence[str]:
        """The task queues that a workflow id has runs in, or that one run is in; in order of
        their names.
        """
        with self._reading(timeout_s) as connection:
            where, parameters = "e.workflow_id = ?", cast(tuple[Any, ...], (workflow_id,))
            if run_id:
                where, parameters = _RUN, (tie_of(key_of(workflow_id, run_id)), workflow_id, run_id)
            rows = connection.execute(
                f"SELECT DISTINCT e.task_queue FROM executions e WHERE {where} ORDER BY 1",
                parameters,
            )
            return [queue for (queue,) in rows]

    def windows(
        self,
        start_ms: int,
        end_ms: int,
        *,
        step_ms: int = 60_000,
        workflow_types: Sequence[str] | None = None,
        together: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Sequence[WindowStatistics]:
        """Statistics of the time from `start_ms` to `end_ms` in steps (whole minutes), by
        workflow type or of all `together`.

        At most 10,000 steps, and `MAX_WINDOWS` windows: steps times types. Raises QueryError
        beyond.
        """
        if (end_ms - start_ms) // max(1, step_ms) > 10_000:
            raise QueryError(
                f"{(end_ms - start_ms) // max(1, step_ms)} steps; at most 10,000: take a larger"
                " step",
                column=0,
            )
        with self._reading(timeout_s) as connection, _snapshot(connection):
            return read_windows(
                connection, start_ms, end_ms, step_ms, workflow_types, together, MAX_WINDOWS
            )

    def busiest_types(
        self, start_ms: int, end_ms: int, *, limit: int, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Sequence[str], int]:
        """Workflow types with the most starts and ends in a stretch of time, at most `limit`;
        and how many have any, or open runs.
        """
        with self._reading(timeout_s) as connection:
            return busiest_types(connection, start_ms, end_ms, limit)

    def values_of(
        self, name: str, prefix: str = "", *, limit: int = 20, timeout_s: float = 1.0
    ) -> Sequence[str]:
        """Values that runs have in a column or search attribute of texts, with this prefix; for
        completion. Of types and queues those with the most runs, first.
        """
        with self._reading(timeout_s) as connection:
            column = COLUMNS.get(name)
            end = prefix + chr(0x10FFFF)
            if column is None:
                found = _attribute(connection, name)
                kinds = (ValueType.KEYWORD, ValueType.KEYWORD_LIST)
                ids = (
                    [key.id for key in found.keys if key.value_type in kinds]
                    if found is not None
                    else []
                )
                sql = (
                    "SELECT DISTINCT value FROM search_attributes WHERE attribute IN"
                    f" ({', '.join('?' * len(ids))}) AND value >= ? AND value < ? ORDER BY value"
                    " LIMIT ?"
                )
                return [value for (value,) in connection.execute(sql, (*ids, prefix, end, limit))]
            if column.value_type is ValueType.KEYWORD_LIST:
                of_runs = (
                    f"SELECT {column.sql} AS items FROM executions WHERE {column.sql} IS NOT NULL"
                )
                sql = (
                    f"SELECT DISTINCT value FROM ({of_runs}), json_each(items) WHERE value >= ? AND"
                    " value < ? ORDER BY 1 LIMIT ?"
                )
                return [value for (value,) in connection.execute(sql, (prefix, end, limit))]
            if column.value_type is not ValueType.KEYWORD or not (
                column.counted or column.sql == "workflow_id"
            ):
                return []
            within = f"{column.sql} >= ? AND {column.sql} < ?"
            if column.counted:
                having = "GROUP BY 1 HAVING sum(runs) > 0 ORDER BY sum(runs) DESC, 1"
                sql = f"SELECT {column.sql} FROM run_counts WHERE {within} {having} LIMIT ?"
            else:
                sql = (
                    f"SELECT DISTINCT {column.sql} FROM executions WHERE {within} ORDER BY 1"
                    " LIMIT ?"
                )
            return [value for (value,) in connection.execute(sql, (prefix, end, limit))]

    # --- the catalog of search attributes

    def attribute(self, name: str) -> Attribute | None:
        """See `query.Catalog`."""
        with self._reading(DEFAULT_TIMEOUT_S) as connection:
            return _attribute(connection, name)

    def attribute_names(self) -> Sequence[str]:
        """See `query.Catalog`."""
        with self._reading(DEFAULT_TIMEOUT_S) as connection:
            return _attribute_names(connection)

    # --- inside

    def _page(
        self, compiled: Compiled, rows: Rows, now_ms: int, *, before: bool, behind: bool
    ) -> Page:
        """before, behind: whether there are more on that side."""

        def token(row: tuple[Any, ...], *, backward: bool = False) -> bytes:
            return encode_token(
                compiled,
                Cursor(tuple(row[len(ROW_COLUMNS) : -1]), row[-1], row[0], now_ms, backward),
            )

        runs = [summary_of(self._namespace, row) for row in rows]
        return Page(
            runs,
            next_page_token=token(rows[-1]) if behind and rows else b"",
            previous_page_token=token(rows[0], backward=True) if before and rows else b"",
        )

    def _compiled(
        self, connection: sqlite3.Connection, query: str | Query, now_ms: int = 0
    ) -> Compiled:
        return compile_query(
            parse(query) if isinstance(query, str) else query, _Catalog(connection), now_ms=now_ms
        )

    def _refuse(self, compiled: Compiled, problem: str, name: Any) -> None:
        raise QueryError(problem, query=compiled.query.text, column=name.column, length=name.length)

    @contextlib.contextmanager
    def _reading(self, timeout_s: float) -> Iterator[sqlite3.Connection]:
        """A connection whose statements end at the deadline."""
        deadline_s = time.monotonic() + timeout_s
        connection = self._take(timeout_s)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline_s, _CHECK_EVERY)
            yield connection
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                message = (
                    f"the query ran longer than {timeout_s:g} s. Narrow it (StartTime,"
                    " WorkflowType, ExecutionStatus have indices)"
                )
                raise QueryTimeoutError(message) from error
            raise
        finally:
            self._give_back(connection)

    def _take(self, timeout_s: float) -> sqlite3.Connection:
        if self._closed:
            raise StoreNotOpenError("the read side's store is closed")
        try:
            self._slots.get(timeout=timeout_s)
        except queue.Empty as error:
            raise QueryTimeoutError(
                f"{MAX_CONNECTIONS} queries run already, none ended in {timeout_s:g} s"
            ) from error
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        try:
            return open_reader(self._path)
        except sqlite3.Error as error:  # removed beneath us, no descriptors left, a disk that fails
            self._slots.put(None)
            cure = "If its files were removed it begins anew by itself"
            raise StoreNotOpenError(
                f"the read side's store cannot be opened: {error}. {cure}"
            ) from error
        except BaseException:
            self._slots.put(None)
            raise

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(None, 0)
        if self._closed:
            connection.close()
        else:
            self._idle.put(connection)
        self._slots.put(None)


def _now_ms() -> int:
    return int(time.time() * 1000)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        check_same_thread=False,
        isolation_level=None,
    )
    connection.executescript(READER_PRAGMAS)
    return connection


class _Catalog:
    """The search attributes as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def attribute(self, name: str) -> Attribute | None:
        """The attribute of this name."""
        return _attribute(self._connection, name)

    def attribute_names(self) -> Sequence[str]:
        """All names."""
        return _attribute_names(self._connection)


def _attribute(connection: sqlite3.Connection, name: str) -> Attribute | None:
    ids = {
        kind: number
        for number, kind in connection.execute(
            "SELECT id, type FROM attributes WHERE name = ? ORDER BY id", (name,)
        )
    }
    words_id = ids.pop(WORDS, 0)
    keys = [
        AttributeKey(number, name, ValueType(kind), words_id if kind == ValueType.TEXT.value else 0)
        for kind, number in ids.items()
    ]
    return Attribute(name, tuple(keys)) if keys else None


def _attribute_names(connection: sqlite3.Connection) -> Sequence[str]:
    # Stores of before such names were refused may have them.
    return [
        name
        for (name,) in connection.execute("SELECT DISTINCT name FROM attributes ORDER BY name")
        if name not in COLUMNS
    ]


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several statements over one state of the store."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
