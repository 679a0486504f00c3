"""One partition of `events` (Kafka Streams: a task). The whole exactly-once story, top to bottom.

    acquire   init_transactions with the partition's transactional id: whoever had it is fenced,
              its open transaction decided; the local store catches up with `state`, to the
              uncommitted end noted after that, reading committed; the position row is read and
              checked; a crash of the last process is counted in its run's row; seek
    turn      take inputs and due timers -> decode -> engine.step -> encode -> begin; rows,
              outputs, position row; commit -> local store -> replies
    rejected  the broker or a limit rejected a record: abort and bisect, until the run is found;
              its workflow task fails; rejected again, the run is quarantined
    reset     anything else: the outcome is unknown. Never abort; acquire anew if still assigned

The transactional id belongs to the partition, so fencing is the broker's, immediate and complete.
No consumer offsets stand in the transaction: the position row in `state` is the truth.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from operator import lt

from confluent_kafka import KafkaException, Message

from odradek.engine import ports
from odradek.engine.ports import Batch, Engine
from odradek.exceptions import LaneError, OdradekError
from odradek.log_fields import set_log_fields
from odradek.processor import faults
from odradek.processor.context import PartitionContext
from odradek.processor.decoder import DecodedBatch, Decoder
from odradek.processor.errors import (
    PartitionReset,
    RecordRejected,
    Stopping,
    TopicUnavailableError,
    forget_frames,
    may_pass,
)
from odradek.processor.input_queue import InputQueue
from odradek.processor.outputs import (
    input_records,
    log_failed_tasks,
    log_without_details,
    unapplied,
)
from odradek.processor.partition_state import PartitionBatch, PartitionControl, PartitionState
from odradek.processor.preflight import check_nothing_skipped, first_start, known_start
from odradek.processor.records import offset_of
from odradek.processor.restore import open_store, restore
from odradek.processor.step import step_and_encode
from odradek.processor.store import (
    PartitionStore,
    StoreCorruptError,
    StoreLockedError,
    destroy,
)
from odradek.processor.timers import Answer, Timers
from odradek.processor.transaction import POSITION_KEY, Transactions
from odradek.wire.state import PositionRow, TimerRow

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0  # the longest wait for inputs: until the next chore
# Bounds what is lost when a transaction fails, and how long a timer waits behind inputs.
INPUTS_MAX = 200
TIMERS_MAX = 100  # due timers a batch, inputs in between
# A transaction costs about a millisecond of CPU, with one input or a hundred. So after one with
# several inputs, which is what load looks like, inputs gather for a moment: (inputs, seconds).
LINGER = ((12, 0.03), (3, 0.01))
LINGER_ENOUGH = 100  # inputs that wait already: go

WAITERS_EVERY_SECONDS = 0.25
STORE_FLUSH_SECONDS = 600.0
# A producer id expires after 7 idle days (transactional.id.expiration.ms): a day leaves room for
# whoever shortened it.
IDLE_COMMIT_SECONDS = 86_400.0
END_TIMEOUT_SECONDS = 10.0  # for the answer to a question for the partition's end

BLOCKED_AFTER_MS = 15_000  # longer than a transaction of ours may be open
BLOCKED_TEXT = (
    "partition %s/%d: due timers have waited for %.0f s behind an open transaction of somebody else"
)
DEFECTS_MAX = 8  # unexpected errors in a row, without progress
_BACKOFF_FIRST_SECONDS, _BACKOFF_MAX_SECONDS = 0.05, 5.0
_ERROR_BACKOFF_FIRST_SECONDS, _ERROR_BACKOFF_MAX_SECONDS = 5.0, 60.0


class Partition:
    """Owns one partition until `stop`. Not a thread: somebody calls `turn`.

    number: of the partition.  queue: the consumer puts records there, under `epoch`.
    awaited_end: the consumer reports its position once it has reached this; -1: no need.
    has_row: a position row is durable.  progress_at: monotonic; when it last applied something,
    restored rows or had nothing to do.  failed: called when it needs a person.
    """

    def __init__(
        self,
        number: int,
        context: PartitionContext,
        control: PartitionControl,
        failed: Callable[[int, OdradekError], None],
    ) -> None:
        self.number = number
        self.queue = InputQueue()
        self.epoch = 0
        self.awaited_end = -1
        self.state = PartitionState.ASSIGNED
        self.has_row = False
        self.error: OdradekError | None = None
        self.restore_remaining = 0
        self.blocked_seconds = 0.0  # due timers have waited so long, once it is worth an alarm
        self.engine: Engine | None = None
        self.timers: Timers | None = None
        self.tally = context.tallies.of(number)
        self._context = context
        self._clock = context.clock
        self._control = control
        self._failed = failed
        self.turned_at = self.progress_at = self._clock.monotonic()
        self._stopping = threading.Event()
        self._gap: OdradekError | None = None
        self._fault = faults.fault_hook()
        self._transactions = Transactions(context, number, self.tally, self._fault)
        self._store: PartitionStore | None = None
        self._decoder: Decoder | None = None
        self._touched: list[str] = []  # run ids of the step that is being committed
        self._began = False  # the first record after the seek has been looked at
        self._resets = self._defects = 0  # in a row
        self._acquire_at = 0.0
        self._ask_group = False
        self._rebuilt_over = ""  # the row that the store was rebuilt over
        self._linger_until = 0.0
        self._acquired_at = self._waiters_at = self._alarmed_at = 0.0

    # --- life

    @property
    def position(self) -> int:
        """The next input to apply; -1 before it is known."""
        return self._transactions.position

    @property
    def open_runs(self) -> int:
        """As committed."""
        return self._transactions.open_runs

    def stop(self) -> None:
        """End before the next transaction. From any thread."""
        self._stopping.set()
        self.queue.wake()

    def fail_over_gap(self, error: OdradekError) -> None:
        """The consumer found records deleted that were not read. From any thread."""
        self._gap = error
        self.queue.wake()

    def turn(self, timeout_s: float) -> bool:
        """One iteration: acquire the partition, or take a batch through its transaction, or do a
        chore. Waits for inputs, `timeout_s` seconds at most. False: it has ended.
        """
        try:
            self._check_stop()
            if self.state is PartitionState.RUNNING:
                self._run_once(timeout_s)
            elif (wait_s := self._acquire_at - self._clock.monotonic()) > 0:
                self.queue.wait(min(wait_s, timeout_s))
            elif self._may_acquire():
                self._acquire()
            return True
        except Stopping:
            self.close()
            return False
        except PartitionReset as reason:
            self._reset(str(reason), fenced=reason.fenced)
        except TopicUnavailableError as error:
            self._reset(str(error), LaneError(str(error), topic=self._topic, partition=self.number))
        except StoreLockedError as error:  # an owner of the past has not let go yet, or a stranger
            self._reset(str(error), error)
        except StoreCorruptError as error:
            return self._rebuild(error)
        except OdradekError as error:
            if not may_pass(error):
                return self._fail(error)
            self._reset(str(error), error, slowly=True)
        except BaseException as error:  # a defect, or an exception of the watchdog that came late
            return self._unexpected(error)
        return True

    def close(self) -> None:
        """Give back what was acquired. The producer goes without a flush or an abort: its
        transaction is the next owner's to decide.
        """
        self._let_go()
        self.state = PartitionState.CLOSED

    @property
    def _topic(self) -> str:
        return self._context.events_topic

    def _check_stop(self) -> None:
        self.turned_at = self._clock.monotonic()
        if self._stopping.is_set():
            raise Stopping
        if self._gap is not None:
            raise self._gap

    # --- acquire

    def _may_acquire(self) -> bool:
        """After a reset that may mean a new owner, the group has to say that it is still ours."""
        if not self._ask_group:
            return True
        assigned = self._control.still_assigned(self.number)
        if assigned is False:
            logger.info("partition %s/%d: the group gave it away", self._topic, self.number)
        self._ask_group = not assigned
        self._acquire_at = self._clock.monotonic() + (5.0 if assigned is False else 0.2)
        return bool(assigned)

    def _acquire(self) -> None:
        """Fence, restore, find the position, seek. Raises PartitionReset for what passes,
        OdradekError for what needs a person.
        """
        context, number = self._context, self.number
        self.state = PartitionState.FENCING
        self.epoch = self.queue.new_epoch()
        self._began = False
        self._control.hold(number)
        try:
            self._transactions.initialize()
        except KafkaException as error:
            raise context.identity_error(error, number) or context.reset_over(error) from error
        if self._fault is not None:
            self._fault(faults.AFTER_INIT)
        context.topic_limits.require_fixed()

        self.state = PartitionState.RESTORING
        identity = context.topic_identity()
        start, end = context.bounds(context.state_topic, number)  # noted after fencing
        store = self._store = open_store(context, number, identity, start, end)
        began = self._clock.monotonic()
        producer = self._transactions.producer
        rows = restore(context, store, producer, number, start, end, self._note_restoring)
        self.tally.restored(rows, began)
        if self._fault is not None:
            self._fault(faults.AFTER_RESTORE)

        row = store.get(ports.POSITION, POSITION_KEY)
        assert row is None or isinstance(row, PositionRow)
        position = (
            first_start(context, number, store)
            if row is None
            else known_start(context, number, row, identity)
        )
        self._transactions.stand(store, identity, position, row.open_runs if row else 0)
        self.engine = context.new_engine(number)
        self.timers = Timers(store, self._ask_end, self._clock)
        self._decoder = Decoder(
            context.codec,
            topic=context.events_topic,
            topic_id=identity.events_topic_id,
            partition=number,
            partitions=identity.partitions,
        )
        self._count_crash()
        self.has_row = True
        self._control.seek(number, self.position, self.epoch)
        self._acquired_at = self._clock.monotonic()
        self.error = None
        self.state = PartitionState.RUNNING

    def _count_crash(self) -> None:
        """The first transaction: the position row, and the crash of the run whose code executed
        when the last process of this member died.
        """
        crashed = self._context.recorder.crashed(self.number)
        if crashed:
            logger.warning(
                "partition %s/%d: the process died while code of run %s executed",
                *(self._topic, self.number, ", ".join(crashed)),
            )
        try:
            self._commit(PartitionBatch(crashed=crashed))
        except RecordRejected as rejection:
            raise PartitionReset(f"the first transaction: {rejection}") from rejection
        self._context.recorder.counted(self.number)

    def _ask_end(self, answer: Answer) -> None:
        """Ask for the partition's *uncommitted* end, as of now."""

        def tell(partition: int, end: int | Exception) -> None:
            answer(end)
            self.queue.wake()

        self._context.admin.ask_ends(
            self._topic, [self.number], tell, timeout_s=END_TIMEOUT_SECONDS
        )

    def _note_restoring(self, remaining: int) -> None:
        if remaining < self.restore_remaining:
            self.progress_at = self._clock.monotonic()
        self.restore_remaining = remaining
        self._check_stop()

    # --- one batch

    def _run_once(self, timeout_s: float) -> None:
        batch = self._take(timeout_s)
        if batch is not None:
            self._process(batch)
        else:
            self._do_chores()
        self._answer_expired_waiters()

    def _take(self, timeout_s: float) -> PartitionBatch | None:
        """Inputs from the position on and due timers; None when there is neither."""
        now_ms = self._clock.time_ms()
        timers = self._due_timers(now_ms)
        linger_s = self._linger_until - self._clock.monotonic()
        if linger_s > 0 and timeout_s > 0 and len(self.queue) < LINGER_ENOUGH:
            self._stopping.wait(min(linger_s, timeout_s))
        wait_s = 0.0 if timers else self._wait_seconds(now_ms, timeout_s)
        messages = self.queue.take(INPUTS_MAX, wait_s)
        if not messages:
            return PartitionBatch(timers=timers) if timers else None
        offsets = [offset_of(message) for message in messages]
        self._check_beginning(offsets[0])
        if offsets[0] < self.position or not all(map(lt, offsets, offsets[1:])):
            raise PartitionReset(
                f"the consumer gave records {offsets[0]} to {offsets[-1]} out of order, or again"
                f" (position {self.position})"
            )
        return PartitionBatch(messages, self._decode(messages), timers)

    def _decode(self, messages: list[Message]) -> DecodedBatch:
        assert self._decoder is not None
        return self._decoder.decode(messages, self._clock.time_ms())

    def _due_timers(self, now_ms: int) -> list[TimerRow]:
        """Timers that are due and have seen every input that lay in the partition when they fell
        due.
        """
        assert self.timers is not None
        passed = self.queue.passed_position()
        if passed > self.position:
            self._check_beginning(passed)
        timers = self.timers.due(now_ms, max(self.position, passed), TIMERS_MAX)
        self.awaited_end = self.timers.awaited_end()
        return timers

    def _wait_seconds(self, now_ms: int, timeout_s: float) -> float:
        """Until the next timer or chore, `timeout_s` at most."""
        assert self.timers is not None and self.engine is not None
        if timeout_s <= 0 or len(self.queue):
            return 0.0
        if self.engine.statistics().get("waiters", 0):
            timeout_s = min(timeout_s, WAITERS_EVERY_SECONDS)
        return min(timeout_s, self.timers.wait_seconds(now_ms))

    def _check_beginning(self, offset: int) -> None:
        """Once after each seek: the consumer began where it was told to."""
        if self._began:
            return
        if offset < self.position:
            raise PartitionReset(
                f"the consumer began at {offset}, before the position {self.position}"
            )
        if offset != self.position:
            check_nothing_skipped(self._context, self.number, self.position, offset)
        self._began = True

    def _process(self, batch: PartitionBatch) -> None:
        """One transaction. If a record of it is rejected: abort and bisect, down to the run that
        is guilty. Its workflow task fails, its inputs append; rejected again, it is quarantined.
        """
        try:
            self._commit(batch)
        except RecordRejected as rejection:
            self._undo(rejection)
            if len(batch) > 1:
                for half in batch.halves(self._decode):
                    self._process(half)
            elif batch.rejected or rejection.of_engine or not batch.workflow_id():
                self._give_up(batch, rejection)
            else:
                batch.rejected = {batch.workflow_id(): str(rejection).partition("\n")[0]}
                self._process(batch)

    def _commit(self, batch: PartitionBatch) -> None:
        """Step, encode, transaction, store, replies. Raises RecordRejected or PartitionReset;
        nothing is applied then.
        """
        assert self.engine is not None and self._store is not None and self.timers is not None
        context, decoded, now_ms = self._context, batch.decoded, self._clock.time_ms()
        asked = Batch(
            now_ms,
            decoded.inputs,
            batch.timers,
            rejected=dict(batch.rejected),
            crashed=batch.crashed,
            quarantined=batch.quarantined,
        )
        began = self._clock.monotonic()
        result, rows, records = step_and_encode(self.engine, self._store, context.encoder, asked)
        self.tally.step_seconds.observe(self._clock.monotonic() - began)
        self._touched = result.touched
        records += input_records(
            context,
            self.number,
            self._transactions.identity.partitions,
            batch.messages,
            decoded,
            result,
        )
        position = offset_of(batch.messages[-1]) + 1 if batch.messages else self.position
        self._transactions.commit(rows, records, position, opened=result.opened)

        for timer in batch.timers:
            self.timers.forget(timer)
        self.timers.note(result.rows)
        self._defects, self.progress_at = 0, self._clock.monotonic()
        linger_s = next((s for least, s in LINGER if len(batch.messages) >= least), 0.0)
        self._linger_until = self._transactions.committed_at + linger_s
        replies = decoded.replies + result.replies
        if replies:
            context.replies.send(replies)
        self.tally.committed(batch.messages, decoded, batch.timers, result, now_ms)
        log_failed_tasks(result.failed_tasks, context.namespace, context.task_queue)
        log_without_details(result.without_details, context.namespace, context.task_queue)

    def _undo(self, rejection: RecordRejected) -> None:
        """As if the transaction had never been."""
        assert self.engine is not None
        self.tally.counters.refused += 1
        logger.warning("partition %s/%d: rejected: %s", self._topic, self.number, rejection)
        self.engine.evict(self._touched)
        self._touched = []
        if rejection.in_transaction:
            self._context.topic_limits.invalidate()  # the checks had let it pass
            self._transactions.abort()

    def _give_up(self, batch: PartitionBatch, rejection: RecordRejected) -> None:
        """The guilty one: its run is quarantined, its input goes to dead letters, the partition
        goes on. A timer is tried again later: a quarantined run takes it without running code.
        """
        workflow_id, text = batch.workflow_id(), str(rejection)
        reason = text.partition("\n")[0]
        logger.error(
            "partition %s/%d: giving up on %s: %s",
            *(self._topic, self.number, batch.offsets(), text),
            extra={"workflow_id": workflow_id},
        )
        decoded = unapplied(batch.messages, batch.decoded, text)
        quarantined = {workflow_id: reason} if workflow_id else {}
        try:
            self._commit(PartitionBatch(batch.messages, decoded, quarantined=quarantined))
        except RecordRejected as again:
            self._undo(again)
            try:  # the input alone, if it is the run's row that cannot be written
                self._commit(PartitionBatch(batch.messages, decoded))
            except RecordRejected as last:
                self._undo(last)
                raise LaneError(
                    f"neither the input at {batch.offsets()} nor its dead letter is taken: {last}",
                    topic=self._topic,
                    partition=self.number,
                ) from last
        if batch.timers:
            assert self.timers is not None
            self.timers.postpone(batch.timers[0], self._clock.time_ms())

    # --- errors

    def _reset(
        self,
        reason: str,
        error: OdradekError | None = None,
        *,
        fenced: bool = False,
        slowly: bool = False,
    ) -> None:
        """Believe nothing of the last transaction, abort nothing; acquire anew after a pause.
        error: what a person should know meanwhile.
        """
        self.tally.counters.dropped += 1
        logger.warning("partition %s/%d is reset: %s", self._topic, self.number, reason)
        now = self._clock.monotonic()
        running = self.state is PartitionState.RUNNING
        self._resets = (
            1 if running and now - self._acquired_at > _BACKOFF_MAX_SECONDS else self._resets + 1
        )
        first, most = (
            (_ERROR_BACKOFF_FIRST_SECONDS, _ERROR_BACKOFF_MAX_SECONDS)
            if slowly
            else (_BACKOFF_FIRST_SECONDS, _BACKOFF_MAX_SECONDS)
        )
        self._acquire_at = now + min(most, first * 2 ** min(self._resets - 1, 10))
        self._ask_group = fenced
        self.state = PartitionState.FAILED if slowly else PartitionState.RESET
        self._let_go()
        if running:
            self._context.topic_limits.invalidate()
        if error is not None:
            self._tell(error)

    def _rebuild(self, error: StoreCorruptError) -> bool:
        """Delete the store: it is a copy. A row that comes back from `state` as it was is no
        better for that.
        """
        if error.reason == self._rebuilt_over:
            return self._fail(error)
        self._rebuilt_over = error.reason
        self._reset(str(error), error)
        destroy(self._context.store_path(self.number))
        return True

    def _unexpected(self, error: BaseException) -> bool:
        """A defect of ours: what is committed stands. Several in a row stop the partition."""
        logger.error("partition %s/%d: unexpected error", self._topic, self.number, exc_info=error)
        self._defects += 1
        text = f"unexpected {type(error).__name__}: {error}"
        if self._defects >= DEFECTS_MAX:
            return self._fail(LaneError(text, topic=self._topic, partition=self.number))
        self._reset(text)
        return True

    def _fail(self, error: OdradekError) -> bool:
        """It cannot go on without a person."""
        logger.error("partition %s/%d stops: %s", self._topic, self.number, error)
        self._let_go()
        self.state = PartitionState.FAILED
        self._tell(error)
        return False

    def _tell(self, error: OdradekError) -> None:
        """Once for each reason."""
        told, self.error = str(self.error or ""), error
        forget_frames(error)
        if told != str(error):
            self._failed(self.number, error)

    def _let_go(self) -> None:
        store, self._store = self._store, None
        engine, self.engine = self.engine, None
        self.timers = self._decoder = None
        self.awaited_end = -1
        if engine is not None:
            self.tally.engine_gone(engine.statistics())
            engine.evict_all()
        if store is not None:
            store.close()
        self._transactions.close()

    # --- chores

    def _do_chores(self) -> None:
        """Nothing to read."""
        assert self._store is not None and self.timers is not None
        now = self._clock.monotonic()
        if self._began or now - self._acquired_at > 2 * TURN_SECONDS:
            self.progress_at = now  # an empty queue just after the seek says nothing yet
        late_ms = self.timers.late_ms
        self.blocked_seconds = late_ms / 1000 if late_ms > BLOCKED_AFTER_MS else 0.0
        if self.blocked_seconds and now - self._alarmed_at > BLOCKED_AFTER_MS / 1000:
            self._alarmed_at = now
            logger.warning("%s", self.blocked_text())
        if now - self._transactions.committed_at >= IDLE_COMMIT_SECONDS:
            try:
                self._commit(PartitionBatch())
            except RecordRejected as rejection:
                raise PartitionReset(f"position row: {rejection}") from rejection
        self._store.flush_if_older(STORE_FLUSH_SECONDS)

    def blocked_text(self) -> str:
        """Why due timers wait, once it is worth an alarm; else ""."""
        if not self.blocked_seconds:
            return ""
        return BLOCKED_TEXT % (self._topic, self.number, self.blocked_seconds)

    def _answer_expired_waiters(self) -> None:
        assert self.engine is not None
        now = self._clock.monotonic()
        if now - self._waiters_at < WAITERS_EVERY_SECONDS:
            return
        self._waiters_at = now
        replies = self.engine.expired_waiters(self._clock.time_ms())
        if replies:
            self._context.replies.send(replies)


class PartitionThread(threading.Thread):
    """Turns a partition until it ends."""

    def __init__(self, partition: Partition, log_fields: dict[str, str]) -> None:
        super().__init__(name=f"odradek-partition-{partition.number}", daemon=True)
        self.partition = partition
        self._log_fields = log_fields

    def run(self) -> None:
        set_log_fields(**self._log_fields, partition=self.partition.number)
        while self.partition.turn(TURN_SECONDS):
            pass
