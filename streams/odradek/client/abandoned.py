"""Connections that nobody holds any more are closed: a client needs no `close`, as in Temporal,
and its threads hold it all the same.

What the garbage collector finds it finds on any thread, in the middle of anything: there a
connection is only put aside, and one thread of the process closes what lies there.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from queue import SimpleQueue
from typing import Protocol

logger = logging.getLogger(__name__)

_EXIT_S = 5.0  # how long the end of the process waits for what is being closed


class Closable(Protocol):
    """A connection's threads and sockets. `close` may take seconds, is idempotent, and is called
    from another thread.
    """

    def close(self) -> None: ...


class _Abandoned:
    """Of one process: a fork has neither the thread nor the connections."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # `put` may be called while this very thread is in `put` (documented of SimpleQueue): a
        # collection can begin anywhere.
        self.found: SimpleQueue[Closable | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="odradek-abandoned", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (one := self.found.get()) is not None:
            try:
                one.close()
            except Exception:
                logger.exception("a connection that nobody holds any more could not be closed")
            del one


_here: _Abandoned | None = None
_lock = threading.Lock()


def watch(holder: object, connection: Closable) -> weakref.finalize[[_Abandoned, Closable], object]:
    """Have `connection`, which must not hold `holder`, closed soon after that is gone.
    `detach()` of what comes back takes it away.
    """
    finalizer = weakref.finalize(holder, _put_aside, _process(), connection)
    finalizer.atexit = False  # at the end of the process all that is open is closed
    return finalizer


def close_soon(connection: Closable) -> None:
    """Close it, on that thread."""
    _put_aside(_process(), connection)


def _process() -> _Abandoned:
    global _here
    with _lock:
        if _here is None or _here.pid != os.getpid():
            _here = _Abandoned()
        return _here


def _put_aside(process: _Abandoned, connection: Closable) -> None:
    if process.pid == os.getpid():  # else the parent's
        process.found.put(connection)


def _at_exit() -> None:
    if _here is not None and _here.pid == os.getpid():
        _here.found.put(None)
        _here.thread.join(_EXIT_S)


atexit.register(_at_exit)
