"""How a service's process ends: the first SIGTERM or Ctrl-C lets it drain, the second, or one
before it serves, ends it at once.

Nothing here imports odradek.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ends_at_once(name: str) -> None:
    """From now on, until `on_signals`, a signal ends the process with one line: there is nothing
    to drain yet. In the main thread.
    """

    def end(number: int, _: object) -> NoReturn:
        print(
            f"{name}: ended by {signal.Signals(number).name} before it served",
            file=sys.stderr,
            flush=True,
        )
        _end_at_once(number, None)

    for each in SIGNALS:
        signal.signal(each, end)


def on_signals(
    drain: Callable[[], object], *, within_seconds: float | None = None
) -> Callable[[], None]:
    """From now on the first signal calls `drain`, in the main thread between two instructions;
    the second ends the process.

    `within_seconds`: when that much time has passed since the first one, the process ends with
    status 1, drained or not. What it was at comes again: the broker has no acknowledgement of
    it. What it gives back begins that time too, for an end over something else. Call it in the
    main thread. `drain` takes no lock (so it sets no event of `threading`): it may come in the
    middle of whatever has that.
    """
    read, told = os.pipe()
    if within_seconds is not None:  # from now on: a handler starts no thread
        threading.Thread(
            target=_end_after, args=(read, within_seconds), name="ending", daemon=True
        ).start()

    def begin() -> None:
        os.write(told, b".")

    def first(number: int, _: object) -> None:
        for each in SIGNALS:
            signal.signal(each, _end_at_once)
        begin()
        drain()

    for each in SIGNALS:
        signal.signal(each, first)
    return begin


def _end_at_once(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(
        128 + number
    )  # the first process of a container: the kernel spares it what it does not handle


def _end_after(told: int, seconds: float) -> NoReturn:
    os.read(told, 1)
    time.sleep(seconds)
    try:
        _say(f"not drained within {seconds:g} s; what was under way comes again\n")
    finally:
        os._exit(1)


def _say(line: str) -> None:
    """To stderr, past the stream, which a line that nobody reads may have locked.

    Somebody's own stream in its place may have no file. Then to that of the process, if it began
    with one: number 2 may be any file since.
    """
    for stream in (sys.stderr, sys.__stderr__):
        with contextlib.suppress(Exception):
            stderr = stream.fileno()  # type: ignore[union-attr] # None: as one without
            if select.select([], [stderr], [], 0)[1]:
                os.write(stderr, line.encode())
            return
