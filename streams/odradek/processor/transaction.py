"""The transaction of a lane, top to bottom: begin; rows, outputs, position row; commit; then the
local store.

Everything in it is encoded and checked before, so it is open for milliseconds. No consumer
offsets stand in it: the position row in `state` is the truth, committed with what it stands for.
An error at commit leaves its outcome unknown unless the broker named a record.

Never: run the engine, guess what became of a commit, or apply to the store what was not committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from odradek.engine import ports
from odradek.processor import faults
from odradek.processor.care import Care
from odradek.processor.counters import PartitionCounters
from odradek.processor.delivery_reports import DeliveryReports, Report
from odradek.processor.errors import Dropped, Refused
from odradek.processor.outlet import UNBOUNDED, Record
from odradek.processor.pacing import LONG_SECONDS, ByteBound
from odradek.processor.released import Released
from odradek.processor.services import LaneServices
from odradek.processor.store import LaneStore
from odradek.processor.work import dropped, now_ms, offset_of
from odradek.wire.rows import state_key
from odradek.wire.state import PositionRow

# Longer than `transaction.timeout.ms` (10 s): the broker decides first, and says so.
COMMIT_TIMEOUT_SECONDS = 15.0
ABORT_TIMEOUT_SECONDS = 10.0

# Of the records of a transaction, for topics that take less than a batch of the producer. A part
# costs a round trip, and 100 of them should fit into the transaction's time. What makes more, or
# has taken long in vain, gets a producer with smaller batches, for a while.
PARTS_MAX = 100
NARROW_SECONDS = 600.0

POSITION_KEY = ""
_POSITION_STATE_KEY = state_key(ports.POSITION, POSITION_KEY)

Rows = dict[bytes, bytes | None]
Parts = list[list[Record]]


class Transactions:
    """Of one lane, over all its owns. `fenced` and `restored` give it what an own has, `let_go`
    takes it.

    position: the next input to apply; -1 before it is known.  open_runs: of the partition, as
    committed.  committed_at: monotonic. released: names in the position row that count for
    nothing.
    """

    def __init__(
        self,
        services: LaneServices,
        partition: int,
        counters: PartitionCounters,
        fault: Callable[[str], None] | None,
    ) -> None:
        self.position = -1
        self.open_runs = 0
        self.committed_at = 0.0
        self.batch = services.batch_bytes  # what batches of the producer have at most
        self.bytes = ByteBound()
        self.released = Released(services.store_path(partition).with_suffix(".released"))
        self.identity = PositionRow(offset=0, events_topic_id="", state_topic_id="", partitions=0)
        self._services = services
        self._partition = partition
        self._counters = counters
        self._fault = fault
        self._reports = DeliveryReports()
        self._lowered = 0  # the outlet's count when `batch` was found out
        self._narrow = UNBOUNDED  # what a topic takes that needed too many parts
        self._changelog_offset = -1
        self._producer: Producer | None = None
        self._store: LaneStore | None = None

    # ------------------------------------------------------------------------------------------------
    # an own

    @property
    def producer(self) -> Producer:
        assert self._producer is not None
        return self._producer

    def new_producer(self) -> Producer:
        """Of a new own, not initialised yet. Its batches are what topics take by now."""
        services = self._services
        self._lowered = services.outlet.lowered
        self.batch = min(services.batch_bytes, services.outlet.batch_limit(), self._narrow)
        self._producer = services.transactional_producer(self._partition, self.batch)
        return self._producer

    def stand(
        self, store: LaneStore | None, identity: PositionRow, position: int, open_runs: int = 0
    ) -> None:
        """Where the partition stands. Without a store, nothing is applied."""
        self._store, self.identity, self.position, self.open_runs = (
            store,
            identity,
            position,
            open_runs,
        )

    def let_go(self) -> None:
        """Without a flush or an abort: the last transaction is the next owner's to decide. The
        store is the lane's to close.
        """
        producer, self._producer, self._store = self._producer, None, None
        if producer is not None:
            producer.purge()

    # ------------------------------------------------------------------------------------------------
    # the transaction

    def commit(
        self, rows: Rows, parts: Parts, position: int, care: Care, *, opened: int = 0, size: int = 0
    ) -> None:
        """Rows, outputs and the position row, in one; then the local store.

        parts: of the outputs, see `TopicOutlet.parts`.  opened: so many runs more.  size: bytes
        of rows and records, 0 where they are few. Raises Refused or Dropped.
        """
        self.require_few(parts)
        assert self._store is not None
        producer, topic, partition, fault = (
            self.producer,
            self._services.state_topic,
            self._partition,
            self._fault,
        )
        time_ms, began, open_runs = now_ms(), time.monotonic(), self.open_runs + opened
        row = msgspec.structs.replace(
            self.identity,
            offset=position,
            time_ms=time_ms,
            processing=care.processing,
            deaths=care.deaths,
            owns=care.input_owns,
            timer_owns=care.owns,
            open_runs=open_runs,
        )
        position_value = self._services.codec.encode_row(row)
        self._changelog_offset = -1
        self.released.sends(row, names=care.blames)
        report = self._reports.begin(several_parts=len(parts) > 1)
        try:
            producer.begin_transaction()
            if fault is not None:
                fault(faults.AFTER_BEGIN)
            produce = producer.produce
            for key, value in rows.items():
                produce(topic, value, key, partition, report)
            self._produce(parts, report)
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
        except (KafkaException, BufferError) as error:
            self.bytes.failed(size, time.monotonic() - began)
            raise self._why(error, parts, began) from error
        if fault is not None:
            fault(faults.AFTER_COMMIT)
        if self._changelog_offset < 0:
            raise Dropped("committed, but the broker did not tell the offset of the position row")

        self.released.stands(names=care.blames)
        rows[_POSITION_STATE_KEY] = position_value
        self._store.apply(rows.items(), self._changelog_offset + 1, time_ms)
        self.open_runs = open_runs
        self.bytes.committed(size)
        self._committed(position, began, len(rows) + sum(map(len, parts)))
        if fault is not None:
            fault(faults.AFTER_APPLY)

    def _produce(self, parts: Parts, report: Report | None) -> None:
        """Each part once the one before has arrived. Raises KafkaException."""
        producer = self.producer
        produce = producer.produce
        for number, part in enumerate(parts):
            if number and producer.flush(COMMIT_TIMEOUT_SECONDS):
                raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))
            for record in part:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    report,
                    headers=record.headers,
                )

    def _committed(self, position: int, began: float, records: int) -> None:
        self.position = position
        self.committed_at = time.monotonic()
        self._counters.commit_seconds.observe(self.committed_at - began)
        self._counters.records.inc(records)

    def _note_changelog(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._changelog_offset = offset_of(message)

    def _why(
        self, error: KafkaException | BufferError, parts: Parts, began: float
    ) -> Refused | Dropped:
        """What to do about a transaction that failed, which began then."""
        if isinstance(
            error, BufferError
        ):  # more than the client's queue holds: smaller batches fit
            return Refused(
                f"transaction too large for the producer's queue: {error}", in_transaction=True
            )
        if (
            len(parts) > 1 and time.monotonic() - began >= LONG_SECONDS
        ):  # parts may have been too slow
            self._note_narrow(parts)
        return self._reports.classify(error)

    def abort(self, refusal: Refused) -> None:
        """A record was refused: as if the transaction had never been. Raises Dropped."""
        if refusal.in_transaction:
            try:
                self.producer.abort_transaction(ABORT_TIMEOUT_SECONDS)
            except KafkaException as error:
                raise dropped(error) from error
        if refusal.too_large and self._services.outlet.narrowed(
            self._lowered
        ):  # good records may have been together in it
            raise Dropped(
                f"a topic takes less than batches of {self.batch} bytes by now: going on with"
                " smaller ones",
                blameless=True,
            )

    # ------------------------------------------------------------------------------------------------
    # what it may hold

    def parts(self, records: list[Record]) -> Parts:
        """See `TopicOutlet.parts`."""
        return self._services.outlet.parts(self.batch, records)

    def fits(self, size: int, parts: Parts) -> bool:
        """Whether so much goes into one; else fewer inputs should be in it."""
        return size <= self.bytes.limit and len(parts) <= PARTS_MAX

    def require_few(self, parts: Parts) -> None:
        """So many that they are through in time. Raises Dropped: the next own has smaller
        batches, for a while.
        """
        if len(parts) > PARTS_MAX:
            topic = self._note_narrow(parts)
            raise Dropped(
                f"batches of {self.batch} bytes are much more than {topic} takes: going on with"
                " smaller ones",
                blameless=True,
            )

    def widen(self, owned_seconds: float) -> None:
        """After a while with smaller batches, the next own has the usual ones again. Raises
        Dropped.
        """
        if self.batch == self._narrow and owned_seconds >= NARROW_SECONDS:
            self._narrow = UNBOUNDED
            raise Dropped(
                f"batches of {self.batch} bytes have been enough for a while: going on with larger"
                " ones",
                blameless=True,
            )

    def _note_narrow(self, parts: Parts) -> str:
        """What the topic takes that needs most parts, for the next own. Its name."""
        topic = parts[-1][0].topic
        self._narrow = self._services.outlet.last_limit(topic)
        return topic
