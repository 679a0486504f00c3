"""What may come next in a query that is being typed. For query boxes and shells.

The text before the cursor is parsed without the word that is being typed: either it is a whole
query, which may go on, or the parser's error says what it expected at the end. So completion
cannot disagree with the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from odradek.visibility.errors import QueryError
from odradek.visibility.query.columns import COLUMNS, STATUS_NAMES, Catalog, ValueType, operators_of
from odradek.visibility.query.parser import Parser
from odradek.visibility.query.tokens import KEYWORDS, Token, TokenKind, tokenize

#: Values that runs have, by column name and the prefix typed so far: what a store's `values_of`
#: gives.
ValuesOf = Callable[[str, str], Iterable[str]]

_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*")
_LIMIT = 50
_TEXTS = {ValueType.KEYWORD, ValueType.KEYWORD_LIST}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text to put in. `kind`: column, attribute, operator, keyword or value; `detail`: its
    type, for people.
    """

    text: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """Suggestions, best first, for the characters `start` to `end` (offsets, from 0) of the
    query. `error`: why there can be none.
    """

    start: int
    end: int
    suggestions: tuple[Suggestion, ...]
    error: QueryError | None = None


def complete(
    query: str,
    position: int,
    catalog: Catalog,
    values_of: ValuesOf | None = None,
    *,
    grouping: bool = True,
) -> Completion:
    """What may stand at `position` (an offset, from 0) of the query. grouping: whether it may
    have GROUP BY, as that of a count.
    """
    position = max(0, min(position, len(query)))
    text = query[:position]
    start = position
    try:
        tokens = tokenize(text)
    except QueryError as error:
        if error.column - 1 >= len(text) or text[error.column - 1] not in "'\"`":
            return Completion(position, position, (), error)
        start = error.column - 1
        tokens = tokenize(text[:start])
    else:
        if (
            len(tokens) > 1
            and tokens[-2].end - 1 == position
            and tokens[-2].kind in (TokenKind.NAME, TokenKind.KEYWORD, TokenKind.OPERATOR)
        ):
            start = tokens[-2].column - 1
            tokens = [*tokens[:-2], Token(TokenKind.END, "", start + 1, 0)]
    typed = text[start:]
    parser = Parser(text[:start], tokens)
    try:
        parsed = parser.query()
    except QueryError as error:
        if error.column <= start:
            return Completion(start, position, (), error)
        options = _options(
            error.expected,
            parser.name.text if parser.name is not None else None,
            typed,
            catalog,
            values_of,
        )
    else:
        after: tuple[str, ...] = (
            ("ORDER BY",) if parsed.group_by else ("AND", "OR", "GROUP BY", "ORDER BY")
        )
        if parsed.order_by:
            after = ("DESC", "ASC") if tokens[-2].kind is TokenKind.NAME else ()
        options = (
            [Suggestion(word, "keyword") for word in after]
            if parsed.filter is not None or parsed.order_by or parsed.group_by
            else (
                _options(
                    ("a column or search attribute", "NOT", "(", "ORDER BY", "GROUP BY"),
                    None,
                    typed,
                    catalog,
                    values_of,
                )
            )
        )
    options = [one for one in options if grouping or one.text != "GROUP BY"]
    return Completion(start, position, tuple(_matching(options, typed))[:_LIMIT])


def _options(
    expected: Iterable[str],
    name: str | None,
    typed: str,
    catalog: Catalog,
    values_of: ValuesOf | None,
) -> list[Suggestion]:
    options: list[Suggestion] = []
    types = _types(name, catalog)
    for what in expected:
        if what == "a column or search attribute":
            options += [
                Suggestion(column.name, "column", column.value_type.value)
                for column in COLUMNS.values()
            ]
            options += [
                Suggestion(_quoted_name(attribute), "attribute", _detail(attribute, catalog))
                for attribute in catalog.attribute_names()
            ]
        elif what == "a string in quotes":
            options += _values(name, types, typed, values_of)
        elif what in ("TRUE", "FALSE"):
            if ValueType.BOOL in types:
                options.append(Suggestion(what, "value", "Bool"))
        elif what in ("a number", "the end of the query"):
            continue
        elif what in _OPERATORS:
            if what in operators_of(types or [ValueType.KEYWORD]):
                options.append(Suggestion(what, "operator"))
        else:
            options.append(Suggestion(what, "keyword"))
    return options


_OPERATORS = frozenset(operators_of(ValueType))


def _types(name: str | None, catalog: Catalog) -> list[ValueType]:
    if name is None:
        return []
    column = COLUMNS.get(name)
    if column is not None:
        return [column.value_type]
    attribute = catalog.attribute(name)
    return [key.value_type for key in attribute.keys] if attribute is not None else []


def _detail(name: str, catalog: Catalog) -> str:
    return ", ".join(value_type.value for value_type in _types(name, catalog))


def _values(
    name: str | None, types: list[ValueType], typed: str, values_of: ValuesOf | None
) -> list[Suggestion]:
    if ValueType.STATUS in types:
        return [Suggestion(f"'{status}'", "value", "Status") for status in STATUS_NAMES.values()]
    if ValueType.DATETIME in types:
        return [Suggestion("'2026-11-24T00:00:00Z'", "value", "an RFC 3339 time")]
    if ValueType.DURATION in types:
        return [
            Suggestion("'10s'", "value", "a duration"),
            Suggestion("'1h30m'", "value", "a duration"),
        ]
    if name is None or values_of is None or not _TEXTS.intersection(types):
        return []
    return [
        Suggestion("'" + value.replace("\\", "\\\\").replace("'", "''") + "'", "value")
        for value in values_of(name, _unquoted(typed))
    ]


def _matching(options: Iterable[Suggestion], typed: str) -> list[Suggestion]:
    wanted = _unquoted(typed).casefold()
    if not wanted:
        return list(options)
    first = [option for option in options if _bare(option.text).casefold().startswith(wanted)]
    return first + [
        option
        for option in options
        if option not in first and wanted in _bare(option.text).casefold()
    ]


def _unquoted(typed: str) -> str:
    """What was typed behind its opening quote, if it has one."""
    return typed[1:] if typed[:1] in ("'", '"', "`") else typed


def _bare(text: str) -> str:
    return text.strip("'\"`")


def _quoted_name(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and name.upper() not in KEYWORDS:
        return name
    return "`" + name.replace("`", "``") + "`"
