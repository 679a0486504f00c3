"""A run over time: where bars and marks of a timeline stand, in per cent of its width. Pure; the template draws them as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from odradek.web.api.runs import EventView
from odradek.web.ui.event_groups import OPEN, POINT, WAITING, Group
from odradek.web.ui.event_text import TIMER
from odradek.web.ui.text import duration

_LEAST = 0.25  # per cent: what took no time is still seen
_STEPS_MS = [
    step * unit
    for unit, steps in ((1, (1, 2, 5, 10, 20, 50, 100, 200, 500)), (1_000, (1, 2, 5, 10, 15, 30)), (60_000, (1, 2, 5, 10, 15, 30)))
    for step in steps
] + [hours * 3_600_000 for hours in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 4320, 8760)]
TASK_MARKS_MAX = 400


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch. `kind`: wait (scheduled, and attempts before the last), work, rest (until it is due)."""

    x: float
    width: float
    kind: str


@dataclass(frozen=True, slots=True)
class Row:
    """A group as it is drawn. `point`: where its mark stands, for what has no length."""

    group: Group
    bars: tuple[Bar, ...]
    point: float | None
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """From a time to a place."""

    start_ms: int
    end_ms: int

    def at(self, ms: float) -> float:
        """Per cent of the width, 0 to 100."""
        span = max(1, self.end_ms - self.start_ms)
        return round(min(100.0, max(0.0, (ms - self.start_ms) * 100 / span)), 3)

    def ticks(self, count: int = 6) -> list[tuple[float, str]]:
        """Places of round durations since the start."""
        span = max(1, self.end_ms - self.start_ms)
        step = next((step for step in _STEPS_MS if span / step <= count), span)
        return [
            (self.at(self.start_ms + passed), "0" if not passed else duration(passed)) for passed in range(0, int(span * 0.97) + 1, step)
        ]


def scale_of(events: list[EventView], now_ms: int, *, open_run: bool) -> Scale:
    """The scale of a run: to its last event, or to now while it is open."""
    start = events[0].event_time_ms if events else now_ms
    end = max(events[-1].event_time_ms if events else start, now_ms if open_run else 0)
    return Scale(start, max(end, start + 1))


def row_of(group: Group, scale: Scale) -> Row:
    """A group on the scale."""
    if group.state == POINT:
        return Row(group, (), scale.at(group.start_ms), "")
    end = group.end_ms or scale.end_ms
    bars: list[Bar] = []
    if group.category == TIMER:
        bars.append(_bar(scale, group.start_ms, end, "rest"))
    elif group.state == WAITING or not group.started_ms:
        bars.append(_bar(scale, group.start_ms, end, "wait"))
    else:
        if group.started_ms > group.start_ms:
            bars.append(_bar(scale, group.start_ms, group.started_ms, "wait"))
        bars.append(_bar(scale, group.started_ms, end, "work"))
    label = duration(end - group.start_ms)
    return Row(group, tuple(bars), None, f"{label} …" if group.state in (OPEN, WAITING) else label)


def _bar(scale: Scale, start_ms: int, end_ms: int, kind: str) -> Bar:
    x = scale.at(start_ms)
    width = max(_LEAST, scale.at(end_ms) - x)
    return Bar(min(x, 100 - _LEAST), round(width, 3), kind)


def task_marks(events: Iterable[EventView], scale: Scale) -> list[tuple[float, bool]]:
    """Where workflow code ran, and whether it failed; thinned out when there are very many."""
    marks: dict[tuple[float, bool], None] = {}
    for event in events:
        if event.event_type in ("WorkflowTaskCompleted", "WorkflowTaskFailed", "WorkflowTaskTimedOut"):
            place = round(scale.at(event.event_time_ms) * TASK_MARKS_MAX / 100) * 100 / TASK_MARKS_MAX
            marks[place, event.event_type != "WorkflowTaskCompleted"] = None
    return list(marks)
