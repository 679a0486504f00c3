"""Notices that the clock of this machine was set back while the Kafka client waited, and that it
has stood still since.

librdkafka's threads wait by the wall clock (librdkafka #2145): one that waits for a second while
the clock is set back by an hour sleeps for an hour, its heartbeats too, and nothing in this
process wakes it. Only a new process helps: the error is for whoever ends this one.

Never: looks at a clock that was only slewed, or set forward, or at a client that goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from odradek.exceptions import OdradekError

#: Less is slept off sooner than a process is started again.
SET_BACK_SECONDS = 5.0
#: Looks in a row, a second apart and by this thread's own count, in which the client has not
#: turned: a machine that stood still is none.
LOOKS = 20


class ClockWatch(threading.Thread):
    """Runs until `stop`, or until it has called `stands` once.

    turned_at: when the client's loop last turned (monotonic seconds; 0.0: not yet).  wall,
    monotonic: clocks, seconds.
    """

    def __init__(
        self,
        turned_at: Callable[[], float],
        stands: Callable[[OdradekError], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="odradek-clock", daemon=True)
        self._turned_at, self._stands = turned_at, stands
        self._wall, self._monotonic = wall, monotonic
        self._stopping = threading.Event()
        self._ahead = wall() - monotonic()
        self._set_back, self._sleeps_until = 0.0, 0.0
        self._turned, self._looks = 0.0, 0

    def run(self) -> None:
        while not self._stopping.wait(1.0):
            error = self.look()
            if error is not None:
                self._stands(error)
                return

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> OdradekError | None:
        """What is wrong by now, None for nothing."""
        now, turned = self._monotonic(), self._turned_at()
        before, self._ahead = self._ahead, self._wall() - now
        if before - self._ahead > SET_BACK_SECONDS:
            self._set_back = before - self._ahead
            self._sleeps_until = now + self._set_back
        stands = turned > 0.0 and turned == self._turned and now < self._sleeps_until + LOOKS
        self._turned, self._looks = turned, self._looks + 1 if stands else 0
        if self._looks < LOOKS:
            return None
        return OdradekError(
            f"the clock of this machine was set back by {self._set_back:.0f} s, and the Kafka"
            " client has stood still since: it waits by that clock. This process has to be started"
            " again. Have clocks slewed, not set (docs/operate.md, Clocks)"
        )
