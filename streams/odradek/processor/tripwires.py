"""Where a lane starts reading: the position row's offset, or 0 at a first start. Tripwires,
never a seek.

Everything that does not fit stops the lane with the cause and the cure: a position that the
topic does not hold, topics or a cluster that are not those of the row, traces of an earlier life
where there is no row. Going on would take lost records for read ones, or new for old.
"""

from __future__ import annotations

import time
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from odradek.exceptions import InputGapError, LaneError, PartitionCountError, TopicRecreatedError
from odradek.processor.errors import Dropped
from odradek.processor.services import LaneServices
from odradek.processor.store import LaneStore
from odradek.processor.work import CLUSTER_ERRORS, dropped, offset_of
from odradek.wire.state import PositionRow

_CHECK_SECONDS = 20.0


def first_start(services: LaneServices, partition: int, store: LaneStore) -> int:
    """Offset 0, and only if nobody was here before. These are tripwires, never a seek."""
    try:
        state_start, state_end = services.bounds(services.state_topic, partition)
        start, _ = services.bounds(services.events_topic, partition)
        committed = services.group_offset(partition)
    except CLUSTER_ERRORS as error:
        raise dropped(error) from error
    if state_end > store.changelog_offset:
        # This process stood still since it fenced: somebody else has begun the partition.
        raise Dropped(f"{services.state_topic} was written meanwhile", fenced=True, blameless=True)
    signs = []
    if state_start > 0 or next(store.items(), None) is not None:
        signs.append(f"{services.state_topic} was written (it begins at offset {state_start})")
    if start > 0:
        signs.append(f"records before offset {start} of {services.events_topic} were deleted")
    if committed >= 0:
        signs.append(f"group {services.group_id} has committed offset {committed}")
    if signs:
        raise LaneError(
            f"there is no position row, but this is no first start: {'; '.join(signs)}. The state"
            f" of this partition was lost. Restore {services.state_topic} from a backup; or, to"
            " begin from nothing, delete both topics and the group",
            topic=services.events_topic,
            partition=partition,
        )
    return 0


def known_start(
    services: LaneServices, partition: int, row: PositionRow, identity: PositionRow
) -> int:
    """The position, if the topics are those it was written with and still hold it."""
    if row.partitions != identity.partitions:
        raise PartitionCountError(
            services.events_topic,
            expected=row.partitions,
            found=identity.partitions,
            set_wrong=True,
        )
    if row.events_topic_id != identity.events_topic_id:
        raise TopicRecreatedError(
            services.events_topic,
            expected_id=row.events_topic_id,
            found_id=identity.events_topic_id,
        )
    if row.state_topic_id != identity.state_topic_id:
        raise TopicRecreatedError(
            services.state_topic, expected_id=row.state_topic_id, found_id=identity.state_topic_id
        )
    if row.cluster_id != identity.cluster_id:
        raise LaneError(
            f"the state was written on cluster {row.cluster_id}, this is {identity.cluster_id}:"
            " topics were copied, and offsets need not be the same there. Point `address` at the"
            " right cluster",
            topic=services.events_topic,
            partition=partition,
        )
    try:
        start, end = services.bounds(services.events_topic, partition)
    except CLUSTER_ERRORS as error:
        raise dropped(error) from error
    if row.offset < start:
        raise InputGapError(
            position=row.offset, log_start=start, topic=services.events_topic, partition=partition
        )
    if row.offset > end:
        raise LaneError(
            f"the position is {row.offset}, the topic ends at {end}: records were lost by the"
            " cluster (an unclean leader election?). Going on would take new records for old ones."
            " Restore the topic, or move the position row",
            topic=services.events_topic,
            partition=partition,
        )
    return row.offset


def check_nothing_skipped(
    services: LaneServices, partition: int, position: int, reached: int
) -> None:
    """After a seek the consumer stands at `reached`: see for ourselves that nothing but control
    records stands between.

    A consumer that begins at the wrong place would skip inputs without a sign. Raises Dropped.
    One short read, only when there is a gap.
    """
    try:
        with closing(services.new_reader()) as reader:
            reader.assign([TopicPartition(services.events_topic, partition, position)])
            deadline = time.monotonic() + _CHECK_SECONDS
            while time.monotonic() < deadline:
                message = reader.poll(0.05)
                error = message.error() if message is not None else None
                if message is not None and error is None and offset_of(message) < reached:
                    raise Dropped(
                        f"the consumer began at {reached}, but record {offset_of(message)} stands"
                        f" behind the position {position}"
                    )
                if (
                    message is not None
                    and (error is None or error.code() == KafkaError._PARTITION_EOF)
                    and offset_of(message) >= reached
                ):
                    return
                if (
                    reader.position([TopicPartition(services.events_topic, partition)])[0].offset
                    >= reached
                ):
                    return
            raise Dropped(f"records from {position} to {reached} could not be looked at")
    except KafkaException as failure:
        raise dropped(failure) from failure
