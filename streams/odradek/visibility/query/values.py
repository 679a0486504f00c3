"""A literal as a value of its column's type, or the error that says what the type takes."""

from __future__ import annotations

from typing import NoReturn, TypeAlias

from odradek.visibility.errors import QueryError
from odradek.visibility.query.columns import STATUS_NAMES, ValueType
from odradek.visibility.query.literals import (
    DURATION_EXAMPLE,
    TIME_EXAMPLE,
    near_statuses,
    parse_duration_ns,
    parse_status,
    parse_time_ns,
    words,
)
from odradek.visibility.query.tree import Literal

Value: TypeAlias = str | int | float | bool


def literal_value(value_type: ValueType, literal: Literal, query: str) -> Value:
    """The value; times and durations as whole nanoseconds. Raises QueryError at the literal."""
    value = literal.value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match value_type:
        case ValueType.KEYWORD | ValueType.KEYWORD_LIST:
            if isinstance(value, str):
                return value
            _fail(literal, query, "a string in quotes")
        case ValueType.TEXT:
            if isinstance(value, str) and words(value):
                return value
            _fail(literal, query, "a string in quotes with a word in it")
        case ValueType.STATUS:
            return _status(literal, query)
        case ValueType.INT | ValueType.DOUBLE:
            if number:
                return value
            _fail(literal, query, "a number")
        case ValueType.BOOL:
            return _bool(literal, query)
        case ValueType.DATETIME:
            moment = (
                parse_time_ns(value)
                if isinstance(value, str)
                else value
                if type(value) is int
                else None
            )
            if moment is not None:
                return moment
            _fail(literal, query, TIME_EXAMPLE, "nanoseconds since 1970 as an integer")
        case ValueType.DURATION:
            duration = (
                parse_duration_ns(value)
                if isinstance(value, str)
                else value
                if type(value) is int
                else None
            )
            if duration is not None:
                return duration
            _fail(literal, query, DURATION_EXAMPLE, "nanoseconds as an integer")


def _status(literal: Literal, query: str) -> str:
    # Temporal's numbers of statuses are taken too (`parseExecutionStatusValue` of its query
    # converter): STATUS_NAMES is in their order.
    names = tuple(STATUS_NAMES.values())
    if type(literal.value) is int and 0 < literal.value <= len(names):
        return names[literal.value - 1]
    if not isinstance(literal.value, str):
        _fail(literal, query, *(f"'{name}'" for name in STATUS_NAMES.values()))
    status = parse_status(literal.value)
    if status is None:
        near = near_statuses(literal.value)
        expected = () if near else tuple(f"'{name}'" for name in STATUS_NAMES.values())
        problem = f"'{literal.value}' is no status"
        raise QueryError(
            problem,
            query=query,
            column=literal.column,
            length=literal.length,
            expected=expected,
            suggestions=near,
        )
    return status


def _bool(literal: Literal, query: str) -> bool:
    value = literal.value
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.casefold() in ("true", "false"):
        return value.casefold() == "true"
    _fail(literal, query, "TRUE", "FALSE")


def _fail(literal: Literal, query: str, *expected: str) -> NoReturn:
    shown = (
        f"'{literal.value}'"
        if isinstance(literal.value, str)
        else str(literal.value).upper()
        if isinstance(literal.value, bool)
        else str(literal.value)
    )
    raise QueryError(
        f"{shown} does not fit",
        query=query,
        column=literal.column,
        length=literal.length,
        expected=expected,
    )
