"""Throttling of one attempt's heartbeats: the first goes out at once, then at most one an
interval, the newest details win.

Pure; times are seconds of the host's monotonic clock. Thread-safe through its lock: activities
in threads heartbeat directly.
"""

from __future__ import annotations

import threading

from odradek.wire.payload import Payload


class HeartbeatThrottle:
    """Decides when details go out. `interval`: seconds."""

    __slots__ = ("_interval", "_lock", "_next", "_pending", "_scheduled", "last")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._lock = threading.Lock()
        self._next = 0.0
        self._pending: list[Payload] | None = None
        self._scheduled = False
        #: The newest details, sent or not; `None` before the first heartbeat.
        self.last: list[Payload] | None = None

    def record(
        self, details: list[Payload], now: float
    ) -> tuple[list[Payload] | None, float | None]:
        """A heartbeat: (details to send now, or None; when to call `flush`, or None if that is
        arranged already).
        """
        with self._lock:
            self.last = details
            if now >= self._next:
                self._next = now + self._interval
                self._pending = None
                return details, None
            self._pending = details
            if self._scheduled:
                return None, None
            self._scheduled = True
            return None, self._next

    def flush(self, now: float) -> list[Payload] | None:
        """The interval is over: what was held back, if anything."""
        with self._lock:
            self._scheduled = False
            details, self._pending = self._pending, None
            if details is not None:
                self._next = now + self._interval
            return details
