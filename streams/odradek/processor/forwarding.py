"""The lane of a partition that the queue does not have: somebody added partitions to `events`,
and Kafka takes none away.

Workflow ids stay hashed over the number that the state was written for; whoever hashes over all
partitions of the topic (Kafka's own partitioner does) writes here. Each record goes to the
partition of its workflow, byte for byte, with where it lay in a header.

Exactly once: one transaction holds the forwards and the group's offset of this partition, under
the partition's own transactional id, which fences a former owner as in every lane. Records
behind the offset are deleted soon: they stand elsewhere, and where the group's offset is lost
(the broker forgets those of a group that nobody was in for a week), the log start tells the
same.

Never: apply anything, have a row in `state`, or guess the number of partitions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, TopicPartition

from odradek.engine.ports import Effects
from odradek.exceptions import InputGapError, LaneError, OdradekError
from odradek.processor import faults
from odradek.processor.care import Care
from odradek.processor.lane import Lane
from odradek.processor.lane_state import LaneState
from odradek.processor.outputs import output_records
from odradek.processor.services import LaneServices
from odradek.processor.timers import Timers
from odradek.processor.transaction import COMMIT_TIMEOUT_SECONDS, Parts, Rows, Transactions
from odradek.processor.work import CLUSTER_ERRORS, Work, dropped, now_ms
from odradek.wire.state import Row, RunRow

logger = logging.getLogger(__name__)

WAKE_SECONDS = 1.0  # the wait for inputs at most; forwards that are as old are deleted

TEXT = (
    "%s has partitions that its state was not written for: partition %d, with %d that count. What"
    " lies here is forwarded to the partition of its workflow, one hop late. To be rid of it, let"
    " the queue drain into a new one (docs/operate.md, Partitions)"
)


class ForwardingLane(Lane):
    """See the module. States, drops, stops and statistics are those of every lane."""

    _transactions: _Forwards
    _deleted = 0  # records before this offset are gone

    def _new_transactions(self) -> _Forwards:
        return _Forwards(self._services, self.partition, self.tally, self._fault)

    # ------------------------------------------------------------------------------------------------
    # own

    def _own(self) -> None:
        """Fence, find the position, seek. Raises as `Lane._own`."""
        self._fence()
        services, partition = self._services, self.partition
        self._become(LaneState.RESTORING)
        try:
            identity = services.topic_identity()
            self._transactions.stand(None, identity, forwarded_until(services, partition))
        except CLUSTER_ERRORS as error:
            raise dropped(error) from error
        self._transactions.offsets = services.new_offsets_consumer()
        self._take_from(Timers(_NoRows()), identity)
        self._seek()
        logger.error("%s", self.blocked_text())

    # ------------------------------------------------------------------------------------------------
    # work

    def _work(self) -> None:
        try:
            while True:
                self._check_stop()
                self._transactions.widen(time.monotonic() - self._owned_at)
                if self._unended:
                    self._end_unended()
                work = self.intake.next(
                    self.position, wait_seconds=WAKE_SECONDS, gathering=_at_once
                )
                if work is not None:
                    self._apply(work)
                else:
                    self._idle()
        finally:
            if self._stopping.is_set():
                self._delete_forwarded()

    def _idle(self) -> None:
        now = time.monotonic()
        if self.intake.began or now - self._owned_at > 2 * WAKE_SECONDS:
            self.progress_at = now
        if now - self._transactions.committed_at >= WAKE_SECONDS:
            self._delete_forwarded()

    def _transact(self, work: Work, refused: dict[str, str]) -> None:
        """Forwards, and dead letters for what belongs nowhere. Raises Refused or Dropped."""
        transactions = self._transactions
        records = output_records(
            self._services, work, Effects(), self.partition, transactions.identity.partitions
        )
        transactions.commit(
            {}, transactions.parts(records), work.next_offset(self.position), self._care
        )
        self._defects, self.progress_at = 0, time.monotonic()
        if work.sorted.replies:
            self._services.replies.send(work.sorted.replies)
        self.tally.committed(work, Effects(), now_ms())

    def _delete_forwarded(self) -> None:
        """What stands elsewhere by now. Not urgent: purging by age, or the next owner, comes to
        it too.
        """
        if self._deleted >= self.position:
            return
        topic = self._services.events_topic
        try:
            self._services.admin.delete_records({(topic, self.partition): self.position})
        except (KafkaException, OdradekError) as error:
            logger.info(
                "%s/%d: what was forwarded is not deleted yet: %s", topic, self.partition, error
            )
        else:
            self._deleted = self.position

    # ------------------------------------------------------------------------------------------------
    # errors

    def _hold(self, workflow_id: str, run_id: str, reason: str, *, lost: str = "") -> RunRow | None:
        return None  # runs live elsewhere

    def blocked_text(self) -> str:
        """Why this partition is a matter for a person, for `members`, lists and the log."""
        return TEXT % (self._services.events_topic, self.partition, self._services.partitions)


class _Forwards(Transactions):
    """Transactions of a partition without rows: forwards and dead letters, and the group's
    offset in place of a position row.
    """

    offsets: Consumer | None = None

    def let_go(self) -> None:
        super().let_go()
        consumer, self.offsets = self.offsets, None
        if consumer is not None:
            consumer.close()

    def commit(
        self, rows: Rows, parts: Parts, position: int, care: Care, *, opened: int = 0, size: int = 0
    ) -> None:
        """The transaction: begin; forwards and dead letters; the group's offset; commit. Raises
        as `Transactions.commit`.
        """
        assert self.offsets is not None and not rows
        self.require_few(parts)
        producer, fault, began = self.producer, self._fault, time.monotonic()
        offset = TopicPartition(self._services.events_topic, self._partition, position)
        report = self._reports.begin(several_parts=len(parts) > 1)
        try:
            producer.begin_transaction()
            if fault is not None:
                fault(faults.AFTER_BEGIN)
            self._produce(parts, report)
            # No member id and no generation: as in every lane, the transactional id decides who
            # may, not the group.
            producer.send_offsets_to_transaction(
                [offset], self.offsets.consumer_group_metadata(), COMMIT_TIMEOUT_SECONDS
            )
            if fault is not None:
                fault(faults.AFTER_PRODUCE)
                fault(faults.BEFORE_COMMIT)
            producer.commit_transaction(COMMIT_TIMEOUT_SECONDS)
        except (KafkaException, BufferError) as error:
            raise self._why(error, parts, began) from error
        if fault is not None:
            fault(faults.AFTER_COMMIT)
        self._committed(position, began, sum(map(len, parts)))


def forwarded_until(services: LaneServices, partition: int) -> int:
    """The next offset to forward: the group's, or the log start, behind which everything has
    been forwarded.

    Raises InputGapError, LaneError, and what the cluster raises.
    """
    topic = services.events_topic
    start, end = services.bounds(topic, partition)
    committed = services.group_offset(partition)
    if committed < 0:
        return start
    if committed < start:
        raise InputGapError(position=committed, log_start=start, topic=topic, partition=partition)
    if committed > end:
        text = (
            f"group {services.group_id} has committed offset {committed}, the topic ends at {end}:"
            " records were lost by the cluster"
        )
        raise LaneError(text, topic=topic, partition=partition)
    return committed


class _NoRows:
    """`Tables` of a partition that has none."""

    def get(self, table: str, key: str) -> Row | None:
        return None

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        return iter(())


def _at_once() -> None:
    """No wait for more inputs to come together."""
