"""Times and lengths of time for people.

`--time-format` says how times are written; without it, as with `temporal`, by how long ago they
were (`relative`), but those of events and records, which stand close to each other, to the
millisecond (`iso`). JSON has its own form, whatever is asked for.
"""

from __future__ import annotations

import time
from datetime import datetime

from odradek.cli.style import style

_SECOND_MS = 1_000
_DAY_MS = 86_400 * _SECOND_MS
_UNITS = (
    ("year", 360 * _DAY_MS),
    ("month", 30 * _DAY_MS),
    ("week", 7 * _DAY_MS),
    ("day", _DAY_MS),
    ("hour", 3_600 * _SECOND_MS),
    ("minute", 60 * _SECOND_MS),
    ("second", _SECOND_MS),
)


def now_ms() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1_000)


def time_text(milliseconds: int) -> str:
    """The time of an event or a record, `iso` unless told otherwise; "-" for 0. milliseconds:
    since the epoch.
    """
    return _text(milliseconds, style().time_format or "iso")


def since_text(milliseconds: int) -> str:
    """A time by how long ago it was, unless told otherwise; "-" for 0. milliseconds: since the
    epoch.
    """
    return _text(milliseconds, style().time_format or "relative")


def _text(milliseconds: int, form: str) -> str:
    if not milliseconds:
        return "-"
    return {"relative": relative_text, "raw": raw_text}.get(form, iso_text)(milliseconds)


def iso_text(milliseconds: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return _time_of(milliseconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def raw_text(milliseconds: int) -> str:
    """As Go writes a time, which is what `temporal` calls raw: `2026-11-24 18:30:00.5 +0000 UTC`."""
    at = _time_of(milliseconds)
    fraction = f".{at.microsecond:06}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def relative_text(milliseconds: int) -> str:
    """`3 minutes ago`, `1 hour from now`, `now`: in the largest unit of which it is one at least."""
    distance = now_ms() - milliseconds
    for unit, size in _UNITS:
        count = abs(distance) // size
        if count:
            return (
                f"{count} {unit}{'s' if count > 1 else ''} {'ago' if distance > 0 else 'from now'}"
            )
    return "now"


def age_text(milliseconds: int) -> str:
    """A length of time."""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds} ms"
    seconds = milliseconds / _SECOND_MS
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _time_of(milliseconds: int) -> datetime:
    from odradek.client.description import time_of

    return time_of(milliseconds)


def duration_text(milliseconds: int) -> str:
    """A duration as `temporal` writes it: Go's form with days, parts apart: `1d 2h 3m 4.5s`, `0s`."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if not (hours or minutes or seconds) and rest:
        return f"{rest}ms"
    parts = [f"{hours // 24}d"] if hours >= 24 else []
    parts += [f"{hours % 24}h"] if hours else []
    parts += [f"{minutes}m"] if hours or minutes else []
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    return " ".join([*parts, f"{seconds}{fraction}s"])
