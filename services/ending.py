"""How a service's process ends: the first SIGTERM or Ctrl-C lets it drain, the second, or one before it serves, ends it at once.

Nothing here imports odradek.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ends_at_once(name: str) -> None:
    """From now on, until `on_signals`, a signal ends the process with one line: there is nothing to drain yet. In the main thread."""

    def end(number: int, _: object) -> NoReturn:
        print(f"{name}: ended by {signal.Signals(number).name} before it served", file=sys.stderr, flush=True)
        _end_at_once(number, None)

    for each in SIGNALS:
        signal.signal(each, end)


def on_signals(drain: Callable[[], object], *, within_seconds: float | None = None) -> None:
    """From now on the first signal calls `drain`, in the main thread between two instructions; the second ends the process.

    `within_seconds`: when that much time has passed since the first one, the process ends with status 1, drained or not. What it was at
    comes again: the broker has no acknowledgement of it. Call it in the main thread.
    """

    def first(number: int, _: object) -> None:
        for each in SIGNALS:
            signal.signal(each, _end_at_once)
        if within_seconds is not None:
            _end_after(within_seconds)
        drain()

    for each in SIGNALS:
        signal.signal(each, first)


def _end_at_once(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container: the kernel spares it what it does not handle


def _end_after(seconds: float) -> None:
    def end() -> NoReturn:
        print(f"not drained within {seconds:g} s of the signal; what was under way comes again", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
