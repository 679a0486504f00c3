"""The client's two reading threads: `replies` of one client, and `members`, which hint at who is alive."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from odradek.client.transport import SILENCE_S, Owner
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import reader_config
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.kafka.settings import KafkaSettings
from odradek.wire.codec import Codec
from odradek.wire.errors import WireError
from odradek.wire.outcomes import MemberStatus

logger = logging.getLogger(__name__)

_POLL_S = 0.2  # bounds how late `stop` is noticed; records are served as they come
_AT_ONCE = 1000
_START_S = 5.0


class ReplyReader:
    """Reads one partition of `replies`. The constructor blocks until its position is fixed: no
    reply after it is missed.

    end: a partition's end now; blocks.  readable: whether a value of this client can be decoded;
    may block.  on_values: called on `loop` with those that can.  on_gap: called on `loop` when
    replies were lost.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        partition: int,
        key: bytes,
        end: Callable[[int], int],
        loop: asyncio.AbstractEventLoop,
        readable: Callable[[bytes], bool | None],
        on_values: Callable[[list[bytes]], object],
        on_gap: Callable[[None], object],
        clients: KafkaClients | None = None,
    ) -> None:
        self._place = (topic, partition)
        self._key = key
        self._end = end
        self._loop = loop
        self._readable = readable
        self._on_values = on_values
        self._on_gap = on_gap
        self._inbox: list[bytes] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._from = end(partition)
        self._begun = threading.Event()
        self._consumer = (clients or ConfluentKafka()).consumer(
            reader_config(settings, read_uncommitted=True)
        )
        self._thread = threading.Thread(target=self._run, name="odradek-replies", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """A request is about to be sent: read from now on. Again: nothing."""
        self._begun.set()

    def stop(self) -> None:
        """End the thread soon; does not wait."""
        self._stop.set()
        self._begun.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        consumer = self._consumer
        try:
            self._begun.wait()
            if not self._stop.is_set():
                consumer.assign([TopicPartition(*self._place, self._beginning())])
            while not self._stop.is_set():
                # consume(n, t) waits for all n or for t: wait for one, then take what else is
                # there.
                message = consumer.poll(_POLL_S)
                if message is None:
                    continue
                values = [
                    value
                    for value in map(self._value, [message, *consumer.consume(_AT_ONCE, 0)])
                    if value
                ]
                if values and not self._hand_over(values):
                    break
        except Exception:
            # Without this thread no call is ever answered: say so loudly; calls then end at their
            # deadlines.
            logger.exception("the reply reader of %s[%d] has died", *self._place)
        finally:
            consumer.close()

    def _beginning(self) -> int:
        """Where the partition ended when this client came, or, since nothing before the first
        request is ours, what is left after it.
        """
        try:
            found = self._consumer.get_watermark_offsets(
                TopicPartition(*self._place), timeout=_START_S
            )
        except KafkaException as error:
            logger.debug("start of replies %s[%d]: %s", *self._place, error)
            return self._from
        return max(self._from, found[0]) if found else self._from

    def _value(self, message: Message) -> bytes | None:
        error = message.error()
        if error is not None:
            self._on_error(error)
            return None
        value = message.value() if message.key() == self._key else None
        return value if value and self._readable(value) else None

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            logger.debug("replies: %s", error)
            return
        # The process slept longer than replies are kept, or the topic was made anew: what was there
        # is lost, calls ask again.
        logger.warning("replies of %s[%d] were lost: %s", *self._place, error.str())
        while not self._stop.is_set():
            try:
                topic, partition = self._place
                self._consumer.assign([TopicPartition(topic, partition, self._end(partition))])
                break
            except (KafkaException, OdradekError) as problem:
                logger.warning("replies: %s", problem)
                self._stop.wait(1.0)
        self._call(partial(self._on_gap, None))

    def _hand_over(self, values: list[bytes]) -> bool:
        with self._lock:
            wake = not self._inbox
            self._inbox += values
        return not wake or self._call(self._drain)

    def _drain(self) -> None:
        with self._lock:
            values, self._inbox = self._inbox, []
        self._on_values(values)

    def _call(self, function: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return False
        return True


logger = logging.getLogger(__name__)

# Between two attempts to read the topic.
RETRY_S = 1.0
PROCESSOR = "PROCESSOR"
RUNNING = "RUNNING"
STOPPED = "STOPPED"


class MembersView:
    """The latest status of each member. Thread-safe: replaced values are whole."""

    def __init__(self) -> None:
        self.complete = False  # whether all that was there at the start has been read
        self.in_doubt_until = 0.0  # monotonic: a member said something that cannot be read now
        self._members: dict[
            str, tuple[MemberStatus, float]
        ] = {}  # member id -> status, when it counts as dead (monotonic)
        self._owners: dict[
            tuple[str, int], tuple[str, int]
        ] = {}  # queue and partition -> member id and pid

    def update(
        self, member_id: str, status: MemberStatus | None, now: float, wall_ms: int
    ) -> set[str]:
        """A new status, or None for a member that has left; the queues where a partition got a
        new running owner.
        """
        if status is None:
            self._members.pop(member_id, None)
            self._owners = {
                place: owner for place, owner in self._owners.items() if owner[0] != member_id
            }
            return set()
        # What is read as it comes is fresh, whatever the clocks say; what was there before is as
        # old as it says.
        age_s = 0.0 if self.complete else max(wall_ms - status.time_ms, 0) / 1000
        self._members[member_id] = (status, now + SILENCE_S - age_s)
        changed = set()
        if status.kind == PROCESSOR and age_s < SILENCE_S:
            # A process that restarts may keep its member id, and one that lost a partition may own
            # it anew: both have forgotten who waits.
            owner = (member_id, status.pid)
            for lane in status.lanes:
                place = (status.task_queue, lane.partition)
                if lane.state != RUNNING:
                    if self._owners.get(place) == owner:
                        del self._owners[place]
                elif self._owners.get(place) != owner:
                    self._owners[place] = owner
                    changed.add(status.task_queue)
        return changed if self.complete else set()

    def owner(
        self, task_queue: str, partition: int, now: float, silence_s: float = SILENCE_S
    ) -> Owner:
        """Whether that partition of the queue's `events` has a living owner: one that has
        written within `silence_s`.
        """
        if not self.complete:
            return Owner.UNKNOWN
        processors = [
            status
            for status, until in list(self._members.values())
            if until - SILENCE_S + silence_s > now
            and status.kind == PROCESSOR
            and status.task_queue == task_queue
        ]
        if not processors:
            return Owner.UNKNOWN if now < self.in_doubt_until else Owner.NONE
        for status in processors:
            if any(lane.partition == partition and lane.state != STOPPED for lane in status.lanes):
                return Owner.ALIVE
        return (
            Owner.UNKNOWN
        )  # processors there are; this partition is on its way from one to another

    def living_queues(self, now: float) -> set[str]:
        """Queues with a living processor."""
        return {
            status.task_queue
            for status, until in list(self._members.values())
            if until > now and status.kind == PROCESSOR
        }


class MembersReader:
    """Reads `members` from its start on a daemon thread.

    end: the topic's end now; blocks.  on_owners: called on the thread with the queues whose
    owners changed.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        codec: Codec,
        end: Callable[[], int],
        on_owners: Callable[[set[str]], object],
        clients: KafkaClients | None = None,
    ) -> None:
        self.view = MembersView()
        self._settings = settings
        self._clients = clients or ConfluentKafka()
        self._topic = topic
        self._codec = codec
        self._end = end
        self._last = -1  # offset behind which all is news
        self._on_owners = on_owners
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="odradek-members", daemon=True)
        self._thread.start()

    def wait_complete(self, timeout_s: float) -> bool:
        """Block until the topic's present content has been read. False when that took too long."""
        return self._caught_up.wait(timeout_s)

    def stop(self) -> None:
        """End the thread soon; does not wait."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        """Read, from the start again after whatever went wrong, which is logged once until the
        topic can be read.
        """
        told = False
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, OdradekError) as error:
                told = told and not self.view.complete
                log = logger.debug if told else logger.warning
                log(
                    "the members topic %s cannot be read, who is alive is not known until it"
                    " can: %s",
                    self._topic,
                    error,
                )
                told = True
            except Exception:  # a defect of ours: without this thread every owner would look silent
                logger.exception(
                    "the members topic %s cannot be read, who is alive is not known until it can",
                    self._topic,
                )
            else:
                continue
            self.view.complete = False  # what is read again is as old as it says
            self._stop.wait(RETRY_S)

    def _follow(self) -> None:
        # An end-of-partition event alone comes only with the broker's next empty answer, half a
        # second later.
        self._last = self._end() - 1
        if self._last < 0:
            self._complete()
        consumer = self._clients.consumer(reader_config(self._settings, partition_eof=True))
        try:
            consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
            while not self._stop.is_set():
                message = consumer.poll(0.2)
                if message is not None:
                    self._take(consumer, message)
        finally:
            consumer.close()

    def _take(self, consumer: Consumer, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._complete()
            elif (
                error.code() == KafkaError._AUTO_OFFSET_RESET
            ):  # the start was compacted or deleted away: begin at what is there
                consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
            else:
                logger.debug("members: %s", error)
            return
        self._read(message)
        if not self.view.complete and (message.offset() or 0) >= self._last:
            self._complete()

    def _complete(self) -> None:
        self.view.complete = True
        self._caught_up.set()

    def _read(self, message: Message) -> None:
        try:
            value = message.value()
            status = self._codec.decode(value) if value else None
        except WireError as problem:
            logger.debug("members: a record of %s cannot be read: %s", self._topic, problem)
            if isinstance(problem, SchemaRegistryUnreachableError):
                self.view.in_doubt_until = time.monotonic() + SILENCE_S
            return
        key = message.key()
        member_id = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        if status is not None and not isinstance(status, MemberStatus):
            return
        queues = self.view.update(member_id, status, time.monotonic(), int(time.time() * 1000))
        if queues:
            self._on_owners(queues)
