"""One timer for many deadlines: a coarse timer wheel on an asyncio loop.

Thousands of requests wait at once, each with a time to ask again; one `call_later` each would
cost more than the request itself. Buckets of 50 ms are exact enough for that. Entries are never
removed: what is done already ignores its call. None keeps alive what it is for: a client whose
last call was answered, and whose loop is closed, would stay with its threads until the garbage
collector comes.

But somebody has to keep what waits: asyncio itself holds tasks weakly, and a task that nobody
else holds, its call and their client are a ring. So the loop has the timer's handle, and the
wheel has `keeps`.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

TICK_S = 0.05


class Timed(Protocol):
    """Something that waits for a time. `due` is called on the loop, never early, at most a tick
    late (a busy loop aside).
    """

    def due(self, now: float) -> None: ...


class TimerWheel:
    """Calls `item.due(now)` once the loop's clock has passed the time given for it. Loop thread
    only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        #: Whose entries these are, while it waits for something; None while it does not.
        self.keeps: object = None
        self._loop = loop
        self._buckets: dict[int, list[weakref.ref[Timed]]] = {}
        self._armed: int | None = None
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def schedule(self, item: Timed, at: float) -> None:
        """Call `item.due` once `at` (seconds on the loop's clock) has passed, if the item is
        still there.
        """
        tick = int(at / TICK_S) + 1
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.append(weakref.ref(item))
            return
        self._buckets[tick] = [weakref.ref(item)]
        if self._armed is None or tick < self._armed:
            self._arm(tick)

    def close(self) -> None:
        """Forget everything; nothing is called any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._armed, self.keeps = None, None, None
        self._buckets.clear()

    def _arm(self, tick: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = tick
        self._handle = self._loop.call_at(tick * TICK_S, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        self._handle, self._armed = None, None
        # The loop may call up to its clock resolution early; the tick it was armed for counts as
        # passed.
        passed = int((now + 0.001) / TICK_S)
        now = max(now, passed * TICK_S)
        for tick in sorted(tick for tick in self._buckets if tick <= passed):
            for entry in self._buckets.pop(tick):
                item = entry()
                if item is not None:
                    item.due(now)
        if self._buckets:
            earliest = min(self._buckets)
            if self._armed is None or earliest < self._armed:
                self._arm(earliest)
