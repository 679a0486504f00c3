"""A history as it is looked at: a view, a filter, and stretches of rows that are loaded as they
come into sight. Pure but for its inputs.

Views: `timeline` (groups over time), `compact` (groups), `full` (every event), `json` (every
event as the API gives it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from odradek.web.api.history import EventView
from odradek.web.api.runs import PendingActivityView
from odradek.web.ui.event_groups import Group, groups_of
from odradek.web.ui.event_text import CATEGORIES, Names, category, found, line, title, tone
from odradek.web.ui.histories import History
from odradek.web.ui.text import duration
from odradek.web.ui.timeline import PART_LEAST_MS, Scale, row_of, scale_of, task_marks

if TYPE_CHECKING:
    from odradek.web.ui.visit import Visit

VIEWS = ("timeline", "compact", "full", "json")
#: Rows of a stretch, by view.
ROWS = {"timeline": 100, "compact": 100, "full": 100, "json": 50}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen. `newest`: latest rows first. `part`: the stretch of a timeline, in
    milliseconds since the run's start; None: all.
    """

    view: str = "timeline"
    text: str = ""
    categories: tuple[str, ...] = ()
    newest: bool = False
    part: tuple[int, int] | None = None

    @classmethod
    def of(cls, visit: Visit) -> Choice:
        """From an address."""
        view = visit.text("view", "timeline")
        categories = tuple(name for name in CATEGORIES if name in visit.texts("category"))
        since, until = visit.number("since", 0), visit.number("until", 0)
        return cls(
            view if view in VIEWS else "timeline",
            visit.text("text").strip(),
            categories,
            visit.text("order") == "newest",
            (since, until) if until > since else None,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """As parameters."""
        since, until = self.part or ("", "")
        pairs = [
            ("view", self.view),
            ("text", self.text),
            ("order", "newest" if self.newest else ""),
            ("since", str(since)),
            ("until", str(until)),
        ]
        return [
            (name, value)
            for name, value in [*pairs, *(("category", one) for one in self.categories)]
            if value
        ]


@dataclass(frozen=True, slots=True)
class Line:
    """An event on one line."""

    event: EventView
    title: str
    says: str
    tone: str
    category: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of rows. `key`: another key, other rows; `items` empty: not loaded yet."""

    first: int
    count: int
    key: str
    source: str
    items: Sequence[Any] = ()


@dataclass
class HistoryView:
    """See above. base: address of the panel."""

    history: History
    choice: Choice
    now_ms: int
    base: str
    pending: Sequence[PendingActivityView] = field(default_factory=list)

    @cached_property
    def names(self) -> Names:
        """Names of what was scheduled."""
        return Names(self.history.events)

    @cached_property
    def groups(self) -> list[Group]:
        """All groups."""
        return groups_of(self.history.events, self.pending)

    @cached_property
    def whole(self) -> Scale:
        """Of all the timeline."""
        due = (group.due_ms for group in self.groups if not group.end_ms)
        return scale_of(self.history.events, self.now_ms, open_run=self.history.open, due_ms=due)

    @cached_property
    def scale(self) -> Scale:
        """Of the timeline, or the part of it that was chosen."""
        return self.whole if self.choice.part is None else self.whole.part(*self.choice.part)

    @property
    def span(self) -> str:
        """How long that is."""
        shown, whole = (
            self.scale.end_ms - self.scale.start_ms,
            self.scale.open_ms - self.whole.start_ms,
        )
        return (
            duration(whole)
            if self.choice.part is None
            else f"{duration(shown)} of {duration(whole)}"
        )

    @property
    def zooms(self) -> list[tuple[str, str, str, str]]:
        """Ways to look nearer and further: key, sign, what it does, address; "" where there is
        nothing more to see.
        """
        length, start = (
            self.whole.end_ms - self.whole.start_ms,
            self.scale.start_ms - self.whole.start_ms,
        )
        span, zoomed = self.scale.end_ms - self.scale.start_ms, self.choice.part is not None

        def part(since: int, wanted: int) -> str:
            span = max(PART_LEAST_MS, wanted)
            since = max(0, min(since, length - span))
            return self._link(part=None if span >= length else (since, since + span))

        return [
            ("-", "−", "Show more time", part(start - span // 2, span * 2) if zoomed else ""),
            (
                "+",
                "+",
                "Show less time",
                part(start + span // 4, span // 2) if span >= 2 * PART_LEAST_MS else "",
            ),
            ("ArrowLeft", "‹", "Earlier", part(start - span // 2, span) if start > 0 else ""),
            (
                "ArrowRight",
                "›",
                "Later",
                part(start + span // 2, span) if start + span < length else "",
            ),
            ("0", "all", "Show all of it", self._link(part=None) if zoomed else ""),
        ]

    @cached_property
    def marks(self) -> list[tuple[float, bool]]:
        """Workflow tasks on the timeline."""
        return task_marks(self.history.events, self.scale)

    @cached_property
    def matching(self) -> list[EventView]:
        """Events that the filter finds."""
        text, categories = self.choice.text, self.choice.categories
        if not text and not categories:
            return self.history.events
        return [
            event for event in self.history.events if found(event, self.names, text, categories)
        ]

    @cached_property
    def items(self) -> Sequence[Any]:
        """What the view has rows of: events, or groups with an event that the filter finds."""
        items: Sequence[Any]
        if self.choice.view in ("full", "json"):
            items = self.matching
        else:
            wanted = {event.event_id for event in self.matching}
            items = [
                group
                for group in self.groups
                if self._in_sight(group) and any(e.event_id in wanted for e in group.events)
            ]
        return items[::-1] if self.choice.newest else items

    @property
    def total(self) -> int:
        """Rows there are."""
        return len(self.items)

    @property
    def unit(self) -> str:
        """What is counted, one of it."""
        return "event" if self.choice.view in ("full", "json") else "group"

    def chunks(self) -> list[Chunk]:
        """All stretches; the first is loaded."""
        size = ROWS[self.choice.view]
        chunks = [
            self._chunk(first, min(size, self.total - first))
            for first in range(0, self.total, size)
        ]
        if chunks:
            chunks[0] = self.chunk(0)
        return chunks

    def chunk(self, first: int) -> Chunk:
        """One stretch, loaded."""
        size = ROWS[self.choice.view]
        found_items = self.items[first : first + size]
        chunk = self._chunk(first, len(found_items))
        return Chunk(
            chunk.first,
            chunk.count,
            chunk.key,
            chunk.source,
            [self._row(item) for item in found_items],
        )

    def _chunk(self, first: int, count: int) -> Chunk:
        last = self.items[first + count - 1] if count else None
        # Rows of an open timeline move as time goes on; others are new only when an event was added
        # to them.
        grown = (
            sum(len(group.events) for group in self.items[first : first + count])
            if self.unit == "group"
            else getattr(last, "event_id", 0)
        )
        moving = self.now_ms // 1000 if self.choice.view == "timeline" and self.history.open else 0
        source = f"{self.base}/rows?{urlencode([*self.choice.pairs(), ('from', str(first))])}"
        return Chunk(first, count, f"{self.choice.view}-{first}-{count}-{grown}-{moving}", source)

    def _row(self, item: Any) -> Any:
        if isinstance(item, Group):
            return row_of(item, self.scale) if self.choice.view == "timeline" else item
        if self.choice.view == "json":
            return msgspec.to_builtins(item)
        return Line(
            item,
            title(item.event_type),
            line(item, self.names),
            tone(item.event_type),
            category(item.event_type),
        )

    def _in_sight(self, group: Group) -> bool:
        if self.choice.part is None or self.choice.view != "timeline":
            return True
        return self.scale.shows(
            group.start_ms, group.end_ms or max(group.due_ms, self.scale.open_ms)
        )

    def link(self, view: str) -> str:
        """The address of another view with the same filter."""
        return self._link(view=view)

    def _link(self, **changes: Any) -> str:
        return f"{self.base}?{urlencode(replace(self.choice, **changes).pairs())}"

    @property
    def events_base(self) -> str:
        """Address of single events, without their id."""
        return f"{self.base.removesuffix('/history')}/events"
