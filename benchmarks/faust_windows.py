"""What counting runs in windows costs a record: Faust's windowed tables over our SQLite driver,
against the rows that the read side keeps.

`python -m benchmarks.faust_windows [--records N]` prints JSON, microseconds of CPU a record.
There is neither Kafka nor a changelog: the record that a Faust table sends for each change comes
on top of its figure. docs/decisions/0008 says what follows.
"""

from __future__ import annotations

import argparse
import json
import operator
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import faust
from faust.stores import STORES

from benchmarks.parts import work_folder
from benchmarks.visibility import BATCH, summaries
from odradek.visibility import VisibilityStore
from odradek.visibility.intake.driver import SQLiteStore
from odradek.visibility.store.histogram import bucket_of
from odradek.visibility.store.windows import RETENTION_MS, WINDOW_MS, WindowChanges
from odradek.wire.outcomes import ExecutionSummary

_STATUS = {"COMPLETED": "Completed", "FAILED": "Failed", "TIMED_OUT": "TimedOut"}


class RowStore(SQLiteStore):
    """The read side's driver, with what it lacks for a table that is written key by key: a row a
    key, in the batch's transaction.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = self.store._connection
        self.connection.execute(
            "CREATE TABLE faust (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
        )
        self._read = "SELECT value FROM faust WHERE key = ?"
        self._write = (
            "INSERT INTO faust VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        )

    def _get(self, key: bytes) -> bytes | None:
        row = self.connection.execute(self._read, (key,)).fetchone()
        return None if row is None else cast(bytes, row[0])

    def _set(self, key: bytes, value: bytes | None) -> None:  # type: ignore[override]
        self.connection.execute(self._write, (key, value))

    def _del(self, key: bytes) -> None:  # type: ignore[override]
        self.connection.execute("DELETE FROM faust WHERE key = ?", (key,))

    def _contains(self, key: bytes) -> bool:
        return self._get(key) is not None


class SilentTable(faust.Table[str, int]):
    """Sends nothing."""

    def on_key_set(self, key: Any, value: Any) -> None:
        """Faust's own would produce a record to the changelog here."""


def counts(summary: ExecutionSummary) -> Iterator[tuple[str, int]]:
    """What a summary counts as, and when: a window table's key and its time in ms."""
    name = summary.workflow_type
    if summary.status == "RUNNING":
        yield f"{name}/started", summary.start_time_ms
    else:
        yield f"{name}/{summary.status}", summary.close_time_ms
        if summary.status == "COMPLETED":
            yield (
                f"{name}/latency/{bucket_of(summary.close_time_ms - summary.start_time_ms)}",
                summary.close_time_ms,
            )


def faust_windows(records: list[ExecutionSummary], store: VisibilityStore) -> None:
    """Faust's API as its guide has it: a tumbling window relative to a field of the event,
    `table[key] += 1`.
    """
    STORES.aliases["bench-rows"] = f"{__name__}:RowStore"
    app = faust.App("bench", store="memory://", autodiscover=False, web_enabled=False)
    options = {"store": store}
    table = app.tables.add(
        SilentTable(
            app,
            name="windows",
            default=int,
            partitions=1,
            store="bench-rows://here",
            options=options,
        )
    )
    windowed = (
        cast(Any, table)
        .tumbling(WINDOW_MS / 1_000, expires=RETENTION_MS / 1_000)
        .relative_to(lambda event: event.at_s)
    )
    for begin in range(0, len(records), BATCH):
        store._connection.execute("BEGIN")
        for summary in records[begin : begin + BATCH]:
            for key, at_ms in counts(summary):
                # What `windowed[key] += 1` calls inside an agent.
                timestamp = windowed.get_timestamp(SimpleNamespace(at_s=at_ms / 1_000))
                windowed.table._apply_window_op(operator.add, key, 1, timestamp)
        store._connection.execute("COMMIT")


def our_windows(records: list[ExecutionSummary], store: VisibilityStore) -> None:
    """As the writer does it: the differences of a batch are added up, then written."""
    for begin in range(0, len(records), BATCH):
        changes = WindowChanges()
        for one in records[begin : begin + BATCH]:
            closed = one.status != "RUNNING"
            if closed:  # the row that is there already goes out, the new one comes in
                changes.add(one.workflow_type, "Running", one.start_time_ms, None, None, -1, False)
            latency_ms = one.close_time_ms - one.start_time_ms if closed else None
            status = _STATUS[one.status] if closed else "Running"
            changes.add(
                one.workflow_type,
                status,
                one.start_time_ms,
                one.close_time_ms or None,
                latency_ms,
                1,
                not closed,
            )
        store._connection.execute("BEGIN")
        changes.write(store._connection)
        store._connection.execute("COMMIT")


def run(records: int) -> dict[str, Any]:
    """Both figures."""
    written = [one for pair in summaries(records // 2) for one in pair if one is not None]
    found: dict[str, Any] = {"records": len(written)}
    with work_folder() as folder:
        for name, what in (
            ("faust_us_per_record", faust_windows),
            ("ours_us_per_record", our_windows),
        ):
            with VisibilityStore.open(folder / f"{name}.sqlite") as store:
                began_s = time.process_time()
                what(written, store)
                ended_s = time.process_time()
                assert _started(store) == sum(one.status == "RUNNING" for one in written), (
                    "what was measured did not happen"
                )
                found[name] = round((ended_s - began_s) / len(written) * 1e6, 1)
    return found


def _started(store: VisibilityStore) -> int:
    connection = store._connection
    if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'faust'").fetchone()[0]:
        return sum(
            int(value)
            for key, value in connection.execute("SELECT key, value FROM faust")
            if b"/started" in key
        )
    return int(connection.execute("SELECT sum(started) FROM windows").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    print(json.dumps(run(parser.parse_args().records), indent=2))


if __name__ == "__main__":
    main()
