"""Restore: a local store catches up with its partition of `state`.

Reads committed records only, up to the uncommitted end that was noted after fencing: rows behind
a transaction that is still open (an owner before last, a foreign tool) are waited for, never
skipped. The end is reached by position or by the reader's end-of-partition event, never by
counting records: control records and compaction leave gaps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from odradek.engine import ports
from odradek.kafka.clients import Consumer, Producer
from odradek.processor.context import PartitionContext
from odradek.processor.errors import PartitionReset
from odradek.processor.records import key_of, offset_of, value_of
from odradek.processor.store import PartitionStore, StoreIdentity, destroy
from odradek.wire.rows import state_key
from odradek.wire.state import PositionRow

logger = logging.getLogger(__name__)

_CHUNK = 5_000
# a last record that is a control record shows in the position alone, no event comes
_WAIT_SECONDS = 0.02
_STUCK_SECONDS = 2.0  # nothing new for so long: a transaction has no end here, ours or another's
_ALARM_SECONDS = 10.0
_READ_SECONDS = 30.0
_END_SECONDS = 15.0

_POSITION = state_key(ports.POSITION, "")
# deletes a row that is never there: a no-op record
_NO_OP = state_key(ports.POSITION, "no-op")


def restore(
    context: PartitionContext,
    store: PartitionStore,
    producer: Producer,
    partition: int,
    log_start: int,
    end: int,
    progress: Callable[[int], None],
) -> int:
    """Apply what the store lacks up to `end` (exclusive); returns the number of rows.
    `progress(remaining)` is called often and may raise to stop. producer: of the partition, which
    has fenced. Raises PartitionReset.
    """
    topic, clock = context.state_topic, context.clock
    start = max(log_start, store.changelog_offset)
    if start >= end:
        store.apply([], start, clock.time_ms())
        return 0
    began = clock.monotonic()
    try:
        with context.restoring, closing(context.new_reader()) as reader:
            reader.assign([TopicPartition(topic, partition, start)])
            count, position, moved_at, stuck_at = 0, start, began, -1
            while position < end:
                progress(end - position)
                changes, reached = _read(reader, topic, partition, position)
                now = clock.monotonic()
                if reached > position:
                    store.apply(changes, reached, clock.time_ms())
                    count += len(changes)
                    position, moved_at = reached, now
                elif now - moved_at > _STUCK_SECONDS and stuck_at != position:
                    stuck_at = position
                    _complete_own_transaction(context, producer, partition, position, end)
                elif now - moved_at > _ALARM_SECONDS:
                    logger.warning(
                        "%s/%d: restore waits at %d of %d: a transaction is open there",
                        *(topic, partition, position, end),
                    )
                    moved_at = now
    except KafkaException as error:
        raise PartitionReset(f"restore: {error}") from error
    progress(0)
    logger.info(
        "%s/%d: %d rows restored in %.2f s", topic, partition, count, clock.monotonic() - began
    )
    return count


def _read(
    reader: Consumer, topic: str, partition: int, position: int
) -> tuple[list[tuple[bytes, bytes | None]], int]:
    """Rows from `position` on, and how far the reader is."""
    changes: list[tuple[bytes, bytes | None]] = []
    reached = position
    first = reader.poll(_WAIT_SECONDS)  # `consume` would wait for all of the chunk
    for message in [first, *reader.consume(_CHUNK, 0)] if first is not None else ():
        error = message.error()
        if error is None:
            changes.append((key_of(message) or b"", value_of(message)))
            reached = offset_of(message) + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            reached = max(reached, offset_of(message))
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise PartitionReset(
                f"{topic}/{partition}: rows from {position} on are gone, compaction went over"
                " them; again from the start"
            )
        elif not error.retriable():
            raise KafkaException(error)
    return changes, max(reached, reader.position([TopicPartition(topic, partition)])[0].offset)


def open_store(
    context: PartitionContext, partition: int, identity: PositionRow, start: int, end: int
) -> PartitionStore:
    """The local store, made anew where it does not fit `state`, which holds `start` to `end`."""
    path = context.store_path(partition)
    mark = StoreIdentity(
        identity.cluster_id, identity.state_topic_id, identity.events_topic_id, partition
    )
    decode_row = context.codec.decode_row
    store = PartitionStore.open(path, mark, decode_row, oldest_ms=context.oldest_store_ms())
    offset = store.changelog_offset
    if offset and not start <= offset <= end:
        logger.warning(
            "the local store at %s stands at %d, the changelog holds %d to %d: rebuilt",
            *(path, offset, start, end),
        )
        store.close()
        destroy(path)
        store = PartitionStore.open(path, mark, decode_row)
    return store


def _complete_own_transaction(
    context: PartitionContext, producer: Producer, partition: int, start: int, end: int
) -> None:
    """End what this partition's producer may have left open in `state` from `start` (what readers
    of committed records reach) to `end`; it has fenced.

    Kafka answers a commit before its markers stand in the partitions. A broker that is alone and
    is killed in between may come back without them (12 of 56 kills right behind a commit): no
    reader of committed records passes the transaction's first record then. The next transaction
    of the same producer decides the earlier one too, its way: a commit if a position row stands
    there, as a transaction of ours is whole only with it, else an abort. Changes nothing where
    somebody else's transaction is open: that one is waited for. Raises PartitionReset.
    """
    topic = context.state_topic
    whole = _holds_position_row(context, partition, start, end)
    logger.warning(
        "%s/%d: records %d to %d belong to a transaction without an end; ending it by %s, if it is"
        " ours (docs/operate.md, Hanging transactions)",
        *(topic, partition, start, end, "a commit" if whole else "an abort"),
    )
    try:
        producer.begin_transaction()
        producer.produce(topic, None, _NO_OP, partition)
        if whole:
            producer.commit_transaction(_END_SECONDS)
        else:
            # An abort drops what has not been sent, and only what was sent makes a marker here.
            producer.flush(_END_SECONDS)
            producer.abort_transaction(_END_SECONDS)
    except KafkaException as error:
        raise context.reset_over(error) from error


def _holds_position_row(context: PartitionContext, partition: int, start: int, end: int) -> bool:
    topic, clock = context.state_topic, context.clock
    try:
        with closing(context.new_reader(read_uncommitted=True)) as reader:
            reader.assign([TopicPartition(topic, partition, start)])
            deadline = clock.monotonic() + _READ_SECONDS
            while clock.monotonic() < deadline:
                message = reader.poll(0.1)
                if message is None:
                    continue
                error = message.error()
                if error is None and key_of(message) == _POSITION:
                    return True
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if offset_of(message) + 1 >= end:
                    return False
    except KafkaException as failure:
        raise context.reset_over(failure) from failure
    raise PartitionReset(f"{topic}/{partition}: records {start} to {end} could not be looked at")
