"""librdkafka says every failed attempt to reach a broker, each client and each broker for
itself: hundreds of lines a minute in an outage.

This filter lets the first of a kind through, then one a minute with the number that were left
out. Errors are kinds by their facility (`FAIL`, `ERROR`, ...) and text without what changes from
line to line: client, the broker's name and address, times, counts.

And what librdkafka asks again for by itself, where a broker has only just begun to coordinate,
is no line at all unless it goes on.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 60.0
KINDS_MAX = 1_000
#: How long what passes by itself may take, and how far apart its lines are at most (librdkafka:
#: half a second).
MOMENT_SECONDS = 10.0
# The first transactions of a broker or a coordinator. Should it stay so, the lane's own start fails
# by its time limit, with this reason.
_OF_A_MOMENT = tuple(
    f"Broker: {reason}: retrying"
    for reason in ("Coordinator load in progress", "Coordinator not available", "Not coordinator")
)
# librdkafka calls one broker by several names: its address with `/bootstrap` or a node id, and its
# part as a coordinator. Each part begins where no other can (a word of a line) or is short, so that
# the time is that of the text, however long and odd it is.
_BROKER = r"(?:\b(?:Group|Txn)Coordinator: |(?<!\S)\S+/(?:bootstrap|\d+): )(?:\S+:\d+: )?"
_VARIABLE = re.compile(
    _BROKER
    + r"|\[thrd:[^\]]{0,300}\]|\[[^\]#]{0,300}#[^\]]{0,300}\]|\(after .{0,300}\)|\b\d+\b|:\d+|\s+"
)


class RepeatedLines(logging.Filter):
    """For a logger or handler. Passes debug lines as they are."""

    def __init__(
        self, *, every_seconds: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging."""
        if record.levelno <= logging.DEBUG:
            return True
        text = record.getMessage()
        kind = (record.levelno, _VARIABLE.sub(" ", text))
        now = self._clock()
        with self._lock:
            since, left_out = self._kinds.get(kind, (float("-inf"), 0))
            if now - since < self._every_seconds:
                self._kinds[kind] = (since, left_out + 1)
                return False
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            self._kinds[kind] = (now, 0)
        if left_out:
            record.msg, record.args = (
                f"{text} (and {left_out} more like this in {now - since:.0f} s)",
                (),
            )
        return True


class MomentaryLines(logging.Filter):
    """For a logger. Leaves out what is retried and over in a moment; at DEBUG it passes."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging."""
        text = record.getMessage()
        if not (text.startswith("GETPID ") and text.endswith(_OF_A_MOMENT)) or logging.getLogger(
            record.name
        ).isEnabledFor(logging.DEBUG):
            return True
        now = self._clock()
        with self._lock:
            if now - self._last > MOMENT_SECONDS:
                self._began = now
            self._last = now
            return now - self._began >= MOMENT_SECONDS
