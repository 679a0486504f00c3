"""The transaction of a partition, top to bottom: begin; rows, outputs, position row; commit; then
the local store.

Everything in it is encoded and checked before, so it is open for milliseconds. No consumer
offsets stand in it: the position row in `state` is the truth, committed with what it stands for.
An error at commit leaves its outcome unknown unless the broker named a record.

Never: run the engine, guess what became of a commit, or apply to the store what was not committed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from odradek.engine import ports
from odradek.processor import faults
from odradek.processor.context import PartitionContext
from odradek.processor.encoder import Rows
from odradek.processor.errors import (
    PartitionReset,
    RecordRejected,
    classify,
    kafka_error,
    speaks_of_content,
)
from odradek.processor.store import PartitionStore
from odradek.processor.tally import Tally
from odradek.processor.topic_limits import Record
from odradek.wire.rows import state_key
from odradek.wire.state import PositionRow

INIT_TIMEOUT_SECONDS = 15.0
# Longer than `transaction.timeout.ms` (10 s): the broker decides first, and says so.
COMMIT_TIMEOUT_SECONDS = 15.0
ABORT_TIMEOUT_SECONDS = 10.0
# librdkafka may refuse a commit without naming the record ("see individual delivery reports").
# Reports cost time, so they are asked for after such a commit only, for so many transactions.
REPORTED_TRANSACTIONS = 200

POSITION_KEY = ""
_POSITION_STATE_KEY = state_key(ports.POSITION, POSITION_KEY)


class Transactions:
    """Of one partition. `initialize` and `stand` begin an ownership, `close` ends it.

    position: the next input to apply; -1 before it is known.  open_runs: of the partition, as
    committed.  committed_at: monotonic.
    """

    def __init__(
        self,
        context: PartitionContext,
        partition: int,
        tally: Tally,
        fault: Callable[[str], None] | None,
    ) -> None:
        self.position = -1
        self.open_runs = 0
        self.committed_at = 0.0
        self.identity = PositionRow(offset=0, events_topic_id="", state_topic_id="", partitions=0)
        self._context = context
        self._partition = partition
        self._tally = tally
        self._fault = fault
        self._producer: Producer | None = None
        self._store: PartitionStore | None = None
        self._changelog_offset = -1
        self._reported = 0  # transactions with a report of each record, yet to come
        self._failure: KafkaError | None = None  # the first that a report told

    @property
    def producer(self) -> Producer:
        assert self._producer is not None
        return self._producer

    def initialize(self) -> None:
        """Fence whoever had the partition; its open transaction is decided. Raises
        KafkaException.
        """
        # The constructor fails too where threads or descriptors are short, which passes.
        self._producer = self._context.transactional_producer(self._partition)
        self._producer.init_transactions(INIT_TIMEOUT_SECONDS)

    def stand(
        self, store: PartitionStore, identity: PositionRow, position: int, open_runs: int = 0
    ) -> None:
        """Where the partition stands."""
        self._store, self.identity = store, identity
        self.position, self.open_runs = position, open_runs

    def close(self) -> None:
        """Without a flush or an abort: the last transaction is the next owner's to decide. The
        store is the partition's to close.
        """
        producer, self._producer, self._store = self._producer, None, None
        if producer is not None:
            producer.purge()

    def commit(self, rows: Rows, records: list[Record], position: int, *, opened: int = 0) -> None:
        """Rows, outputs and the position row, in one; then the local store.

        opened: so many runs more. Raises RecordRejected or PartitionReset.
        """
        assert self._store is not None
        producer, topic, partition = self.producer, self._context.state_topic, self._partition
        clock, fault = self._context.clock, self._fault
        time_ms, began, open_runs = clock.time_ms(), clock.monotonic(), self.open_runs + opened
        row = msgspec.structs.replace(
            self.identity, offset=position, time_ms=time_ms, open_runs=open_runs
        )
        position_value = self._context.codec.encode_row(row)
        self._changelog_offset, self._failure = -1, None
        report = self._note_failure if self._reported else None
        self._reported = max(0, self._reported - 1)
        try:
            producer.begin_transaction()
            if fault is not None:
                fault(faults.AFTER_BEGIN)
            produce = producer.produce
            for key, value in rows.items():
                produce(topic, value, key, partition, report)
            for record in records:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    report,
                    headers=record.headers,
                )
            produce(
                topic,
                position_value,
                _POSITION_STATE_KEY,
                partition,
                on_delivery=self._note_changelog,
            )
            if fault is not None:
                fault(faults.AFTER_PRODUCE)
                producer.flush(COMMIT_TIMEOUT_SECONDS)
                fault(faults.AFTER_FLUSH)
                fault(faults.BEFORE_COMMIT)
            producer.commit_transaction(COMMIT_TIMEOUT_SECONDS)
        except BufferError as error:  # more than the client's queue holds: half of it fits
            raise RecordRejected(
                f"transaction too large for the producer's queue: {error}", in_transaction=True
            ) from error
        except KafkaException as error:
            raise self._classify(kafka_error(error)) from error
        if fault is not None:
            fault(faults.AFTER_COMMIT)
        if self._changelog_offset < 0:
            raise PartitionReset(
                "committed, but the broker did not tell the offset of the position row"
            )

        rows[_POSITION_STATE_KEY] = position_value
        self._store.apply(rows.items(), self._changelog_offset + 1, time_ms)
        self.position, self.open_runs = position, open_runs
        self.committed_at = clock.monotonic()
        self._tally.commit_seconds.observe(self.committed_at - began)
        self._tally.counters.transactions += 1
        self._tally.counters.records += len(rows) - 1 + len(records)
        if fault is not None:
            fault(faults.AFTER_APPLY)

    def abort(self) -> None:
        """As if the transaction had never been. Raises PartitionReset."""
        try:
            self.producer.abort_transaction(ABORT_TIMEOUT_SECONDS)
        except KafkaException as error:
            found = classify(kafka_error(error))
            raise PartitionReset(str(found), fenced=getattr(found, "fenced", False)) from error

    def _note_changelog(self, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            self._changelog_offset = offset

    def _note_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _classify(self, error: KafkaError) -> RecordRejected | PartitionReset:
        """By the error, or by the reports where it names no cause."""
        if error.code() not in (KafkaError._INCONSISTENT, KafkaError._STATE):
            return classify(error)
        if self._failure is not None and speaks_of_content(self._failure):
            return classify(self._failure)
        self._reported = REPORTED_TRANSACTIONS
        found = classify(self._failure or error)
        return found
