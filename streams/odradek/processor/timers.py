"""Due timers: which rows of the `timer` table are near, due, and released.

Duties: hold the next minutes of the time-ordered `timer` table in memory (the rest stays in the
store), and let a due timer go only after every input that was in the partition when it fell due:
the host asks for the partition's *uncommitted* end at that moment (`ends.py`) and releases once
the position has passed it. Partition order decides, no clock does.

Never: fire by the clock alone or, however it is set back, before it; cache an end; or read the
head of the table again (its deleted keys would be walked each time).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from odradek.engine.keys import timer_key
from odradek.engine.ports import TIMER, RowChange, Tables
from odradek.wire.state import TimerRow

HORIZON_MS = 5 * 60_000
ROWS_MAX = 10_000  # in memory; more than that wait in the store even when they are near
POSTPONE_MS = 60_000
_MARGIN_MS = 60_000


class Timers:
    """Timers of one lane. Every key below `_horizon` is in memory, none at or above it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows: dict[str, TimerRow] = {}
        self._heap: list[str] = []
        self._horizon = ""  # first key that is not in memory; keys sort by due time
        self._complete_until_ms = -1  # memory holds everything that falls due before this
        self._released_until_ms = -1
        self._asked_ms = -1  # an end has been asked for at this moment; -1: none
        self._end = -1  # the answer; -1: not yet
        self.late_ms = 0  # how long due timers have waited for their inputs; 0: they do not
        self._postponed: list[tuple[int, str, TimerRow]] = []

    def __len__(self) -> int:
        return len(self._rows)

    # --- memory

    def note(self, changes: Iterable[RowChange]) -> None:
        """Follow the committed changes of the `timer` table."""
        for change in changes:
            if change.table != TIMER:
                continue
            key = change.key
            if change.row is None:
                self._rows.pop(key, None)
            elif key < self._horizon:
                if key not in self._rows:
                    heapq.heappush(self._heap, key)
                # rows of this table are TimerRows
                self._rows[key] = change.row  # type: ignore[assignment]
        if len(self._rows) > 2 * ROWS_MAX:
            self._shrink()

    def _shrink(self) -> None:
        keys = sorted(self._rows)
        self._horizon = keys[ROWS_MAX]
        self._complete_until_ms = int(self._horizon[:15])
        for key in keys[ROWS_MAX:]:
            del self._rows[key]
        self._heap = keys[:ROWS_MAX]

    def _load(self, now_ms: int) -> None:
        """Fill up from the store, when time or the heap has come near to the horizon."""
        while now_ms + _MARGIN_MS > self._complete_until_ms and len(self._rows) < ROWS_MAX:
            until_ms = now_ms + HORIZON_MS
            until_key = f"{until_ms:015d}"
            count = 0
            for key, row in self._tables.scan(TIMER, "", start=self._horizon, limit=ROWS_MAX):
                if key >= until_key:
                    break
                assert isinstance(row, TimerRow)
                if key not in self._rows:
                    heapq.heappush(self._heap, key)
                self._rows[key] = row
                count += 1
                last = key
            if count == ROWS_MAX:
                self._horizon = last + "\x00"
                self._complete_until_ms = int(last[:15])
            else:
                self._horizon = max(self._horizon, until_key)
                self._complete_until_ms = until_ms

    def next_due_ms(self, now_ms: int) -> int | None:
        """When the next timer falls due, as far as memory tells; None: not within the horizon."""
        self._load(now_ms)
        while self._postponed and self._postponed[0][0] <= now_ms:
            _, key, row = self._postponed.pop(0)
            self._rows[key] = row
            heapq.heappush(self._heap, key)
        heap, rows = self._heap, self._rows
        while heap and heap[0] not in rows:
            heapq.heappop(heap)
        return int(heap[0][:15]) if heap else None

    # --- release

    def wants_end(self, now_ms: int) -> bool:
        """True when a timer is due that no answer covers yet and none is under way: ask for the
        end now, then call `asked`.
        """
        self._follow(now_ms)
        if self._asked_ms >= 0:
            self.late_ms = now_ms - self._asked_ms
            return False
        self.late_ms = 0
        due = self.next_due_ms(now_ms)
        return due is not None and due <= now_ms and due > self._released_until_ms

    def _follow(self, now_ms: int) -> None:
        """A clock that was set back takes what was asked and released with it: those moments lie
        in its past, whatever it calls them.
        """
        self._released_until_ms = min(self._released_until_ms, now_ms)
        self._asked_ms = min(self._asked_ms, now_ms)

    def asked(self, now_ms: int) -> None:
        """An end is being asked for; the question left after `now_ms`."""
        self._asked_ms, self._end = now_ms, -1

    def answered(self, end: int) -> None:
        """The partition's uncommitted end, or -1: the question failed, ask again."""
        if end < 0:
            self._asked_ms = -1
        else:
            self._end = end

    @property
    def asking(self) -> bool:
        """A question is open: its answer, or the position, will wake the lane."""
        return self._asked_ms >= 0

    def awaited_end(self) -> int:
        """The end that the position has to pass before anything is released; -1: none."""
        return self._end if self._asked_ms >= 0 else -1

    def passed(self, position: int) -> None:
        """The lane has applied every input below `position`."""
        if self._asked_ms >= 0 and 0 <= self._end <= position:
            self._released_until_ms = self._asked_ms
            self._asked_ms = self._end = -1

    def take(self, limit: int, now_ms: int) -> list[TimerRow]:
        """Up to `limit` released timers, in order. They stay held until their rows are deleted
        by a commit.
        """
        self._follow(now_ms)
        if self._released_until_ms < 0 or not self._heap:
            return []
        bound = f"{self._released_until_ms + 1:015d}"
        heap, rows = self._heap, self._rows
        taken: list[TimerRow] = []
        keys: list[str] = []
        while heap and len(taken) < limit and heap[0] < bound:
            key = heapq.heappop(heap)
            row = rows.get(key)
            if row is not None and (not keys or keys[-1] != key):
                taken.append(row)
                keys.append(key)
        for key in keys:
            heapq.heappush(
                heap, key
            )  # still there if the transaction fails; gone from `rows` once it commits
        return taken

    def postpone(self, timer: TimerRow, now_ms: int) -> None:
        """Keep a timer that could not be applied out of the way for a minute. Its row stays."""
        key = timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id)
        if self._rows.pop(key, None) is not None:
            self._postponed.append((now_ms + POSTPONE_MS, key, timer))
