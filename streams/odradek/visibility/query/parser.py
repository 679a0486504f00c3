"""Recursive descent over the tokens: text to `Query`. Knows the grammar and nothing of columns
or types.

    query       = [or] ["GROUP" "BY" name {"," name}] ["ORDER" "BY" name ["ASC"|"DESC"] {"," ...}]
    or          = and {"OR" and}
    and         = not {"AND" not}
    not         = "NOT" not | "(" or ")" | condition
    condition   = name ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                | name ["NOT"] "IN" "(" value {"," value} ")"
                | name ["NOT"] "BETWEEN" value "AND" value
                | name ["NOT"] "STARTS_WITH" value
                | name "IS" ["NOT"] "NULL"
    value       = string | number | "TRUE" | "FALSE"

Bounded: conditions, values of an IN and nesting have limits far above what a person writes, so
that a query cannot exhaust the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from odradek.visibility.errors import QueryError
from odradek.visibility.query.tokens import OPERATORS, Token, TokenKind, tokenize
from odradek.visibility.query.tree import (
    And,
    Between,
    Comparison,
    Condition,
    Expression,
    In,
    IsNull,
    Literal,
    LiteralValue,
    Name,
    Not,
    Or,
    OrderItem,
    Query,
    StartsWith,
)

T = TypeVar("T")

MAX_CONDITIONS = 300
MAX_VALUES = 1_000  # of one IN
MAX_DEPTH = 100
MAX_COLUMNS = 16  # of ORDER BY or GROUP BY

AFTER_NAME = (*OPERATORS, "IN", "NOT IN", "BETWEEN", "STARTS_WITH", "IS NULL")
_MAX_INTEGER = 2**63 - 1
_SHOWN = 20  # characters of a number that is too large


def parse(query: str) -> Query:
    """A query's tree. Raises QueryError with the place and what was expected there."""
    return Parser(query, tokenize(query)).query()


class Parser:
    """One parse. `query()` is called once."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._conditions = 0
        #: The name whose operator or value is being read, for completion.
        self.name: Name | None = None

    # --- tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _advance(self) -> Token:
        token = self._token
        self._at += 1
        return token

    def _is(self, text: str) -> bool:
        return (
            self._token.kind in (TokenKind.KEYWORD, TokenKind.PUNCTUATION)
            and self._token.text == text
        )

    def _take(self, text: str) -> bool:
        if self._is(text):
            self._advance()
            return True
        return False

    def _need(self, text: str, *also: str) -> Token:
        if not self._is(text):
            self._fail(text, *also)
        return self._advance()

    def _fail(self, *expected: str, problem: str = "", token: Token | None = None) -> NoReturn:
        token = token or self._token
        problem = problem or f"found {token.shown()}"
        raise QueryError(
            problem, query=self._text, column=token.column, length=token.length, expected=expected
        )

    # --- grammar

    def query(self) -> Query:
        """The tree of the whole text."""
        filter_: Expression | None = None
        if (
            self._token.kind is not TokenKind.END
            and not self._is("GROUP")
            and not self._is("ORDER")
        ):
            filter_ = self._or()
        group_by = self._columns("GROUP", self._name)
        order_by = self._columns("ORDER", self._order_item)
        if self._token.kind is not TokenKind.END:
            allowed = (
                ()
                if order_by
                else ("ORDER BY",)
                if group_by
                else ("AND", "OR", "GROUP BY", "ORDER BY")
            )
            self._fail(*allowed, "the end of the query")
        return Query(self._text, filter_, group_by, order_by)

    def _columns(self, keyword: str, item: Callable[[], T]) -> tuple[T, ...]:
        if not self._take(keyword):
            return ()
        self._need("BY")
        self.name = None
        items = [item()]
        while self._take(","):
            if len(items) == MAX_COLUMNS:
                self._fail(problem=f"more than {MAX_COLUMNS} columns after {keyword} BY")
            items.append(item())
        return tuple(items)

    def _order_item(self) -> OrderItem:
        name = self._name()
        descending = self._take("DESC")
        if not descending:
            self._take("ASC")
        return OrderItem(name, descending)

    def _or(self) -> Expression:
        terms = [self._and()]
        while self._take("OR"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _and(self) -> Expression:
        terms = [self._not()]
        while self._take("AND"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(problem=f"nested more than {MAX_DEPTH} levels deep")
        try:
            if self._take("NOT"):
                return Not(self._not())
            if self._take("("):
                inner = self._or()
                self._need(")", "AND", "OR")
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Condition:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            self._fail(problem=f"more than {MAX_CONDITIONS} conditions; IN takes a list")
        self.name = None
        self.name = name = self._name("NOT", "(")
        token = self._token
        if token.kind is TokenKind.OPERATOR:
            self._advance()
            return Comparison(name, token.text, self._value(), token.column)
        if self._take("IS"):
            negated = self._take("NOT")
            self._need("NULL", *(() if negated else ("NOT NULL",)))
            return IsNull(name, negated)
        negated = self._take("NOT")
        if self._take("IN"):
            return In(name, self._values(), negated, token.column)
        if self._take("BETWEEN"):
            low = self._value()
            self._need("AND")
            return Between(name, low, self._value(), negated, token.column)
        if self._take("STARTS_WITH"):
            return StartsWith(name, self._value(), negated, token.column)
        if negated:
            self._fail("IN", "BETWEEN", "STARTS_WITH")
        self._fail(*AFTER_NAME, problem=self._unknown_operator(token))

    def _unknown_operator(self, token: Token) -> str:
        if token.kind is TokenKind.NAME and token.text.upper() == "LIKE":
            return "LIKE is not part of this language; STARTS_WITH is"
        if token.kind is TokenKind.END:
            return f"the query ends after the name {self._tokens[self._at - 1].text}"
        return ""

    def _name(self, *also: str) -> Name:
        token = self._token
        if token.kind is not TokenKind.NAME:
            problem = ""
            if token.kind is TokenKind.KEYWORD and token.text not in ("AND", "OR"):
                problem = (
                    f"found {token.shown()}, a word of the language (a column of that name stands"
                    " between backticks)"
                )
            elif token.kind is TokenKind.STRING:
                problem = (
                    f"found {token.shown()} where a name stands first (names take no quotes, or"
                    " backticks)"
                )
            self._fail("a column or search attribute", *also, problem=problem)
        self._advance()
        return Name(token.text, token.column, token.length)

    def _values(self) -> tuple[Literal, ...]:
        self._need("(")
        values = [self._value()]
        while self._take(","):
            if len(values) == MAX_VALUES:
                self._fail(problem=f"more than {MAX_VALUES} values in one IN")
            values.append(self._value())
        self._need(")", ",")
        return tuple(values)

    def _value(self) -> Literal:
        token = self._token
        value: LiteralValue
        if token.kind is TokenKind.STRING:
            value = token.text
        elif token.kind is TokenKind.NUMBER:
            value = self._number(token)
        elif self._is("TRUE") or self._is("FALSE"):
            value = token.text == "TRUE"
        else:
            problem = ""
            if self._is("NULL"):
                problem = "nothing equals NULL; IS NULL and IS NOT NULL ask for it"
            elif token.kind is TokenKind.NAME:
                problem = (
                    f"found {token.shown()} where a value stands (texts and times take quotes:"
                    f" '{token.text}')"
                )
            self._fail("a string in quotes", "a number", "TRUE", "FALSE", problem=problem)
        self._advance()
        return Literal(value, token.column, token.length)

    def _number(self, token: Token) -> int | float:
        shown = token.text if len(token.text) <= _SHOWN else f"{token.text[:_SHOWN]}…"
        digits = token.text.lstrip("+-")
        if digits.isdecimal():
            digits = digits.lstrip("0") or "0"
            # `int` refuses thousands of digits
            sign = -1 if token.text.startswith("-") else 1
            if (
                len(digits) > len(str(_MAX_INTEGER))
                or not -_MAX_INTEGER - 1 <= sign * int(digits) <= _MAX_INTEGER
            ):
                self._fail(problem=f"{shown} is too large: integers have 64 bits")
            return sign * int(digits)
        value = float(token.text)
        if not math.isfinite(value):
            self._fail(problem=f"{shown} is too large")
        return value
