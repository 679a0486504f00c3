"""Hypothesis: any query over any rows finds through parser and SQL what the plain Python model
finds.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek.visibility import Change, VisibilityStore
from odradek.visibility.query import Compiled
from odradek.visibility.store import attempts, pages, reader, zones
from odradek.wire.outcomes import ExecutionSummary
from tests.unit.visibility_model import EPOCH, MS, STATUSES, Filter, Run, matches, render, sort_key

BASE_MS = 1_790_000_000_000
TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "b",
    "B",
    "ü",
    "a'b",
    "a\\b",
    'q"x',
    "a%",
    "a_",
    "\U0010ffff",
    "\U0010ffffz",
    "\ud7ff",
    "zz top",
]
WORDS = ["red", "green", "red green", "Red", "the-green", "blue"]
TIMES_MS = [0, 1, 2, 999, 1_000, 60_000]

texts = st.sampled_from(TEXTS)
ids = st.sampled_from(TEXTS[1:])
times_ms = st.sampled_from(TIMES_MS).map(lambda ms: BASE_MS + ms)
times_ns = st.tuples(times_ms, st.sampled_from([-1, 0, 0, 0, 1, 500_000])).map(
    lambda pair: pair[0] * MS + pair[1]
)
datetimes = st.sampled_from([0, 1, 1_000, 1_000_001]).map(
    lambda us: datetime.fromtimestamp(BASE_MS // 1000, UTC).replace(microsecond=us % 10**6)
)
integers = st.sampled_from([-5, -1, 0, 1, 2, 7, 2**62])
floats = st.sampled_from([-1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 7.25])

ATTRIBUTES: dict[str, list[tuple[str, st.SearchStrategy[Any]]]] = {
    "AKeyword": [("Keyword", texts)],
    "AnInt": [("Int", integers)],
    "ADouble": [("Double", floats)],
    "ABool": [("Bool", st.booleans())],
    "ATime": [("Datetime", datetimes)],
    "AList": [("KeywordList", st.lists(texts, max_size=3))],
    "AText": [("Text", st.sampled_from(WORDS))],
    "Two kinds `": [
        ("Keyword", texts),
        ("Int", integers),
        ("KeywordList", st.lists(texts, min_size=1, max_size=2)),
    ],
}
COLUMNS = {
    "WorkflowId": "Keyword", "WorkflowType": "Keyword", "RunId": "Keyword", "ExecutionStatus": "Status", "TaskQueue": "Keyword",
    "StartTime": "Datetime", "CloseTime": "Datetime", "ExecutionTime": "Datetime", "ExecutionDuration": "Duration",
    "HistoryLength": "Int", "HistorySizeBytes": "Int", "StateTransitionCount": "Int", "ParentWorkflowId": "Keyword",
    "ParentRunId": "Keyword", "RootWorkflowId": "Keyword", "RootRunId": "Keyword", "FirstExecutionRunId": "Keyword",
    "ParkedReason": "Keyword", "TemporalReportedProblems": "KeywordList",
}  # fmt: skip
ORDERED = ["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"]
EQUAL = ["=", "!=", "IN", "NOT IN"]
PREFIX = ["STARTS_WITH", "NOT STARTS_WITH"]
OPERATORS = {
    "Keyword": ORDERED + PREFIX, "Int": ORDERED, "Double": ORDERED, "Datetime": ORDERED, "Duration": ORDERED, "Status": EQUAL,
    "Bool": EQUAL, "KeywordList": EQUAL + PREFIX, "Text": ["=", "!="],
}  # fmt: skip
LITERALS: dict[str, st.SearchStrategy[Any]] = {
    "Keyword": texts,
    "KeywordList": texts,
    "Text": st.sampled_from(WORDS),
    "Int": integers,
    "Double": floats,
    "Bool": st.booleans(),
    "Datetime": times_ns,
    "Duration": st.sampled_from([0, 1, MS, MS + 1, 999 * MS, 1_000 * MS, 60_000 * MS, -MS]),
    "Status": st.sampled_from(list(STATUSES.values())),
}


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Rows with distinct run ids and a few values that meet the literals."""
    made = []
    for number in range(draw(st.integers(0, 12))):
        status = draw(st.sampled_from(list(STATUSES)))
        start_ms = draw(times_ms)
        execution_ms = draw(st.sampled_from([0, start_ms, start_ms + 1]))
        close_ms = (
            0 if status == "RUNNING" else start_ms + draw(st.sampled_from([0, 1, 2, 1_000, 60_000]))
        )
        summary = ExecutionSummary(
            "default", draw(ids), draw(ids), f"{draw(ids)}{number}", draw(ids), status, start_ms, execution_ms, close_ms,
            draw(st.integers(0, 3)), draw(st.integers(0, 3)), draw(texts), draw(texts), draw(texts), draw(texts), draw(texts), {}, {},
            draw(texts),
            draw(st.integers(0, 3)), draw(st.lists(texts, max_size=3)),
        )  # fmt: skip
        attributes = {}
        for name in draw(st.sets(st.sampled_from(list(ATTRIBUTES)))):
            kind, values = draw(st.sampled_from(ATTRIBUTES[name]))
            attributes[name] = (kind, draw(values))
        made.append(Run(summary, attributes))
    return made


@st.composite
def conditions(draw: st.DrawFn) -> Filter:
    """One condition that its column or attribute takes."""
    name = draw(st.sampled_from([*COLUMNS, *ATTRIBUTES]))
    kind = (
        COLUMNS[name]
        if name in COLUMNS
        else draw(st.sampled_from([kind for kind, _ in ATTRIBUTES[name]]))
    )
    operator = draw(st.sampled_from([*OPERATORS[kind], "IS NULL", "IS NOT NULL"]))
    counts = {
        "IN": draw(st.integers(1, 3)),
        "NOT IN": draw(st.integers(1, 3)),
        "BETWEEN": 2,
        "NOT BETWEEN": 2,
    }
    return operator, name, kind, [draw(LITERALS[kind]) for _ in range(counts.get(operator, 1))]


filters: st.SearchStrategy[Filter] = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=6,
)


@contextmanager
def store_of(rows: list[Run]) -> Iterator[VisibilityStore]:
    with (
        tempfile.TemporaryDirectory() as folder,
        VisibilityStore.open(Path(folder) / "store.sqlite") as store,
    ):
        changes = [
            Change(
                0,
                offset,
                f"{run.summary.workflow_id}/{run.summary.run_id}".encode(),
                run.with_payloads(),
            )
            for offset, run in enumerate(rows)
        ]
        store.apply(changes)
        yield store


def known(rows: list[Run], expression: Filter) -> bool:
    """Whether every name (with a type that takes the operator) is in the store: others are
    errors, tested elsewhere.
    """
    if expression[0] == "not":
        return known(rows, expression[1])
    if expression[0] in ("and", "or"):
        return all(known(rows, term) for term in expression[1])
    operator, name, kind, _ = expression
    if name in COLUMNS:
        return True
    kinds = {
        run.attributes[name][0]
        for run in rows
        if name in run.attributes and run.value(name)[1] is not None
    }
    return (
        bool(kinds)
        if operator.startswith("IS ")
        else kind in kinds and unambiguous(kinds, kind, operator)
    )


def unambiguous(kinds: set[str], kind: str, operator: str) -> bool:
    """A text literal means Keyword and KeywordList alike; the model's condition means one of them."""
    return not {"Keyword", "KeywordList"} <= kinds


slow = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@slow
@given(rows=runs(), expressions=st.lists(filters, min_size=8, max_size=16))
def test_a_query_finds_what_the_model_finds(rows: list[Run], expressions: list[Filter]) -> None:
    with store_of(rows) as store:
        for expression in expressions:
            if not known(rows, expression):
                continue
            query = render(expression)
            wanted = {run.summary.run_id for run in rows if matches(run, expression) is True}
            assert {found.run_id for found in store.list(query).executions} == wanted, query
            assert store.count(query).count == len(wanted), query


def test_ends_turned_round_count_each_run_once() -> None:
    """-0.5 is below 0 and above -1.5."""
    values = {"a": -0.5, "b": 7.0}
    rows = [
        Run(
            ExecutionSummary("default", "q", i, i, "T", "RUNNING", BASE_MS),
            {"ADouble": ("Double", v)},
        )
        for i, v in values.items()
    ]
    with store_of(rows) as store:
        query = "ADouble NOT BETWEEN 0.0 AND -1.5"
        assert store.count(query).count == len(store.list(query).executions) == 2
        assert store.count("ADouble NOT BETWEEN -1.5 AND 0.0").count == 1


@slow
@given(rows=runs(), expression=filters, data=st.data())
def test_order_and_pages_are_the_models(
    rows: list[Run], expression: Filter, data: st.DataObject
) -> None:
    with store_of(rows) as store:
        if not known(rows, expression):
            return
        wanted = [run for run in rows if matches(run, expression) is True]
        names = data.draw(
            st.lists(
                st.sampled_from(
                    [*COLUMNS, *(n for n in ATTRIBUTES if n in store.attribute_names())]
                ),
                min_size=1,
                max_size=3,
                unique=True,
            )
        )
        now_ms = data.draw(st.sampled_from([0, *(run.summary.start_time_ms + 5 for run in rows)]))
        descending = [data.draw(st.booleans()) for _ in names]
        order = ", ".join(
            "`" + n.replace("`", "``") + "`" + (" DESC" if down else "")
            for n, down in zip(names, descending, strict=True)
        )
        query = f"{render(expression)} ORDER BY {order}"
        size = data.draw(st.integers(1, 5))
        pages_found: list[list[str]] = []
        token, clock_ms = b"", itertools.count(now_ms, 7)
        while True:
            with mock.patch.object(
                reader, "_now_ms", clock_ms.__next__
            ):  # pages are of one moment, however long one reads
                page = store.list(query, page_size=size, page_token=token)
            pages_found.append([execution.run_id for execution in page.executions])
            token = page.next_page_token
            if not token:
                break
        found = [run_id for one in pages_found for run_id in one]
        with mock.patch.object(reader, "_now_ms", clock_ms.__next__):
            back = [[execution.run_id for execution in page.executions]]
            while page.previous_page_token:
                page = store.list(query, page_size=size, page_token=page.previous_page_token)
                back.append([execution.run_id for execution in page.executions])
        # The first page is one that was asked for anew: of its own moment.
        assert back[:-1] == pages_found[:0:-1] and len(back) == len(pages_found), query
        by_run = {run.summary.run_id: run for run in wanted}
        assert sorted(found) == sorted(by_run), query
        for name, down in reversed(list(zip(names, descending, strict=True))):
            wanted.sort(key=lambda run, name=name: sort_key(run, name, now_ms), reverse=down)  # type: ignore[misc]
        keys = [[sort_key(by_run[run_id], name, now_ms) for name in names] for run_id in found]
        assert keys == [[sort_key(run, name, now_ms) for name in names] for run in wanted], query
        with mock.patch.object(reader, "_now_ms", lambda: now_ms):
            assert found == [
                execution.run_id for execution in store.list(query, page_size=1_000).executions
            ]


@st.composite
def crowded(draw: st.DrawFn) -> list[Run]:
    """Many rows of few values, most of which begin together with others."""
    made = []
    for number in range(draw(st.integers(0, 40))):
        status = draw(st.sampled_from(["RUNNING", "COMPLETED", "FAILED"]))
        start_ms = BASE_MS + draw(st.integers(0, 4))
        close_ms = 0 if status == "RUNNING" else start_ms + draw(st.integers(0, 2))
        kind = draw(st.sampled_from(["T1", "T2"]))
        identity = ("default", "queue", f"w{draw(st.integers(0, 3))}", f"r{number}", kind, status)
        attributes = {
            "AKeyword": ("Keyword", draw(st.sampled_from("aab"))),
            "AnInt": ("Int", draw(st.integers(0, 3))),
            "AList": ("KeywordList", draw(st.lists(st.sampled_from("abb"), max_size=2))),
            "AText": ("Text", draw(st.sampled_from(WORDS))),
        }
        kept = draw(st.sets(st.sampled_from([*attributes]), min_size=2))
        made.append(
            Run(
                ExecutionSummary(*identity, start_ms, start_ms, close_ms),
                {name: attributes[name] for name in kept},
            )
        )
    return made


CROWDED = [
    ("=", "AKeyword", "Keyword", ["a"]), ("!=", "AKeyword", "Keyword", ["a"]), ("IN", "AKeyword", "Keyword", ["a", "b"]),
    (">", "AnInt", "Int", [0]), ("NOT BETWEEN", "AnInt", "Int", [2, 1]), ("NOT IN", "AnInt", "Int", [1, 2]),
    ("IS NOT NULL", "AnInt", "Int", [0]), ("IS NULL", "AList", "KeywordList", ["a"]), ("=", "AList", "KeywordList", ["b"]),
    ("!=", "AList", "KeywordList", ["b"]), ("STARTS_WITH", "AList", "KeywordList", [""]), ("NOT STARTS_WITH", "AKeyword", "Keyword", ["a"]),
    ("NOT IN", "AList", "KeywordList", ["a", "b"]), ("=", "AText", "Text", ["red"]), ("!=", "AText", "Text", ["red green"]),
]  # fmt: skip
TESTED = [
    ("=", "ExecutionStatus", "Status", ["Completed"]), ("=", "WorkflowType", "Keyword", ["T1"]), ("=", "WorkflowId", "Keyword", ["w1"]),
    (">=", "StartTime", "Datetime", [(BASE_MS + 1) * MS]), ("<", "StartTime", "Datetime", [(BASE_MS + 4) * MS]),
]  # fmt: skip
ORDERS = [
    "",
    " ORDER BY StartTime",
    " ORDER BY CloseTime",
    " ORDER BY CloseTime DESC, StartTime",
    " ORDER BY StartTime DESC, RunId",
]
led: st.SearchStrategy[Filter] = st.sampled_from(CROWDED) | st.tuples(
    st.just("or"), st.lists(st.sampled_from(CROWDED), min_size=2, max_size=2)
)


@settings(slow, max_examples=40)
@given(
    rows=crowded(),
    first=led,
    others=st.lists(st.sampled_from([*CROWDED, *TESTED]), max_size=2),
    size=st.integers(1, 4),
)
def test_each_way_to_a_page_finds_the_same(
    rows: list[Run], first: Filter, others: list[Filter], size: int
) -> None:
    """Which way is taken depends on how many runs have a value. Here all are, with bounds so low
    that few runs meet them.
    """
    expression = ("and", [first, *others]) if others else first
    with mock.patch.object(zones, "ZONE_BITS", 1), store_of(rows) as store:
        if not known(rows, expression):
            return
        text = (
            render(expression).removeprefix("(").removesuffix(")") if others else render(expression)
        )
        expected = sorted(run.summary.run_id for run in rows if matches(run, expression) is True)
        for query in (text + order for order in ORDERS):
            ways = _ways(store, query)
            wanted = _by_way(store, query, 1_000, ways[-1:])
            assert sorted(wanted) == expected, query
            for way in ways:
                assert (
                    _by_way(
                        store, query, size, [way, *([ways[-1]] if way.walk is not None else [])]
                    )
                    == wanted
                ), (query, way)


def _ways(store: VisibilityStore, query: str) -> list[attempts.Attempt]:
    """Every one; the last is the query as it stands."""
    found: list[attempts.Attempt] = []

    def note(connection: Any, compiled: Compiled, limit: int) -> list[attempts.Attempt]:
        with mock.patch.multiple(attempts, _WALKED=2, _PATIENCE=0):
            found.extend(way for _, way in attempts.ways_of(connection, compiled, limit))
        return found[-1:]

    with mock.patch.object(pages, "attempts_of", note):
        store.list(query)
    return found or [attempts.Attempt("executions e", "1", ())]


def _by_way(
    store: VisibilityStore, query: str, size: int, ways: list[attempts.Attempt]
) -> list[str]:
    found: list[str] = []
    token = b""
    with mock.patch.multiple(pages, attempts_of=lambda *_: ways, _FIRST_WINDOW=1, _GROWTH=1):
        while True:
            page = store.list(query, page_size=size, page_token=token)
            found += [execution.run_id for execution in page.executions]
            token = page.next_page_token
            if not token:
                return found


GROUPED = [
    *(name for name, kind in COLUMNS.items() if kind != "KeywordList"),
    "AKeyword",
    "AnInt",
    "ADouble",
    "ABool",
    "ATime",
]


@slow
@given(
    rows=runs(),
    expression=st.none() | filters,
    names=st.lists(st.sampled_from(GROUPED), min_size=1, max_size=3, unique=True),
)
def test_groups_are_the_models(
    rows: list[Run], expression: Filter | None, names: list[str]
) -> None:
    """Any columns and attributes with one value; a run without the value is in the group None."""
    with store_of(rows) as store:
        if expression is not None and not known(rows, expression):
            return
        names = [name for name in names if name in COLUMNS or name in store.attribute_names()] or [
            "ExecutionStatus"
        ]
        wanted = Counter(
            tuple(_plain(run.value(name)) for name in names)
            for run in rows
            if expression is None or matches(run, expression) is True
        )
        count = store.count(
            f"{'' if expression is None else render(expression)} GROUP BY {', '.join(names)}"
        )
        assert {group.values: group.count for group in count.groups} == dict(wanted)
        assert count.count == sum(wanted.values())
        assert [group.count for group in count.groups] == sorted(wanted.values(), reverse=True)


def _plain(typed: tuple[str, Any]) -> Any:
    """A value as a group has it."""
    kind, value = typed
    if value is None or kind not in ("Datetime", "Duration"):
        return value
    shift = timedelta(microseconds=value // 1_000)
    return EPOCH + shift if kind == "Datetime" else shift


@slow
@given(rows=runs())
def test_a_row_gives_back_its_record(rows: list[Run]) -> None:
    with store_of(rows) as store:
        for run in rows:
            assert store.get(run.summary.workflow_id, run.summary.run_id) == run.summary
