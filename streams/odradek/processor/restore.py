"""Restore: a local store catches up with its partition of `state`, beside the processing of
other lanes.

Reads committed records only, up to the uncommitted end that was noted after fencing: so rows
behind a transaction that is still open (an owner before last, a foreign tool) are waited for,
never skipped. The end is reached by position or by the reader's end-of-partition event, never by
counting records: control records and compaction leave gaps. Few restore at a time (`Places`);
one that waits for a transaction to be decided is none of them meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
import typing
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.processor.errors import Dropped
from odradek.processor.store import LaneStore

logger = logging.getLogger(__name__)

_CHUNK = 5_000
_WAIT_SECONDS = (
    0.02  # a last record that is a control record shows in the position alone, no event comes
)
_STUCK_SECONDS = (
    2.0  # nothing new for so long: a transaction has no end here, ours or somebody else's
)
_ALARM_SECONDS = 10.0
_PLACE_SECONDS = 0.2  # how late one that waits for its place again notices that it is to stop

Stuck = Callable[[int], None]


class Places(threading.Semaphore):
    """How many lanes restore at a time: `with places:` around a restore. A thread has one place
    at most, and may give it back inside.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._mine = threading.local()

    @property
    def held(self) -> bool:
        """Whether this thread has one."""
        return getattr(self._mine, "held", False)

    def take(self, timeout_s: float | None = None) -> bool:
        """Wait for a place; whether there was one in time."""
        self._mine.held = self.acquire(timeout=timeout_s)
        return self.held

    def give_back(self) -> None:
        """For somebody else to take. Without one: nothing."""
        if self.held:
            self._mine.held = False
            self.release()

    def __enter__(self) -> bool:  # type: ignore[override]  # `with` passes nothing
        return self.take()

    def __exit__(self, *exc: object) -> None:
        self.give_back()


class Restorer:
    """Restores stores of one queue. `consumer` makes a reader without group: read_committed, no
    offset reset, end-of-partition events.

    places: whoever calls `restore` has one; it is given back while there is nothing to do but wait.
    """

    def __init__(self, topic: str, consumer: Callable[[], Consumer], places: Places) -> None:
        self._topic = topic
        self._consumer = consumer
        self._places = places

    def restore(
        self,
        store: LaneStore,
        partition: int,
        start: int,
        end: int,
        progress: Callable[[int], None],
        stuck: Stuck,
    ) -> int:
        """Apply `start` to `end` (exclusive); returns the number of rows. `progress(remaining)`
        is called often and may raise to stop.

        `stuck(position)` is called once for a position that readers of committed records do not
        pass.
        """
        if start >= end:
            store.apply([], max(start, store.changelog_offset), _now_ms())
            return 0
        began = time.monotonic()
        try:
            with closing(self._consumer()) as consumer:
                consumer.assign([TopicPartition(self._topic, partition, start)])
                count = self._read(consumer, store, partition, start, end, progress, stuck)
        except KafkaException as error:
            raise Dropped(f"restore: {error}", blameless=True) from error
        logger.info(
            "%s/%d: %d rows restored in %.2f s",
            self._topic,
            partition,
            count,
            time.monotonic() - began,
        )
        return count

    def _read(
        self,
        consumer: Consumer,
        store: LaneStore,
        partition: int,
        start: int,
        end: int,
        progress: Callable[[int], None],
        stuck: Stuck,
    ) -> int:
        place = [TopicPartition(self._topic, partition)]
        count, position, moved_at = 0, start, time.monotonic()
        stuck_at = -1
        while position < end:
            progress(end - position)
            changes: list[tuple[bytes, bytes | None]] = []
            reached = position
            first = consumer.poll(_WAIT_SECONDS)  # `consume` would wait for all of the chunk
            for message in [first, *consumer.consume(_CHUNK, 0)] if first is not None else ():
                error = message.error()
                if error is None:
                    changes.append((_bytes(message.key()) or b"", _bytes(message.value())))
                    reached = _offset(message) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached = max(reached, _offset(message))
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise Dropped(
                        f"{self._topic}/{partition}: rows from {position} on are gone, compaction"
                        " went over them; again from the start"
                    )
                elif not error.retriable():
                    raise KafkaException(error)
            reached = max(reached, consumer.position(place)[0].offset)
            now = time.monotonic()
            if reached > position:
                while not self._places.held and not self._places.take(_PLACE_SECONDS):
                    progress(end - position)
                store.apply(changes, reached, _now_ms())
                count += len(changes)
                position, moved_at = reached, now
            elif now - moved_at > _STUCK_SECONDS and stuck_at != position:
                stuck_at = position
                self._places.give_back()
                stuck(position)
            elif now - moved_at > _ALARM_SECONDS:
                logger.warning(
                    "%s/%d: restore waits at %d of %d: a transaction is open there",
                    self._topic,
                    partition,
                    position,
                    end,
                )
                moved_at = now
        progress(0)
        return count


def _bytes(raw: object) -> bytes | None:
    return typing.cast("bytes | None", raw)


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
