"""Due timers: which rows of the `timer` table are near, due, and released.

Duties: hold the next minutes of the time-ordered `timer` table in memory (the rest stays in the
store), and let a due timer go only after every input that was in the partition when it fell due:
the partition's *uncommitted* end is asked for at that moment, and the timer goes once the
position has passed it. Partition order decides, no clock does.

Never: fire by the clock alone; cache an end; or read the head of the table again (its deleted
keys would be walked each time).
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterable

from odradek.common.clock import Clock
from odradek.engine.keys import timer_key
from odradek.engine.ports import TIMER, RowChange, Tables
from odradek.wire.state import TimerRow

logger = logging.getLogger(__name__)

HORIZON_MS = 5 * 60_000
ROWS_MAX = 10_000  # in memory; more than that wait in the store even when they are near
POSTPONE_MS = 60_000
_MARGIN_MS = 60_000
AGAIN_SECONDS = 1.0  # between two questions for an end, when one failed

Answer = Callable[[int | Exception], None]


class Timers:
    """Timers of one partition. Every key below `_horizon` is in memory, none at or above it.

    ask: have the partition's uncommitted end told to a callback, from any thread. late_ms: how
    long due timers have waited for the inputs before them; 0: they do not.
    """

    def __init__(self, tables: Tables, ask: Callable[[Answer], None], clock: Clock) -> None:
        self.late_ms = 0
        self._tables = tables
        self._ask = ask
        self._clock = clock
        self._answers: deque[int | Exception] = deque()
        self._again_at = 0.0  # monotonic; no question before
        self._rows: dict[str, TimerRow] = {}
        self._heap: list[str] = []
        self._horizon = ""  # first key that is not in memory; keys sort by due time
        self._complete_until_ms = -1  # memory holds everything that falls due before this
        self._released_until_ms = -1
        self._asked_ms = -1  # an end has been asked for at this moment; -1: none
        self._end = -1  # the answer; -1: not yet
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

    def due(self, now_ms: int, position: int, limit: int) -> list[TimerRow]:
        """Up to `limit` timers, in order, that have seen every input that lay in the partition
        when they fell due; every input below `position` is applied. They stay until `forget`.
        """
        while self._answers:
            self._note_end(self._answers.popleft())
        if self._wants_end(now_ms):
            self._asked_ms, self._end = now_ms, -1
            self._ask(self._answers.append)
            while self._answers:  # a simulated broker answers at once
                self._note_end(self._answers.popleft())
        if self._asked_ms >= 0 and 0 <= self._end <= position:
            self._released_until_ms = self._asked_ms
            self._asked_ms = self._end = -1
        return self._take(limit)

    def wait_seconds(self, now_ms: int) -> float:
        """Until something may have to be done here, if nobody wakes the partition before."""
        due_ms = None if self._asked_ms >= 0 else self.next_due_ms(now_ms)
        if due_ms is None:
            return HORIZON_MS / 1000
        wait_s = max((due_ms - now_ms) / 1000, self._again_at - self._clock.monotonic())
        return max(0.0, wait_s)

    def _wants_end(self, now_ms: int) -> bool:
        """A timer is due that no answer covers yet, and no question is open."""
        if self._asked_ms >= 0:
            self.late_ms = now_ms - self._asked_ms
            return False
        self.late_ms = 0
        due_ms = self.next_due_ms(now_ms)
        if due_ms is None or not self._released_until_ms < due_ms <= now_ms:
            return False
        return self._clock.monotonic() >= self._again_at

    def _note_end(self, end: int | Exception) -> None:
        if isinstance(end, int):
            self._end = end
        else:
            logger.warning("the end of a partition cannot be had, its timers wait: %s", end)
            self._asked_ms = -1
            self._again_at = self._clock.monotonic() + AGAIN_SECONDS

    def awaited_end(self) -> int:
        """The end that the position has to pass before anything is released; -1: none."""
        return self._end if self._asked_ms >= 0 else -1

    def _take(self, limit: int) -> list[TimerRow]:
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
        for key in keys:  # still there if the transaction fails; gone from `rows` once it commits
            heapq.heappush(heap, key)
        return taken

    def forget(self, timer: TimerRow) -> None:
        """It has been applied."""
        self._rows.pop(timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id), None)

    def postpone(self, timer: TimerRow, now_ms: int) -> None:
        """Keep a timer that could not be applied out of the way for a minute. Its row stays."""
        key = timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id)
        if self._rows.pop(key, None) is not None:
            self._postponed.append((now_ms + POSTPONE_MS, key, timer))
