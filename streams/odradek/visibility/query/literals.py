"""Values of queries: RFC 3339 times, durations, statuses, words. Exact: times and durations are
whole nanoseconds.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from odradek.visibility.query.columns import STATUS_NAMES

_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt"
    r" ](\d{2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*([Zz]|[+-]\d{2}:?\d{2})?)?"
)
# Digits are bounded: `int` and `Fraction` refuse thousands of them, and 64 bits of nanoseconds have
# 19.
_DURATION_PART = re.compile(r"(\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(ns|us|µs|μs|ms|s|m|h|d)")
_CLOCK = re.compile(r"(\d{1,40}):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?")
_UNITS_NS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9,
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NS = 2**63 - 1
_WORD = re.compile(r"\w+")

TIME_EXAMPLE = "a time such as '2026-11-24T18:30:00Z'"
DURATION_EXAMPLE = "a duration such as '10s' or '1h30m'"


def parse_time_ns(text: str) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time; a date alone is its midnight, without a
    zone it is UTC. None for anything else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    date, minutes, seconds, fraction, zone = match.groups()
    text = f"{date}T{minutes or '00:00'}:{seconds or '00'}"
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return None
    offset = _zone_offset(zone)
    if offset is None:
        return None
    whole = (moment - _EPOCH) // timedelta(seconds=1) - offset
    return whole * 10**9 + int((fraction or "").ljust(9, "0"))


def _zone_offset(zone: str | None) -> int | None:
    """Seconds east of UTC; None for a zone that is none."""
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 3_600 + minutes * 60) * (-1 if zone[0] == "-" else 1)


def parse_duration_ns(text: str) -> int | None:
    """Nanoseconds of a duration: Go's form (`1h30m`, `1.5s`, `-250ms`; units ns us ms s m h d)
    or `hh:mm:ss`. None for anything else.
    """
    text = text.strip()
    sign = -1 if text.startswith("-") else 1
    text = text.removeprefix("-").removeprefix("+")
    if text == "0":
        return 0
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        hours, minutes, seconds, fraction = clock.groups()
        total = (int(hours) * 3_600 + int(minutes) * 60 + int(seconds)) * 10**9 + int(
            (fraction or "").ljust(9, "0")
        )
        return sign * total if total <= _MAX_NS else None
    exact, at = Fraction(0), 0
    while at < len(text):
        part = _DURATION_PART.match(text, at)
        if part is None:
            return None
        exact += (
            Fraction(part[1] if not part[1].endswith(".") else part[1] + "0") * _UNITS_NS[part[2]]
        )
        at = part.end()
    return sign * int(exact) if text and exact <= _MAX_NS else None


def parse_status(text: str) -> str | None:
    """The status of that name, in Temporal's spelling or the wire's; None for one that there is
    not.
    """
    return _STATUSES.get(_plain_status(text))


def near_statuses(text: str) -> list[str]:
    """Statuses near to a name that is none."""
    return [
        _STATUSES[near]
        for near in difflib.get_close_matches(_plain_status(text), _STATUSES, n=2, cutoff=0.5)
    ]


def words(text: str) -> list[str]:
    """The words by which a Text is found: runs of letters, digits and `_`, without case."""
    return list(dict.fromkeys(word.casefold() for word in _WORD.findall(text)))


def _plain_status(text: str) -> str:
    return text.replace("_", "").casefold()


_STATUSES = {_plain_status(name): name for name in STATUS_NAMES.values()} | {
    "cancelled": "Canceled"
}
