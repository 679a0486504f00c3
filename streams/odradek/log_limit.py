"""One log line a second and kind of message, with the number of those that were left out: whoever
writes bad records must not fill the disk of who reads them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

EVERY_S = 1.0
_KINDS_MAX = 1_000


class LogLimit:
    """Any thread. clock: seconds, monotonic; tests give their own."""

    def __init__(
        self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_s: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, int] = {}

    def more(self, kind: Hashable) -> str | None:
        """None: leave this line out. Else what to add to it: "", or how many were left out
        before it.
        """
        with self._lock:
            now = self._clock()
            if now - self._logged_s.get(kind, now - self._every_s) < self._every_s:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            if len(self._logged_s) >= _KINDS_MAX:
                self._logged_s.clear()
            self._logged_s[kind] = now
            left_out = self._left_out.pop(kind, 0)
            return f" (and {left_out} more like it)" if left_out else ""
