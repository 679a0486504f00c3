"""A run over time: where bars and marks of a timeline stand, in per cent of its width. Pure; the
template draws them as SVG.

Nothing is drawn that is not known. The history has the start of an activity's last attempt
alone, so the attempts before it are one stretch without a place of their own; of what is still
open its owner tells the attempt and when the next one is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from odradek.web.api.history import EventView
from odradek.web.ui.event_groups import OPEN, POINT, WAITING, Group
from odradek.web.ui.event_text import TIMER
from odradek.web.ui.text import duration

_LEAST = 0.25  # per cent: what took no time is still seen
_STEPS_MS = [
    step * unit
    for unit, steps in (
        (1, (1, 2, 5, 10, 20, 50, 100, 200, 500)),
        (1_000, (1, 2, 5, 10, 15, 30)),
        (60_000, (1, 2, 5, 10, 15, 30)),
    )
    for step in steps
] + [hours * 3_600_000 for hours in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 4320, 8760)]
TASK_MARKS_MAX = 400
#: What is due yet gets at most this share of the time that has passed, and what is due later runs
#: off the edge.
_AHEAD = 0.25
#: The shortest stretch that can be zoomed into.
PART_LEAST_MS = 10
# A label stands beside its bar where that leaves it room, else on it. Per cent.
_LABEL_ROOM = 24.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch. `says`: in words; `event_id`: of the event that tells most of it.

    kind: wait (scheduled, no attempt has begun), tries (attempts before the last, and the waits
    between them), work (the last attempt), backoff (until the next attempt), rest (a timer),
    ahead (a timer's time to come).
    """

    x: float
    width: float
    kind: str
    says: str = ""
    event_id: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """Words at a bar. `place`: after it, before it, on it. `due_ms`: of what they count down to,
    0 for nothing.
    """

    x: float
    place: str
    text: str
    due_ms: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A group as it is drawn. `point`: where its mark stands, for what has no length. `says`:
    all of it, for who does not see it.
    """

    group: Group
    bars: tuple[Bar, ...]
    point: float | None
    label: str
    attempt: Label | None = None
    says: str = ""

    @property
    def beside(self) -> float | None:
        """Where the label stands right behind the bars; None where there is no room: it has a
        column at the end of the row.
        """
        if not self.bars:
            return None
        right = self.bars[-1].x + self.bars[-1].width
        return right if right <= 100 - _LABEL_ROOM * (1 if self.attempt is None else 2) else None


@dataclass(frozen=True, slots=True)
class Scale:
    """From a time to a place. `origin_ms`: the run's start, which ticks count from. `now_ms`:
    what is open ends here; 0: at the end.
    """

    start_ms: int
    end_ms: int
    origin_ms: int | None = None
    now_ms: int = 0

    @property
    def open_ms(self) -> int:
        """Where what is still open ends."""
        return self.now_ms or self.end_ms

    @property
    def now(self) -> float | None:
        """The place of now, when time to come is shown too."""
        return self.at(self.now_ms) if self.start_ms <= self.now_ms < self.end_ms else None

    def at(self, ms: float) -> float:
        """Per cent of the width, 0 to 100."""
        span = max(1, self.end_ms - self.start_ms)
        return round(min(100.0, max(0.0, (ms - self.start_ms) * 100 / span)), 3)

    def shows(self, start_ms: int, end_ms: int) -> bool:
        """Whether anything of a stretch is in sight."""
        return start_ms <= self.end_ms and end_ms >= self.start_ms

    def part(self, since_ms: int, until_ms: int) -> Scale:
        """A part of it, given in milliseconds since the run's start; the whole, where that is
        less than can be seen.
        """
        origin = self._origin
        start = min(max(self.start_ms, origin + since_ms), self.end_ms - PART_LEAST_MS)
        end = max(min(self.end_ms, origin + until_ms), start + PART_LEAST_MS)
        return self if start < self.start_ms else Scale(start, end, origin, self.now_ms)

    def ticks(self, count: int = 6) -> list[tuple[float, str]]:
        """Places of round durations since the run's start."""
        span, passed = max(1, self.end_ms - self.start_ms), self.start_ms - self._origin
        step = next((step for step in _STEPS_MS if span / step <= count), span)
        first = -(-passed // step) * step
        return [
            (self.at(self._origin + at), _since(at, step))
            for at in range(first, passed + int(span * 0.97) + 1, step)
        ]

    @property
    def _origin(self) -> int:
        return self.start_ms if self.origin_ms is None else self.origin_ms


def _since(ms: int, step_ms: int) -> str:
    """A time since the start as exactly as its neighbours need it: 5 s, 2 h 05 m, 1:02:03.250."""
    if not ms:
        return "0"
    if ms < 60_000 or step_ms % 60_000 == 0:
        return duration(ms).removesuffix(" 00 s").removesuffix(" 00 m").removesuffix(" 0 h")
    seconds, part = divmod(ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"{text}.{part:03d}" if step_ms % 1_000 else text


def scale_of(
    events: list[EventView], now_ms: int, *, open_run: bool, due_ms: Iterable[int] = ()
) -> Scale:
    """The scale of a run: to its last event; while it is open to now, and on to what is due
    next, as far as that is near.
    """
    start = events[0].event_time_ms if events else now_ms
    end = max(events[-1].event_time_ms if events else start, now_ms if open_run else 0, start + 1)
    if not open_run:
        return Scale(start, end, start)
    ahead = max((due - end for due in due_ms), default=0)
    return Scale(start, end + max(0, min(ahead, int((end - start) * _AHEAD))), start, end)


def row_of(group: Group, scale: Scale) -> Row:
    """A group on the scale."""
    if group.state == POINT:
        return Row(group, (), scale.at(group.start_ms), "", says=_spoken(group, ""))
    end = group.end_ms or scale.open_ms
    stretches = _timer(group, scale) if group.category == TIMER else _activity(group, scale)
    found = [bar for bar in (_bar(scale, *stretch) for stretch in stretches) if bar is not None]
    # A wait too short to be seen is left out where there is something else to see.
    bars = tuple(
        bar for bar in found if bar.kind != "wait" or bar.width > _LEAST or len(found) == 1
    )
    taken = duration(max(0, end - group.start_ms))
    label = f"{taken} …" if group.state in (OPEN, WAITING) else taken
    return Row(group, bars, None, label, _attempt_label(group, bars), _spoken(group, label))


_Stretch = tuple[int, int, str, str, int]  # start, end, kind, says, event id


def _timer(group: Group, scale: Scale) -> list[_Stretch]:
    first, last = group.first_id, group.events[-1].event_id
    end = group.end_ms or scale.open_ms
    found = [(group.start_ms, end, "rest", f"Timer of {group.before}", last)]
    if not group.end_ms and group.due_ms > end:
        found.append((end, group.due_ms, "ahead", "Until it is due", first))
    return found


def _activity(group: Group, scale: Scale) -> list[_Stretch]:
    first, last = group.first_id, group.events[-1].event_id
    start, end, attempt = group.start_ms, group.end_ms or scale.open_ms, group.attempt
    # The Started event has the failure of the attempt before it.
    begun = next(
        (event.event_id for event in group.events if event.event_type == "ActivityTaskStarted"),
        first,
    )
    if not group.started_ms:
        if attempt <= 1:
            return [
                (
                    start,
                    end,
                    "wait",
                    f"Scheduled, not begun: {duration(max(0, end - start))}",
                    first,
                )
            ]
        found = [(start, end, "tries", _earlier(attempt - 1, end - start), first)]
        if not group.end_ms and group.due_ms > end:
            found.append((end, group.due_ms, "backoff", f"Waits for attempt {attempt}", first))
        return found
    before = group.started_ms - start
    found = []
    if before > 0 and attempt > 1:
        found.append((start, group.started_ms, "tries", _earlier(attempt - 1, before), begun))
    elif before > 0:
        found.append(
            (start, group.started_ms, "wait", f"Scheduled, not begun: {duration(before)}", first)
        )
    said = f"Attempt {attempt}: {duration(max(0, end - group.started_ms))}"
    return [*found, (group.started_ms, end, "work", said, last)]


def _earlier(count: int, taken_ms: int) -> str:
    what = (
        "Attempt 1 and the wait behind it"
        if count == 1
        else f"Attempts 1 to {count} and the waits behind them"
    )
    return f"{what}: {duration(max(0, taken_ms))} together; the history does not keep their times"


def _bar(
    scale: Scale, start_ms: int, end_ms: int, kind: str, says: str, event_id: int
) -> Bar | None:
    """None for what is out of sight."""
    if not scale.shows(start_ms, end_ms):
        return None
    x = scale.at(start_ms)
    width = max(_LEAST, scale.at(end_ms) - x)
    return Bar(min(x, 100 - _LEAST), round(width, 3), kind, says, event_id)


def _attempt_label(group: Group, bars: tuple[Bar, ...]) -> Label | None:
    if group.attempt <= 1 or not bars:
        return None
    due = group.due_ms if not group.end_ms and not group.started_ms else 0
    text = f"attempt {group.attempt}"
    right = bars[-1].x + bars[-1].width
    if right <= 100 - _LABEL_ROOM:
        return Label(right, "after", text, due)
    # The attempt's own bar, else all that is known; before it may be on the bar of the attempts
    # before.
    own = next((bar for bar in bars if bar.kind == "work"), bars[0])
    return Label(own.x, "before" if own.x >= _LABEL_ROOM else f"on {own.kind}", text, due)


def _spoken(group: Group, label: str) -> str:
    state = {POINT: "", WAITING: "scheduled"}.get(group.state, group.state.replace("-", " "))
    attempt = f"attempt {group.attempt}" if group.attempt > 1 else ""
    said = (
        group.name,
        group.summary,
        state,
        attempt,
        label.removesuffix(" …"),
        group.failure,
        group.retried,
    )
    return ", ".join(part for part in said if part)


def task_marks(events: Iterable[EventView], scale: Scale) -> list[tuple[float, bool]]:
    """Where workflow code ran, and whether it failed; thinned out when there are very many."""
    marks: dict[tuple[float, bool], None] = {}
    for event in events:
        if not scale.shows(event.event_time_ms, event.event_time_ms):
            continue
        if event.event_type in (
            "WorkflowTaskCompleted",
            "WorkflowTaskFailed",
            "WorkflowTaskTimedOut",
        ):
            place = (
                round(scale.at(event.event_time_ms) * TASK_MARKS_MAX / 100) * 100 / TASK_MARKS_MAX
            )
            marks[place, event.event_type != "WorkflowTaskCompleted"] = None
    return list(marks)
