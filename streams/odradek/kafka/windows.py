"""How much of a topic may be on the way at a time, where the topic takes less than a batch of
the producer.

`max.message.bytes` counts a batch. librdkafka makes batches of up to `batch.size` (1 MB) of what
waits for a partition, and does not divide one that is refused: with a lower limit, records that
would fit many times are refused together. Of a partition of such a topic no more than it takes
at once is handed over at a time, so that no batch can be larger; others are only counted, so
that it is known who was alone. Where somebody sends without saying to which partition, the topic
has one window for all.

A host that knows the limit says so beforehand. Otherwise the first refusal tells: what was
refused in company comes back to its owner in its order, once nothing of its window is on the way
any more. What was on the way behind it may have been taken before: until a limit is known, it
costs the order of a key. One that was refused alone, or is larger than a batch (then it is a
batch of its own), is too large itself.

Where nobody says what is true, the limit is a guess: half of what was refused. It is asked for
again after a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

logger = logging.getLogger("odradek.kafka")

#: librdkafka's own `batch.size`.
BATCH_BYTES = 1_000_000
#: As partition of a place: the partitioner decides, by the key.
ANY = -1
ASK_AGAIN_S = 30.0  # about a limit that was guessed; twice as long each time
ASK_AGAIN_MAX_S = 1_920.0

Place = tuple[str, int]  # topic, partition or ANY
R = TypeVar("R")


def batch_bytes(config: Mapping[str, Any]) -> int:
    """The largest batch that a producer with this configuration makes of several records. One
    record may be larger.
    """
    batch = int(config.get("batch.size", BATCH_BYTES))
    return min(batch, int(config.get("message.max.bytes", batch)))


@dataclass(slots=True)
class _Topic(Generic[R]):
    """`limit` None: it takes batches, no window holds anything."""

    patience_s: float  # a guess of its limit stands for so long
    limit: int | None = None
    refused_at: int | None = None  # the limit at the last refusal, until `learn`
    windows: dict[int, _Window[R]] = field(
        default_factory=dict
    )  # by partition; with ANY it is the same one for all


@dataclass(slots=True, eq=False)
class _Window(Generic[R]):
    """`bytes` counts what came in while there was a limit. `emptying`: nothing more goes before
    all of it has its report.
    """

    topic: _Topic[R]
    on_the_way: int = 0
    bytes: int = 0
    lone: R | None = None  # on the way by itself all the time
    emptying: bool = False
    returned: deque[R] = field(default_factory=deque)
    waiting: deque[R] = field(default_factory=deque)


class Windows(Generic[R]):
    """Of one producer. Each record that `enter` or `ready` lets through has to come to `left` or
    `refused`, by its place. From any thread.

    size_of: bytes of a record as a batch of its own.  batch: what batches of the producer may
    have.  limits: topic -> `max.message.bytes`, as far as it is known; looked into at each
    record.  held_max: records that are kept here at most.  clock: monotonic, seconds. on_topic:
    called with a topic at its first record, while all others wait: must not block, nor call
    anything here.
    """

    def __init__(
        self,
        size_of: Callable[[R], int],
        *,
        batch: int,
        limits: Mapping[str, int],
        held_max: int,
        clock: Callable[[], float] = time.monotonic,
        on_topic: Callable[[str], None] | None = None,
    ) -> None:
        self._size_of = size_of
        self._batch = batch
        self._limits = limits
        self._held_max = held_max
        self._clock = clock
        self._on_topic = on_topic
        self._topics: dict[str, _Topic[R]] = {}
        self._windows: dict[Place, _Window[R]] = {}
        self._guesses: dict[str, float] = {}  # topics whose limit is one, and when to ask again
        self._lock = threading.Lock()
        self._held = 0

    @property
    def held(self) -> int:
        """Records that are kept here."""
        return self._held

    def limit(self, topic: str) -> int | None:
        """Bytes of each partition of it that may be on the way; None: no matter how many, or not
        in use yet.
        """
        state = self._topics.get(topic)
        return None if state is None else state.limit

    def enter(self, place: Place, record: R) -> bool:
        """Whether it goes now. If not, it is kept, and `ready` gives it later. Raises
        BufferError when too many are kept.
        """
        with self._lock:
            window = self._windows.get(place)
            if window is None:
                window = self._open(*place)
            topic = window.topic
            if topic.limit is None:
                known = self._limits.get(place[0])
                if known is not None and known < self._batch:
                    self._set_limit(topic, known)
            if (topic.limit is not None or self._held) and not self._fits(window, record):
                if self._held >= self._held_max:
                    raise BufferError(
                        f"{self._held} records wait to be sent: the broker does not keep up"
                    )
                window.waiting.append(record)
                self._held += 1
                return False
            self._go(window, record)
            return True

    def left(self, place: Place, record: R) -> None:
        """It has its report, or was not handed over after all."""
        with self._lock:
            self._leave(self._windows[place], record)

    def refused(self, place: Place, record: R) -> bool:
        """The broker took a batch with it for too large. True: it had company and is kept.
        False: it was alone; it has not left yet.
        """
        with self._lock:
            window = self._windows[place]
            if window.lone is record or self._size_of(record) > self._batch:
                return False
            topic = window.topic
            if (
                not window.emptying and topic.refused_at is None
            ):  # the first of a batch, or of several
                topic.refused_at = self._batch if topic.limit is None else topic.limit
                self._set_limit(topic, topic.refused_at // 2)
            self._leave(window, record)
            window.emptying = window.on_the_way > 0
            window.returned.append(record)
            self._held += 1
            return True

    def settle(self, topic: str, ask: Callable[[str], int]) -> None:
        """After `refused` said True, without a lock of the caller's: asks what the topic takes,
        once for what was refused together.

        ask: bytes of a topic, 0 when nobody says; may block.
        """
        if not self.unsure(topic):
            return
        told = ask(topic)
        self.learn(topic, told)
        logger.info(
            "%s refused a batch (it takes %d bytes, 0: not known): it gets at most %s at a time, what was refused is sent again",
            topic, told, self.limit(topic),
        )  # fmt: skip

    def ask_again(self, ask: Callable[[str], int]) -> None:
        """To be called now and then: what was guessed a while ago is asked for. Cheap, else as
        `settle`.
        """
        for topic in self.due():
            self.learn_again(topic, ask(topic))

    def unsure(self, topic: str) -> bool:
        """After `refused`: whether its limit has to be asked for anew, see `learn`."""
        return self._topics[topic].refused_at is not None

    def due(self) -> list[str]:
        """Topics whose limit is a guess that has stood for a while: to be asked for again, see
        `learn_again`. Cheap.
        """
        if not self._guesses:
            return []
        with self._lock:
            now = self._clock()
            return [topic for topic, at in self._guesses.items() if now >= at]

    def learn(self, topic: str, limit: int) -> None:
        """After a refusal: what a topic takes, 0 when nobody says. Only less than what was
        refused is believed.
        """
        with self._lock:
            state = self._topics[topic]
            if state.refused_at is None:  # somebody else has asked meanwhile
                return
            if 0 < limit < state.refused_at:
                self._set_limit(state, limit)
                self._guesses.pop(topic, None)
            else:
                self._guesses[topic] = self._clock() + state.patience_s
            state.refused_at = None

    def learn_again(self, topic: str, limit: int) -> None:
        """Of one that is `due`: what it takes, which is believed now. When nobody says (0),
        twice as much as before is tried.
        """
        with self._lock:
            state = self._topics[topic]
            if topic not in self._guesses or state.refused_at is not None:
                return
            wider = limit or 2 * (state.limit or self._batch)
            if wider >= self._batch:
                state.limit = None
            else:
                self._set_limit(state, wider)
            state.patience_s = min(2 * state.patience_s, ASK_AGAIN_MAX_S)
            if limit or state.limit is None:
                del self._guesses[topic]
            else:
                self._guesses[topic] = self._clock() + state.patience_s

    def ready(self, place: Place) -> Sequence[R]:
        """Those kept that go now."""
        window = self._windows[place]
        if not (window.returned or window.waiting):  # of most topics, for ever
            return ()
        found: list[R] = []
        with self._lock:
            limit = window.topic.limit
            while not window.emptying and (kept := window.returned or window.waiting):
                if (
                    window.on_the_way
                    and limit is not None
                    and window.bytes + self._size_of(kept[0]) > limit
                ):
                    break
                record = kept.popleft()
                self._held -= 1
                self._go(window, record)
                found.append(record)
        return found

    def clear(self) -> list[R]:
        """All that is kept, which is not any more."""
        found: list[R] = []
        with self._lock:
            for window in self._windows.values():
                found += [*window.returned, *window.waiting]
                window.returned.clear()
                window.waiting.clear()
            self._held = 0
        return found

    # Under the lock.

    def _open(self, name: str, partition: int) -> _Window[R]:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(ASK_AGAIN_S)
            if self._on_topic is not None:
                self._on_topic(name)
        window = topic.windows.get(ANY)
        if window is None:
            window = _Window(topic)
            if partition == ANY:
                for number, other in topic.windows.items():
                    _merge(window, other)
                    topic.windows[number] = self._windows[name, number] = window
        topic.windows[partition] = self._windows[name, partition] = window
        return window

    def _set_limit(self, topic: _Topic[R], limit: int) -> None:
        """From now on. What is on the way went by a wider one, if by any, and says nothing about
        this.
        """
        if topic.limit is None or limit < topic.limit:
            for window in topic.windows.values():
                window.emptying = window.on_the_way > 0
        topic.limit = limit

    def _fits(self, window: _Window[R], record: R) -> bool:
        if window.emptying or window.returned or window.waiting:
            return False
        limit = window.topic.limit
        return (
            limit is None or not window.on_the_way or window.bytes + self._size_of(record) <= limit
        )

    def _go(self, window: _Window[R], record: R) -> None:
        window.lone = None if window.on_the_way else record
        window.on_the_way += 1
        if window.topic.limit is not None:
            window.bytes += self._size_of(record)

    def _leave(self, window: _Window[R], record: R) -> None:
        window.on_the_way -= 1
        if not window.on_the_way:  # those that came before there was a limit were not counted
            window.bytes, window.emptying, window.lone = 0, False, None
        elif window.topic.limit is not None:
            window.bytes = max(0, window.bytes - self._size_of(record))


def _merge(window: _Window[R], other: _Window[R]) -> None:
    window.on_the_way += other.on_the_way
    window.bytes += other.bytes
    window.emptying |= other.emptying
    window.returned += other.returned
    window.waiting += other.waiting
