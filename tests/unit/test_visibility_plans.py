"""Pages of filters with search attributes: which way is taken, and that the work does not grow
with the runs that have a value.

Work is counted in instructions of SQLite's machine, which do not depend on what else the
computer does.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from odradek.converter import encode_search_attributes
from odradek.visibility import Change, VisibilityStore
from odradek.visibility.query import Compiled, compile_query, parse
from odradek.visibility.store import attempts, counts, pages, reader, zones
from odradek.wire.outcomes import ExecutionSummary

RUNS = 20_000
T0 = 1_790_000_000_000
EVERY = 50  # SQLite's instructions between two counts


def summary(number: int, chance: random.Random) -> ExecutionSummary:
    attributes: dict[str, Any] = {
        "Customer": ["big" if number % 2 else f"c{chance.randrange(2_000)}"],
        "Amount": [chance.randrange(1_000_000)],
        "Due": [datetime.fromtimestamp(T0 / 1_000 + number, UTC)],
    }
    if number < RUNS // 2:
        attributes["Old"] = [number]
    else:
        attributes["Late"] = [number]
    status = "RUNNING" if number % 1_000 == 0 else "FAILED" if number % 50 == 1 else "COMPLETED"
    encoded = encode_search_attributes(attributes)
    encoded.update(encode_search_attributes({"Tags": ["all", f"t{number % 20}"]}))
    start_ms = T0 + number * 1_000
    names = ("default", "queue", f"w{number}", f"r{number}", "Order", status)
    close_ms = 0 if status == "RUNNING" else start_ms + chance.randrange(3_000)
    return ExecutionSummary(
        *names, start_ms, start_ms, close_ms, 3, 3, "", "", "", "", "", {}, encoded
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VisibilityStore]:
    chance = random.Random(1)
    with (
        VisibilityStore.open(tmp_path_factory.mktemp("store") / "store.sqlite") as opened,
        mock.patch.multiple(
            attempts, _COUNTED=1_000, _WALKED=400, _SAMPLE=200
        ),  # as those of a million runs are to a million
        mock.patch.object(zones, "ZONE_BITS", 7),
    ):
        for begin in range(0, RUNS, 5_000):
            numbers = range(begin, begin + 5_000)
            opened.apply([Change(0, n, f"w{n}/r{n}".encode(), summary(n, chance)) for n in numbers])
        yield opened


COMMON = [
    "Customer = 'big'",
    "Customer != 'big'",
    "Customer > 'a'",
    "Customer IS NOT NULL",
    "Amount > 0",
    "Amount != 7",
    "Tags = 'all'",
]
COMMON += [
    "Tags != 't3'",
    "Customer STARTS_WITH 'c'",
    "Customer IN ('big', 'c4')",
    "NOT Amount BETWEEN 400000 AND 500000",
]
RARE = [
    "Customer = 'c4'",
    "Customer = 'nobody'",
    "Amount > 999000",
    "NOT Amount BETWEEN 500 AND 999500",
    "Tags = 't3'",
]
RARE += ["WorkflowId = 'w7' OR Customer = 'c4'", "Customer = 'c4' OR Amount > 999000"]
RARE += ["Customer IN ('c4', 'c5')", "Customer STARTS_WITH 'c123'"]
FAR = [
    "Old > 5",
    "Old IS NOT NULL",
    "Due < '2026-09-21T15:00:00Z'",
    "Old = 5",
]  # no run has them where the list begins
STATUSES = [
    "",
    " AND ExecutionStatus = 'Completed'",
    " AND ExecutionStatus = 'Failed'",
    " AND ExecutionStatus = 'Running'",
]


def work_of(store: VisibilityStore, query: str) -> tuple[int, int]:
    """Instructions that a first page took, and its runs."""
    work, page = measured(store, lambda: store.list(query, page_size=50))
    return work, len(page.executions)


def measured(store: VisibilityStore, what: Callable[[], Any]) -> tuple[int, Any]:
    """Instructions that a call took, and what it gave."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    class Counting(sqlite3.Connection):
        def set_progress_handler(self, *_: Any) -> None:
            super().set_progress_handler(count, EVERY)

    def opened(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, factory=Counting
        )

    store.renew()
    with mock.patch.object(reader, "open_reader", opened):
        found = what()
    store.renew()
    return steps * EVERY, found


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("condition", [*COMMON, *RARE, *FAR])
def test_a_first_page_looks_at_few_runs(
    store: VisibilityStore, condition: str, status: str
) -> None:
    work, found = work_of(store, condition + status)
    assert work < (100_000 if condition.startswith("Due") else 50_000), (
        f"{work} instructions for {found} runs"
    )  # a seventh of the runs


ZONED = [
    "Old > 5",
    "Old IS NOT NULL",
    "Late > 5",
    "Due > '2026-09-21T18:30:00Z'",
    "Due < '2026-09-21T17:00:00Z'",
]
ZONED += ["Due < '2026-09-21T18:30:00Z'", "Due < '2026-09-21T17:00:00Z' OR Old > 9990"]


@pytest.mark.parametrize("order", ["", " ORDER BY StartTime"])
@pytest.mark.parametrize("condition", ZONED)
def test_what_lies_far_from_where_a_list_begins_is_found_by_zones(
    store: VisibilityStore, condition: str, order: str
) -> None:
    """Both pages, and what they are is what the query as it stands finds."""
    query = condition + order
    work, first = measured(store, lambda: store.list(query, page_size=50))
    more, found = 0, first.executions
    if first.next_page_token:
        more, second = measured(
            store, lambda: store.list(query, page_size=50, page_token=first.next_page_token)
        )
        found = [*found, *second.executions]

    def as_it_stands(_: object, compiled: Compiled, __: int) -> list[attempts.Attempt]:
        return [attempts.Attempt("executions e", compiled.where, compiled.parameters)]

    with mock.patch.object(pages, "attempts_of", as_it_stands):
        plainly = store.list(query, page_size=100).executions
    assert [run.run_id for run in found] == [run.run_id for run in plainly] != []
    assert work < 50_000 and more < 50_000, (work, more)


def test_what_the_work_is_for_all_runs(store: VisibilityStore) -> None:
    """That the measure above measures: a condition that no index serves looks at each of the
    20,000.
    """
    assert work_of(store, "Customer IS NULL")[0] > 250_000


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("Customer = 'big'", "search_attributes_by_value"),
        ("Customer = 'c4'", "search_attributes_by_value"),
        ("Tags IN ('t1', 't2')", "search_attributes_by_value"),
        ("Amount > 999000", "search_attributes_by_value"),
        ("Amount > 10", "executions_by_start"),
        ("Customer != 'big'", "executions_by_start"),
        ("Tags != 't3' ORDER BY StartTime", "executions_by_start"),
        ("Amount > 10 AND ExecutionStatus = 'Running'", "executions_by_status"),
        ("Customer = 'big' AND ExecutionStatus = 'Running'", "executions_by_status"),
        ("Customer = 'c4' AND ExecutionStatus = 'Completed'", "search_attributes_by_value"),
        ("Customer = 'big' AND WorkflowId = 'w7'", "executions_by_workflow"),
        ("Customer = 'big' AND RunId = 'r7'", "executions_by_tie"),
        ("Customer = 'big' ORDER BY CloseTime DESC", "COVERING INDEX executions_by_close"),
        (
            "Amount > 10 AND ExecutionStatus = 'Failed' ORDER BY CloseTime DESC",
            "COVERING INDEX executions_by_close",
        ),
        (
            "Amount > 10 AND ExecutionStatus IN ('Failed', 'TimedOut') ORDER BY CloseTime DESC",
            "COVERING INDEX executions_by_close",
        ),
        (
            "Amount > 999000 AND ExecutionStatus = 'Failed' ORDER BY CloseTime DESC",
            "search_attributes_by_value",
        ),
        ("Customer = 'c4' ORDER BY CloseTime DESC", "search_attributes_by_value"),
        ("Customer = 'c4' ORDER BY HistoryLength", "search_attributes_by_value"),
        ("Customer = 'c4' OR Customer = 'c5'", "search_attributes_by_value"),
        ("Customer = 'big' AND TemporalReportedProblems IS NOT NULL", "executions_by_problems"),
    ],
)
def test_a_page_is_read_from_the_index_that_serves_it(
    store: VisibilityStore, query: str, index: str
) -> None:
    """Which one finds the runs; the others are tested one by one."""
    compiled = compile_query(parse(query), store)
    with sqlite3.connect(store.path) as connection:
        best = attempts.attempts_of(connection, compiled, 51)[0]
        where, parameters = best.where, best.parameters
        if best.windows is not None:
            rows = " UNION ALL ".join(
                f"SELECT execution FROM search_attributes WHERE {one.sql}" for one in best.windows
            )
            where, parameters = (
                f"{where} AND e.id IN ({rows})",
                (*parameters, *(v for one in best.windows for v in one.parameters)),
            )
        order = (
            ", ".join(f"{key.sql} {'DESC' if key.descending else ''}" for key in compiled.order_by)
            or "e.start_time_ms DESC"
        )
        explain = f"EXPLAIN QUERY PLAN SELECT e.id FROM {best.table} WHERE {where} ORDER BY {order}"
        plan = [str(row[3]) for row in connection.execute(explain, parameters)]
    first = next(line for line in plan if " e " in line)
    if index == "search_attributes_by_value":
        assert "PRIMARY KEY (rowid=?)" in first and any(index in line for line in plan), plan
    else:
        assert index in first, plan


COUNTED = [
    *COMMON[:7],
    *COMMON[8:],
    *RARE[:5],
    "Old > 5",
    "Customer IS NOT NULL AND StartTime > '2026-09-21T15:00:00Z'",
]


@pytest.mark.parametrize("condition", COUNTED)
def test_a_count_by_one_attribute_looks_at_its_rows_and_at_runs_of_rarer_statuses(
    store: VisibilityStore, condition: str
) -> None:
    """Its rows are about four instructions each; a run that is looked at is some fifteen."""
    for query, most in ((condition, 5 * RUNS), (f"{condition} GROUP BY ExecutionStatus", 7 * RUNS)):
        work, count = measured(store, lambda query=query: store.count(query))  # type: ignore[misc]
        with mock.patch.object(counts, "_lone", lambda _: None):
            plainly = store.count(query)
        assert count == plainly and work < most, f"{work} instructions for {count}"


@pytest.mark.parametrize("status", ["Running", "Failed", "Completed"])
@pytest.mark.parametrize(
    "condition", ["Customer = 'big'", "Amount > 0", "Tags = 'all'", "Tags = 't3'"]
)
def test_a_count_goes_through_the_fewer_runs(
    store: VisibilityStore, condition: str, status: str
) -> None:
    query = f"{condition} AND ExecutionStatus = '{status}'"
    work, count = measured(store, lambda: store.count(query).count)
    with (
        mock.patch.object(attempts._Planner, "counting", lambda _, as_it_stands: as_it_stands),
        mock.patch.object(counts, "_lone", lambda _: None),
    ):
        plain_work, plainly = measured(store, lambda: store.count(query).count)
    assert count == plainly
    assert work < (60_000 if status != "Completed" else 0.6 * plain_work + 40_000), (
        work,
        plain_work,
    )


def test_many_alternatives_are_one_query(store: VisibilityStore) -> None:
    """More than SQLite joins by UNION, and than are worth a look-up each."""
    each = " OR ".join(
        f"Customer IN ({', '.join(repr(f'c{n * 8 + k}') for k in range(8))})" for n in range(90)
    )
    wanted = store.count("Customer STARTS_WITH 'c'").count
    found = store.count(each).count
    assert 0 < found < wanted
    assert len(store.list(each, page_size=1_000).executions) == min(1_000, found)
    assert (
        len(store.list(f"({each}) AND ExecutionStatus = 'Running'").executions)
        == store.count(f"({each}) AND ExecutionStatus = 'Running'").count
    )


def test_a_run_that_starts_anew_is_found_by_its_new_start(tmp_path: Path) -> None:
    """Rows of search attributes have a copy of the start time: it must not stay behind."""
    with VisibilityStore.open(tmp_path / "store.sqlite") as store:
        attributes = encode_search_attributes({"Customer": ["c4"]})
        for offset, start_ms in enumerate((T0, T0 + 60_000)):
            one = ExecutionSummary(
                "default",
                "queue",
                "w",
                "r",
                "Order",
                "RUNNING",
                start_ms,
                search_attributes=attributes,
            )
            store.apply([Change(0, offset, b"w/r", one)])
        for after, wanted in ((T0, 1), (T0 + 60_000, 0)):
            found = store.list(f"Customer = 'c4' AND StartTime > {after * 1_000_000}").executions
            assert len(found) == wanted, after
        with sqlite3.connect(store.path) as connection:
            assert connection.execute("SELECT start_time_ms FROM search_attributes").fetchall() == [
                (T0 + 60_000,)
            ]
