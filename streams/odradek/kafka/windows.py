"""How much of a topic may be on the way at a time, where the topic takes less than a batch of the producer.

`max.message.bytes` counts a batch. librdkafka makes batches of up to `batch.size` (1 MB) of what waits for a partition, and does not divide
one that is refused: with a lower limit, records that would fit many times are refused together. Of such a topic no more than it takes
at once is handed over at a time, so that no batch can be larger; other topics are only counted, so that it is known who was alone.

A host that knows the limit says so beforehand. Otherwise the first refusal tells: what was refused in company comes back to its owner in
its order, once nothing of the topic is on the way any more. One that was refused alone is too large itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: librdkafka's own `batch.size`.
BATCH_BYTES = 1_000_000

R = TypeVar("R")


def batch_bytes(config: Mapping[str, Any]) -> int:
    """The largest batch that a producer with this configuration makes of several records. One record may be larger."""
    return int(config.get("batch.size", BATCH_BYTES))


@dataclass(slots=True)
class _Topic(Generic[R]):
    """`limit` None: no window. `bytes` counts what came in by the window. `emptying`: nothing more goes before all of it has its report."""

    on_the_way: int = 0
    bytes: int = 0
    limit: int | None = None
    refused_at: int | None = None  # the window at the last refusal, until `learn`
    lone: R | None = None  # on the way by itself all the time
    emptying: bool = False
    returned: deque[R] = field(default_factory=deque)
    waiting: deque[R] = field(default_factory=deque)


class Windows(Generic[R]):
    """Of one producer, by topic. Each record that `enter` or `ready` lets through has to come to `left` or `refused`. From any thread.

    size_of: bytes of a record as a batch of its own.  batch: what batches of the producer may have.  limits: topic -> `max.message.bytes`,
    as far as it is known; looked into at each record.  held_max: records that are kept here at most.
    """

    def __init__(self, size_of: Callable[[R], int], *, batch: int, limits: Mapping[str, int], held_max: int) -> None:
        self._size_of = size_of
        self._batch = batch
        self._limits = limits
        self._held_max = held_max
        self._topics: dict[str, _Topic[R]] = {}
        self._lock = threading.Lock()
        self._held = 0

    @property
    def held(self) -> int:
        """Records that are kept here."""
        return self._held

    def enter(self, topic: str, record: R) -> bool:
        """Whether it goes now. If not, it is kept, and `ready` gives it later. Raises BufferError when too many are kept."""
        with self._lock:
            state = self._topics.get(topic)
            if state is None:
                state = self._topics[topic] = _Topic()
            if state.limit is None:
                known = self._limits.get(topic)
                if known is not None and known < self._batch:
                    state.limit, state.emptying = known, state.on_the_way > 0
            if state.limit is not None and not self._fits(state, record):
                if self._held >= self._held_max:
                    raise BufferError(f"{self._held} records wait to be sent: the broker does not keep up")
                state.waiting.append(record)
                self._held += 1
                return False
            self._go(state, record)
            return True

    def left(self, topic: str, record: R) -> None:
        """It has its report, or was not handed over after all."""
        with self._lock:
            self._leave(self._topics[topic], record)

    def refused(self, topic: str, record: R) -> bool:
        """The broker took a batch with it for too large. True: it had company and is kept. False: it was alone; it has not left yet."""
        with self._lock:
            state = self._topics[topic]
            if state.lone is record:
                return False
            if not state.emptying and state.refused_at is None:  # the first of a batch, or of several
                state.refused_at = self._batch + 1 if state.limit is None else state.limit
                state.limit = 0  # each alone, unless somebody knows more
            self._leave(state, record)
            state.emptying = state.on_the_way > 0
            state.returned.append(record)
            self._held += 1
            return True

    def unsure(self, topic: str) -> bool:
        """After `refused`: whether its limit has to be asked for anew, see `learn`."""
        return self._topics[topic].refused_at is not None

    def learn(self, topic: str, limit: int) -> None:
        """What a topic takes, 0 when nobody says. No more than was refused before is believed."""
        with self._lock:
            state = self._topics[topic]
            if state.refused_at is not None:
                state.limit = min(limit, self._batch) if limit < state.refused_at else 0
                state.refused_at = None

    def ready(self, topic: str) -> list[R]:
        """Those kept that go now."""
        found: list[R] = []
        state = self._topics[topic]
        if state.limit is None:  # for most topics, for ever
            return found
        with self._lock:
            while not state.emptying and (kept := state.returned or state.waiting):
                if state.on_the_way and state.bytes + self._size_of(kept[0]) > (state.limit or 0):
                    break
                record = kept.popleft()
                self._held -= 1
                self._go(state, record)
                found.append(record)
        return found

    def clear(self) -> list[R]:
        """All that is kept, which is not any more."""
        with self._lock:
            found = [record for state in self._topics.values() for kept in (state.returned, state.waiting) for record in kept]
            for state in self._topics.values():
                state.returned.clear()
                state.waiting.clear()
            self._held = 0
        return found

    # Under the lock.

    def _fits(self, state: _Topic[R], record: R) -> bool:
        if state.emptying or state.returned or state.waiting:
            return False
        return not state.on_the_way or state.bytes + self._size_of(record) <= (state.limit or 0)

    def _go(self, state: _Topic[R], record: R) -> None:
        state.lone = None if state.on_the_way else record
        state.on_the_way += 1
        if state.limit is not None:
            state.bytes += self._size_of(record)

    def _leave(self, state: _Topic[R], record: R) -> None:
        state.on_the_way -= 1
        if not state.on_the_way:  # those that came before there was a window were not counted
            state.bytes, state.emptying, state.lone = 0, False, None
        elif state.limit is not None:
            state.bytes = max(0, state.bytes - self._size_of(record))
