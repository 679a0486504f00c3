"""How a list with search attributes in its filter finds its page: the ways there are, what each
would cost, and which are tried.

A page is read in one of two ways. *Walking*: over runs in the page's order (by an index of
`executions`), each tested, until the page is full: quick where many pass. *By value*: from the
rows of `search_attributes` that the filter names, which lie together in its index: quick where
they are few. Rows of one value lie in the order of starts, so a page of them is short however
many there are; those of a range do not, but carry their starts, so the latest of them are found
without a look at the runs.

What passes is counted, up to `_COUNTED` rows a term; of what is more, a sample of the runs tells
the share. It is taken for evenly spread. Where it is not (values that only old runs have), a
walk would be long: it ends after some thousand runs, goes on once from the latest run that the
filter's rows name (`zones.py` finds it without a look at all of them), and after as many again
the page is read in another way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from odradek.visibility.query import Compiled
from odradek.visibility.query.terms import Range, Term
from odradek.visibility.store.paging import order_of

_COUNTED = 20_000
_WALKED = 2_000
_PATIENCE = 3  # how often as many runs as a page should take are walked over, if that is more
_SAMPLE = 400  # runs
_RANGES = 32  # that one statement looks up
_SCATTER = 2_654_435_761  # a prime
_TELLING = 20  # of them that pass: enough to go by

# What a run costs, by what is done with it, in microseconds of a warm two-core machine: only how
# they compare matters.
_TEST = 1.0  # walked over and tested
_PASS = 0.12  # passed over by what its index holds
_FETCH = 3.0  # looked up out of order, to be sorted
_SCAN = 0.15  # its row among those of a range, to find the latest
_ROW = 0.4  # found by its row among those of a value or a range, to be counted
_SPREAD = 3.0  # how much longer than on average a walk may take

_INDICES = {
    "status": "executions_by_status",
    "workflow_type": "executions_by_type",
    "workflow_id": "executions_by_workflow",
    "run_id": "executions_by_tie",
    "parent_workflow_id": "executions_by_parent",
}
_BY_CLOSE = "executions_by_close"
_IN_INDEX = {_BY_CLOSE: ("status",)}  # columns that it holds beside those of its order
_BY_START = ("status", "workflow_type")
_COUNTED_COLUMNS = ("status", "workflow_type", "task_queue")
_EQUAL = ("=", "IN")  # operators that each index serves
_RANGED = (*_EQUAL, "<", "<=", ">", ">=", "BETWEEN", "STARTS_WITH")
_START = "start_time_ms"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to a page. `table` and `where` are SQL over a run `e`.

    windows: rows of `search_attributes` that name the runs; `where` is further.  by_start: the
    order begins with the start time, so they are taken window by window of it.  walk: condition
    of the index that is walked: the page counts only if it is full within `walked` runs, or
    those are all.  onward: rows whose latest start says where it goes on.  also: conditions on
    the start time, which rows and index have too.
    """

    table: str
    where: str
    parameters: tuple[Any, ...]
    windows: tuple[Range, ...] | None = None
    by_start: bool = False
    walk: Term | None = None
    walked: int = 0
    onward: tuple[Range, ...] = ()
    also: tuple[Term, ...] = ()


def attempts_of(connection: sqlite3.Connection, compiled: Compiled, limit: int) -> list[Attempt]:
    """Ways to the page, the best first; the last one always finds it."""
    if compiled.table != "executions e":  # an index of few rows
        return [Attempt(compiled.table, *_together(compiled.terms))]
    ways = sorted(ways_of(connection, compiled, limit), key=lambda way: way[0])
    best = ways[0][1]
    sure = next(attempt for _, attempt in ways if attempt.walk is None)
    return [best] if best is sure else [best, sure]


def ways_of(
    connection: sqlite3.Connection, compiled: Compiled, limit: int
) -> list[tuple[float, Attempt]]:
    """All ways to the page, each with what it would cost."""
    return _Planner(connection, compiled, limit).ways()


def way_to_count(connection: sqlite3.Connection, compiled: Compiled) -> Attempt:
    """How to look at the runs of a count with search attributes in its filter: through those of
    a status or type where they are fewer.
    """
    as_it_stands = Attempt(compiled.table, compiled.where, compiled.parameters)
    return (
        as_it_stands
        if compiled.table != "executions e"
        else _Planner(connection, compiled, 1).counting(as_it_stands)
    )


def times_of(compiled: Compiled) -> tuple[Term, ...]:
    """Conditions on the start time, of which rows of search attributes have a copy."""
    return tuple(
        term for term in compiled.terms if term.column == _START and term.operator in _RANGED
    )


def _together(terms: Sequence[Term]) -> tuple[str, tuple[Any, ...]]:
    return " AND ".join(("1", *(term.sql for term in terms))), tuple(
        value for term in terms for value in term.parameters
    )


class _Planner:
    def __init__(self, connection: sqlite3.Connection, compiled: Compiled, limit: int) -> None:
        self._connection = connection
        self._compiled = compiled
        self._limit = limit
        self._order = order_of(compiled)[0].name
        self._times = times_of(compiled)
        self._all = max(
            1, self._within_times(self._one("SELECT coalesce(sum(runs), 0) FROM run_counts"))
        )
        self._runs = {term: self._estimate(term) for term in compiled.terms}
        self._looked_at = dict(self._runs)  # to find them by value
        self._share = 1.0  # of the runs, that pass
        for runs in self._runs.values():
            self._share *= min(1.0, max(runs, 0.1) / self._all)
        if any(
            runs >= _COUNTED and term.column not in _COUNTED_COLUMNS
            for term, runs in self._runs.items()
        ):
            self._look_at_a_sample()

    def _look_at_a_sample(self) -> None:
        """Better estimates of what is too much to be counted, and of what terms have to do with
        each other.
        """
        terms = self._compiled.terms
        _, parameters = _together(terms)
        tests = ", ".join(f"{term.sql} AS t{number}" for number, term in enumerate(terms))
        totals = ", ".join(f"total(t{number})" for number in range(len(terms)))
        both = " AND ".join(f"t{number}" for number in range(len(terms)))
        times, bounds = _together(self._times)
        last = self._one("SELECT coalesce(max(id), 0) FROM executions")
        numbers = (
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT"
            f" {_SAMPLE})"
        )
        # every n-th run could be of a kind
        scattered = f"sample (id) AS (SELECT n * {_SCATTER} % ? + 1 FROM numbers)"
        looked_at = (
            f"SELECT {tests} FROM sample s CROSS JOIN executions e ON e.id = s.id WHERE {times}"
        )
        sql = f"{numbers}, {scattered} SELECT count(*), {totals}, total({both}) FROM ({looked_at})"
        seen, *passed, together = self._connection.execute(
            sql, (max(1, last), *parameters, *bounds)
        ).fetchone()
        if seen < _SAMPLE // 4:
            return
        self._share = 1.0
        for term, hits in zip(terms, passed, strict=True):
            if self._runs[term] >= _COUNTED and term.column not in _COUNTED_COLUMNS:
                self._runs[term] = hits / seen * self._all
                self._looked_at[term] = (
                    max(self._looked_at[term], self._runs[term]) if term.exact else self._all
                )
            self._share *= min(1.0, max(self._runs[term], 0.1) / self._all)
        self._share = together / seen if together >= _TELLING else min(self._share, _TELLING / seen)

    def ways(self) -> list[tuple[float, Attempt]]:
        """See `ways_of`."""
        as_it_stands = Attempt("executions e", self._compiled.where, self._compiled.parameters)
        led = [way for term in self._compiled.terms for way in self._led_by(term)]
        either = any(
            term.ranges is None and not term.column and term.operator != "IS NULL"
            for term in self._compiled.terms
        )
        # Alternatives over columns and attributes: SQLite can take each from its index.
        return [
            *led,
            *self._walks(),
            (self._all * (_TEST * 0.9 if either else _FETCH), as_it_stands),
        ]

    def counting(self, as_it_stands: Attempt) -> Attempt:
        """See `way_to_count`."""
        terms = self._compiled.terms
        rows = (
            min(
                (self._looked_at[term] for term in terms if term.exact and term.ranges is not None),
                default=self._all,
            )
            * _ROW
        )
        few = min(
            (term for term in terms if term.column in _BY_START and term.operator in _EQUAL),
            key=self._runs.__getitem__,
            default=None,
        )
        if few is None or self._runs[few] * _TEST >= rows:
            return as_it_stands
        return Attempt(f"executions e INDEXED BY {_INDICES[few.column]}", *_together(terms))

    def _led_by(self, term: Term) -> list[tuple[float, Attempt]]:
        """Over the runs of one term, each tested for the others."""
        runs = self._runs[term]
        if term.ranges is not None and len(term.ranges) <= _RANGES:
            rest = [other for other in self._compiled.terms if other is not term or not term.exact]
            attempt = Attempt(
                "executions e NOT INDEXED",
                *_together(rest),
                term.ranges,
                self._order == "StartTime",
                also=self._times,
            )
            looked_at = self._looked_at[term]
            if self._order != "StartTime":
                return [(looked_at * _FETCH, attempt)]
            found = min(looked_at, self._limit / max(self._share * self._all, 1e-9) * looked_at)
            ordered = all(one.one_value for one in term.ranges)
            return [(found * _FETCH + (0 if ordered else looked_at * _SCAN), attempt)]
        index = _INDICES.get(term.column)
        if index is None or term.operator not in _EQUAL or runs >= _COUNTED:
            return []
        attempt = Attempt(f"executions e INDEXED BY {index}", *_together(self._compiled.terms))
        return [(runs * _TEST + self._all * self._share * _FETCH, attempt)]

    def _walks(self) -> list[tuple[float, Attempt]]:
        """Over runs in the order of the page."""
        everyone = Term("1", ())
        if self._order == "CloseTime":
            return self._walk(everyone, _BY_CLOSE)
        if self._order != "StartTime":
            return []
        ways = self._walk(everyone, "executions_by_start")
        for term in self._compiled.terms:
            if term.column in _BY_START and term.operator == "=":
                ways += self._walk(term, _INDICES[term.column])
        return ways

    def _walk(self, term: Term, index: str) -> list[tuple[float, Attempt]]:
        """To the end if need be, and only as long as it pays."""
        where, parameters = _together(self._compiled.terms)
        runs = self._runs.get(term, self._all)
        attempt = Attempt(f"executions e INDEXED BY {index}", where, parameters, also=self._times)
        expected = min(runs, self._limit / max(self._share * self._all, 1e-9) * runs)
        short = replace(attempt, walk=term, walked=max(_WALKED, int(expected * _PATIENCE)))
        known = [
            other for other in self._compiled.terms if other.ranges and len(other.ranges) <= _RANGES
        ]
        if known and self._order == "StartTime":
            short = replace(short, onward=min(known, key=self._looked_at.__getitem__).ranges or ())
        cost = self._cost(index)
        return [(runs * cost, attempt), (min(runs, expected * _SPREAD) * cost * 0.99, short)]

    def _cost(self, index: str) -> float:
        """Of a run that is walked over, where the index tells of most that they do not pass."""
        share = 1.0
        for term in self._compiled.terms:
            if term.column in _IN_INDEX.get(index, ()):
                share *= min(1.0, self._runs[term] / self._all)
        return min(_TEST, _PASS + share * _TEST)

    # --- how many runs a term finds

    def _estimate(self, term: Term) -> float:
        """Runs of a term alone, within the times that the filter names."""
        if term.ranges is not None:
            rows = 0
            for one in term.ranges:
                if rows < _COUNTED:
                    rows += self._rows(one)
            return rows
        if term.column in _COUNTED_COLUMNS:
            runs = self._one(
                f"SELECT coalesce(sum(runs), 0) FROM run_counts e WHERE {term.sql}", term.parameters
            )
            return min(runs, self._all)
        if term.column in _INDICES and term.operator in _EQUAL:
            index = _INDICES[term.column]
            counted = (
                f"SELECT 1 FROM executions e INDEXED BY {index} WHERE {term.sql} LIMIT {_COUNTED}"
            )
            return self._one(f"SELECT count(*) FROM ({counted})", term.parameters)
        return self._all

    def _rows(self, one: Range) -> int:
        where, parameters = in_times(one, self._times)
        return self._one(
            f"SELECT count(*) FROM (SELECT 1 FROM search_attributes WHERE {where} LIMIT"
            f" {_COUNTED})",
            parameters,
        )

    def _within_times(self, runs: int) -> int:
        if not self._times:
            return runs
        where, parameters = _together(self._times)
        counted = (
            f"SELECT 1 FROM executions e INDEXED BY executions_by_start WHERE {where} LIMIT"
            f" {_COUNTED}"
        )
        found = self._one(f"SELECT count(*) FROM ({counted})", parameters)
        return found if found < _COUNTED else runs

    def _one(self, sql: str, parameters: tuple[Any, ...] = ()) -> int:
        return int(self._connection.execute(sql, parameters).fetchone()[0])


def in_times(one: Range, times: Sequence[Term]) -> tuple[str, tuple[Any, ...]]:
    """A range, and conditions on the start time of which its rows have a copy."""
    sql = " AND ".join((one.sql, *(term.sql.replace("e.", "") for term in times)))
    return sql, (*one.parameters, *(value for term in times for value in term.parameters))
