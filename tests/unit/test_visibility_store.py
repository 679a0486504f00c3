"""The store without Kafka: batches, re-reading, tombstones, windows, pages, search attributes,
lock, what makes it begin anew.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek.converter import encode_search_attributes
from odradek.visibility import (
    Change,
    Page,
    PageTokenError,
    QueryError,
    QueryTimeoutError,
    Source,
    StoreLockedError,
    StoreNotOpenError,
    VisibilityStore,
)
from odradek.visibility.query import compile_query, parse
from odradek.visibility.query.columns import COLUMNS, NoAttributes
from odradek.visibility.query.complete import complete
from odradek.visibility.store import zones
from odradek.visibility.store.histogram import bucket_of, percentile_ms
from odradek.visibility.store.rows import indexed_values
from odradek.visibility.store.schema import FORMAT
from odradek.visibility.store.store import delete_files
from odradek.visibility.store.windows import RETENTION_MS
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload
from odradek.wire.search_attributes import SYSTEM

T0 = 1_790_000_100_000  # begins a minute, and five


def summary(run: str, status: str = "RUNNING", **more: Any) -> ExecutionSummary:
    closed = 0 if status == "RUNNING" else T0 + 1_500
    fields: dict[str, Any] = {
        "start_time_ms": T0,
        "close_time_ms": closed,
        "state_transition_count": 1 if not closed else 5,
    }
    names = {
        "namespace": "default",
        "task_queue": "queue",
        "workflow_id": f"w-{run}",
        "run_id": run,
        "workflow_type": "Order",
    }
    return ExecutionSummary(**{**names, "status": status, **fields, **more})


def change(
    offset: int,
    run: str,
    status: str | None = "RUNNING",
    *,
    partition: int = 0,
    time_ms: int = 0,
    **more: Any,
) -> Change:
    return Change(
        partition,
        offset,
        f"w-{run}/{run}".encode(),
        None if status is None else summary(run, status, **more),
        time_ms,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VisibilityStore]:
    with VisibilityStore.open(tmp_path / "store.sqlite") as opened:
        yield opened


def everything(store: VisibilityStore) -> dict[str, list[tuple[Any, ...]]]:
    """What the store holds, but for row numbers."""
    with sqlite3.connect(store.path) as connection:
        columns = (
            "workflow_id, run_id, status, close_time_ms, state_transition_count, extra, partition,"
            " offset"
        )
        return {
            "executions": (
                connection.execute(f"SELECT {columns} FROM executions ORDER BY tie").fetchall()
            ),
            "counts": (
                connection.execute(
                    "SELECT * FROM run_counts WHERE runs <> 0 ORDER BY 1, 2, 3"
                ).fetchall()
            ),
            "windows": connection.execute("SELECT * FROM windows ORDER BY 1, 2").fetchall(),
            "latencies": (
                connection.execute(
                    "SELECT * FROM latencies WHERE runs <> 0 ORDER BY 1, 2, 3"
                ).fetchall()
            ),
            "positions": connection.execute("SELECT * FROM positions ORDER BY 1").fetchall(),
            "attributes": (
                connection.execute("SELECT value FROM search_attributes ORDER BY 1").fetchall()
            ),
        }


HISTORY = [
    change(0, "a"),
    change(1, "b", partition=1),
    change(2, "a", "COMPLETED"),
    change(3, "c", "FAILED"),
    change(4, "c", None),
    change(5, "d", start_time_ms=T0 + 61_000),
    change(7, "b", "TIMED_OUT", partition=1),
    change(9, "d", "TERMINATED", start_time_ms=T0 + 61_000, close_time_ms=T0 + 125_000),
]


# Open runs that go with their queue.
DELETED = [
    *HISTORY,
    change(10, "e"),
    change(11, "e", None, time_ms=T0 + 130_000),
    change(12, "d", None),
    change(13, "a", None),
]


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_reading_again_in_any_batches_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    with VisibilityStore.open(path.with_name("once")) as once:
        once.apply(DELETED)
        wanted = everything(once)
    with VisibilityStore.open(path) as store:
        position = 0
        while position < len(DELETED):
            # A batch begins anywhere at or before what comes next, as after a crash, and goes on
            # behind it.
            begin = data.draw(st.integers(0, position))
            end = data.draw(st.integers(position + 1, len(DELETED)))
            store.apply(DELETED[begin:end])
            position = max(position, end)
        store.apply(DELETED)
        assert everything(store) == wanted


def test_windows_count_a_run_once_and_keep_it_when_its_row_goes(store: VisibilityStore) -> None:
    store.apply(HISTORY)
    windows = store.windows(T0, T0 + 180_000)
    assert [
        (w.started, w.completed, w.failed, w.timed_out, w.terminated, w.open_runs) for w in windows
    ] == [
        (3, 1, 1, 1, 0, 0),
        (1, 0, 0, 0, 0, 1),
        (0, 0, 0, 0, 1, 0),
    ]
    assert windows[0].latency_mean_ms == 1_500
    assert windows[0].latency_ms(0.5) == pytest.approx(1_500, rel=0.1)
    assert store.get("w-c", "c") is None  # its row is gone, its failure still counts
    (together,) = store.windows(T0, T0 + 180_000, step_ms=300_000, together=True)
    assert (together.started, together.closed, together.open_runs) == (4, 4, 0)


@pytest.mark.parametrize("at_once", [False, True])
def test_runs_that_were_deleted_open_were_open_until_then(
    store: VisibilityStore, at_once: bool
) -> None:
    """A queue that is deleted with its open runs: the minutes before keep them, the minute of
    the deletion has them leave.
    """
    changes = [change(n, f"r{n}", start_time_ms=T0 + 60_000 * n) for n in range(3)]
    changes += [change(5 + n, f"r{n}", None, time_ms=T0 + 180_500) for n in range(2)]
    changes += [
        change(9, "late"),
        change(10, "late", None, time_ms=T0 - 500_000),
    ]  # the clock of who deleted it is slow
    for batch in [changes] if at_once else [[one] for one in changes]:
        store.apply(batch)
    windows = store.windows(T0, T0 + 300_000)
    assert [(w.started, w.deleted, w.closed, w.open_runs) for w in windows] == [
        (2, 1, 0, 1),
        (1, 0, 0, 2),
        (1, 0, 0, 3),
        (0, 2, 0, 1),
        (0, 0, 0, 1),
    ]
    assert store.windows(T0, T0 + 120_000)[-1].open_runs == 2


def test_tombstones_delete_row_counts_and_attributes(store: VisibilityStore) -> None:
    attributes = encode_search_attributes({"Customer": ["c-1"]})
    store.apply([change(0, "a", search_attributes=attributes), change(1, "b")])
    assert [e.run_id for e in store.list("Customer = 'c-1'").executions] == ["a"]
    applied = store.apply([change(2, "a", None), change(3, "never-seen", None)])
    assert (applied.deleted, applied.skipped) == (1, 1)
    assert store.list("Customer = 'c-1'").executions == []
    assert store.count().count == store.count("StartTime > 0").count == 1
    assert everything(store)["attributes"] == []


def test_an_older_record_of_the_same_run_never_replaces_a_newer_one(store: VisibilityStore) -> None:
    store.apply([change(5, "a", "COMPLETED")])
    applied = store.apply([change(4, "a")])
    assert applied.skipped == 1 and store.get("w-a").status == "COMPLETED"  # type: ignore[union-attr]
    # After a change of the number of partitions, the older record lies on the partition that is
    # read later.
    store.apply([change(0, "a", partition=3)])
    assert store.get("w-a").status == "COMPLETED"  # type: ignore[union-attr]


def test_counts_are_those_of_the_rows(store: VisibilityStore) -> None:
    store.apply(
        [
            change(
                n,
                f"r{n}",
                ["RUNNING", "COMPLETED", "FAILED"][n % 3],
                task_queue="q" if n % 2 else "queue",
            )
            for n in range(50)
        ]
    )
    store.apply([change(50 + n, f"r{n}", "COMPLETED") for n in range(0, 20, 3)])
    store.apply([change(100 + n, f"r{n}", None) for n in range(0, 50, 7)])
    for query in (
        "",
        "ExecutionStatus = 'Completed'",
        "TaskQueue = 'q' AND NOT ExecutionStatus IN ('Failed')",
        "WorkflowType = 'x'",
    ):
        narrowed = f"({query}) AND StartTime > 0" if query else "StartTime > 0"
        assert (
            store.count(query).count
            == store.count(narrowed).count
            == len(store.list(query, page_size=1_000).executions)
        )
    ready = store.count("GROUP BY ExecutionStatus, TaskQueue").groups
    assert {g.values: g.count for g in ready} == {
        g.values: g.count
        for g in store.count("StartTime > 0 GROUP BY ExecutionStatus, TaskQueue").groups
    }


def test_search_attributes_change_with_their_run(store: VisibilityStore) -> None:
    def having(**values: Any) -> dict[str, Payload]:
        return encode_search_attributes(values)

    store.apply(
        [
            change(0, "a", search_attributes=having(Stage=["new"], Amount=[5])),
            change(1, "b", search_attributes=having(Stage=["new"])),
        ]
    )
    store.apply([change(2, "a", search_attributes=having(Stage=["paid"], Amount=[7]))])
    assert [e.run_id for e in store.list("Stage = 'paid' AND Amount > 5").executions] == ["a"]
    assert [e.run_id for e in store.list("Stage = 'new'").executions] == ["b"]
    assert [e.run_id for e in store.list("ORDER BY Amount DESC").executions] == ["a", "b"]
    assert {g.values: g.count for g in store.count("GROUP BY Stage").groups} == {
        ("new",): 1,
        ("paid",): 1,
    }
    assert store.values_of("Stage", "p") == ["paid"]
    assert store.values_of("WorkflowType", "") == ["Order"]
    # Of types those with the most runs first, and those that no run has any more are gone.
    store.apply(
        [
            change(3, "c", workflow_type="Many"),
            change(4, "d", workflow_type="Many"),
            change(5, "e", workflow_type="Many"),
        ]
    )
    store.apply([change(6, "f", workflow_type="Gone")])
    store.apply([change(7, "f", None)])
    assert store.values_of("WorkflowType", "") == ["Many", "Order"] and store.values_of(
        "WorkflowType", "", limit=1
    ) == ["Many"]


@pytest.mark.parametrize("least", [-(2**63), 2**63 - 1])
def test_numbers_at_the_ends_of_64_bits_are_found(store: VisibilityStore, least: int) -> None:
    store.apply(
        [
            change(0, "a", search_attributes=encode_search_attributes({"Num": [least]})),
            change(1, "b"),
        ]
    )
    other = "<" if least < 0 else ">"
    for query in (
        f"Num = {least}",
        f"Num {other}= {least}",
        f"Num IN ({least}, 1)",
        f"Num BETWEEN {least} AND {least}",
    ):
        assert [e.run_id for e in store.list(query).executions] == ["a"], query
        assert store.count(query).count == 1
    for query in (
        f"Num {other} {least}",
        f"Num != {least}",
        f"HistoryLength {other} {least}",
        f"NOT Num {other}= {least}",
    ):
        assert "a" not in [e.run_id for e in store.list(query).executions], query


PROBLEMS = ["category=WorkflowTaskFailed", "cause=WorkflowTaskFailedCauseNonDeterministicError"]


def typed(kind: str, text: str) -> dict[str, Payload]:
    return {"Mixed": Payload({"encoding": b"json/plain", "type": kind.encode()}, text.encode())}


def test_groups_by_an_attribute_of_several_types(store: VisibilityStore) -> None:
    """One group for each type and value, and each value is of its own type."""
    values = [
        ("Datetime", '"2026-01-01T00:00:00Z"'), ("Keyword", '"later"'), ("Int", "1"), ("Int", "1"), ("Bool", "true"), ("Double", "1"),
        ("Keyword", '"false"'), ("Keyword", '"1"'),
    ]  # fmt: skip
    store.apply(
        [change(at, f"r{at}", search_attributes=typed(*value)) for at, value in enumerate(values)]
        + [change(99, "without")]
    )
    groups = store.count("GROUP BY Mixed, ExecutionStatus").groups
    assert (groups[0].values, groups[0].count) == ((1, "Running"), 2)
    found = {(type(group.values[0]), group.values[0]): group.count for group in groups}
    wanted = [datetime(2026, 1, 1, tzinfo=UTC), "later", "false", "1", True, 1.0, None]
    assert found == {**{(type(value), value): 1 for value in wanted}, (int, 1): 2}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Datetime", '"9999-12-31T23:59:59-23:00"'),
        ("Datetime", '"0001-01-01T00:00:00+23:00"'),
        ("Double", "1e400"),
        ("Double", "-Infinity"),
        ("Double", "1" * 400),
    ],
)
def test_values_that_no_answer_could_hold_are_not_indexed(
    store: VisibilityStore, kind: str, text: str
) -> None:
    """In UTC they lie beyond the years 1 to 9999, or beyond a double: one such run must not
    spoil the groups of all.
    """
    store.apply(
        [
            change(0, "odd", search_attributes=typed(kind, text)),
            change(1, "b", search_attributes=typed("Int", "1")),
        ]
    )
    assert store.refused_attributes == {"Mixed": 1}
    assert {group.values: group.count for group in store.count("GROUP BY Mixed").groups} == {
        (None,): 1,
        (1,): 1,
    }


def test_the_first_and_the_last_moment(store: VisibilityStore) -> None:
    moments = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    store.apply(
        [
            change(at, f"r{at}", search_attributes=typed("Datetime", f'"{moment.isoformat()}"'))
            for at, moment in enumerate(moments)
        ]
    )
    assert sorted(group.values[0] for group in store.count("GROUP BY Mixed").groups) == moments  # type: ignore[type-var]


def found_by(store: VisibilityStore, query: str) -> list[str]:
    return sorted(one.run_id for one in store.list(query).executions)


def test_runs_whose_task_keeps_failing_are_found(store: VisibilityStore) -> None:
    assert found_by(store, "TemporalReportedProblems IS NOT NULL") == [], (
        "known before any run has it, as in Temporal"
    )
    store.apply(
        [
            change(0, "fine"),
            change(1, "failing", reported_problems=PROBLEMS),
            change(
                2,
                "parked",
                reported_problems=["category=WorkflowTaskFailed", "category=Parked"],
                quarantine_reason="spins",
            ),
        ]
    )
    assert found_by(store, "TemporalReportedProblems IN ('category=WorkflowTaskFailed')") == [
        "failing",
        "parked",
    ]
    assert found_by(
        store, "`TemporalReportedProblems` = 'cause=WorkflowTaskFailedCauseNonDeterministicError'"
    ) == ["failing"]
    assert found_by(store, "TemporalReportedProblems = 'category=Parked'") == ["parked"]
    assert found_by(store, "TemporalReportedProblems != 'category=Parked'") == ["failing"]
    assert found_by(store, "NOT TemporalReportedProblems STARTS_WITH 'cause='") == ["parked"]
    assert found_by(store, "TemporalReportedProblems IS NULL") == ["fine"]
    assert (
        store.count("TemporalReportedProblems IS NOT NULL GROUP BY WorkflowType").groups[0].count
        == 2
    )
    with pytest.raises(QueryError, match="cannot be grouped by TemporalReportedProblems"):
        store.count("GROUP BY TemporalReportedProblems")
    assert store.values_of("TemporalReportedProblems", "cat") == [
        "category=Parked",
        "category=WorkflowTaskFailed",
    ]
    store.apply([change(3, "failing", state_transition_count=2), change(4, "parked", "TERMINATED")])
    assert found_by(store, "TemporalReportedProblems IS NOT NULL") == []


@pytest.mark.parametrize(
    ("query", "uses"),
    [
        ("TemporalReportedProblems IS NOT NULL", True),
        ("(NOT TemporalReportedProblems IS NULL) AND NOT NOT WorkflowType = 'Order'", True),
        (
            (
                "ExecutionStatus = 'Running' AND TemporalReportedProblems IN"
                " ('category=WorkflowTaskFailed')"
            ),
            True,
        ),
        ("WorkflowType = 'Order' AND NOT TemporalReportedProblems STARTS_WITH 'cause='", True),
        ("NOT (TemporalReportedProblems != 'category=Parked') ORDER BY WorkflowId", True),
        ("TemporalReportedProblems IS NULL", False),
        ("NOT TemporalReportedProblems IS NOT NULL AND WorkflowType = 'Order'", False),
        ("WorkflowType = 'Order' OR TemporalReportedProblems IS NOT NULL", False),
        ("NOT (WorkflowType = 'Order' AND TemporalReportedProblems IS NOT NULL)", False),
    ],
)
def test_they_are_read_from_their_index(store: VisibilityStore, query: str, uses: bool) -> None:
    """There are few of them among many: a query that finds nobody else walks over nobody else,
    whatever else it says.
    """
    store.apply([change(0, "fine"), change(1, "failing", reported_problems=PROBLEMS)])
    compiled = compile_query(parse(query), NoAttributes())
    order = ", ".join(key.sql for key in compiled.order_by) or "e.start_time_ms"
    with sqlite3.connect(store.path) as connection:
        explain = (
            f"EXPLAIN QUERY PLAN SELECT e.id FROM {compiled.table} WHERE {compiled.where} ORDER BY"
            f" {order}"
        )
        plan = " ".join(str(row[3]) for row in connection.execute(explain, compiled.parameters))
    assert ("executions_by_problems" in plan) is uses, plan
    assert store.count(query.partition(" ORDER ")[0]).count == len(store.list(query).executions)


def test_a_store_of_the_format_before_begins_anew(tmp_path: Path) -> None:
    with VisibilityStore.open(tmp_path / "s.sqlite") as store:
        store.apply([change(0, "a")])
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(FORMAT - 1),))
    with VisibilityStore.open(tmp_path / "s.sqlite") as store:
        assert f"its format is '{FORMAT - 1}'" in store.rebuilt_because
        assert store.position(0) is None and store.count().count == 0, (
            "read again from the start of the topic"
        )


@pytest.mark.parametrize(
    ("kind", "text", "query"),
    [
        (
            "INDEXED_VALUE_TYPE_TEXT",
            '"red green"',
            "Mixed = 'green'",
        ),  # a Keyword, which a guess would make of it, is the whole
        ("INDEXED_VALUE_TYPE_DOUBLE", "1", "Mixed = 1.0"),
        ("INDEXED_VALUE_TYPE_DATETIME", '"2026-01-01T00:00:00Z"', "Mixed < '2026-01-02T00:00:00Z'"),
        ("INDEXED_VALUE_TYPE_KEYWORD_LIST", '["a"]', "Mixed = 'a'"),
    ],
)
def test_types_may_be_written_as_temporals_enum_names(
    store: VisibilityStore, kind: str, text: str, query: str
) -> None:
    store.apply([change(0, "a", search_attributes=typed(kind, text))])
    assert store.refused_attributes == {} and store.count(query).count == 1
    plain = "".join(part.title() for part in kind.removeprefix("INDEXED_VALUE_TYPE_").split("_"))
    assert {one.value_type.value for one in indexed_values(typed(kind, text))[0]} == {plain}


def test_attributes_that_cannot_be_indexed_are_counted_and_kept(store: VisibilityStore) -> None:
    broken = {
        "Bad": Payload({"encoding": b"json/plain", "type": b"Int"}, b'"seven"'),
        "Worse": Payload({}, b"\xff"),
    }
    store.apply([change(0, "a", search_attributes=broken)])
    assert store.refused_attributes == {"Bad": 1, "Worse": 1}
    assert store.get("w-a").search_attributes == broken  # type: ignore[union-attr]


def test_pages_neither_repeat_nor_hide_what_was_there(store: VisibilityStore) -> None:
    store.apply([change(n, f"r{n:03}", start_time_ms=T0 + n // 5) for n in range(60)])
    found: list[str] = []
    token, offset = b"", 60
    while True:
        page = store.list("ORDER BY StartTime", page_size=7, page_token=token)
        found += [execution.run_id for execution in page.executions]
        token = page.next_page_token
        if not token:
            break
        # Runs come and go between two pages: one at the front, one that was shown already.
        store.apply(
            [
                change(offset, f"new{offset}", start_time_ms=T0 - 5),
                change(offset + 1, found[0], None),
            ]
        )
        offset += 2
    assert sorted(found) == [f"r{n:03}" for n in range(60)]


def test_runs_of_equal_sort_values_stand_in_the_same_order_on_each_instance(tmp_path: Path) -> None:
    changes = [change(n, f"r{n}") for n in range(20)]
    orders: list[list[str]] = []
    token = b""
    for number, told in enumerate((changes, changes[::-1])):
        with VisibilityStore.open(tmp_path / f"store-{number}") as store:
            for offset, one in enumerate(told):
                store.apply([one._replace(offset=offset)])
            orders.append([execution.run_id for execution in store.list().executions])
            token = token or store.list(page_size=7).next_page_token
            assert [
                execution.run_id for execution in store.list(page_token=token).executions
            ] == orders[0][7:]
    assert orders[0] == orders[1]


def test_pages_before_one_are_those_that_led_to_it(store: VisibilityStore) -> None:
    store.apply([change(n, f"r{n:03}", start_time_ms=T0 + n // 5) for n in range(30)])

    def ids(page: Page) -> list[str]:
        return [execution.run_id for execution in page.executions]

    for query in ("ORDER BY StartTime", "", "ORDER BY CloseTime DESC", "ORDER BY CloseTime"):
        pages = [store.list(query, page_size=7)]
        assert pages[0].previous_page_token == b""
        while pages[-1].next_page_token:
            pages.append(store.list(query, page_size=7, page_token=pages[-1].next_page_token))
        page = pages[-1]
        for wanted in pages[-2::-1]:
            page = store.list(query, page_size=7, page_token=page.previous_page_token)
            assert ids(page) == ids(wanted) and page.next_page_token == wanted.next_page_token, (
                query
            )
        assert page.previous_page_token == b""
    first = store.list("ORDER BY StartTime", page_size=7)
    second = store.list("ORDER BY StartTime", page_size=7, page_token=first.next_page_token)
    store.apply([change(30, "early", start_time_ms=T0 - 5)])
    page = store.list("ORDER BY StartTime", page_size=7, page_token=second.previous_page_token)
    assert ids(page) == ids(first) and page.previous_page_token
    page = store.list("ORDER BY StartTime", page_size=7, page_token=page.previous_page_token)
    assert ids(page)[0] == "early" and len(page.executions) == 7, (
        "less than a page before it: the first page, whole"
    )


def test_a_page_token_is_checked(store: VisibilityStore) -> None:
    store.apply([change(n, f"r{n}") for n in range(5)])
    token = store.list("WorkflowType = 'Order'", page_size=2).next_page_token
    assert store.list("  WorkflowType  =  'Order'", page_size=2, page_token=token).executions
    for bad in (token[:-1], b"x" + token[1:], b"\xff\xff", b"!!"):
        with pytest.raises(PageTokenError, match="damaged"):
            store.list("WorkflowType = 'Order'", page_token=bad)
    with pytest.raises(PageTokenError, match="another query"):
        store.list("WorkflowType = 'Other'", page_token=token)


def test_what_belongs_to_lists_and_what_to_counts(store: VisibilityStore) -> None:
    with pytest.raises(QueryError, match="column 10: GROUP BY belongs to a count"):
        store.list("GROUP BY ExecutionStatus")
    with pytest.raises(QueryError, match="ORDER BY belongs to a list"):
        store.count("ORDER BY StartTime")


def test_a_query_ends_at_its_deadline(store: VisibilityStore) -> None:
    store.apply([change(n, f"r{n}") for n in range(3_000)])
    with pytest.raises(QueryTimeoutError, match="ran longer than 0 s"):
        store.list("ORDER BY HistoryLength", timeout_s=0.0)
    assert len(store.list("ORDER BY HistoryLength").executions) == 100


def test_readers_read_while_the_writer_writes(store: VisibilityStore) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                count = store.count("GROUP BY ExecutionStatus")
                assert count.count % 100 == 0, count  # whole batches only
                store.list("ExecutionStatus = 'Running'", page_size=5)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for batch in range(30):
        store.apply([change(batch * 100 + n, f"r{batch}-{n}") for n in range(100)])
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.count().count == 3_000


def test_a_failing_batch_leaves_nothing_behind(store: VisibilityStore) -> None:
    store.apply([change(0, "a")])
    before = everything(store)
    bad = change(2, "c", history_length=2**70)  # SQLite takes 64 bits
    attributes = encode_search_attributes({"Fresh": ["x"]})
    with pytest.raises(OverflowError):
        store.apply([change(1, "b", search_attributes=attributes), bad])
    assert everything(store) == before and store.position(0) == 0
    store.apply([change(1, "b", search_attributes=attributes)])
    assert [e.run_id for e in store.list("Fresh = 'x'").executions] == ["b"]


def test_listeners_hear_of_each_batch_that_changed_rows(store: VisibilityStore) -> None:
    heard: list[list[str]] = []
    remove = store.add_listener(
        lambda applied: heard.append([c.key.decode() for c in applied.changes])
    )
    store.apply([change(0, "a"), change(1, "a", "COMPLETED"), change(2, "b")])
    store.apply([change(2, "b")])
    remove()
    store.apply([change(3, "c")])
    assert heard == [["w-a/a", "w-b/b"]]


# --- the file


def test_a_second_process_leaves_the_store_alone(store: VisibilityStore) -> None:
    code = (
        "import sys; from odradek.visibility import VisibilityStore;"
        " VisibilityStore.open(sys.argv[1])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(store.path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert other.returncode != 0
    assert (
        "StoreLockedError" in other.stderr
        and "is in use by process" in other.stderr
        and "state_dir" in other.stderr
    )
    with pytest.raises(StoreLockedError):
        VisibilityStore.open(store.path)
    store.apply([change(0, "a")])


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "import sys; from odradek.visibility import VisibilityStore; store ="
        " VisibilityStore.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "store.sqlite"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "open\n"
    other.kill()
    other.communicate(timeout=30)
    VisibilityStore.open(path).close()


def reopened(path: Path, source: Source, now_ms: int = T0) -> tuple[str, int]:
    with VisibilityStore.open(path, source, clock_ms=lambda: now_ms) as store:
        return store.rebuilt_because, store.count().count


def test_a_store_knows_whether_it_was_ever_a_complete_copy(tmp_path: Path) -> None:
    """A process that dies in its first reading leaves a part, which the next one must not take
    for all.
    """
    path, source = tmp_path / "store.sqlite", Source("default", "cluster", "topic")
    with VisibilityStore.open(path, source) as store:
        store.apply([change(0, "a")])
        assert not store.complete
    with VisibilityStore.open(path, source) as store:
        assert not store.complete and store.count().count == 1
        store.caught_up()
        assert store.complete
        store.apply([change(1, "b")])
    with VisibilityStore.open(path, source) as store:
        assert store.complete
    with VisibilityStore.open(path, Source("default", "cluster", "made anew")) as store:
        assert not store.complete


def test_a_store_goes_on_with_its_topic_and_begins_anew_with_another(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    source = Source("default", "cluster", "topic")
    with VisibilityStore.open(path, source, clock_ms=lambda: T0) as store:
        store.apply([change(0, "a")])
    assert reopened(path, source) == ("", 1)
    assert reopened(path, Source("default")) == ("", 1)  # not known yet which topic it is
    assert (
        "topic_id is 'topic', here it is 'made anew'"
        in reopened(path, Source("default", "cluster", "made anew"))[0]
    )
    assert reopened(path, source)[1] == 0


def test_what_it_did_not_know_of_its_topic_it_learns(tmp_path: Path) -> None:
    with VisibilityStore.open(tmp_path / "store.sqlite", Source("default")) as store:
        assert store.matches(Source("default", "cluster", "topic"))
        assert not store.matches(Source("default", "cluster", "another"))


def test_a_store_that_may_have_missed_tombstones_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with VisibilityStore.open(path, clock_ms=lambda: T0) as store:
        store.apply([change(0, "a")])
    assert reopened(path, Source(), T0 + 3_600_000) == ("", 1)
    because, rows = reopened(path, Source(), T0 + 24 * 3_600_000)
    assert "1 day, 0:00:00 ago and may have missed tombstones" in because and rows == 0


def test_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database at all" * 100)
    because, rows = reopened(path, Source())
    assert "damaged" in because and rows == 0


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = VisibilityStore.open(tmp_path / "store.sqlite")
    store.close()
    store.close()
    with pytest.raises(StoreNotOpenError):
        store.list()
    with pytest.raises(StoreNotOpenError):
        store.apply([change(0, "a")])


def test_search_attributes_that_no_run_has_any_more_are_forgotten(tmp_path: Path) -> None:
    now_ms = T0
    note = {
        "Note": Payload({"encoding": b"json/plain", "type": b"Text"}, b'"..."')
    }  # a Text without a word
    said = {"Said": Payload({"encoding": b"json/plain", "type": b"Text"}, b'"a word"')}
    with VisibilityStore.open(tmp_path / "store.sqlite", clock_ms=lambda: now_ms) as store:
        store.apply(
            [
                change(
                    0,
                    "a",
                    search_attributes=encode_search_attributes({"Mistyped": ["x"], "Kept": [1]}),
                )
            ]
        )
        store.apply(
            [
                change(
                    1,
                    "b",
                    search_attributes={**encode_search_attributes({"Kept": [2]}), **note, **said},
                )
            ]
        )
        store.caught_up()
        assert store.attribute_names() == ["Kept", "Mistyped", "Note", "Said"]
        store.apply(
            [
                change(2, "a", None),
                change(
                    3, "b", search_attributes={**encode_search_attributes({"Kept": [2]}), **note}
                ),
            ]
        )
        store.caught_up()
        assert "Mistyped" in store.attribute_names(), "it is looked for now and then"
        now_ms += 3_600_000
        store.caught_up()
        assert store.attribute_names() == ["Kept", "Note"]
        with pytest.raises(QueryError, match="Mistyped is neither a column nor a search attribute"):
            store.list("Mistyped = 'x'")
        assert (
            store.count("Note = 'word'").count == 0
            and store.count("Note IS NOT NULL").count == 1
            and store.count("Kept = 2").count == 1
        )
        store.apply(
            [
                change(
                    4,
                    "c",
                    search_attributes=encode_search_attributes({"New": ["n"], "Mistyped": ["y"]}),
                )
            ]
        )
        assert [
            store.count(query).count
            for query in ("New = 'n'", "Mistyped = 'y'", "Mistyped = 'x'", "Kept = 2")
        ] == [1, 1, 0, 1]
    with VisibilityStore.open(tmp_path / "store.sqlite", clock_ms=lambda: now_ms) as store:
        store.apply(
            [
                change(
                    5,
                    "d",
                    search_attributes=encode_search_attributes({"Kept": [3], "Late": [True]}),
                )
            ]
        )
        assert (
            store.attribute_names() == ["Kept", "Late", "Mistyped", "New", "Note"]
            and store.count("Kept = 3 AND Late = TRUE").count == 1
        )


def test_zones_of_runs_that_are_gone_are_pruned(tmp_path: Path) -> None:
    now_ms = T0
    with (
        mock.patch.object(zones, "ZONE_BITS", 1),
        VisibilityStore.open(tmp_path / "store.sqlite", clock_ms=lambda: now_ms) as store,
        sqlite3.connect(store.path) as connection,
    ):
        store.apply(
            [
                change(
                    n,
                    f"r{n}",
                    start_time_ms=T0 + n,
                    search_attributes=encode_search_attributes({"N": [n]}),
                )
                for n in range(7)
            ]
        )
        looked = "SELECT zone, low, high, first_ms, last_ms FROM attribute_zones ORDER BY zone"
        of = lambda zone, low, high: (zone, low, high, T0 + low, T0 + high)  # noqa: E731
        assert connection.execute(looked).fetchall() == [
            of(0, 0, 0),
            of(1, 1, 2),
            of(2, 3, 4),
            of(3, 5, 6),
        ]
        store.apply(
            [
                change(
                    7,
                    "r5",
                    start_time_ms=T0 + 5,
                    search_attributes=encode_search_attributes({"N": [9]}),
                )
            ]
        )
        store.apply([change(8 + n, f"r{n}", None) for n in range(4)])
        store.caught_up()
        assert connection.execute(looked).fetchall() == [
            of(2, 3, 4),
            (3, 5, 9, T0 + 5, T0 + 6),
        ], "they only widen"
        store.apply([change(12 + n, f"r{n}", None) for n in (4, 5, 6)])
        now_ms += 3_600_000
        store.caught_up()
        assert connection.execute(looked).fetchall() == []


def test_since_when_windows_are_whole(tmp_path: Path) -> None:
    """What began before the topic's first record has seen all; what began anew lacks runs that
    were deleted before. Kept over restarts.
    """
    hour_ms, now_ms = 3_600_000, T0
    path = tmp_path / "store.sqlite"

    def opened() -> VisibilityStore:
        return VisibilityStore.open(path, clock_ms=lambda: now_ms, runs_kept_ms=hour_ms)

    for first, expected in ((False, T0 - RETENTION_MS), (True, T0 - hour_ms)):
        delete_files(path)
        now_ms = T0
        for _ in range(2):
            with opened() as store:
                if first:
                    store.apply([change(0, "a")])
                store.caught_up()
                assert store.windows_complete_since_ms == expected
    delete_files(path)
    with opened() as store:  # all records of a topic may be gone
        store.caught_up(first=False)
        assert store.windows_complete_since_ms == T0 - hour_ms
    with opened() as store:  # away for longer than runs are kept: some may have come and gone
        now_ms += hour_ms
        store.caught_up()
        assert store.windows_complete_since_ms == T0 - hour_ms
        now_ms += hour_ms + 1
        store.caught_up()
        assert store.windows_complete_since_ms == now_ms - 1 - hour_ms + 60_000, (
            "the first window that begins after that"
        )
    with opened() as store:
        assert store.windows_complete_since_ms == now_ms - 1 - hour_ms + 60_000


def test_old_windows_are_pruned(tmp_path: Path) -> None:
    now_ms = T0
    with VisibilityStore.open(tmp_path / "store.sqlite", clock_ms=lambda: now_ms) as store:
        store.apply(HISTORY)
        now_ms = T0 + 31 * 24 * 3_600_000
        store.caught_up()
        assert everything(store)["windows"] == [] and everything(store)["latencies"] == []


# --- histogram


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_percentiles_are_at_most_a_bucket_off(latencies: list[int], share: float) -> None:
    buckets: dict[int, int] = {}
    for latency in latencies:
        buckets[bucket_of(latency)] = buckets.get(bucket_of(latency), 0) + 1
    found = percentile_ms(buckets, share)
    ordered = sorted(latencies)
    exact = ordered[
        min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1_000_000) // 1_000_000) - 1))
    ]
    assert found is not None
    assert any(
        abs(found - near) <= max(1.0, near * 0.0906)
        for near in (exact, *ordered[max(0, ordered.index(exact) - 1) : ordered.index(exact) + 2])
    )


def chain(
    offset: int,
    number: int,
    status: str | None = "CONTINUED_AS_NEW",
    *,
    key: str = "w",
    **more: Any,
) -> Change:
    """The record of a run of the chain of `key`; all its runs begin in one millisecond."""
    # neither the ids nor their hashes follow the chain
    run = f"{key}-{(number * 7_919) % 100:02d}-{number}"
    found = summary(
        run, status or "", workflow_id=key, first_execution_run_id=f"{key}-00-0", **more
    )
    return Change(0, offset, f"{key}/{run}".encode(), None if status is None else found)


def runs_of(store: VisibilityStore, query: str, page_size: int = 100) -> list[str]:
    found, token = [], b""
    while True:
        page = store.list(query, page_size=page_size, page_token=token)
        found += [one.run_id for one in page.executions]
        token = page.next_page_token
        if not token:
            return found


def test_runs_of_a_chain_that_began_in_one_millisecond_follow_each_other(tmp_path: Path) -> None:
    """The latest is the last one of the list's order, and what a look-up by workflow id alone
    gives; on each instance, page by page.
    """
    told: list[Change] = []
    for number in range(30):
        told.append(chain(2 * number, number, "RUNNING"))
        told.append(chain(2 * number + 1, number, "CONTINUED_AS_NEW" if number < 29 else "RUNNING"))
    told += [
        chain(100 + number, number, "RUNNING", key="other", start_time_ms=T0 + number % 2)
        for number in range(4)
    ]
    expected = [chain(0, number).summary.run_id for number in range(30)]  # type: ignore[union-attr]
    compacted = list({change.key: change for change in told}.values())
    for place, (changes, size) in enumerate(
        [(told, 1), (told, 7), (told, 1_000), (compacted, 1_000), ([*told, *told], 5)]
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        with VisibilityStore.open(folder / "store.sqlite") as store:
            for begin in range(0, len(changes), size):
                store.apply(changes[begin : begin + size])
            latest = store.get("w")
            assert latest is not None and latest.run_id == expected[-1]
            for page_size in (1, 4, 100):
                assert runs_of(store, "WorkflowId = 'w'", page_size) == expected[::-1]
                assert runs_of(store, "WorkflowId = 'w' ORDER BY StartTime", page_size) == expected
                assert (
                    runs_of(
                        store, "WorkflowId = 'w' ORDER BY WorkflowType, StartTime DESC", page_size
                    )
                    == expected[::-1]
                )
                assert runs_of(store, "WorkflowId = 'w' ORDER BY CloseTime", page_size) == [
                    expected[-1],
                    *expected[:-1],
                ]  # NULL first
            assert [run[-1] for run in runs_of(store, "WorkflowId = 'other'")] == [
                "3",
                "1",
                "2",
                "0",
            ]


def test_a_run_that_goes_takes_no_turn_along(store: VisibilityStore) -> None:
    store.apply([chain(0, 0), chain(1, 1), chain(2, 2, "RUNNING")])
    store.apply([chain(3, 0, None), chain(4, 2, "CONTINUED_AS_NEW"), chain(5, 3, "RUNNING")])
    assert [run[-1] for run in runs_of(store, "WorkflowId = 'w'")] == ["3", "2", "1"]
    latest = store.get("w")
    assert latest is not None and latest.run_id[-1] == "3"


def test_names_of_columns_are_no_search_attributes(store: VisibilityStore) -> None:
    """Runs started before the engine refused such names have them, and stores of that time have
    indexed them.
    """
    assert set(COLUMNS) == SYSTEM
    attributes = encode_search_attributes(
        {"WorkflowId": ["x"], "ExecutionStatus": [7], "Zone": ["north"]}
    )
    store.apply([change(0, "r", search_attributes=attributes)])
    with sqlite3.connect(store.path) as connection:
        assert [name for (name,) in connection.execute("SELECT DISTINCT name FROM attributes")] == [
            "Zone"
        ]
        connection.execute("INSERT INTO attributes (name, type) VALUES ('RunId', 'Keyword')")
    assert store.attribute_names() == ["Zone"]
    assert [
        one.workflow_id
        for one in store.list("WorkflowId = 'w-r' AND ExecutionStatus = 'Running'").executions
    ] == ["w-r"]
    found = complete("", 0, store)
    assert [one.text for one in found.suggestions].count("RunId") == 1
