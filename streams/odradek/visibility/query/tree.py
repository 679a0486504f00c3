"""A parsed query. Names and literals are as written, each with its column; types come later
(`bind.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

LiteralValue: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Name:
    """A column or search attribute, as written."""

    text: str
    column: int
    length: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value, as written: a string, a number, TRUE or FALSE."""

    value: LiteralValue
    column: int
    length: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`name operator value`; operator is one of = != < <= > >=."""

    name: Name
    operator: str
    value: Literal
    operator_column: int = 0


@dataclass(frozen=True, slots=True)
class In:
    """`name [NOT] IN (values)`."""

    name: Name
    values: tuple[Literal, ...]
    negated: bool = False
    operator_column: int = 0


@dataclass(frozen=True, slots=True)
class Between:
    """`name [NOT] BETWEEN low AND high`, both ends included."""

    name: Name
    low: Literal
    high: Literal
    negated: bool = False
    operator_column: int = 0


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`name [NOT] STARTS_WITH prefix`."""

    name: Name
    prefix: Literal
    negated: bool = False
    operator_column: int = 0


@dataclass(frozen=True, slots=True)
class IsNull:
    """`name IS [NOT] NULL`."""

    name: Name
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT term`."""

    term: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All of the terms."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the terms."""

    terms: tuple[Expression, ...]


Condition: TypeAlias = Comparison | In | Between | StartsWith | IsNull
Expression: TypeAlias = Condition | Not | And | Or


@dataclass(frozen=True, slots=True)
class OrderItem:
    """`name [ASC|DESC]`."""

    name: Name
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query. `filter` None: every run."""

    text: str
    filter: Expression | None = None
    group_by: tuple[Name, ...] = field(default=())
    order_by: tuple[OrderItem, ...] = field(default=())
