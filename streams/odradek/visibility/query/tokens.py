"""A query's text as tokens. Each knows its column, so that every later error can say where.

Names: letters, digits, `_` and `.`; anything else between backticks. Strings stand in single or
double quotes, a quote inside is doubled or follows a backslash (as in MySQL, which Temporal's
filter comes from). Numbers may carry a sign, a point and an exponent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from odradek.visibility.errors import QueryError

MAX_LENGTH = 65_536  # characters; longer ones are programs, not questions


class TokenKind(Enum):
    """What a token is."""

    NAME = "name"
    KEYWORD = "keyword"
    STRING = "string"
    NUMBER = "number"
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"
    END = "end"


KEYWORDS = frozenset(
    "AND OR NOT IN BETWEEN STARTS_WITH IS NULL TRUE FALSE ORDER GROUP BY ASC DESC".split()
)
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")

_PATTERN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w.]*)
      | (?P<operator><>|!=|<=|>=|=|<|>)
      | (?P<punctuation>[(),])
      | (?P<quote>['"`])""",
    re.VERBOSE,
)
_WORD = re.compile(r"[\w.:+-]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `text` is the name without backticks, the keyword in capitals, the string without
    quotes, else as written.
    """

    kind: TokenKind
    text: str
    column: int  # from 1
    length: int  # in the query

    @property
    def end(self) -> int:
        """Column behind it."""
        return self.column + self.length

    def shown(self) -> str:
        """For messages."""
        if self.kind is TokenKind.END:
            return "the end of the query"
        if self.kind is TokenKind.STRING:
            return f"the string '{self.text}'"
        if self.kind is TokenKind.NAME:
            return f"the name {self.text}"
        return self.text


def tokenize(query: str) -> list[Token]:
    """Tokens of a query, the last one END. Raises QueryError at a character that begins nothing,
    or a quote that does not end.
    """
    if len(query) > MAX_LENGTH:
        raise QueryError(
            f"the query has {len(query)} characters, at most {MAX_LENGTH} are read",
            query=query,
            column=MAX_LENGTH + 1,
        )
    for at, character in enumerate(query):
        if "\ud800" <= character <= "\udfff":
            raise QueryError("half of a surrogate pair is no character", query=query, column=at + 1)
    tokens: list[Token] = []
    at = 0
    while at < len(query):
        match = _PATTERN.match(query, at)
        if match is None:
            raise QueryError(
                f"{query[at]!r} begins nothing that is known here", query=query, column=at + 1
            )
        kind = match.lastgroup
        if kind == "quote":
            token = _quoted(query, at)
        elif kind == "space":
            at = match.end()
            continue
        else:
            token = _plain(query, at, str(kind), match[0])
        tokens.append(token)
        at = token.end - 1
    tokens.append(Token(TokenKind.END, "", len(query) + 1, 0))
    return tokens


def _plain(query: str, at: int, kind: str, text: str) -> Token:
    column, length = at + 1, len(text)
    if kind == "name":
        if text.upper() in KEYWORDS:
            return Token(TokenKind.KEYWORD, text.upper(), column, length)
        return Token(TokenKind.NAME, text, column, length)
    if kind == "number":
        word = _WORD.match(query, at)
        if word is not None and word.end() > at + length:
            raise QueryError(
                f"{word[0]} is no number; times and durations stand in quotes, as '{word[0]}'",
                query=query,
                column=column,
                length=len(word[0]),
            )
        return Token(TokenKind.NUMBER, text, column, length)
    if kind == "operator":
        return Token(TokenKind.OPERATOR, "!=" if text == "<>" else text, column, length)
    return Token(TokenKind.PUNCTUATION, text, column, length)


def _quoted(query: str, begin: int) -> Token:
    quote = query[begin]
    name = quote == "`"
    parts: list[str] = []
    at = begin + 1
    while at < len(query):
        character = query[at]
        if character == quote:
            if query[at + 1 : at + 2] == quote:
                parts.append(quote)
                at += 2
                continue
            text = "".join(parts)
            if name and not text:
                raise QueryError(
                    "a name between backticks is empty", query=query, column=begin + 1, length=2
                )
            return Token(
                TokenKind.NAME if name else TokenKind.STRING, text, begin + 1, at + 1 - begin
            )
        if character == "\\" and not name and at + 1 < len(query):
            parts.append(_ESCAPES.get(query[at + 1], query[at + 1]))
            at += 2
            continue
        parts.append(character)
        at += 1
    what = "name" if name else "string"
    raise QueryError(
        f"this {what} does not end: its closing {quote} is missing",
        query=query,
        column=begin + 1,
        length=len(query) - begin,
    )
