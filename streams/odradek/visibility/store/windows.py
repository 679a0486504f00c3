"""Windowed statistics: how many runs started and closed in each minute, how, and how long those
that completed took. By workflow type.

A run counts in the window of its start and, once closed, in the window of its close. What a run
contributes follows from its row alone, and a change of the row takes the old contribution out
and puts the new one in: reading a record again changes nothing. A row that is deleted when its
run's retention ends leaves its contribution: windows have a retention of their own. A run that
is open here when its tombstone comes leaves its start, and counts as deleted in the window of
the tombstone: it was deleted with its queue, or closed while nobody read.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from odradek.visibility.errors import QueryError
from odradek.visibility.store.histogram import bucket_of, percentile_ms

WINDOW_MS = 60_000
RETENTION_MS = 30 * 24 * 3_600_000

(
    STARTED,
    COMPLETED,
    FAILED,
    TIMED_OUT,
    CANCELED,
    TERMINATED,
    CONTINUED_AS_NEW,
    LATENCY_SUM_MS,
    DELETED,
) = range(9)
COLUMNS = (
    "started",
    "completed",
    "failed",
    "timed_out",
    "canceled",
    "terminated",
    "continued_as_new",
    "latency_sum_ms",
    "deleted",
)
_CLOSED_AS = {
    "Completed": COMPLETED,
    "Failed": FAILED,
    "TimedOut": TIMED_OUT,
    "Canceled": CANCELED,
    "Terminated": TERMINATED,
    "ContinuedAsNew": CONTINUED_AS_NEW,
}
_SUMS = ", ".join(f"sum({column})" for column in COLUMNS)


class WindowChanges:
    """What a batch adds to windows and takes from them. Collected in memory, written at the end
    of the batch.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[int, str], list[int]] = defaultdict(
            lambda: [0] * len(COLUMNS)
        )
        self._latencies: Counter[tuple[int, str, int]] = Counter()

    def add(
        self,
        workflow_type: str,
        status: str,
        start_ms: int,
        close_ms: int | None,
        latency_ms: int | None,
        sign: int,
        started: bool = True,
    ) -> None:
        """Put the contribution of a row in (`sign` 1) or take it out (-1). `started` False
        leaves its start as it is.
        """
        if started:
            self._counts[start_ms // WINDOW_MS * WINDOW_MS, workflow_type][STARTED] += sign
        closed_as = _CLOSED_AS.get(status)
        if close_ms is None or closed_as is None:
            return
        window = close_ms // WINDOW_MS * WINDOW_MS
        counts = self._counts[window, workflow_type]
        counts[closed_as] += sign
        if closed_as == COMPLETED and latency_ms is not None:
            counts[LATENCY_SUM_MS] += sign * latency_ms
            self._latencies[window, workflow_type, bucket_of(latency_ms)] += sign

    def delete_open(self, workflow_type: str, start_ms: int, deleted_ms: int) -> None:
        """An open run is gone. deleted_ms: by the clock of whoever deleted it; never before its
        start.
        """
        self._counts[max(start_ms, deleted_ms) // WINDOW_MS * WINDOW_MS, workflow_type][
            DELETED
        ] += 1

    def write(self, connection: sqlite3.Connection) -> None:
        """Write them, inside the batch's transaction."""
        changed = [(key, counts) for key, counts in self._counts.items() if any(counts)]
        connection.executemany(_ADD_WINDOW, [(*key, *counts) for key, counts in changed])
        connection.executemany(
            _ADD_LATENCY, [(*key, runs) for key, runs in self._latencies.items() if runs]
        )


_ADD_WINDOW = (
    f"INSERT INTO windows (start_ms, workflow_type, {', '.join(COLUMNS)}) VALUES (?,"
    f" ?{', ?' * len(COLUMNS)}) ON CONFLICT DO UPDATE SET"
    f" {', '.join(f'{column} = {column} + excluded.{column}' for column in COLUMNS)}"
)
_ADD_LATENCY = (
    "INSERT INTO latencies (start_ms, workflow_type, bucket, runs) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET runs = runs + excluded.runs"
)


def prune(connection: sqlite3.Connection, now_ms: int, retention_ms: int = RETENTION_MS) -> int:
    """Delete windows older than the retention; how many."""
    before_ms = now_ms - retention_ms
    connection.execute("DELETE FROM latencies WHERE start_ms < ?", (before_ms,))
    return connection.execute("DELETE FROM windows WHERE start_ms < ?", (before_ms,)).rowcount


@dataclass(slots=True)
class WindowStatistics:
    """One window of one workflow type (or of all together, `workflow_type` ""). `open_runs`:
    runs open at the window's end; `deleted`: runs that were deleted while they were open.
    """

    start_ms: int
    step_ms: int
    workflow_type: str
    started: int = 0
    completed: int = 0
    failed: int = 0
    timed_out: int = 0
    canceled: int = 0
    terminated: int = 0
    continued_as_new: int = 0
    latency_sum_ms: int = 0
    deleted: int = 0
    open_runs: int = 0
    latency_buckets: dict[int, int] = field(default_factory=dict, repr=False)

    @property
    def closed(self) -> int:
        """Runs that closed in it, however."""
        return (
            self.completed
            + self.failed
            + self.timed_out
            + self.canceled
            + self.terminated
            + self.continued_as_new
        )

    @property
    def latency_mean_ms(self) -> float | None:
        """Mean latency of completed runs; None without any."""
        runs = sum(self.latency_buckets.values())
        return self.latency_sum_ms / runs if runs else None

    def latency_ms(self, share: float) -> float | None:
        """The latency that `share` (0 to 1) of the completed runs stayed within, at most 9 %
        off; None without any.
        """
        return percentile_ms(self.latency_buckets, share)


def read_windows(
    connection: sqlite3.Connection,
    start_ms: int,
    end_ms: int,
    step_ms: int,
    workflow_types: Sequence[str] | None,
    together: bool,
    most: int,
) -> list[WindowStatistics]:
    """Windows that begin in `start_ms` to `end_ms`, each step present for each type that has any
    run, in order of time, then type.

    Raises QueryError when they are more than `most`.
    """
    step_ms = max(WINDOW_MS, step_ms // WINDOW_MS * WINDOW_MS)
    start_ms = start_ms // step_ms * step_ms
    steps = range(start_ms, end_ms, step_ms)
    types = (
        [""]
        if together and workflow_types is None and _has_any(connection)
        else _types(connection, workflow_types)
    )
    if not types:
        return []
    names = [""] if together else types
    if len(steps) * len(names) > most:
        raise QueryError(
            f"{len(steps):,} steps of {len(names):,} workflow types are {len(steps) * len(names):,}"
            f" windows, and an answer has {most:,} at most: take a longer step or a shorter time,"
            " name a type, or take all types together",
            column=0,
        )
    of_types, wanted = "", list[str]()
    if workflow_types is not None:
        of_types, wanted = f"AND workflow_type IN ({', '.join('?' * len(types))})", types
    found: dict[tuple[int, str], WindowStatistics] = {}
    for step in steps:
        for name in names:
            found[step, name] = WindowStatistics(step, step_ms, name)
    end = steps[-1] + step_ms if steps else start_ms
    label = "''" if together else "workflow_type"
    bounds = (start_ms, start_ms, step_ms, step_ms, start_ms, end, *wanted)
    where = f"start_ms >= ? AND start_ms < ? {of_types} GROUP BY 1, 2"
    place = f"? + (start_ms - ?) / ? * ?, {label}"
    for step, name, *sums in connection.execute(
        f"SELECT {place}, {_SUMS} FROM windows WHERE {where}", bounds
    ):
        window = found[step, name]
        for column, value in zip(COLUMNS, sums, strict=True):
            setattr(window, column, value)
    latencies = f"SELECT {place}, bucket, sum(runs) FROM latencies WHERE {where}, bucket"
    for step, name, bucket, runs in connection.execute(latencies, bounds):
        if runs > 0:
            found[step, name].latency_buckets[bucket] = runs
    # Backwards from the runs open now: before a window, those it started were not open, those that
    # closed or were deleted in it were.
    left = Counter(
        dict(
            connection.execute(
                f"SELECT {label}, sum(runs) FROM run_counts WHERE {_OPEN} {of_types} GROUP BY 1",
                wanted,
            )
        )
    )
    after = f"SELECT {label}, {_GROWN} FROM windows WHERE start_ms >= ? {of_types} GROUP BY 1"
    left.subtract(dict(connection.execute(after, (end, *wanted))))
    for name in names:
        runs = left[name]
        for step in reversed(steps):
            window = found[step, name]
            window.open_runs = max(0, runs)
            runs -= window.started - window.closed - window.deleted
    return list(found.values())


def busiest_types(
    connection: sqlite3.Connection, start_ms: int, end_ms: int, limit: int
) -> tuple[list[str], int]:
    """Types with the most starts and ends in a stretch of time, then those with the most open
    runs, the first ones; and how many types have any of it.
    """
    active = (
        f"SELECT workflow_type AS name, {_ACTIVE} AS active, 0 AS open FROM windows WHERE start_ms"
        " >= ? AND start_ms < ? GROUP BY 1"
    )
    open_now = f"SELECT workflow_type, 0, sum(runs) FROM run_counts WHERE {_OPEN} GROUP BY 1"
    of_both = (
        f"SELECT name, count(*) OVER () FROM ({active} UNION ALL {open_now}) GROUP BY 1 HAVING"
        " sum(active) + sum(open) > 0"
    )
    order = "ORDER BY sum(active) DESC, sum(open) DESC, 1 LIMIT ?"
    rows = connection.execute(
        f"{of_both} {order}", (start_ms // WINDOW_MS * WINDOW_MS, end_ms, limit)
    ).fetchall()
    return [name for name, _ in rows], rows[0][1] if rows else 0


_ENDED = "completed + failed + timed_out + canceled + terminated + continued_as_new + deleted"
_ACTIVE = f"sum(started + {_ENDED})"
_GROWN = f"sum(started - ({_ENDED}))"
_OPEN = "status = 'Running'"


def _has_any(connection: sqlite3.Connection) -> bool:
    known = "SELECT EXISTS (SELECT 1 FROM run_counts) OR EXISTS (SELECT 1 FROM windows)"
    return bool(connection.execute(known).fetchone()[0])


def _types(connection: sqlite3.Connection, wanted: Sequence[str] | None) -> list[str]:
    if wanted is not None:
        return sorted(set(wanted))
    known = (
        "SELECT workflow_type FROM run_counts UNION SELECT DISTINCT workflow_type FROM windows"
        " ORDER BY 1"
    )
    return [name for (name,) in connection.execute(known)]
