"""Progress for a person who waits: one moving line on a terminal, a line now and then elsewhere.

Goes to standard error only, since standard output of `odradek dev` is for programs.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

#: On anything but a terminal, transient lines closer together than this are dropped: a CI log wants
#: dozens, not thousands.
PLAIN_INTERVAL_S = 2.0


class Progress(Protocol):
    """Where a long step tells how far it is."""

    def update(self, text: str) -> None:
        """A transient state, e.g. a count; may be dropped or overwritten."""

    def say(self, text: str) -> None:
        """A line that stays."""


class StderrProgress:
    """Progress on standard error (or any text stream)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = self._stream.isatty()
        self._last_update_s = float("-inf")
        self._transient = False

    def update(self, text: str) -> None:
        now_s = time.monotonic()
        if self._is_terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._transient = True
        elif now_s - self._last_update_s >= PLAIN_INTERVAL_S:
            self._stream.write(f"{text}\n")
            self._last_update_s = now_s
        self._stream.flush()

    def say(self, text: str) -> None:
        prefix = "\r\x1b[K" if self._transient else ""
        self._transient = False
        self._stream.write(f"{prefix}{text}\n")
        self._stream.flush()


class NoProgress:
    """Says nothing."""

    def update(self, text: str) -> None:
        return None

    def say(self, text: str) -> None:
        return None
