"""A filter with search attributes, term by term, so that a planner may choose which term finds
the runs and which ones only test them.

A condition over a search attribute can be asked in two ways: which runs have such a value
(`Range`, rows of `search_attributes` that lie together in its index), or whether this run has
one (`Term.test`). The first is quick where few have it, the second where many do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of `search_attributes`: `sql` over its columns; the attribute is its first parameter.
    `one_value`: all have the same value, so the index has them by start. `low`, `high`: no value
    is below or above these, None where there is no such bound.
    """

    sql: str
    parameters: tuple[Any, ...]
    one_value: bool = False
    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True)
class Term:
    """One of the terms that AND joins, as SQL over a run `e` whose search attributes are looked
    up one run at a time.

    ranges: every run that the term finds has a row in them; None: no ranges can say so.  exact:
    and no other run has one.  single: and none has two. column: the term is a comparison of just
    this column of `executions`.  operator: that comparison's, or IS NULL (negated or not) on
    whatever; "" of what AND, OR and NOT join.
    """

    sql: str
    parameters: tuple[Any, ...]
    ranges: tuple[Range, ...] | None = None
    exact: bool = False
    column: str = ""
    operator: str = ""
    single: bool = False
