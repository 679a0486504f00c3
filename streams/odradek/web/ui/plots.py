"""Plots of windowed statistics as SVG geometry. Pure; templates/parts/plot.html draws them.

A plot has its own coordinates (WIDTH by HEIGHT) and keeps its proportions; areas are stacked, lines are not. A gap in a line is a window
without a value: nothing is interpolated over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 22


@dataclass(frozen=True, slots=True)
class Series:
    """Values by window; None where there is none. `tone`: a class of the style sheet."""

    name: str
    tone: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """A series as drawn: path data, and what the legend says."""

    name: str
    tone: str
    path: str
    area: str
    latest: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A window under the pointer: where it stands and what it says."""

    x: float
    width: float
    says: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing. `empty`: no series has a value."""

    title: str
    unit: str
    shapes: tuple[Shape, ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, int, str], ...]
    slots: tuple[Slot, ...]
    empty: bool


def plot(
    title: str, unit: str, starts_ms: Sequence[int], step_ms: int, series: Sequence[Series], *, stacked: bool, show: Callable[[float], str]
) -> Plot:
    """The geometry of a plot. show: how a value is written."""
    drawn = _stack(series) if stacked else list(series)
    known = [value for one in drawn for value in one.values if value is not None]
    top = nice_top(max(known, default=0.0))
    count = max(1, len(starts_ms))
    width = (WIDTH - LEFT - RIGHT) / count

    def x(index: float) -> float:
        return round(LEFT + width * index, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)

    shapes = []
    floor: Sequence[float | None] = [0.0] * count
    for one, own in zip(drawn, series, strict=True):
        points = [(x(index + 0.5), None if value is None else y(value)) for index, value in enumerate(one.values)]
        area = _area(points, [(x(index + 0.5), y(value or 0.0)) for index, value in enumerate(floor)]) if stacked else ""
        last = next((value for value in reversed(own.values) if value is not None), None)
        shapes.append(Shape(own.name, own.tone, _line(points), area, "—" if last is None else show(last)))
        floor = one.values
    slots = [
        Slot(x(index), round(width, 2), f"{_when(start, step_ms)}\n" + "\n".join(_said(one, index, show) for one in series))
        for index, start in enumerate(starts_ms)
    ]
    y_ticks = tuple((y(top * part / 2), show(top * part / 2)) for part in range(3))
    return Plot(
        title,
        unit,
        tuple(reversed(shapes)) if stacked else tuple(shapes),
        y_ticks,
        _x_ticks(starts_ms, step_ms, x),
        tuple(slots),
        not any(known),
    )


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> str:
    """Path data of a small line."""
    top = max(values, default=0.0) or 1.0
    step = width / max(1, len(values) - 1)
    return _line([(round(index * step, 1), round(height - 2 - (height - 4) * value / top, 1)) for index, value in enumerate(values)])


def nice_top(value: float) -> float:
    """The next round number at or above a value, whose half is round too."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if value <= factor * power * 1.000001)


def _stack(series: Sequence[Series]) -> list[Series]:
    stacked: list[Series] = []
    below: list[float] = [0.0] * max((len(one.values) for one in series), default=0)
    for one in series:
        below = [base + (value or 0.0) for base, value in zip(below, one.values, strict=True)]
        stacked.append(Series(one.name, one.tone, list(below)))
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
        parts.append(f"{'L' if pen_down else 'M'}{at},{value}" + ("h2" if alone else ""))
        pen_down = True
    return "".join(parts)


def _area(points: Sequence[tuple[float, float | None]], floor: Sequence[tuple[float, float]]) -> str:
    upper = [(at, value) for at, value in points if value is not None]
    if not upper:
        return ""
    path = "M" + "L".join(f"{at},{value}" for at, value in upper)
    return path + "L" + "L".join(f"{at},{value}" for at, value in reversed(floor)) + "Z"


def _said(series: Series, index: int, show: Callable[[float], str]) -> str:
    value = series.values[index]
    return f"{series.name}: {'—' if value is None else show(value)}"


def _when(start_ms: int, step_ms: int) -> str:
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    end = datetime.fromtimestamp((start_ms + step_ms) / 1000, UTC)
    return f"{start:%b %d %H:%M} – {end:%H:%M} UTC"


def _x_ticks(starts_ms: Sequence[int], step_ms: int, x: Callable[[float], float]) -> tuple[tuple[float, int, str], ...]:
    """Place, time and text of about five ticks."""
    if not starts_ms:
        return ()
    every = max(1, len(starts_ms) // 5)
    days = starts_ms[-1] - starts_ms[0] > 2 * 86_400_000
    pattern = "%b %d" if days else "%H:%M"
    return tuple(
        (x(index), starts_ms[index], f"{datetime.fromtimestamp(starts_ms[index] / 1000, UTC):{pattern}}")
        for index in range(0, len(starts_ms), every)
    )
