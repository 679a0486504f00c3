"""How a signal ends the demo: once, from wherever it is, and never inside of a call that would
make something else of it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class Interruption:
    """The first SIGINT or SIGTERM since `listen`: KeyboardInterrupt in the main thread. Others
    are ignored from then on.
    """

    def __init__(self) -> None:
        self.came = False
        self._cancel: Callable[[], object] | None = None  # how to end what `run` runs

    def listen(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """As asyncio.run. A signal cancels `work`; KeyboardInterrupt follows when that has ended."""
        try:
            result = asyncio.run(self._cancellable(work))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        if self.came:  # as the work ended, with nothing left to cancel
            raise KeyboardInterrupt
        return result

    async def _cancellable(self, work: Coroutine[Any, Any, T]) -> T:
        # An exception out of a handler comes out of any call, and C code turns it into an error of
        # its own (confluent-kafka: TypeError).
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await task
        finally:
            self._cancel = None

    def _on_signal(self, number: int, _: object) -> None:
        self.ignore()  # another one must not interrupt what ends the processes
        self.came = True
        if self._cancel is None:
            raise KeyboardInterrupt(signal.Signals(number).name)
        self._cancel()
