"""While a lane tries what owners died over, no other lane of its process runs workflow code.

The lanes of a process die together. A workflow that kills its process strikes on one of them, and on each of the others stands what
that one has just named: the same, life after life, since each life takes the same way. So what was named when an owner died is tried
alone, and at a moment of chance: who dies then died over it, or was killed from outside in those milliseconds.

Never: keeps a lane that has to stop, or a claim of a lane that was dropped.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 15.0  # for steps of other lanes to end; one with many tasks that spin takes longer than any wait is worth
SPREAD_SECONDS = 1.0  # a trial begins within this time: whatever kills the process at the same moment of each life finds it elsewhere
_LOOK_SECONDS = 0.25

#: Raises when the lane has to stop.
CheckStop = Callable[[], None]


class Trials:
    """Of one process. Each lane enters under its partition."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running: set[int] = set()
        self._alone: int | None = None

    @contextmanager
    def step(self, partition: int, check_stop: CheckStop) -> Iterator[None]:
        """Workflow code runs in the body: not while another lane tries something alone. Raises what `check_stop` does."""
        with self._changed:
            while self._alone is not None and self._alone != partition:
                self._changed.wait(_LOOK_SECONDS)
                check_stop()
            self._running.add(partition)
        try:
            yield
        finally:
            self._left(partition)

    @contextmanager
    def alone(self, partition: int, check_stop: CheckStop) -> Iterator[bool]:
        """Nobody else runs workflow code during the body; False: somebody still does, after `PATIENCE_SECONDS`. Raises as `step`."""
        try:
            yield self._claim(partition, check_stop)
        finally:
            self.let_go(partition)

    def let_go(self, partition: int) -> None:
        """That lane runs nothing and claims nothing, whatever became of it. Idempotent."""
        with self._changed:
            self._running.discard(partition)
            if self._alone == partition:
                self._alone = None
            self._changed.notify_all()

    def _claim(self, partition: int, check_stop: CheckStop) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while self._alone is not None and self._alone != partition:
                self._changed.wait(_LOOK_SECONDS)
                check_stop()
            self._alone = partition
            while self._running - {partition} and time.monotonic() < deadline:
                self._changed.wait(_LOOK_SECONDS)
                check_stop()
            return not self._running - {partition}

    def _left(self, partition: int) -> None:
        with self._changed:
            self._running.discard(partition)
            if self._alone is not None:
                self._changed.notify_all()


def moment() -> float:
    """Seconds until a trial begins."""
    return random.uniform(0.0, SPREAD_SECONDS)
