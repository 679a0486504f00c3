"""Histories that pages look at: read once through the run's owner, kept for a while, grown while
the run is open.

A page of 10,000 events is scrolled and filtered in stretches; without this each stretch would
ask the owner for the whole again. What is kept is bounded by events and bytes in all; the least
recently looked at goes first. Imported histories lie here too, under names of their own.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from odradek.engine.history_json import JsonHistory
from odradek.web.api.history import CommandPlaces, EventView, event_views
from odradek.web.api.runs import PendingActivityView
from odradek.web.errors import not_found
from odradek.web.kafka.facts import Place
from odradek.web.runs import RunReader, last_id
from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.topics import Topics

#: Events kept in all, and of one run. A longer history is shown up to here, and says so.
KEPT_MAX = 150_000
RUN_MAX = 60_000
#: The same in bytes, as JSON: an event may hold a megabyte. In memory they are a few times that.
KEPT_BYTES = 96 * 1024 * 1024
RUN_BYTES = 48 * 1024 * 1024
#: Growth of an open run is asked for at most this often.
FRESH_S = 0.5
_PAGE = 1_000


@dataclass
class History:
    """Events of a run as they are shown, without shorthand, ids 1, 2, 3 …"""

    workflow_id: str
    run_id: str
    task_queue: str
    events: list[EventView] = field(default_factory=list)
    size_bytes: int = 0
    next_event_id: int = 1
    open: bool = True
    cut: bool = False
    read_s: float = float("-inf")
    #: What its owner said is pending, when it was last described.
    pending: list[PendingActivityView] = field(default_factory=list)
    commands: CommandPlaces | None = None
    imported: JsonHistory | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def start_ms(self) -> int:
        """When it began."""
        return self.events[0].event_time_ms if self.events else 0

    @property
    def end_ms(self) -> int:
        """Time of the last event."""
        return self.events[-1].event_time_ms if self.events else 0


class HistoryBook:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        kept_max: int = KEPT_MAX,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._clock_s = clock_s
        self._kept_max = kept_max
        self._kept_bytes = kept_bytes
        self._histories: OrderedDict[tuple[str, str, str], History] = OrderedDict()
        self._hits = self._misses = self._dropped = 0

    async def read(
        self,
        reader: RunReader,
        place: Place,
        topics: Topics,
        workflow_id: str,
        run_id: str,
        *,
        least: int = 0,
    ) -> History:
        """The history of a run as it is now. Raises what the owner answers; what was read before
        stays for the next time.

        least: an event that is known to be there: one that was read a moment ago without it is
        not fresh.
        """
        key = ("run", workflow_id, run_id)
        known = key in self._histories
        self._hits, self._misses = self._hits + known, self._misses + (not known)
        history = self._histories.setdefault(
            key, History(workflow_id, run_id, reader.task_queue, commands=CommandPlaces(topics))
        )
        self._histories.move_to_end(key)
        async with history.lock:
            fresh = self._clock_s() - history.read_s <= FRESH_S and history.next_event_id > least
            if history.open and not history.cut and not fresh:
                await _grow(history, reader, place)
                history.read_s = self._clock_s()
        self._trim()
        return history

    def present(self, workflow_id: str, run_id: str) -> History | None:
        """What is known of a run's history already: stretches of it are shown without asking its
        owner again.
        """
        history = self._histories.get(("run", workflow_id, run_id))
        if history is not None and history.events:
            self._hits += 1
            self._histories.move_to_end(("run", workflow_id, run_id))
            return history
        return None

    def put(self, imported: JsonHistory) -> str:
        """Keep an imported history; the name it is found by."""
        events = event_views(imported.events, Place("", -1, -1))
        started = imported.events[0].attributes if imported.events else None
        name = uuid.uuid4().hex
        known = started if isinstance(started, WorkflowExecutionStarted) else None
        self._histories["imported", name, ""] = History(
            known.workflow_id if known is not None else "",
            known.run_id if known is not None else "",
            known.task_queue if known is not None else "",
            events[:RUN_MAX],
            2 * _bytes_of(events),  # as it is shown, and as it came
            open=False,
            cut=len(events) > RUN_MAX,
            imported=imported,
        )
        self._trim()
        return name

    def imported(self, name: str) -> History:
        """An imported history. NOT_FOUND once it is gone."""
        history = self._histories.get(("imported", name, ""))
        if history is None:
            raise not_found(
                "this imported history is not kept here (any more), or is another server's: import"
                " the file again"
            )
        self._histories.move_to_end(("imported", name, ""))
        return history

    def statistics(self) -> dict[str, int]:
        """What is kept, what may be, and how often it served. Read from any thread."""
        kept = list(self._histories.values())
        return {
            "histories": len(kept),
            "events": sum(len(history.events) for history in kept),
            "events_max": self._kept_max,
            "bytes": sum(history.size_bytes for history in kept),
            "bytes_max": self._kept_bytes,
            "hits": self._hits,
            "misses": self._misses,
            "dropped": self._dropped,
        }

    def _trim(self) -> None:
        kept = sum(len(history.events) for history in self._histories.values())
        size = sum(history.size_bytes for history in self._histories.values())
        while (
            kept > self._kept_max or size > self._kept_bytes or len(self._histories) > 500
        ) and len(self._histories) > 1:
            _, dropped = self._histories.popitem(last=False)
            self._dropped += 1
            kept -= len(dropped.events)
            size -= dropped.size_bytes


def _bytes_of(events: list[EventView]) -> int:
    """About how much they hold."""
    try:
        return len(msgspec.json.encode(events))
    except UnicodeEncodeError:  # a lone surrogate, which JSON in a payload may hold
        return len(json.dumps(msgspec.to_builtins(events)))


async def _grow(history: History, reader: RunReader, place: Place) -> None:
    while True:
        page = await reader.page(history.next_event_id, _PAGE)
        # A shorthand event has three ids, and a page may begin inside of it.
        events = [
            event
            for event in event_views(page.events, place)
            if event.event_id >= history.next_event_id
        ]
        if history.commands is not None:
            history.commands.note(events)
        history.events += events
        history.size_bytes += _bytes_of(events)
        if page.events:
            history.next_event_id = last_id(page.events[-1]) + 1
        if page.next_event_id == 0:
            history.open = page.open
            return
        if not page.events or (
            page.open and len(page.events) < _PAGE and not await reader.has_more(page, _PAGE)
        ):
            return
        if len(history.events) >= RUN_MAX or history.size_bytes >= RUN_BYTES:
            history.cut = True
            return
