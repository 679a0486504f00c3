"""The queue between the consumer's thread and a partition's: bounded, tagged with the partition's
epoch.

A partition that seeks raises its epoch; what was dispatched under an older one is dropped here.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque

from confluent_kafka import Message

RECORDS_MAX = 2_000  # a partition with more is paused
RECORDS_RESUME = 500  # ... until it has worked down to this
# The same in bytes of record values. What the consumer has fetched comes on top, 32 MiB for all.
BYTES_MAX = 4 * 1024 * 1024
BYTES_RESUME = BYTES_MAX // 2

# One count for all partitions, so that a seek of the past never fits a successor.
_epochs = itertools.count(1)


class InputQueue:
    """The consumer's thread puts, the partition's thread takes; `wake` may come from anywhere."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._epoch = 0
        # of the consumer, past records that are no input (control records); -1: unknown
        self._position = -1
        self._woken = False

    def put(self, epoch: int, messages: list[Message]) -> bool:
        """Add records. True when the partition has to be paused now."""
        with self._condition:
            if epoch != self._epoch:
                return False
            self._messages.extend(messages)
            self._bytes += sum(map(len, messages))
            self._condition.notify()
            return len(self._messages) >= RECORDS_MAX or self._bytes >= BYTES_MAX

    def put_position(self, epoch: int, position: int) -> None:
        """Every record below `position` has been put."""
        with self._condition:
            if epoch == self._epoch:
                self._position = position
                self._condition.notify()

    def drained(self) -> bool:
        """Whether a partition that was paused may go on."""
        return len(self._messages) <= RECORDS_RESUME and self._bytes <= BYTES_RESUME

    def take(self, limit: int, timeout_s: float) -> list[Message]:
        """Up to `limit` records in order, of BYTES_MAX at most (but one at least). Waits for the
        first, or for `wake`.
        """
        with self._condition:
            if not self._messages and not self._woken and timeout_s > 0:
                self._condition.wait(timeout_s)
            self._woken = False
            taken: list[Message] = []
            size = 0
            while self._messages and len(taken) < limit:
                size += len(self._messages[0])
                if taken and size > BYTES_MAX:
                    break
                taken.append(self._messages.popleft())
            self._bytes -= sum(map(len, taken))
            return taken

    def passed_position(self) -> int:
        """The consumer's position when nothing is queued before it, else -1."""
        with self._condition:
            return -1 if self._messages else self._position

    def new_epoch(self) -> int:
        """Drop everything, also what is still on its way."""
        with self._condition:
            self._epoch = next(_epochs)
            self._messages.clear()
            self._bytes = 0
            self._position = -1
            return self._epoch

    def wait(self, timeout_s: float) -> None:
        """Sleep until `wake`, a record or the timeout; records stay where they are."""
        with self._condition:
            if not self._woken and timeout_s > 0:
                self._condition.wait(timeout_s)
            self._woken = False

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify()

    def __len__(self) -> int:
        return len(self._messages)
