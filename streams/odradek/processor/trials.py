"""While a lane tries what owners died over, no other lane of its process runs workflow code.

The lanes of a process die together, those of all its queues. A workflow that kills its process strikes on one of them, and on each of the
others stands what that one has just named: the same, life after life, since each life takes the same way. So what was named when an owner
died is tried alone, and at a moment of chance: who dies then died over it, or was killed from outside in those milliseconds.

Others wait for steps of `PATIENCE_SECONDS` at most: a trial whose step takes longer is one no more, and goes on beside them.

Never: keeps a lane that has to stop, or a claim of a lane that was dropped.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 15.0  # with one step: of a trial, or one that a trial waits for. A call that blocks takes longer than any wait is worth
SPREAD_SECONDS = 1.0  # a trial begins within this time: whatever kills the process at the same moment of each life finds it elsewhere
_LOOK_SECONDS = 0.25

#: Of a lane: the topic of its inputs, and its partition.
Place = tuple[str, int]
#: Raises when the lane has to stop.
CheckStop = Callable[[], None]


class Trials:
    """Of one process. Each lane enters under its place."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running: dict[Place, float] = {}  # since when
        self._alone: Place | None = None
        self._spare: Callable[[], None] | None = None

    @contextmanager
    def step(self, place: Place, check_stop: CheckStop) -> Iterator[None]:
        """Workflow code runs in the body: not while another lane tries something alone. Raises what `check_stop` does."""
        with self._changed:
            self._wait_for_trials(place, check_stop)
            self._running[place] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._running.pop(place, None)
                if self._alone is not None:
                    self._changed.notify_all()

    @contextmanager
    def alone(self, place: Place, check_stop: CheckStop, spare: Callable[[], None]) -> Iterator[bool]:
        """Nobody else runs workflow code during the body; False: somebody does, who does not end. Raises as `step`.

        spare: called by another lane's thread, while a step in the body takes so long that others go on beside it; the step does not
        end meanwhile.
        """
        try:
            yield self._claim(place, check_stop, spare)
        finally:
            self.let_go(place)

    def let_go(self, place: Place) -> None:
        """That lane runs nothing and claims nothing, whatever became of it. Idempotent."""
        with self._changed:
            self._running.pop(place, None)
            if self._alone == place:
                self._alone = self._spare = None
            self._changed.notify_all()

    def _claim(self, place: Place, check_stop: CheckStop, spare: Callable[[], None]) -> bool:
        with self._changed:
            self._wait_for_trials(place, check_stop)
            self._alone, self._spare = place, spare
            while any(not self._outlasts(other) for other in self._others(place)):
                self._changed.wait(_LOOK_SECONDS)
                check_stop()
            alone = not self._others(place)
            if not alone:
                self._alone = self._spare = None
                self._changed.notify_all()
            return alone

    def _wait_for_trials(self, place: Place, check_stop: CheckStop) -> None:
        while self._alone is not None and self._alone != place:
            if self._outlasts(self._alone):
                spare, self._alone, self._spare = self._spare, None, None
                self._changed.notify_all()
                if spare is not None:
                    spare()  # with the lock: the step cannot end
                return
            self._changed.wait(_LOOK_SECONDS)
            check_stop()

    def _others(self, place: Place) -> set[Place]:
        return self._running.keys() - {place}

    def _outlasts(self, place: Place) -> bool:
        """Whether a step of that lane runs for longer than others wait."""
        return time.monotonic() - self._running.get(place, float("inf")) >= PATIENCE_SECONDS


#: Of this process: whatever number of workers and queues it has, they die together.
OF_PROCESS = Trials()


def moment() -> float:
    """Seconds until a trial begins."""
    return random.uniform(0.0, SPREAD_SECONDS)
