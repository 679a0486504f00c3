"""The thread that speaks to Kafka for a service: reads commands, takes delivery reports, keeps
time, hands on, commits.

One turn after the other, each a few milliseconds: nothing here runs user code, so the group,
Started events and the acknowledged prefix go on whatever an activity does to the event loop.
Commands are decoded here and given to the loop a batch at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Message

from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import Attempt, CommandRecord, OwnedPartition
from odradek.activities.control import ControlReader
from odradek.activities.ownership import StartGate
from odradek.activities.refusals import Refusals
from odradek.activities.reports import Reports
from odradek.activities.service import Service, TimerKind
from odradek.activities.source import CommandSource
from odradek.activities.timers import TimerHeap
from odradek.exceptions import BrokerUnreachableError, OdradekError
from odradek.wire import dead_letters
from odradek.wire.codec import Codec
from odradek.wire.errors import UndecodableRecord, UnknownSchemaError
from odradek.wire.headers import HANDED_ON_FROM, place
from odradek.wire.tasks import ActivityTask, CancelActivityTask

logger = logging.getLogger("odradek.activities")

BATCH = 500
#: Longest wait for commands: bounds how late a delivery report, a timer or a cancel request is
#: seen.
BUSY_WAIT_S = 0.02
IDLE_WAIT_S = 0.1
#: A command that has waited this long for a slot goes to another member; twice as long for each
#: time that it was handed on.
HAND_ON_AFTER_S = 1.0
HAND_ON_DOUBLINGS = 4
#: Places of former records that a command keeps: the first and the latest.
HAND_ON_TRAIL = 16
SCHEMA_RETRY_S = 0.5
#: Bound on the time that giving partitions back may take for saying Started of what runs.
REVOKE_WAIT_S = 2.0
#: Bound on the time that the last reports may take to become durable at the end.
FINISH_WAIT_S = 15.0
STATUS_WAIT_S = 2.0  # ... and for the word that it leaves, which may have no topic
# Once, at the start: cancel requests of the time before, see control.py.
CONTROL_WAIT_S = 10.0


class ConsumerThread:
    """Runs turns until told to finish."""

    def __init__(
        self,
        *,
        name: str,
        commands: CommandSource,
        control: ControlReader,
        reports: Reports,
        refusals: Refusals,
        service: Service,
        codec: Codec,
        topic: str,
        gate: StartGate,
        clock: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        every_turn: Callable[[float], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`every_turn(now)`: what the host wants done beside (member status). `on_fatal`: called
        once, from this thread, if it fails.
        """
        self._commands = commands
        self._control = control
        self._reports = reports
        self._refusals = refusals
        self._service = service
        self._codec = codec
        self._topic = topic
        self._gate = gate
        self._clock = clock
        self._loop = loop
        self._every_turn = every_turn
        self._on_fatal = on_fatal
        self._timers: TimerHeap[tuple[TimerKind, Attempt]] = TimerHeap(clock)
        self._unread: deque[tuple[float, Message, OwnedPartition, Cell]] = deque()
        self._next_unread = 0.0
        self._gate_was_open = True
        self._finish = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._high_water = max(2 * service.slots_total, 2 * BATCH)
        self.handed_on = 0
        self.turned_at = 0.0  # monotonic

    def start(self) -> None:
        """Join the group and begin."""
        self._thread.start()

    def finish(self) -> None:
        """Make the last turn: everything said becomes durable, offsets are committed, the member
        leaves. `join` waits for it.
        """
        self._finish.set()

    def join(self) -> None:
        """Wait until the thread has ended. Bounded by FINISH_WAIT_S and the client's own timeouts."""
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it still makes turns."""
        return self._thread.is_alive()

    # --- the loop of turns

    def _run(self) -> None:
        try:
            self._control.catch_up(CONTROL_WAIT_S, self._cancel)
            self._commands.subscribe()
            while not self._finish.is_set():
                self._turn()
            self._last_turn()
        except BaseException as error:
            logger.debug("consumer thread ended", exc_info=True)
            self._on_fatal(error)
        finally:
            self._commands.close()
            self._control.close()

    def _turn(self) -> None:
        self.turned_at = time.monotonic()
        service = self._service
        busy = service.running or service.waiting or self._reports.pending
        messages = self._commands.poll(
            self._timers.delay(BUSY_WAIT_S if busy else IDLE_WAIT_S), BATCH
        )
        if messages:
            self._take(messages)
        gate_is_open = self._gate.is_open
        if messages or (gate_is_open and not self._gate_was_open):
            self._loop.call_soon_threadsafe(service.pump)
        self._gate_was_open = gate_is_open
        self._reports.serve()
        for request in self._control.read():
            self._cancel(request)
        self._keep_time()
        if service.waiting:
            self._hand_on()
        if self._unread:
            self._read_again()
        if service.draining:
            self._commands.drain()
        else:
            self._commands.pause(len(service.waiting) + len(self._unread) > self._high_water)
        self._commands.tick()
        self._every_turn(self._clock())

    def _cancel(self, request: CancelActivityTask) -> None:
        self._loop.call_soon_threadsafe(self._service.cancel_requested, request)

    def _last_turn(self) -> None:
        began, reports = self._clock(), self._reports
        while reports.pending and self._clock() - began < FINISH_WAIT_S:
            reports.serve(0.05)
        while reports.statuses_pending and self._clock() - began < STATUS_WAIT_S:
            reports.serve(0.05)
        if self._reports.pending:
            logger.warning(
                "%d reports were not durable at the end; their commands are delivered again",
                self._reports.pending,
            )
        self._commands.commit_finally()

    # --- commands

    def _take(self, messages: Sequence[Message]) -> None:
        now = self._clock()
        for message in messages:
            taken = self._commands.take(message)
            if taken is None:
                continue
            if self._commands.worn_out(message):
                self._pass_on(message, *taken)
            else:
                self._read(message, *taken, now)

    def _read(
        self,
        message: Message,
        owner: OwnedPartition,
        cell: Cell,
        now: float,
        *,
        catch_up: bool = True,
    ) -> None:
        value = message.value()
        headers: Any = message.headers()
        try:
            task = self._codec.decode(value or b"")
        except UnknownSchemaError as error:
            if catch_up and error.may_come:
                self._unread.append((now, message, owner, cell))
            else:
                self._refusals.command(self._reports, message, cell, error)
            return
        except BrokerUnreachableError as error:  # a schema registry that is away
            logger.warning(
                "%s[%d]@%d cannot be read yet: %s", self._topic, owner.partition, cell.offset, error
            )
            self._unread.append((now, message, owner, cell))
            return
        except UndecodableRecord as error:
            self._refusals.command(self._reports, message, cell, error)
            return
        if not isinstance(task, ActivityTask):
            strange = UndecodableRecord(
                f"a {type(task).__name__} does not belong on a commands topic"
            )
            self._refusals.command(
                self._reports, message, cell, strange, reason=dead_letters.UNEXPECTED_RECORD
            )
            return
        handed_on = bool(headers) and headers[-1][0] == HANDED_ON_FROM
        self._service.waiting.append(Attempt(task, message, owner, cell, now, handed_on=handed_on))

    def _read_again(self) -> None:
        """Commands whose schema was not known when they came: `schemas` is read to its present
        end, once for all of them, and decides. While a registry or the brokers are away nobody
        knows, so they wait as long as they may be held, and go back then.
        """
        now = self._clock()
        if now < self._next_unread:
            return
        caught_up = True
        try:
            self._codec.catch_up()
        except OdradekError as error:
            caught_up = False
            logger.warning("%s: schemas cannot be read yet: %s", self._topic, error)
        waiting = list(self._unread)
        self._unread.clear()
        for received, message, owner, cell in waiting:
            if not owner.owned or now - received >= self._commands.hold_max_s:
                cell.returned = True
            else:
                self._read(message, owner, cell, received, catch_up=not caught_up)
        if self._unread:  # brokers or a registry are away
            self._next_unread = now + SCHEMA_RETRY_S
        self._loop.call_soon_threadsafe(self._service.pump)

    # --- time

    def _keep_time(self) -> None:
        requests = self._service.timer_requests
        while requests:
            due, kind, attempt = requests.popleft()
            if not attempt.reported:
                self._timers.push(due, (kind, attempt))
        for kind, attempt in self._timers.due():
            following = self._service.timer_due(kind, attempt)
            if following is not None:
                self._timers.push(following[0], following[1:])

    # --- handing on

    def _hand_on(self) -> None:
        """Give commands that wait too long to partitions of other members. Only while it is
        known that they are ours to give.
        """
        waiting = self._service.waiting
        if not self._commands.hand_on_to() or not self._gate.is_open:
            return
        now, hold_max_s = self._clock(), self._commands.hold_max_s
        for _ in range(BATCH):
            try:
                attempt = waiting[0]
                if not self._service.draining and now - attempt.received < min(
                    hand_on_after(attempt), hold_max_s
                ):
                    return
                # the loop may have taken the one looked at: then this is the next one, which waited
                # as long but for moments
                attempt = waiting.popleft()
            except IndexError:
                return
            if not attempt.owner.owned:
                attempt.cell.returned = True
            elif not (self._service.draining and self._commands.give_back(attempt.cell)):
                self._pass_on(attempt.record, attempt.owner, attempt.cell)

    def _pass_on(self, record: CommandRecord, owner: OwnedPartition, cell: Cell) -> None:
        """Write a command anew, for whoever reads it there; this record is done with once that
        one is durable.
        """
        self.handed_on += 1
        self._service.counters.handed_on.inc()
        headers: list[Any] = list(record.headers() or [])
        before = [header for header in headers if header[0] == HANDED_ON_FROM]
        if (
            len(before) >= HAND_ON_TRAIL
        ):  # it stays out of the record's size, however long all services are full
            headers.remove(before[1])
        headers.append((HANDED_ON_FROM, place(self._topic, owner.partition, cell.offset)))
        partition = random.choice(self._commands.hand_on_to())
        self._reports.send(
            self._topic,
            record.key(),
            record.value(),
            headers,
            _acknowledges(cell),
            partition=partition,
        )

    # --- giving partitions back

    def revoking(self, leaving: Sequence[OwnedPartition]) -> None:
        """Say Started of everything that runs from partitions that leave: their next owner
        begins behind it, and nothing runs twice.
        """
        running = [
            attempt
            for attempt in list(self._service.running.values())
            if attempt.owner in leaving and not attempt.cell.acknowledged
        ]
        for attempt in running:
            self._service.say_started(attempt)
        deadline = self._clock() + REVOKE_WAIT_S
        while (
            any(not attempt.cell.acknowledged for attempt in running) and self._clock() < deadline
        ):
            self._reports.serve(0.02)


def hand_on_after(attempt: Attempt) -> float:
    """Seconds that a command waits here before it goes to another member: longer each time, so
    that full services do not toss it around.
    """
    times = sum(1 for name, _ in attempt.record.headers() or () if name == HANDED_ON_FROM)
    return HAND_ON_AFTER_S * float(2 ** min(times, HAND_ON_DOUBLINGS))


def _acknowledges(cell: Cell) -> Callable[[], None]:
    def durable() -> None:
        cell.acknowledged = True

    return durable
