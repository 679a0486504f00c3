"""Whether this process may start an attempt: it must know that it still owns the partition the
command came from.

A process that was stopped and goes on (SIGSTOP, a suspended laptop, a long garbage collection)
holds commands that another member may already be running. Its own monotonic clock tells: when
the last poll lies too far back, nothing starts until the group has been polled *and* has
accepted a commit of ours, which a coordinator only does for a member of the current generation.
Pure; the consumer's thread writes, any thread reads.
"""

from __future__ import annotations

from collections.abc import Callable


class StartGate:
    """Open while ownership is known. `pause_limit`: seconds between two polls that are no pause;
    well under the session timeout.
    """

    def __init__(self, pause_limit: float, clock: Callable[[], float]) -> None:
        self._limit = pause_limit
        self._clock = clock
        self._last_poll = clock()
        self._proven = True
        self.pauses = 0

    def polled(self) -> bool:
        """The consumer's thread is about to look at the group. False when a pause lies behind
        it: then `prove` is needed.
        """
        now = self._clock()
        if now - self._last_poll > self._limit:
            # Closed before the new time is written: a reader sees one or the other.
            self._proven = False
            self.pauses += 1
        self._last_poll = now
        return self._proven

    def prove(self) -> None:
        """The group accepted this member after the last poll: what is still held is still owned."""
        self._proven = True

    @property
    def is_open(self) -> bool:
        """Whether an attempt may start now."""
        return self._proven and self._clock() - self._last_poll <= self._limit
