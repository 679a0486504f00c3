"""A transaction of ours that Kafka calls complete and whose end it never wrote into the partition.

Kafka answers a commit before its markers stand in the partitions. A broker that is alone and is
killed in between may, when it comes back, take the partitions for deleted and call the
transaction complete without them (seen on 4.3.1: 12 of 56 kills right behind a commit). From
then on no reader of committed records passes its first record, and a lane without a local store
could never restore. The next transaction of the same producer that ends there decides the
earlier one too, its way: so one is made for that, before anything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from odradek.engine import ports
from odradek.processor.errors import Dropped
from odradek.processor.work import dropped, key_of, offset_of
from odradek.wire.rows import state_key

logger = logging.getLogger(__name__)

_POSITION = state_key(ports.POSITION, "")
_NOTHING = state_key(
    ports.POSITION, "nothing"
)  # deletes a row that is never there: a record that says nothing
_READ_SECONDS = 30.0
_END_SECONDS = 15.0


def end_left_open(
    producer: Producer,
    new_reader: Callable[[], Consumer],
    topic: str,
    start: int,
    end: int,
    partition: int,
) -> None:
    """End what `producer` may have left open from `start` on (what readers of committed records
    reach) to `end`; the lane has fenced.

    Committed if a position row stands there: a transaction of ours is whole only with it, and is
    committed only when it is whole. Aborted otherwise: it cannot have been committed. Changes
    nothing where somebody else's transaction is open: that one is waited for. A lost *abort* of
    a transaction that was whole on this partition is taken for a commit; it needs a lane and a
    broker that are killed within milliseconds of each other.

    new_reader: makes a reader
    of uncommitted records with end-of-partition events. Raises Dropped.
    """
    whole = _holds_position_row(new_reader, topic, partition, start, end)
    logger.warning(
        "%s/%d: records %d to %d belong to a transaction without an end; ending it by %s, if it is ours. Kafka loses the ends of "
        "transactions when a broker that is alone is killed: docs/operate.md, Sizing",
        topic, partition, start, end, "a commit" if whole else "an abort",
    )  # fmt: skip
    try:
        producer.begin_transaction()
        producer.produce(topic, None, _NOTHING, partition)
        if whole:
            producer.commit_transaction(_END_SECONDS)
        else:
            producer.flush(
                _END_SECONDS
            )  # an abort drops what has not been sent, and only what was sent makes a marker here
            producer.abort_transaction(_END_SECONDS)
    except KafkaException as error:
        raise dropped(error) from error


def _holds_position_row(
    new_reader: Callable[[], Consumer], topic: str, partition: int, start: int, end: int
) -> bool:
    try:
        with closing(new_reader()) as reader:
            reader.assign([TopicPartition(topic, partition, start)])
            deadline = time.monotonic() + _READ_SECONDS
            while time.monotonic() < deadline:
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
            raise Dropped(f"{topic}/{partition}: records {start} to {end} could not be looked at")
    except KafkaException as failure:
        raise dropped(failure) from failure
