"""Cron schedules: when the next run of a chain begins. UTC; pure arithmetic on the time that is
handed in.

Takes the standard five fields (minute, hour, day of month, month, day of week; lists, ranges,
steps, names), `@hourly` and its like, and `@every 1h30m`. When both day fields are restricted,
either may match, as in cron.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES)}
_SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000}
_EVERY = re.compile(r"@every\s+((?:\d+[hms])+)$")

# A schedule that fires never within this (30 February) is an error.
_HORIZON_DAYS = 366 * 5


class CronError(ValueError):
    """A schedule that cannot be read."""


class _Fields:
    __slots__ = ("any_day", "any_weekday", "days", "hours", "minutes", "months", "weekdays")

    def __init__(self, schedule: str) -> None:
        parts = schedule.split()
        if len(parts) != 5:
            raise CronError(
                f"cron schedule '{schedule}' must have five fields: minute, hour, day of month,"
                " month, day of week"
            )
        self.minutes = _values(parts[0], 0, 59, {})
        self.hours = _values(parts[1], 0, 23, {})
        self.days = _values(parts[2], 1, 31, {})
        self.months = _values(parts[3], 1, 12, _MONTHS)
        self.weekdays = {day % 7 for day in _values(parts[4], 0, 7, _DAYS)}
        self.any_day = parts[2] in ("*", "?")
        self.any_weekday = parts[4] in ("*", "?")

    def day_matches(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def _values(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    def number(word: str) -> int:
        value = (
            names.get(word.lower())
            if word.lower() in names
            else (int(word) if word.isdigit() else None)
        )
        if value is None or not low <= value <= high:
            raise CronError(f"cron field '{text}': '{word}' is not between {low} and {high}")
        return value

    values: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        step = (
            int(step_text) if step_text.isdigit() and int(step_text) else 1 if not step_text else 0
        )
        if not step:
            raise CronError(f"cron field '{text}': '{step_text}' is not a step")
        if span in ("*", "?"):
            first, last = low, high
        elif "-" in span:
            left, _, right = span.partition("-")
            first, last = number(left), number(right)
        else:
            first = number(span)
            last = high if step_text else first
        if first > last:
            raise CronError(f"cron field '{text}': '{span}' runs backwards")
        values.update(range(first, last + 1, step))
    return values


@lru_cache(maxsize=256)
def _parse(schedule: str) -> _Fields | int:
    """Fields, or the interval of `@every` in ms."""
    every = _EVERY.match(schedule)
    if every is not None:
        interval = sum(
            int(n) * _UNITS_MS[unit] for n, unit in re.findall(r"(\d+)([hms])", every.group(1))
        )
        if not interval:
            raise CronError(f"cron schedule '{schedule}' has an interval of nothing")
        return interval
    if schedule.startswith(("CRON_TZ=", "TZ=")):
        raise CronError(
            "cron schedules run in UTC here; a time zone in the schedule is not supported"
        )
    return _Fields(_SHORTHANDS.get(schedule, schedule))


def problem_of(schedule: str) -> str:
    """Why a schedule is not valid, else ""."""
    if not schedule:
        return ""
    try:
        wait_ms(schedule, 0)
    except CronError as error:
        return str(error)
    return ""


def wait_ms(schedule: str, now_ms: int) -> int:
    """Milliseconds from now to the next time that the schedule fires, at least 1."""
    fields = _parse(schedule.strip())
    if isinstance(fields, int):
        return fields
    now = datetime.fromtimestamp(now_ms // 1_000, UTC)
    day = now.replace(hour=0, minute=0, second=0)
    for _ in range(_HORIZON_DAYS):
        if fields.day_matches(day):
            for hour in sorted(fields.hours):
                for minute in sorted(fields.minutes):
                    at = day.replace(hour=hour, minute=minute)
                    due_ms = int(at.timestamp()) * 1_000
                    if due_ms > now_ms:
                        return due_ms - now_ms
        day += timedelta(days=1)
    raise CronError(f"cron schedule '{schedule}' never fires")
