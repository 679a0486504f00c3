"""One lane: an owned partition of `events`. The whole exactly-once story, top to bottom.

    own:   init_transactions with the partition's transactional id       whoever had it is
    fenced, its open transaction decided
           catch the local store up with `state`                         to the uncommitted end
           noted after that, reading committed read the position row, check that it fits, seek
           there         tripwires, never a guess
    work:  drain inputs and released timers -> engine.step               the engine runs before
    the transaction begins
           encode and check everything                                   one bad output never
           stops a batch begin; produce rows, outputs, position row; commit            open for
           milliseconds (`transaction.py`) apply to the local store -> replies -> next
           the store may lag the changelog, never lead it
    Refused (a record is refused):   abort, evict what was touched, go again in halves; the
    guilty run's task fails; else it is held Dropped (anything else):         no abort: nothing
    of the last transaction is believed; own anew if still assigned

The transactional id belongs to the partition, so fencing is the broker's, immediate and
complete. No consumer offsets stand in the transaction: the position row in `state` is the truth,
committed with what it stands for.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaException

from odradek.engine import ports
from odradek.engine.ports import (
    Batch,
    Effects,
    Engine,
    OutletUnavailableError,
    RowChange,
    TablesError,
)
from odradek.engine.task_timer import marks
from odradek.engine.timers import removes_rows
from odradek.exceptions import LaneError, OdradekError
from odradek.log_fields import set_log_fields
from odradek.processor import faults
from odradek.processor.care import (
    DEATHS_BEFORE_GIVING_UP,
    DEATHS_BEFORE_HOLDING,
    PROVEN_AFTER_SECONDS,
    SOON_MS,
    Care,
)
from odradek.processor.counters import PartitionCounters
from odradek.processor.errors import Dropped, Refused, Stopping, TooMuch
from odradek.processor.failed_tasks import log_failed_tasks, log_without_details
from odradek.processor.held import HeldRuns, held_rows, held_summary
from odradek.processor.inputs import Letter, Sorted, Sorter
from odradek.processor.intake import Intake
from odradek.processor.lane_state import LaneState, check_transition
from odradek.processor.left_open import end_left_open
from odradek.processor.outputs import dead_letter, encode_rows, output_records, size_of
from odradek.processor.pacing import Pacing
from odradek.processor.services import LaneServices
from odradek.processor.store import (
    LaneStore,
    StoreCorruptError,
    StoreIdentity,
    StoreLockedError,
    UnreadableRowError,
    destroy,
)
from odradek.processor.tables import StoredTables
from odradek.processor.timers import Timers
from odradek.processor.transaction import POSITION_KEY, Transactions
from odradek.processor.trials import moment
from odradek.processor.tripwires import first_start, known_start
from odradek.processor.unreadable_rows import UnreadableRows
from odradek.processor.work import (
    CLUSTER_ERRORS,
    Work,
    dropped,
    now_ms,
    timer_row_key,
)
from odradek.wire.dead_letters import NOT_APPLIED
from odradek.wire.errors import WireError
from odradek.wire.events import ActivityReport
from odradek.wire.outcomes import INTERNAL, Reply
from odradek.wire.rows import state_key
from odradek.wire.state import PositionRow, RunRow, TimerRow

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 15.0
# parked runs that a new owner tries at once: each may keep the lane until the watchdog ends it
PARKED_A_BATCH = 10

WAITERS_EVERY_SECONDS = 0.25
IDLE_WAKE_SECONDS = 1.0
STORE_FLUSH_SECONDS = 600.0
# A producer id expires after 7 idle days (transactional.id.expiration.ms): a day leaves room for
# whoever shortened it.
IDLE_COMMIT_SECONDS = 86_400.0

BLOCKED_AFTER_MS = 15_000  # longer than a transaction of ours may be open
BLOCKED_TEXT = (
    "lane %s/%d: due timers have waited for %.0f s behind an open transaction of somebody else"
)

DEFECTS_MAX = 8  # more than it takes to name an input, hold its run, and set it aside

_BACKOFF_FIRST_SECONDS, _BACKOFF_MAX_SECONDS = 0.05, 5.0


class Seat(Protocol):
    """The lane's side of the group's consumer. Calls may come from the lane's thread; the
    group's thread does the work.
    """

    def hold(self, partition: int) -> None:
        """Deliver nothing until the next `seek`."""

    def seek(self, partition: int, offset: int, epoch: int) -> None:
        """Deliver from `offset` on, tagged with `epoch`."""

    def still_assigned(self, partition: int) -> bool | None:
        """Ask the coordinator (not our memory) whether this process still is a member that has
        the partition. None: it cannot tell now.
        """


class Lane(threading.Thread):
    """Owns one partition until `stop`. `failed` is called once when it cannot go on without a
    person.
    """

    def __init__(
        self,
        partition: int,
        services: LaneServices,
        seat: Seat,
        failed: Callable[[int, OdradekError], None],
    ) -> None:
        super().__init__(name=f"odradek-lane-{partition}", daemon=True)
        self.partition = partition
        self.intake = Intake(services, partition, self._check_stop)
        self.inbox = self.intake.inbox
        self.epoch = 0
        # a position row is durable: before that a group offset would trip the next first start
        self.has_row = False
        self.counters = PartitionCounters(
            services.namespace, services.task_queue, partition, services.workflow_types
        )
        self.turned_at = 0.0  # monotonic; the lane's thread last said that it goes on
        self.progress_at = (
            time.monotonic()
        )  # it last applied something, restored rows or had nothing to do; told on `members`
        self.error: OdradekError | None = None
        self.settled = threading.Event()  # RUNNING or FAILED was reached once
        self._services = services
        self._seat = seat
        self._failed = failed
        self._state = LaneState.ASSIGNED
        self._stopping = threading.Event()
        self._gap: OdradekError | None = None
        self._fault = faults.fault_hook()
        self._drops = 0
        self._pacing = Pacing()
        self._unreadable = UnreadableRows(services, partition)
        self._defects = 0  # in a row, without progress
        self._restore_remaining = 0
        self._transactions = self._new_transactions()
        # What an own gives and a drop takes.
        self._store: LaneStore | None = None
        self._engine: Engine | None = None
        self._timers: Timers | None = None
        self._sorter: Sorter | None = None
        self._touched: list[str] = []  # run ids of the step that is being committed
        self._refused: list[str] = []  # ... of the one that was refused last
        self._care = Care()
        self._parked_after: str | None = (
            ""  # the last mark of a parked run that this own has tried; None: all of them
        )
        self._held_runs = HeldRuns()
        self._owned_at = self._waiters_at = self._alarmed_at = 0.0
        self._owned_ms = 0
        # seconds that due timers have waited behind an open transaction, once it is worth an alarm
        self._blocked = 0.0

    # ------------------------------------------------------------------------------------------------
    # life

    @property
    def state(self) -> LaneState:
        return self._state

    @property
    def position(self) -> int:
        """The next input to apply; -1 before it is known."""
        return self._transactions.position

    @property
    def open_runs(self) -> int:
        """Of the partition, as committed."""
        return self._transactions.open_runs

    def _new_transactions(self) -> Transactions:
        return Transactions(self._services, self.partition, self.counters, self._fault)

    def _become(self, state: LaneState) -> None:
        check_transition(self._state, state)
        logger.debug(
            "lane %s/%d: %s -> %s",
            self._services.events_topic,
            self.partition,
            self._state.name,
            state.name,
        )
        self._state = state
        if state in (LaneState.RUNNING, LaneState.FAILED):
            self.settled.set()

    def stop(self) -> None:
        """Finish the running transaction and leave."""
        self._stopping.set()
        self._transactions.released.leave()
        self.inbox.wake()

    def gap(self, error: OdradekError) -> None:
        """The consumer found records deleted that were not read: stop with this error."""
        self._gap = error
        self.inbox.wake()

    def follow(self, stopped: Lane) -> None:
        """Before the start: that lane of this process had the partition, and stopped over
        something that passes. No input is to blame.
        """
        self._care = stopped._care
        self._unreadable = stopped._unreadable
        self._care.ended(blameless=True)

    def run(self) -> None:
        set_log_fields(
            namespace=self._services.namespace,
            task_queue=self._services.task_queue,
            partition=self.partition,
        )
        try:
            while True:
                try:
                    self._own()
                    self._work()
                except Dropped as reason:
                    self._drop(reason)
                # a topic of every lane: the next own says what a person has to mend, or goes on
                except OutletUnavailableError as error:
                    self._say(
                        LaneError(
                            str(error), topic=self._services.events_topic, partition=self.partition
                        )
                    )
                    self._drop(Dropped(str(error), blameless=True))
                except (
                    StoreLockedError
                ) as error:  # a lane of the past that has not let go yet, or a stranger: left alone
                    self._say(error)
                    self._drop(Dropped(str(error)))
                except StoreCorruptError as error:
                    self._rebuild(error)
                except Stopping:
                    self._withdraw()
                    raise
                except OdradekError:
                    raise
                except (
                    BaseException
                ) as error:  # a defect of this host, or a watchdog's exception that came late
                    self._unexpected(error)
        except Stopping:
            pass
        except OdradekError as error:
            self._fail(error)
        except Exception as error:  # out of a drop: what was owned may not have been let go
            logger.exception(
                "lane %s/%d: unexpected error", self._services.events_topic, self.partition
            )
            text = f"unexpected {type(error).__name__}: {error}"
            self._transactions.released.ended(blameless=False)
            self._fail(LaneError(text, topic=self._services.events_topic, partition=self.partition))
        finally:
            self._let_go()
            if self._state is not LaneState.FAILED:
                self._become(LaneState.CLOSED)

    def _rebuild(self, error: StoreCorruptError) -> None:
        """Drop the lane and its store. Raises OdradekError for a row that came back from `state`
        as it was.
        """
        self._say(error)
        if isinstance(error, UnreadableRowError) and not self._unreadable.rebuilds(error):
            self._drop(Dropped(error.reason, blameless=True))
            return
        self._drop(Dropped(str(error), blameless=True))
        destroy(self._services.store_path(self.partition))

    def _unexpected(self, error: BaseException) -> None:
        """Drop the lane; what is committed stands. Owners without progress become careful and
        set the input aside; else, stop.
        """
        logger.error(
            "lane %s/%d: unexpected error",
            self._services.events_topic,
            self.partition,
            exc_info=error,
        )
        self._defects += 1
        text = f"unexpected {type(error).__name__}: {error}"
        if self._defects >= DEFECTS_MAX:
            self._transactions.released.ended(blameless=False)
            raise LaneError(
                text, topic=self._services.events_topic, partition=self.partition
            ) from error
        self._drop(Dropped(text))

    def _say(self, error: OdradekError) -> None:
        """Why it does not run. Without the frames that raised it: they hold the lane, which
        holds the error.
        """
        self.error = error
        chain: list[BaseException] = []
        each: BaseException | None = error
        while each is not None and each not in chain:  # two may be each other's cause and context
            chain.append(each)
            each = each.__cause__ or each.__context__
        for each in chain:
            each.__traceback__ = None

    def _fail(self, error: OdradekError) -> None:
        """Stop, and say why. What it can say is nobody's death: whoever owns the partition next
        counts nothing for it.
        """
        self._transactions.released.ended(blameless=True)
        self._say(error)
        logger.error("lane %s/%d stops: %s", self._services.events_topic, self.partition, error)
        self._become(LaneState.FAILED)
        self._failed(self.partition, error)

    def _check_stop(self) -> None:
        self.turned_at = time.monotonic()
        if self._stopping.is_set():
            raise Stopping
        if self._gap is not None:
            raise self._gap

    # ------------------------------------------------------------------------------------------------
    # own

    def _own(self) -> None:
        """Fence, restore, find the position, seek. Raises Dropped for what passes, OdradekError
        for what needs a person.
        """
        self._fence()
        services, partition = self._services, self.partition
        self._become(LaneState.RESTORING)
        try:
            identity = services.topic_identity()
            start, end = services.bounds(
                services.state_topic, partition
            )  # uncommitted end, noted after fencing
            oldest_ms = now_ms() - services.tombstone_retention_ms()
        except CLUSTER_ERRORS as error:
            raise dropped(error) from error
        store = self._open_store(identity, start, end, oldest_ms)
        with services.restoring:
            self._check_stop()
            began = time.monotonic()
            reached = max(start, store.changelog_offset)
            rows = services.restorer.restore(
                store,
                partition,
                reached,
                end,
                self._restoring,
                lambda at: self._end_left_open(at, end),
            )
            self.counters.restored(rows, time.monotonic() - began)
        if self._fault is not None:
            self._fault(faults.AFTER_RESTORE)

        row = store.get(ports.POSITION, POSITION_KEY)
        assert row is None or isinstance(row, PositionRow)
        position = (
            first_start(services, partition, store)
            if row is None
            else known_start(services, partition, row, identity)
        )
        self._transactions.stand(store, identity, position, row.open_runs if row else 0)
        if row is not None and self._transactions.released.forgives(row):
            self._care.spare(row.processing)
        self._care.own(row)
        if self._care.careful:
            level = logging.WARNING if self._care.accused else logging.INFO
            what = "input" if self._care.careful_of_inputs else "timer"
            logger.log(
                level,
                "lane %s/%d: %s: one %s at a time",
                services.events_topic,
                partition,
                self._care.reason,
                what,
            )
        self._parked_after = ""
        self._engine = services.new_engine(self._why_held, self.counters)
        self.counters.engine_made()
        self._timers = Timers(store)
        self._take_from(self._timers, identity)
        self._commit_position()
        self.has_row = True
        self._seek()

    def _fence(self) -> None:
        """Whoever had the partition is fenced; its open transaction is decided."""
        services, partition = self._services, self.partition
        self._check_stop()
        self._become(LaneState.FENCING)
        self.epoch = self.intake.seeks()
        self._seat.hold(partition)

        try:
            producer = (
                self._transactions.new_producer()
            )  # librdkafka makes none where threads or descriptors are short, which passes
            with services.fencing:
                producer.init_transactions(INIT_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise services.identity_error(error, partition) or dropped(error) from error
        if self._fault is not None:
            self._fault(faults.AFTER_INIT)
        services.outlet.require_fixed()

    def _take_from(self, timers: Timers, identity: PositionRow) -> None:
        """What comes next is sorted for these topics."""
        services = self._services
        self._sorter = Sorter(
            services.codec,
            topic=services.events_topic,
            topic_id=identity.events_topic_id,
            partition=self.partition,
            partitions=identity.partitions,
        )
        self.intake.begin(timers, self._sorter)

    def _seek(self) -> None:
        """Inputs from the position on: owned."""
        self._become(LaneState.SEEKING)
        self._seat.seek(self.partition, self.position, self.epoch)
        self._owned_at, self._owned_ms = time.monotonic(), now_ms()
        self.error = None
        self._become(LaneState.RUNNING)

    def _open_store(self, identity: PositionRow, start: int, end: int, oldest_ms: int) -> LaneStore:
        services = self._services
        path = services.store_path(self.partition)
        mark = StoreIdentity(
            identity.cluster_id, identity.state_topic_id, identity.events_topic_id, self.partition
        )
        store = self._store = LaneStore.open(path, mark, oldest_ms=oldest_ms)
        store.decode_row, offset = services.codec.decode_row, store.changelog_offset
        if offset and not start <= offset <= end:
            logger.warning(
                "the local store at %s stands at %d, the changelog holds %d to %d: rebuilt",
                path,
                offset,
                start,
                end,
            )
            store.close()
            destroy(path)
            store = self._store = LaneStore.open(path, mark)
            store.decode_row = services.codec.decode_row
        return store

    def _restoring(self, remaining: int) -> None:
        if (
            0 < remaining < self._restore_remaining
        ):  # not each short restore of a lane that is dropped again and again
            self.progress_at = time.monotonic()
        self._restore_remaining = remaining
        self._check_stop()

    def _end_left_open(self, start: int, end: int) -> None:
        """Restore does not pass `start`: if a transaction of ours lost its end there, give it
        one; the same one wherever it reached.
        """
        services = self._services
        producer = self._transactions.producer
        end_left_open(
            producer,
            services.new_uncommitted_reader,
            services.state_topic,
            start,
            end,
            self.partition,
        )

    # ------------------------------------------------------------------------------------------------
    # work

    def _work(self) -> None:
        """Until told to stop (Stopping) or dropped."""
        while True:
            self._check_stop()
            self._transactions.widen(time.monotonic() - self._owned_at)
            parked = self._take_parked()
            if parked is not None:
                self._take(parked)
            wait = self._wake_seconds() if parked is None else 0.0
            work = self.intake.next(
                self.position,
                one_input=self._care.careful_of_inputs,
                one_timer=self._care.careful_of_timers,
                wait_seconds=wait,
                gathering=self._gather,
            )
            self._answer_expired_waiters()
            if work is not None:
                self._take(work)
            elif parked is None:
                self._idle()

    def _take(self, work: Work) -> None:
        careful = self._care.careful_of_timers if work.timers else self._care.careful_of_inputs
        (self._apply_carefully if careful else self._apply)(work)

    def _take_parked(self) -> Work | None:
        """A new owner may have new code for what an earlier one parked: it tries each once, a
        few between inputs. None: no more of them.
        """
        assert self._store is not None
        if self._parked_after is None:
            return None
        found = list(
            marks(
                self._store,
                after=self._parked_after,
                limit=1 if self._care.careful else PARKED_A_BATCH,
            )
        )
        self._parked_after = found[-1][0] if found else None
        return Work([], Sorted(), [mark for _, mark in found]) if found else None

    def _wake_seconds(self) -> float:
        """How long to wait for inputs at most: until the next chore."""
        waiters = self._engine is not None and self._engine.statistics().get("waiters", 0)
        return WAITERS_EVERY_SECONDS if waiters else IDLE_WAKE_SECONDS

    def _gather(self) -> None:
        self._stopping.wait(
            self._pacing.wait_seconds(
                time.monotonic() - self._transactions.committed_at, len(self.inbox)
            )
        )

    def _apply(self, work: Work, refused: dict[str, str] | None = None) -> None:
        """One transaction; in halves when a record of it is refused, down to the one that is
        guilty. `refused`: see `Batch`.
        """
        try:
            self._transact(work, refused or {})
        except TooMuch:
            assert self._engine is not None and self._sorter is not None
            self._engine.evict(self._touched)
            for half in work.halves(self._sorter):
                self._apply(half)
        except Refused as refusal:
            self._abort(refusal)
            if len(work) > 1:
                assert self._sorter is not None
                for half in work.halves(self._sorter):
                    self._apply(half)
            elif (
                refusal.of_records and refused is None and self._refused
            ):  # what came in stays in the history, its task fails
                if refusal.in_transaction:  # the checks had let it pass
                    self._services.outlet.doubt()
                self._apply(work, dict.fromkeys(self._refused, str(refusal).partition("\n")[0]))
            else:
                self._give_up(work, refusal)
            if self._state is LaneState.RETRYING:
                self._become(LaneState.RUNNING)

    def _transact(self, work: Work, refused: dict[str, str]) -> None:
        """Engine, then the transaction. Raises TooMuch, Refused or Dropped; nothing is applied
        then.
        """
        assert self._engine is not None and self._store is not None
        effects, began, time_ms = Effects(), time.monotonic(), now_ms()
        if work.sorted.unparks:
            self._held_runs.unparked.update(work.sorted.unparks)
        if work.sorted.inputs or work.timers:
            batch = Batch(time_ms, work.sorted.inputs, work.timers, refused)
            try:
                with self._services.trials.step(self, self._check_stop):
                    self._transactions.released.begins()
                    effects = self._engine.step(
                        StoredTables(self._store), self._services.outlet, batch
                    )
                self.counters.step_seconds.observe(time.monotonic() - began)
            except TablesError as error:
                self._withdraw()
                raise error.reason from None
            except (Stopping, LaneError, OutletUnavailableError):
                raise  # told to; of this lane; the cluster's
            except Exception as error:  # a defect of the engine, not of workflow code
                logger.exception(
                    "lane %d: the engine failed on offsets %s", self.partition, work.offsets()
                )
                self._engine.evict_all()
                raise Refused(
                    f"engine: {type(error).__name__}: {error}\n{traceback.format_exc()}",
                    in_transaction=False,
                ) from error
        self._touched = effects.touched
        try:
            rows = encode_rows(self._services, effects.rows, work.timers)
            records = output_records(
                self._services,
                work,
                effects,
                self.partition,
                self._transactions.identity.partitions,
            )
        except (WireError, ValueError, TypeError, AttributeError) as error:
            raise Refused(
                f"cannot be encoded: {error}\n{traceback.format_exc()}",
                in_transaction=False,
                of_records=True,
            ) from error
        size, parts = size_of(rows, records), self._transactions.parts(records)
        if len(work) > 1 and not self._transactions.fits(size, parts):
            raise TooMuch
        position = work.next_offset(self.position)
        self._care.done()
        if self._care.owns:
            if work.messages:
                self._care.took_inputs()
            if self._came_through():
                self._care.came_through()
        self._transactions.commit(
            rows, parts, position, self._care, opened=effects.opened, size=size
        )
        self._pacing.committed(len(work.messages))
        self._timers_note(effects.rows, work.timers)
        self._defects, self.progress_at = 0, time.monotonic()

        replies = work.sorted.replies + effects.replies
        if replies:
            self._services.replies.send(replies)
        self.counters.committed(work, effects, time_ms)
        self.counters.cache(self._engine.statistics())
        log_failed_tasks(effects.failed_tasks, self._services.namespace, self._services.task_queue)
        log_without_details(
            effects.without_details, self._services.namespace, self._services.task_queue
        )

    def _timers_note(self, changes: list[RowChange], taken: list[TimerRow]) -> None:
        assert self._timers is not None
        if taken:
            self._timers.note([RowChange(ports.TIMER, timer_row_key(t), None) for t in taken])
        self._timers.note(changes)

    def _came_through(self) -> bool:
        """Whether all parked runs have been tried, and all timers taken, that were there when
        the own began, or fell due soon after.

        An owner that dies over one of them has applied inputs before, and the next does it
        again. Inputs come in their order: the next owner begins with those that this one died
        over.
        """
        assert self._timers is not None
        if self._parked_after is not None:
            return False
        due = self._timers.next_due_ms(now_ms())
        return due is None or due > self._owned_ms + SOON_MS

    def _commit_position(self) -> None:
        """The position row alone."""
        try:
            self._transactions.commit({}, [], self.position, self._care)
        except Refused as refusal:
            raise Dropped(f"position row: {refusal}") from refusal

    # ------------------------------------------------------------------------------------------------
    # errors

    def _abort(self, refusal: Refused) -> None:
        """A record was refused: as if the transaction had never been."""
        self.counters.rejected.inc()
        logger.warning(
            "lane %s/%d: refused: %s", self._services.events_topic, self.partition, refusal
        )
        if self._state is LaneState.RUNNING:
            self._become(LaneState.RETRYING)
        if self._engine is not None:  # a lane that forwards has none
            self._engine.evict(self._touched)
        self._refused, self._touched = self._touched, []
        self._transactions.abort(refusal)

    def _give_up(self, work: Work, refusal: Refused, *, consume: bool = False) -> None:
        """The guilty one: its run is held, its input goes to dead letters, the partition goes on.

        The timer of a held run stays: the run takes it later, without running code. Not if an
        owner died over that too (`consume`).
        """
        reason = str(refusal)
        workflow_id, run_id = work.whose()
        ids = {"workflow_id": workflow_id, "run_id": run_id}
        logger.error(
            "lane %s/%d: giving up on %s: %s",
            self._services.events_topic,
            self.partition,
            work.name(),
            reason,
            extra=ids,
        )
        held = self._hold(workflow_id, run_id, reason, lost=work.offsets() if work.messages else "")
        rows = held_rows(self._services.codec, held)
        orphan = (
            work.timers[0]
            if work.timers and (consume or (not rows and not removes_rows(work.timers[0])))
            else None
        )
        tombstones: dict[bytes, bytes | None] = {}
        if orphan is not None:
            tombstones[state_key(ports.TIMER, timer_row_key(orphan))] = None
        letters = list(work.sorted.letters)
        if not letters:
            letters = [
                Letter(m, NOT_APPLIED, reason.partition("\n")[0], None, reason)
                for m in work.messages
            ]
        self._care.done()
        try:
            records = [dead_letter(self._services, letter, self.partition) for letter in letters]
            self._transactions.commit(
                rows | tombstones, [records], work.next_offset(self.position), self._care
            )
        except Refused as again:
            self._abort(again)
            raise LaneError(
                f"neither the input at {work.offsets()} nor its dead letter is taken: {again}",
                topic=self._services.events_topic,
                partition=self.partition,
            ) from again
        for letter in letters:
            self.counters.dead_letter(letter.reason)
        self.counters.quarantined.inc(bool(rows))
        if orphan is not None:
            self._timers_note([], [orphan])
        elif work.timers:
            assert self._timers is not None
            self._timers.postpone(work.timers[0], now_ms())
        events = [i.event for i in work.sorted.inputs if not isinstance(i.event, ActivityReport)]
        text = reason.partition("\n")[0]
        self._services.replies.send(
            Reply(e.reply_to, e.request_id, type(e).__name__, INTERNAL, text, e.workflow_id)
            for e in events
            if e.reply_to and e.request_id
        )
        record = held_summary(
            self._services.outlet, self._services.namespace, self._services.task_queue, held
        )
        if (
            record is not None
            # lists learn of it before its next input; in a transaction of its own, so that the rest
            # stands
        ):
            try:
                self._transactions.commit({}, [[record]], self.position, self._care)
            except Refused as again:
                self._abort(again)

    def _hold(self, workflow_id: str, run_id: str, reason: str, *, lost: str = "") -> RunRow | None:
        """The row of the run, held; None when there is no such open run. `lost`: the offset of
        its input, which becomes a dead letter.
        """
        assert self._engine is not None and self._store is not None
        where = f"{self._services.events_topic}/{self.partition}/{lost}" if lost else ""
        held = self._held_runs.hold(self._store, workflow_id, run_id, reason, dead_letter=where)
        if held is not None:
            self._engine.evict([held.run_id])
        return held

    def _why_held(self, workflow_id: str, run_id: str) -> str:
        """Asked by the engine within a step: what is wrong with the store is the store's affair
        there too.
        """
        return (
            ""
            if self._store is None
            else self._held_runs.why(StoredTables(self._store), workflow_id, run_id)
        )

    def _apply_carefully(self, work: Work) -> None:
        """Owners died here in a row: name what is next in the position row, and take it alone.

        What several of them died over: first its run is held, also one that it begins, so that
        no code of it runs; if an owner dies even so, it is given up.
        """
        name = work.name()
        if not self._care.deaths_over(name):
            self._try(work, name)
        else:
            self._stopping.wait(moment())
            self._check_stop()
            with self._services.trials.alone(self, self._check_stop) as alone:
                self._try(work, name, alone=alone)
        if self._parked_after is None and self._care.took_one(timer=bool(work.timers)):
            self._end_care()

    def _try(self, work: Work, name: str, *, alone: bool = True) -> None:
        assert self._store is not None
        whose, run_id = work.whose()
        deaths = self._care.accuse(name, alone=alone)
        reason = f"{deaths} owners of the partition died in a row over this ({name})"
        if deaths >= DEATHS_BEFORE_GIVING_UP:
            self._give_up(work, Refused(reason, in_transaction=False), consume=True)
            return
        rows: dict[bytes, bytes | None] = {}
        if deaths >= DEATHS_BEFORE_HOLDING and not self._held_runs.is_held(
            self._store, whose, run_id
        ):
            rows = held_rows(self._services.codec, self._hold(whose, run_id, reason))
            self.counters.quarantined.inc(bool(rows))
            if not rows:
                self._held_runs.from_birth[whose] = reason
        if rows:
            self._transactions.commit(rows, [], self.position, self._care)
        else:
            self._commit_position()
        try:
            self._apply(work)
        finally:
            self._held_runs.from_birth.clear()

    def _end_care(self) -> None:
        logger.info(
            "lane %s/%d: no owner died over these inputs: several at a time again",
            self._services.events_topic,
            self.partition,
        )
        self._care.over()
        self._commit_position()

    def _withdraw(self) -> None:
        """Told to stop, or by the store: what is named was not tried, and counts for nothing. In
        a file at once, in the row if this own still writes it.
        """
        named = self._transactions.released.ended(blameless=True)
        if named and self._state in (LaneState.RUNNING, LaneState.RETRYING):
            self._care.withdraw()
            try:
                self._commit_position()
            except (Dropped, OdradekError) as error:
                logger.info(
                    "lane %s/%d: the name of what was not tried stays: %s",
                    self._services.events_topic,
                    self.partition,
                    error,
                )

    def _drop(self, reason: Dropped) -> None:
        """Believe nothing of the last transaction, abort nothing; wait, and make sure that the
        partition is still ours.
        """
        self.counters.resets.inc()
        logger.warning(
            "lane %s/%d dropped: %s", self._services.events_topic, self.partition, reason
        )
        ran_inputs = self._state in (LaneState.RUNNING, LaneState.RETRYING)
        ran = ran_inputs and time.monotonic() - self._owned_at > _BACKOFF_MAX_SECONDS
        self._become(LaneState.DROPPED)
        self._let_go()
        self._care.ended(blameless=reason.blameless)
        self._transactions.released.ended(blameless=reason.blameless)
        if ran_inputs:
            self._services.outlet.doubt()
        self._drops = (
            1 if ran else self._drops + 1
        )  # one that ran for a while begins the back-off anew
        if ran:
            self._defects = min(self._defects, 1)  # this one, if it was one
        wait = min(_BACKOFF_MAX_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** min(self._drops - 1, 10))
        self._stopping.wait(wait)
        while reason.fenced:
            self._check_stop()
            assigned = self._seat.still_assigned(self.partition)
            if assigned:
                break
            if assigned is False:
                logger.info(
                    "lane %s/%d: the group gave the partition to somebody else",
                    self._services.events_topic,
                    self.partition,
                )
                self._stopping.wait(_BACKOFF_MAX_SECONDS)
            self._stopping.wait(0.2)

    def _let_go(self) -> None:
        """Give back what an own took. The producer goes without a flush or an abort: its
        transaction is the next owner's to decide.
        """
        store, self._store = self._store, None
        engine, self._engine = self._engine, None
        self._timers = None
        self.intake.end()
        self._services.trials.let_go(self)
        if engine is not None:
            self.counters.cache(engine.statistics())
            engine.evict_all()
        if store is not None:
            store.close()
        self._transactions.let_go()

    # ------------------------------------------------------------------------------------------------
    # chores

    def _idle(self) -> None:
        assert self._store is not None and self._timers is not None
        now = time.monotonic()
        if (
            self.intake.began or now - self._owned_at > 2 * IDLE_WAKE_SECONDS
        ):  # an empty inbox just after the seek says nothing yet
            self.progress_at = now
        self._alarm(now)
        came_through = self._care.owns > 0 and self._came_through()
        if (
            came_through
            and self._care.careful
            and (self.intake.began or now - self._owned_at >= PROVEN_AFTER_SECONDS)
        ):
            self._end_care()  # all that was there has been taken
        if (
            came_through and self._care.proven(now - self._owned_at)
        ) or now - self._transactions.committed_at >= IDLE_COMMIT_SECONDS:
            self._commit_position()
        self._store.flush_if_older(STORE_FLUSH_SECONDS)

    def _alarm(self, now: float) -> None:
        """Nothing to read, and due timers wait for inputs that are there: somebody left a
        transaction open on this partition.
        """
        assert self._timers is not None
        late_ms = self._timers.late_ms
        self._blocked = late_ms / 1000 if late_ms > BLOCKED_AFTER_MS else 0.0
        if self._blocked and now - self._alarmed_at > BLOCKED_AFTER_MS / 1000:
            self._alarmed_at = now
            logger.warning(BLOCKED_TEXT, self._services.events_topic, self.partition, self._blocked)

    def _answer_expired_waiters(self) -> None:
        assert self._engine is not None
        now = time.monotonic()
        if now - self._waiters_at < WAITERS_EVERY_SECONDS:
            return
        self._waiters_at = now
        replies = self._engine.expired_waiters(now_ms())
        if replies:
            self._services.replies.send(replies)

    def blocked_text(self) -> str:
        """Why due timers wait, once it is worth an alarm; else ""."""
        return (
            BLOCKED_TEXT % (self._services.events_topic, self.partition, self._blocked)
            if self._blocked
            else ""
        )
