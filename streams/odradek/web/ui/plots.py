"""Plots of windowed statistics as SVG geometry, and the same values as a table. Pure;
templates/parts/plot.html draws them.

A plot has its own coordinates (WIDTH by HEIGHT) and keeps its proportions; areas are stacked,
lines are not. A gap in a line is a window without a value: nothing is interpolated over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from odradek.web.ui.text import duration, number

WIDTH, HEIGHT = 520, 190
#: Room around what is drawn. Left it is that of the longest name of a tick ("400 ms", "1000 d") at
#: the largest size of the style sheet.
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 22

#: What values are: whole things, things a minute, milliseconds.
COUNT, RATE, DURATION = "count", "rate", "duration"
_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
#: Steps of an axis of durations, with what its ticks are written in.
_UNITS = (
    (1, "ms", (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    (1_000, "s", (1, 2, 5, 10, 15, 30)),
    (_MINUTE_MS, "m", (1, 2, 5, 10, 15, 30)),
)
_LONG_UNITS = (
    (_HOUR_MS, "h", (1, 2, 3, 6, 12)),
    (_DAY_MS, "d", (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)),
)
_STEPS = [
    (step * unit, unit, name) for unit, name, steps in (*_UNITS, *_LONG_UNITS) for step in steps
]
#: Steps of an axis of times.
_TIMES_MS = (
    5 * _MINUTE_MS,
    10 * _MINUTE_MS,
    15 * _MINUTE_MS,
    30 * _MINUTE_MS,
    *(h * _HOUR_MS for h in (1, 2, 4, 6, 12, 24, 48, 120, 240)),
)
_TICKS_MOST = 4


@dataclass(frozen=True, slots=True)
class Series:
    """Values by window; None where there is none. `tone`: a class of the style sheet."""

    name: str
    tone: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """A series as drawn: path data, and what the legend says, the value of the latest window
    that has one.
    """

    name: str
    tone: str
    path: str
    area: str
    latest: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A window under the pointer: where it stands, its times, and what it says. `says` begins
    with its times, in UTC, on a line.
    """

    x: float
    width: float
    says: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing. `key`: its name in an address; `window`: how long one is, in words; `empty`: no
    series has a value; `rows`: the same as a table, start and texts by series.
    """

    key: str
    title: str
    unit: str
    window: str
    shapes: tuple[Shape, ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, int, str], ...]
    slots: tuple[Slot, ...]
    empty: bool
    says: str
    names: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT
    left: ClassVar[int] = LEFT
    right: ClassVar[int] = WIDTH - RIGHT
    top: ClassVar[int] = TOP
    bottom: ClassVar[int] = HEIGHT - BOTTOM


def plot(
    key: str,
    title: str,
    unit: str,
    starts_ms: Sequence[int],
    step_ms: int,
    series: Sequence[Series],
    *,
    kind: str,
    stacked: bool = False,
) -> Plot:
    """The geometry of a plot. kind: COUNT, RATE or DURATION."""
    drawn = _stack(series) if stacked else list(series)
    known = [value for one in drawn for value in one.values if value is not None]
    ticks = axis_of(max(known, default=0.0), kind)
    top, count = ticks[-1][0], max(1, len(starts_ms))
    width = (WIDTH - LEFT - RIGHT) / count
    show = _SHOWN[kind]

    def x(index: float) -> float:
        return round(LEFT + width * index, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    shapes = []
    floor: Sequence[float | None] = [0.0] * len(starts_ms)
    for one, own in zip(drawn, series, strict=True):
        points = [
            (x(index + 0.5), None if value is None else y(value))
            for index, value in enumerate(one.values)
        ]
        area = (
            _area(points, [(x(index + 0.5), y(value or 0.0)) for index, value in enumerate(floor)])
            if stacked
            else ""
        )
        last = next((value for value in reversed(own.values) if value is not None), None)
        shapes.append(
            Shape(own.name, own.tone, _line(points), area, "—" if last is None else show(last))
        )
        floor = one.values
    texts = [
        tuple(
            "—" if one.values[index] is None else show(one.values[index] or 0.0) for one in series
        )
        for index in range(len(starts_ms))
    ]
    slots = [
        Slot(
            x(index),
            round(width, 2),
            "\n".join(
                [
                    _when(start, step_ms),
                    *(f"{one.name}: {said}" for one, said in zip(series, row, strict=True)),
                ]
            ),
            start,
            start + step_ms,
        )
        for index, (start, row) in enumerate(zip(starts_ms, texts, strict=True))
    ]
    return Plot(
        key,
        title,
        unit,
        window_text(step_ms),
        tuple(reversed(shapes)) if stacked else tuple(shapes),
        tuple((y(value), text) for value, text in ticks),
        _x_ticks(starts_ms, step_ms, x),
        tuple(slots),
        not known if kind != RATE else not any(known),
        _spoken(title, unit, series, show),
        tuple(one.name for one in series),
        tuple(zip(starts_ms, texts, strict=True)),
    )


def window_text(step_ms: int) -> str:
    """How long a window is, as it follows "latest": minute, 5 minutes, 2 hours."""
    minutes = step_ms // 60_000
    count, unit = (minutes // 60, "hour") if minutes % 60 == 0 else (minutes, "minute")
    return unit if count == 1 else f"{count} {unit}s"


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> str:
    """Path data of a small line."""
    top = max(values, default=0.0) or 1.0
    step = width / max(1, len(values) - 1)
    return _line(
        [
            (round(index * step, 1), round(height - 2 - (height - 4) * value / top, 1))
            for index, value in enumerate(values)
        ]
    )


def axis_of(most: float, kind: str) -> list[tuple[float, str]]:
    """Ticks from 0 to a round value at or above the highest, two to five of them, in one unit."""
    if kind == DURATION:
        return _duration_axis(most or 1_000.0)
    # A rate below one needs fractions; from there on they would be halves of runs.
    step = max(_round_up((most or 1.0) / _TICKS_MOST), 1.0 if kind == COUNT or most >= 1 else 0.0)
    return [(step * place, _amount(step * place)) for place in range(_intervals(most, step) + 1)]


def _duration_axis(most: float) -> list[tuple[float, str]]:
    step, unit, name = next((one for one in _STEPS if most / one[0] <= _TICKS_MOST), _STEPS[-1])
    count = _intervals(most, step)
    if unit == 1 and step * count >= 1_000:
        unit, name = 1_000, "s"  # 0.5 s and 1 s, not 1000 ms
    return [
        (float(step * place), f"{step * place / unit:g} {name}" if place else "0")
        for place in range(count + 1)
    ]


def _intervals(most: float, step: float) -> int:
    return max(1, math.ceil(most / step - 1e-9))


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, … at or above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        factor * power for factor in (1.0, 2.0, 5.0, 10.0) if value <= factor * power * 1.000001
    )


def _amount(value: float) -> str:
    """A number on an axis: 0.25, 40, 1,500, 12 k, 3 M."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if value >= 10_000 and value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:,.10g}"


def _rate(value: float) -> str:
    return (
        f"{value:.0f}"
        if value >= 100 or value == int(value)
        else f"{value:.1f}"
        if value >= 1
        else f"{value:.2f}"
    )


_SHOWN: dict[str, Callable[[float], str]] = {COUNT: number, RATE: _rate, DURATION: duration}


def _spoken(title: str, unit: str, series: Sequence[Series], show: Callable[[float], str]) -> str:
    """The plot in a sentence, for who does not see it."""
    parts = []
    for one in series:
        known = [value for value in one.values if value is not None]
        parts.append(
            f"{one.name}: last {show(known[-1])}, highest {show(max(known))}"
            if known
            else f"{one.name}: nothing"
        )
    return f"{title}{' ' if unit else ''}{unit}. {'; '.join(parts)}"


def _stack(series: Sequence[Series]) -> list[Series]:
    stacked: list[Series] = []
    below: list[float] = [0.0] * max((len(one.values) for one in series), default=0)
    for one in series:
        below = [base + (value or 0.0) for base, value in zip(below, one.values, strict=True)]
        stacked.append(
            Series(
                one.name,
                one.tone,
                [
                    None if own is None else sum_
                    for own, sum_ in zip(one.values, below, strict=True)
                ],
            )
        )
    return stacked


def _line(points: Sequence[tuple[float, float | None]]) -> str:
    """Path data; a lone point between gaps is a short dash, or it would not be seen."""
    parts: list[str] = []
    pen_down = False
    for index, (at, value) in enumerate(points):
        if value is None:
            pen_down = False
            continue
        alone = not pen_down and (index + 1 == len(points) or points[index + 1][1] is None)
        parts.append(
            f"M{round(at - 2.5, 1)},{value}h5"
            if alone
            else f"{'L' if pen_down else 'M'}{at},{value}"
        )
        pen_down = True
    return "".join(parts)


def _area(
    points: Sequence[tuple[float, float | None]], floor: Sequence[tuple[float, float]]
) -> str:
    upper = [(at, value) for at, value in points if value is not None]
    if not upper:
        return ""
    lower = [place for place, (_, value) in zip(floor, points, strict=True) if value is not None]
    path = "M" + "L".join(f"{at},{value}" for at, value in upper)
    return path + "L" + "L".join(f"{at},{value}" for at, value in reversed(lower)) + "Z"


def _when(start_ms: int, step_ms: int) -> str:
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    end = datetime.fromtimestamp((start_ms + step_ms) / 1000, UTC)
    return f"{start:%b %d %H:%M} – {end:%H:%M} UTC"


def _x_ticks(
    starts_ms: Sequence[int], step_ms: int, x: Callable[[float], float]
) -> tuple[tuple[float, int, str], ...]:
    """Place, time and text of at most six ticks, at round times."""
    if not starts_ms:
        return ()
    first, end = starts_ms[0], starts_ms[-1] + step_ms
    every = next((step for step in _TIMES_MS if (end - first) / step <= 6), _TIMES_MS[-1])
    pattern = "%b %d" if every >= _DAY_MS else "%H:%M"
    return tuple(
        (x((at - first) / step_ms), at, f"{datetime.fromtimestamp(at / 1000, UTC):{pattern}}")
        for at in range(-(-first // every) * every, end, every)
    )
