"""One condition as SQL: a test of a value, put on a column of `executions` or on the rows of a
search attribute.

Times and durations are stored in units coarser than a query's nanoseconds; a bound between two
units is moved to the unit beside it, so that comparisons are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from odradek.visibility.query.columns import AttributeKey, ValueType
from odradek.visibility.query.literals import words
from odradek.visibility.query.terms import Range
from odradek.visibility.query.values import Value

_RANGES = 8  # values of an IN that are looked up one by one
#: Types of which a run has several values, or words.
MANY_VALUED = (ValueType.KEYWORD_LIST, ValueType.TEXT)


@dataclass(frozen=True, slots=True)
class ValueTest:
    """A test of a value. `sql` has `{}` where the value stands. `many`: over several values of
    one run, it is true if it is for one of them; `absent`: turned round, for none of them.
    `ranges`: the same as tests that an index serves, one of which is true; `equal`: each of one
    value. None: the test is such a one itself.
    """

    sql: str
    parameters: tuple[Any, ...]
    many: bool = False
    absent: bool = False
    ranges: tuple[tuple[str, tuple[Any, ...]], ...] | None = None
    equal: bool = False


def make_test(
    value_type: ValueType, unit_ns: int, operator: str, values: Sequence[Value]
) -> ValueTest:
    """The test of one operator (of the type's) with values that fit."""
    if value_type in MANY_VALUED:
        negated = operator == "!=" or operator.startswith("NOT ")
        positive = {"!=": "=", "NOT IN": "IN", "NOT STARTS_WITH": "STARTS_WITH"}.get(
            operator, operator
        )
        if value_type is ValueType.TEXT:
            positive, values = "IN", words(str(values[0]))
        return replace(_scalar(positive, values), many=True, absent=negated)
    if value_type in (ValueType.DATETIME, ValueType.DURATION):
        return _in_units(operator, [int(value) for value in values], unit_ns)
    if value_type is ValueType.BOOL:
        values = [int(value) for value in values]
    return _scalar(operator, values)


def column_sql(column: str, test: ValueTest) -> tuple[str, list[Any]]:
    """A test of a column, which is given as SQL. One with many values says first that it is
    there: so an index of those rows serves it.
    """
    if test.many:
        found = (
            f"EXISTS (SELECT 1 FROM json_each({column}) WHERE {test.sql.replace('{}', 'value')})"
        )
        return f"({column} IS NOT NULL AND {'NOT ' if test.absent else ''}{found})", list(
            test.parameters
        )
    return test.sql.replace("{}", column), list(test.parameters)


def attribute_test(key: AttributeKey, test: ValueTest) -> tuple[str, list[Any]]:
    """A test of a search attribute of the run `e` alone."""
    value_id = key.words_id or key.id
    one = "EXISTS (SELECT 1 FROM search_attributes a WHERE a.execution = e.id AND a.attribute = ?"
    matching = f"{one} AND {test.sql.replace('{}', 'a.value')})"
    if not test.absent:
        return matching, [value_id, *test.parameters]
    return f"({one}) AND NOT {matching})", [key.id, value_id, *test.parameters]


def attribute_ranges(key: AttributeKey, test: ValueTest) -> list[Range]:
    """Rows of a search attribute, one of which each run has that passes the test. Exact unless
    the test is `absent`: a run without one of these values has another value.
    """
    if test.absent:
        if key.words_id or not test.equal or len(test.parameters) != 1:
            return [Range("attribute = ?", (key.id,))]
        others = _scalar("!=", test.parameters).ranges or ()
        return [_range(key.id, sql, parameters) for sql, parameters in others]
    ranges = ((test.sql, test.parameters),) if test.ranges is None else test.ranges
    value_id = key.words_id or key.id
    return [_range(value_id, sql, values, one_value=test.equal) for sql, values in ranges]


def _range(
    attribute: int, sql: str, parameters: Sequence[Any], *, one_value: bool = False
) -> Range:
    low, high = _bounds(sql, parameters)
    return Range(
        f"attribute = ? AND {sql.replace('{}', 'value')}",
        (attribute, *parameters),
        one_value,
        low,
        high,
    )


def _bounds(sql: str, parameters: Sequence[Any]) -> tuple[Any, Any]:
    """Between which values a test is true, as far as it says so plainly."""
    match sql:
        case "{} = ?":
            return parameters[0], parameters[0]
        case "{} < ?" | "{} <= ?":
            return None, parameters[0]
        case "{} > ?" | "{} >= ?" | "({} >= ?)":
            return parameters[0], None
        case "({} BETWEEN ? AND ?)" | "({} >= ? AND {} < ?)":
            return parameters[0], parameters[1]
        case _:
            return None, None


def attribute_sql(key: AttributeKey, test: ValueTest) -> tuple[str, list[Any]]:
    """A test of a search attribute: a lookup of runs in its index."""
    value_id = key.words_id or key.id
    matching = (
        "(SELECT execution FROM search_attributes WHERE attribute = ? AND"
        f" {test.sql.replace('{}', 'value')})"
    )
    if not test.absent:
        return f"e.id IN {matching}", [value_id, *test.parameters]
    having = "(SELECT execution FROM search_attributes WHERE attribute = ?)"
    return f"(e.id IN {having} AND e.id NOT IN {matching})", [key.id, value_id, *test.parameters]


def _scalar(operator: str, values: Sequence[Any]) -> ValueTest:
    match operator:
        case "IN":
            sql = f"{{}} IN ({', '.join('?' * len(values))})"
            if len(values) > _RANGES:
                return ValueTest(sql, tuple(values))
            return ValueTest(
                sql,
                tuple(values),
                ranges=tuple(("{} = ?", (value,)) for value in dict.fromkeys(values)),
                equal=True,
            )
        case "NOT IN":
            return ValueTest(f"{{}} NOT IN ({', '.join('?' * len(values))})", tuple(values))
        case "BETWEEN":
            return ValueTest("({} BETWEEN ? AND ?)", tuple(values))
        case "NOT BETWEEN":
            return ValueTest(
                "({} NOT BETWEEN ? AND ?)",
                tuple(values),
                ranges=_outside(values[0], values[1], "{} > ?"),
            )
        case "STARTS_WITH":
            return _prefix(str(values[0]))
        case "NOT STARTS_WITH":
            test = _prefix(str(values[0]))
            low, *behind = test.parameters
            ranges = _outside(low, behind[0], "{} >= ?") if behind else (("{} < ?", (low,)),)
            return ValueTest(f"(NOT {test.sql})", test.parameters, ranges=ranges)
        case "!=":
            return ValueTest(
                "{} != ?", tuple(values), ranges=_outside(values[0], values[0], "{} > ?")
            )
        case _:
            return ValueTest(f"{{}} {operator} ?", tuple(values), equal=operator == "=")


def _outside(low: Any, high: Any, above: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Below `low`, and above `high`: two ranges of an index, where it would walk over the whole
    for one test. No value lies in both, also when the ends are turned round and every value
    passes: counts add them up.
    """
    return (("{} < ?", (low,)) if low <= high else ("{} <= ?", (high,))), (above, (high,))


def _prefix(prefix: str) -> ValueTest:
    """A range, so that an index serves it: from the prefix up to the first text behind all that
    begin with it.
    """
    behind = _behind(prefix)
    if behind is None:
        return ValueTest("({} >= ?)", (prefix,))
    return ValueTest("({} >= ? AND {} < ?)", (prefix, behind))


def _behind(prefix: str) -> str | None:
    """The smallest text greater than every text that begins with `prefix`, in order of code
    points; None if there is none.
    """
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            following = 0xE000 if last == 0xD7FF else last + 1  # surrogates are no characters
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def _in_units(operator: str, values_ns: Sequence[int], unit_ns: int) -> ValueTest:
    floors = [value // unit_ns for value in values_ns]
    exact = [value % unit_ns == 0 for value in values_ns]
    match operator:
        case "IN" | "NOT IN":
            kept = [value for value, is_exact in zip(floors, exact, strict=True) if is_exact]
            if kept:
                return _scalar(operator, kept)
            return _NEVER if operator == "IN" else _WHEN_KNOWN
        case "BETWEEN" | "NOT BETWEEN":
            low = floors[0] if exact[0] else floors[0] + 1
            return _scalar(operator, [low, floors[1]])
        case "=" if not exact[0]:
            return _NEVER
        case "!=" if not exact[0]:
            return _WHEN_KNOWN
        case "<" if not exact[0]:
            return _scalar("<=", floors)
        case ">=" if not exact[0]:
            return _scalar(">", floors)
        case _:
            return _scalar(operator, floors)


_NEVER = ValueTest("({} IS NULL AND {} IS NOT NULL)", (), ranges=())
_WHEN_KNOWN = ValueTest("({} IS NOT NULL)", ())
