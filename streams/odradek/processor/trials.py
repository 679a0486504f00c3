"""While a lane tries what owners died over, no other lane of its process runs workflow code.

The lanes of a process die together, those of all its queues. A workflow that kills its process
strikes on one of them, and on each of the others stands what that one has just named: the same,
life after life, since each life takes the same way. So what was named when an owner died is
tried alone, and at a moment of chance: who dies then died over it, or was killed from outside in
those milliseconds.

Others wait for steps of `PATIENCE_SECONDS` at most: a trial whose step takes longer is passed
by. Its death counts all the same: workflow code that blocks for so long is what its process is
ended for, by whoever watches it. So what owners died over, too, does not pass it by: it may be
what kills, and the slow one would be blamed for that. A step that ends lets it come next; one
that does not has its process ended.

Never: keeps a lane that has to stop, or a claim of a lane that was dropped.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

# with one step: of a trial, or one that a trial waits for. A call that blocks takes longer than any
# wait is worth
PATIENCE_SECONDS = 15.0
# ... of a trial, with that of another: whoever ends processes for such a step has done so by then
TRIALS_PATIENCE_SECONDS = 600.0
# a trial begins within this time: whatever kills the process at the same moment of each life finds
# it elsewhere
SPREAD_SECONDS = 1.0
_LOOK_SECONDS = 0.25

#: Raises when the lane has to stop.
CheckStop = Callable[[], None]


class Trials:
    """Of one process. Each lane enters as itself: a partition may have two, one that does not
    come back and its successor.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._running: dict[Hashable, float] = {}  # since when
        self._alone: Hashable | None = None
        self._passed: set[Hashable] = set()  # trials whose step takes long

    def forked(self) -> None:
        """In a child process, which has none of the lanes: whatever they were at, and whoever
        had the lock.
        """
        self._begin()

    @contextmanager
    def step(self, lane: Hashable, check_stop: CheckStop) -> Iterator[None]:
        """Workflow code runs in the body: not while another lane tries something alone. Raises
        what `check_stop` does.
        """
        with self._changed:
            self._wait_for_trials(lane, check_stop)
            self._running[lane] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._running.pop(lane, None)
                if self._alone is not None:
                    self._changed.notify_all()

    @contextmanager
    def alone(self, lane: Hashable, check_stop: CheckStop) -> Iterator[bool]:
        """Nobody else runs workflow code during the body, unless a step of it takes long, nor
        tries anything alone even then; False: somebody does, who does not end. Raises as `step`.
        """
        try:
            yield self._claim(lane, check_stop)
        finally:
            self.let_go(lane)

    def let_go(self, lane: Hashable) -> None:
        """That lane runs nothing and claims nothing, whatever became of it. Idempotent."""
        with self._changed:
            self._running.pop(lane, None)
            self._passed.discard(lane)
            if self._alone is lane:
                self._alone = None
            self._changed.notify_all()

    def _claim(self, lane: Hashable, check_stop: CheckStop) -> bool:
        with self._changed:
            self._wait_for_trials(lane, check_stop, also_passed=True)
            self._alone = lane
            while any(not self._outlasts(other, PATIENCE_SECONDS) for other in self._others(lane)):
                self._changed.wait(_LOOK_SECONDS)
                check_stop()
            alone = not self._others(lane)
            if not alone:
                self._alone = None
                self._changed.notify_all()
            return alone

    def _wait_for_trials(
        self, lane: Hashable, check_stop: CheckStop, *, also_passed: bool = False
    ) -> None:
        while self._trial_beside(lane) or (also_passed and self._passed_beside(lane)):
            self._changed.wait(_LOOK_SECONDS)
            check_stop()

    def _trial_beside(self, lane: Hashable) -> bool:
        if (
            self._alone is not None
            and self._alone is not lane
            and self._outlasts(self._alone, PATIENCE_SECONDS)
        ):
            self._passed.add(self._alone)
            self._alone = None
            self._changed.notify_all()
        return self._alone is not None and self._alone is not lane

    def _passed_beside(self, lane: Hashable) -> bool:
        return any(
            not self._outlasts(trial, TRIALS_PATIENCE_SECONDS) for trial in self._passed - {lane}
        )

    def _others(self, lane: Hashable) -> set[Hashable]:
        return self._running.keys() - {lane}

    def _outlasts(self, lane: Hashable, seconds: float) -> bool:
        """Whether a step of that lane runs for so long."""
        return time.monotonic() - self._running.get(lane, float("inf")) >= seconds


#: Of this process: whatever number of workers and queues it has, they die together.
OF_PROCESS = Trials()
os.register_at_fork(after_in_child=OF_PROCESS.forked)


def moment() -> float:
    """Seconds until a trial begins."""
    return random.uniform(0.0, SPREAD_SECONDS)
