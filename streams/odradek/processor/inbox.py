"""Hand-over of records from the group's thread to a lane's: whole lists, bounded, tagged with
the lane's epoch.

A lane that seeks raises its epoch; what was dispatched under an older one is dropped here. Mind
the GIL: one hand-over is one wake-up, so records come and go as lists, never one by one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Collection

from confluent_kafka import Message

RECORDS_MAX = 2_000  # a lane that holds more pauses its partition
RECORDS_RESUME = 500  # ... until it has worked down to this
# The same in bytes, of record values: a start may have a megabyte. What the consumer had fetched
# comes on top, 32 MiB for all lanes.
BYTES_MAX = 8 * 1024 * 1024
BYTES_RESUME = BYTES_MAX // 2
# All lanes of a consumer together: from here on those pause that hold more than their share of half
# of it, so that each takes something and 64 lanes hold 96 MiB at most, not 512.
ALL_BYTES_MAX = 8 * BYTES_MAX
ALL_BYTES_RESUME = ALL_BYTES_MAX // 2

# One count for all lanes: what a lane has left behind, a seek above all, must not fit its
# successor.
_epochs = itertools.count(1)


class Inbox:
    """One lane's queue. The group's thread puts, the lane's thread takes; `wake` may come from
    anywhere.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._lists: deque[list[Message]] = deque()
        self._count = 0
        self._bytes = 0
        self._epoch = 0
        self._position = (
            -1
        )  # consumer position, past records that are no input (control records); -1 unknown
        self._woken = False

    def put(self, epoch: int, messages: list[Message]) -> bool:
        """Add records. True when the partition has to be paused now."""
        size = _size(messages)
        with self._condition:
            if epoch != self._epoch:
                return False
            self._lists.append(messages)
            self._count += len(messages)
            self._bytes += size
            self._condition.notify()
            return self._count >= RECORDS_MAX or self._bytes >= BYTES_MAX

    def put_position(self, epoch: int, position: int) -> None:
        """Every record below `position` has been put."""
        with self._condition:
            if epoch == self._epoch:
                self._position = position
                self._condition.notify()

    def drained(self) -> bool:
        """Whether a partition that was paused may go on."""
        return self._count <= RECORDS_RESUME and self._bytes <= BYTES_RESUME

    def take(self, limit: int, timeout: float) -> list[Message]:
        """Up to `limit` records, in order, of BYTES_MAX at most (but one at least); waits up to
        `timeout` seconds for the first, or for `wake`.
        """
        with self._condition:
            if not self._lists and not self._woken and timeout > 0:
                self._condition.wait(timeout)
            self._woken = False
            if not self._lists:
                return []
            taken = self._lists.popleft()
            while self._lists and len(taken) + len(self._lists[0]) <= limit:
                taken.extend(self._lists.popleft())
            fitting = min(limit, len(taken))
            if self._bytes > BYTES_MAX:  # else whatever is taken fits
                fitting = _fitting(taken, fitting)
            if fitting < len(taken):
                self._lists.appendleft(taken[fitting:])
                del taken[fitting:]
            self._count -= len(taken)
            self._bytes -= _size(taken)
            return taken

    def settled_position(self) -> int:
        """Consumer position when nothing is queued before it, else -1."""
        with self._condition:
            return self._position if not self._lists else -1

    def new_epoch(self) -> int:
        """Drop everything, also what is still on its way."""
        with self._condition:
            self._epoch = next(_epochs)
            self._lists.clear()
            self._count = self._bytes = 0
            self._position = -1
            return self._epoch

    def wait(self, timeout: float) -> None:
        """Sleep until `wake` or the timeout; records stay where they are."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while not self._woken and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)
            self._woken = False

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify()

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of the values of what is here."""
        return self._bytes


class Together:
    """What the inboxes of one consumer hold together, as of now."""

    def __init__(self, inboxes: Collection[Inbox]) -> None:
        self._bytes = sum([inbox.size for inbox in inboxes])
        self._share = ALL_BYTES_MAX // 2 // max(1, len(inboxes))

    def full(self, inbox: Inbox) -> bool:
        """Whether its partition has to be paused for all of them."""
        return self._bytes >= ALL_BYTES_MAX and inbox.size >= self._share

    def drained(self, inbox: Inbox) -> bool:
        """Whether it may go on, as far as the others are concerned."""
        return self._bytes <= ALL_BYTES_RESUME or inbox.size <= self._share // 2


def _size(messages: list[Message]) -> int:
    return sum(map(len, messages))


def _fitting(messages: list[Message], limit: int) -> int:
    """How many of the first `limit` are BYTES_MAX together; one at least."""
    size = 0
    for index, message in enumerate(messages[:limit]):
        size += len(message)
        if size > BYTES_MAX and index:
            return index
    return limit
