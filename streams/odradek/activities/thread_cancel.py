"""Cancellation of an activity that runs in a thread: `exceptions.CancelledError` is raised *into* it.

Uses PyThreadState_SetAsyncExc, which sets a mark that the thread meets at its next bytecode. Two
things must never happen: the exception must not reach the pool's own code after the activity
returned, and it must not interrupt a shielded block. So at most one exception is ever sent to an
attempt, under a lock that `run` takes before and after the activity, and a mark that was set but
not met is taken away again.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from odradek.exceptions import CancelledError

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)
_set_async_exc.restype = ctypes.c_int
# A NULL exception takes a mark away that the thread has not met yet; py_object cannot express NULL,
# so a second signature.
_clear_async_exc = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class ThreadCanceller:
    """Raises `CancelledError` into the thread of one attempt, at most once, and never outside of
    the activity.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._pending = False
        self._sent = False
        self._shields = 0

    def cancel(self) -> None:
        """Interrupt the activity now, at the end of its shielded block, or when it starts. Any
        thread; later calls do nothing.
        """
        with self._lock:
            if self._sent or self._pending:
                return
            self._pending = True
            self._send_if_possible()

    def _send_if_possible(self) -> None:
        if self._pending and self._thread_id is not None and self._shields == 0:
            self._pending = False
            self._sent = True
            _set_async_exc(self._thread_id, CancelledError)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call `fn(*args)` in this thread, interruptible. A cancel that comes once it has
        returned changes nothing.
        """
        returned: list[Any] = []
        try:
            try:
                self._enter()
                returned.append(fn(*args))
            finally:
                self._leave()
        except CancelledError:
            # the one exception may have struck inside the first call; there is no second one
            self._leave()
            if not returned:
                raise
        return returned[0]

    def _enter(self) -> None:
        with self._lock:
            self._thread_id = threading.get_ident()
            self._send_if_possible()

    def _leave(self) -> None:
        with self._lock:
            if self._thread_id is not None and self._sent:
                _clear_async_exc(self._thread_id, None)
            self._thread_id = None
            self._pending = False

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Hold a cancellation back until the outermost shielded block ends; then it is raised,
        whatever the block gave.
        """
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                raise_here = (
                    self._pending
                    and self._shields == 0
                    and self._thread_id == threading.get_ident()
                )
                if raise_here:
                    self._pending = False
                    self._sent = True
                else:
                    self._send_if_possible()
            if raise_here:
                raise CancelledError("Cancelled")
