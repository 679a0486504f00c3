"""Pages by key, not by number: a token holds the sort values of a page's last run, and the next
page begins behind them.

So rows that come or go between two pages neither repeat nor hide others. Every order ends with
`turn` and `tie`, which never change and are the same on each instance. The page before one is
the first page behind that one's first run in the order turned round. NULL sorts first ascending
and last descending, as in SQLite. Tokens are opaque, carry a checksum and a hash of their query.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from odradek.visibility.errors import PageTokenError
from odradek.visibility.query import Compiled, SortKey

_CHECKSUM = 8
_VERSION = 4
_INT64 = 1 << 63

#: The order of a query that names none: latest start first.
DEFAULT_ORDER = (SortKey("StartTime", "e.start_time_ms", (), True, False),)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the sort values of its last run, its turn and tie. `now_ms`: of the
    first page, until when open runs' durations count on all of them: what has a later end on
    each page would be passed over. `backward`: those of its first run, for the page before.
    """

    values: tuple[Any, ...]
    turn: int
    tie: int
    now_ms: int = 0
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of what is left behind a cursor; parts follow each other in order. `sql` "1":
    everything.
    """

    sql: str
    parameters: tuple[Any, ...] = ()


def order_of(compiled: Compiled) -> tuple[SortKey, ...]:
    """The query's order, or the default one."""
    return compiled.order_by or DEFAULT_ORDER


def turned_round(compiled: Compiled) -> Compiled:
    """The same runs, the last first."""
    return replace(
        compiled,
        order_by=tuple(replace(key, descending=not key.descending) for key in order_of(compiled)),
    )


def order_sql(order: Sequence[SortKey]) -> tuple[str, tuple[Any, ...]]:
    """ORDER BY's text. Turn and tie go the way of the last column, so that one index can serve
    all.
    """
    items = [f"{key.sql} {'DESC' if key.descending else 'ASC'}" for key in order]
    direction = "DESC" if order[-1].descending else "ASC"
    items += [f"e.turn {direction}", f"e.tie {direction}"]
    return ", ".join(items), tuple(value for key in order for value in key.parameters)


def phases_after(order: Sequence[SortKey], cursor: Cursor | None) -> list[Phase]:
    """Conditions for what comes behind a cursor.

    Behind (a, b, tie) is: a behind, or a equal and b behind, or both equal and the tie (with the
    turn before it) behind. The first column is bounded on its own as well, so that its index is
    entered at the cursor. Where the first column's NULLs come last, they are a second phase: an
    OR with them would keep the index out.
    """
    if cursor is None:
        return [Phase("1")]
    first, value = order[0], cursor.values[0]
    chain, parameters = _behind(order, cursor)
    if len(order) == 1 and value is not None:
        comparison = "<" if first.descending else ">"
        chain = f"({first.sql}, e.turn, e.tie) {comparison} (?, ?, ?)"
        parameters = [*first.parameters, value, cursor.turn, cursor.tie]
    if value is None:
        here = Phase(f"{first.sql} IS NULL AND {chain}", (*first.parameters, *parameters))
        return (
            [here]
            if first.descending
            else [here, Phase(f"{first.sql} IS NOT NULL", first.parameters)]
        )
    bound = f"{first.sql} {'<=' if first.descending else '>='} ? AND {chain}"
    phases = [Phase(bound, (*first.parameters, value, *parameters))]
    if first.descending and first.nullable:
        phases.append(Phase(f"{first.sql} IS NULL", first.parameters))
    return phases


def _behind(order: Sequence[SortKey], cursor: Cursor) -> tuple[str, list[Any]]:
    alternatives: list[str] = []
    parameters: list[Any] = []
    equal: list[str] = []
    equal_parameters: list[Any] = []
    for key, value in zip(order, cursor.values, strict=True):
        further, further_parameters = _further(key, value)
        if further:
            alternatives.append(" AND ".join([*equal, further]))
            parameters += [*equal_parameters, *further_parameters]
        equal.append(f"{key.sql} IS ?")
        equal_parameters += [*key.parameters, value]
    alternatives.append(
        " AND ".join([*equal, f"(e.turn, e.tie) {'<' if order[-1].descending else '>'} (?, ?)"])
    )
    parameters += [*equal_parameters, cursor.turn, cursor.tie]
    return "(" + " OR ".join(f"({alternative})" for alternative in alternatives) + ")", parameters


def _further(key: SortKey, value: Any) -> tuple[str, list[Any]]:
    """Strictly behind a value; "" when nothing can be."""
    if value is None:
        return ("", []) if key.descending else (f"{key.sql} IS NOT NULL", list(key.parameters))
    if not key.descending:
        return f"{key.sql} > ?", [*key.parameters, value]
    if not key.nullable:
        return f"{key.sql} < ?", [*key.parameters, value]
    return f"({key.sql} < ? OR {key.sql} IS NULL)", [*key.parameters, value, *key.parameters]


# --- tokens


def _is_stored(value: Any) -> bool:
    """Whether a column can hold this: tokens come from outside, and their checksum is no secret."""
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, int):
        return -_INT64 <= value < _INT64
    return value is None or (isinstance(value, float) and value == value)


def encode_token(compiled: Compiled, cursor: Cursor) -> bytes:
    """A token for the page behind the cursor: URL-safe letters."""
    body = msgspec.msgpack.encode(
        (
            _VERSION,
            _fingerprint(compiled),
            cursor.values,
            cursor.turn,
            cursor.tie,
            cursor.now_ms,
            cursor.backward,
        )
    )
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=")


def decode_token(compiled: Compiled, token: bytes) -> Cursor:
    """The cursor of a token. Raises PageTokenError for one that is damaged or belongs to another
    query.
    """
    try:
        raw = base64.b64decode(token + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM], raw[_CHECKSUM:]
        if not body or checksum != _checksum(body):
            raise PageTokenError("the page token is damaged: begin again without one")
        version, *parts = msgspec.msgpack.decode(body, type=tuple[Any, ...])
        if version != _VERSION:
            raise PageTokenError("the page token is of another version: begin again without one")
        kinds = tuple[bytes, tuple[Any, ...], int, int, int, bool]
        fingerprint, values, turn, tie, now_ms, backward = msgspec.convert(parts, kinds)
    except (
        binascii.Error,
        msgspec.DecodeError,
        msgspec.ValidationError,
        ValueError,
        RecursionError,
    ) as error:
        raise PageTokenError("the page token is damaged: begin again without one") from error
    if not all(map(_is_stored, values)) or not all(
        _is_stored(number) for number in (turn, tie, now_ms)
    ):
        raise PageTokenError("the page token is damaged: begin again without one")
    if fingerprint != _fingerprint(compiled) or len(values) != len(order_of(compiled)):
        raise PageTokenError(
            "the page token belongs to another query: give it the query it came from, or begin"
            " again without one"
        )
    return Cursor(values, turn, tie, now_ms, backward)


def _fingerprint(compiled: Compiled) -> bytes:
    """What must not change between pages: filter and order, as text."""
    return hashlib.blake2b(" ".join(compiled.query.text.split()).encode(), digest_size=8).digest()


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM, key=b"odradek page token").digest()
