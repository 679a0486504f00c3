"""Where a partition starts reading: the position row's offset, or 0 at a first start. Checks,
never a seek.

Everything that does not fit stops the partition with the cause and the cure: a position that the
topic does not hold, topics or a cluster that are not those of the row, traces of an earlier life
where there is no row. Going on would take lost records for read ones, or new for old.
"""

from __future__ import annotations

from contextlib import closing

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from odradek.exceptions import InputGapError, LaneError, PartitionCountError, TopicRecreatedError
from odradek.processor.context import PartitionContext
from odradek.processor.errors import PartitionReset
from odradek.processor.records import offset_of
from odradek.processor.store import PartitionStore
from odradek.wire.state import PositionRow

_CHECK_SECONDS = 20.0


def first_start(context: PartitionContext, partition: int, store: PartitionStore) -> int:
    """Offset 0, and only if nobody was here before."""
    state_start, _ = context.bounds(context.state_topic, partition)
    start, _ = context.bounds(context.events_topic, partition)
    committed = context.group_offset(partition)
    signs = []
    if state_start > 0 or next(store.items(), None) is not None:
        signs.append(f"{context.state_topic} was written (it begins at offset {state_start})")
    if start > 0:
        signs.append(f"records before offset {start} of {context.events_topic} were deleted")
    if committed >= 0:
        signs.append(f"group {context.group_id} has committed offset {committed}")
    if signs:
        raise LaneError(
            f"there is no position row, but this is no first start: {'; '.join(signs)}. The state"
            f" of this partition was lost. Restore {context.state_topic} from a backup; or, to"
            " begin from nothing, delete both topics and the group",
            topic=context.events_topic,
            partition=partition,
        )
    return 0


def known_start(
    context: PartitionContext, partition: int, row: PositionRow, identity: PositionRow
) -> int:
    """The position, if the topics are those it was written with and still hold it."""
    if row.partitions != identity.partitions:
        raise PartitionCountError(
            context.events_topic,
            expected=row.partitions,
            found=identity.partitions,
            set_wrong=True,
        )
    for topic, expected, found in (
        (context.events_topic, row.events_topic_id, identity.events_topic_id),
        (context.state_topic, row.state_topic_id, identity.state_topic_id),
    ):
        if expected != found:
            raise TopicRecreatedError(topic, expected_id=expected, found_id=found)
    if row.cluster_id != identity.cluster_id:
        raise LaneError(
            f"the state was written on cluster {row.cluster_id}, this is {identity.cluster_id}:"
            " topics were copied, and offsets need not be the same there. Point `address` at the"
            " right cluster",
            topic=context.events_topic,
            partition=partition,
        )
    start, end = context.bounds(context.events_topic, partition)
    if row.offset < start:
        raise InputGapError(
            position=row.offset, log_start=start, topic=context.events_topic, partition=partition
        )
    if row.offset > end:
        raise LaneError(
            f"the position is {row.offset}, the topic ends at {end}: records were lost by the"
            " cluster (an unclean leader election?). Going on would take new records for old ones."
            " Restore the topic, or move the position row",
            topic=context.events_topic,
            partition=partition,
        )
    return row.offset


def check_nothing_skipped(
    context: PartitionContext, partition: int, position: int, reached: int
) -> None:
    """After a seek the consumer stands at `reached`: see for ourselves that nothing but control
    records stands between. Raises PartitionReset.

    A consumer that begins at the wrong place would skip inputs without a sign. One short read,
    only when there is a gap.
    """
    topic, clock = context.events_topic, context.clock
    try:
        with closing(context.new_reader()) as reader:
            reader.assign([TopicPartition(topic, partition, position)])
            deadline = clock.monotonic() + _CHECK_SECONDS
            while clock.monotonic() < deadline:
                message = reader.poll(0.05)
                error = message.error() if message is not None else None
                if message is not None and (
                    error is None or error.code() == KafkaError._PARTITION_EOF
                ):
                    if offset_of(message) >= reached:
                        return
                    if error is None:
                        raise PartitionReset(
                            f"the consumer began at {reached}, but record {offset_of(message)}"
                            f" stands behind the position {position}"
                        )
                if reader.position([TopicPartition(topic, partition)])[0].offset >= reached:
                    return
    except KafkaException as failure:
        raise context.reset_over(failure) from failure
    raise PartitionReset(f"records from {position} to {reached} could not be looked at")
