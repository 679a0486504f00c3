"""The end of a process that does not come to it by itself: by a thread of its own, whatever the
others stand in.

What a signal handler calls here takes no lock. Python runs handlers between two instructions of
the main thread, so also in the middle of a handler, and of `threading.Event.set`: a lock that
was taken there is never given back to whoever interrupts it.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time


class Ending(threading.Thread):
    """From `tell` on the process has `within_seconds`; then it ends with `status`, and `why` on
    stderr, where anybody reads that.

    It waits from now on: a handler starts no thread.
    """

    def __init__(self, within_seconds: float, why: str, status: int) -> None:
        super().__init__(name="odradek-ending", daemon=True)
        self.told = False
        self._within_seconds, self._why, self._status = within_seconds, why, status
        self._read, self._write = os.pipe()
        self.start()

    def tell(self) -> None:
        """For signal handlers too."""
        if not self.told:
            self.told = True
            os.write(self._write, b".")

    def run(self) -> None:
        os.read(self._read, 1)
        time.sleep(self._within_seconds)
        try:
            say_where_read(self._why)
        finally:
            os._exit(self._status)


def say_where_read(line: str) -> None:
    """Write it to stderr, past the stream, whose lock a line that waits may have; not where
    nobody reads it.

    Somebody's own stream in its place (a logger's) may have no file. Then it is that of the
    process, if it began with one: number 2 may be any file since.
    """
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(Exception):
            descriptor = stream.fileno()  # type: ignore[union-attr] # None: as one without
            if select.select([], [descriptor], [], 0)[1]:
                os.write(descriptor, f"{line}\n".encode())
            return
