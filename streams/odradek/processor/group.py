"""The one consumer of a processor: it holds the group membership and says which lanes exist.

Classic protocol, cooperative-sticky, session 6 s, static identity. A partition is assigned with
an explicit offset and paused at once; the lane says where to seek when it is ready. Records
carry the lane's epoch: what was dispatched before a seek is dropped by the inbox. A full lane
pauses its partition, and only that. Group offsets are committed once a second, for lag tools and
the tripwire of a first start; nothing is ever read from them.

Never: create a lane for anything but an assignment, reset an offset silently, or decide
ownership (the broker's fencing does).
"""

from __future__ import annotations

import logging
import threading
import time
import typing
from collections import deque
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.exceptions import DuplicateIdentityError, InputGapError, OdradekError
from odradek.kafka.errors import FORBIDDEN, SESSION_LIMITS, missing_acl, timeout_refused
from odradek.kafka.member import RebalanceMark
from odradek.processor.healing import Healing
from odradek.processor.inbox import Together
from odradek.processor.lane import Lane, Seat

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.02  # also how long a lane's request to seek or resume may wait
CONSUME_MAX = 1_000
COMMIT_EVERY_SECONDS = 1.0
# a running transaction ends in milliseconds; a slow activation may take the deadlock timeout
STOP_LANES_SECONDS = 10.0
MEMBERSHIP_SECONDS = 10.0
FENCED_MAX, FENCED_WINDOW_SECONDS = 3, 60.0
SEEK_TRIES = 50  # turns of the thread

_FOREIGN_MEMBER = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_INSTANCE_ID}
)


class _FencedError(Exception):
    """Another member joined under our `group.instance.id`. Fatal for the consumer."""


class Group(threading.Thread):
    """Runs until `stop`. `new_lane(partition, seat)` makes and starts lanes; `fatal` is told why
    the membership ended for good.
    """

    def __init__(
        self,
        consumer: Callable[[], Consumer],
        topic: str,
        instance_id: str,
        new_lane: Callable[[int, Seat], Lane],
        start_offsets: Callable[[list[int]], dict[int, int]],
        fatal: Callable[[OdradekError], None],
        *,
        mark: RebalanceMark,
        partitions: int,
    ) -> None:
        super().__init__(name="odradek-group", daemon=True)
        self._new_consumer = consumer
        self._topic = topic
        self._instance_id = instance_id
        self._new_lane = new_lane
        self._start_offsets = start_offsets
        self._fatal = fatal
        self._mark = mark
        self._partitions = partitions
        self._requests: deque[Callable[[], None]] = deque()
        self._stopping = threading.Event()
        self.assigned_once = threading.Event()
        self.turned_at = 0.0  # monotonic
        self.lanes: dict[int, Lane] = {}  # replaced as a whole by this thread, read by others
        self._epochs: dict[
            int, int
        ] = {}  # partitions that deliver, with the epoch their records get
        self._paused_full: set[int] = set()
        self._group_offsets: dict[int, int] = {}
        self._ends: dict[
            int, tuple[int, int]
        ] = {}  # end of the partition and how far the consumer has read
        self._committed_at = 0.0
        self._healing = Healing()
        self._lost_at = float("-inf")
        self._fenced: deque[float] = deque(maxlen=FENCED_MAX)
        self._consumer: Consumer | None = None

    # --- Seat: called from lanes' threads

    def hold(self, partition: int) -> None:
        self._requests.append(lambda: self._do_hold(partition))

    def seek(self, partition: int, offset: int, epoch: int) -> None:
        self._requests.append(lambda: self._do_seek(partition, offset, epoch))

    def still_assigned(self, partition: int) -> bool | None:
        """A commit of group offsets carries member id and generation: the coordinator refuses a
        member of the past.
        """
        answer: list[bool | None] = [None]
        done = threading.Event()

        def ask() -> None:
            answer[0] = self._membership(partition)
            done.set()

        self._requests.append(ask)
        done.wait(MEMBERSHIP_SECONDS)
        return answer[0]

    # --- from outside

    def stop(self) -> None:
        """End: lanes finish their transaction, partitions are given back, the thread returns."""
        self._stopping.set()

    def lag(self, partition: int) -> int | None:
        """Records behind a lane's position, by the end that came with a fetch, a second old at
        most. None while nothing was fetched.
        """
        lane, (end, read) = self.lanes.get(partition), self._ends.get(partition, (-1, -1))
        if lane is None or lane.position < 0 or end < 0:
            return None
        if (
            partition in self._epochs and read >= 0
        ):  # by the consumer's position, which steps over the markers of transactions
            return max(0, end - read) + len(lane.inbox)
        return max(0, end - lane.position)

    # --- the thread

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._member()
                except _FencedError as fenced:
                    self._consider(fenced)
        except OdradekError as error:
            self._end(error)
        except Exception as error:
            logger.exception("the group thread of %s failed", self._topic)
            self._end(
                OdradekError(
                    f"group membership of {self._topic} failed: {type(error).__name__}: {error}"
                )
            )

    def _member(self) -> None:
        """One membership, from joining to leaving."""
        consumer = self._consumer = self._new_consumer()
        self._mark.joining()
        try:
            self._join(consumer)
            while not self._stopping.is_set():
                self._turn(consumer)
        finally:
            self._stop_lanes(list(self.lanes), lost=False)
            self._commit_offsets(final=True)
            self._mark.leaving()
            try:
                consumer.close()
            except (KafkaException, RuntimeError) as error:
                logger.warning("closing the consumer of %s: %s", self._topic, error)
            self._drain_requests(run=False)
            self._forget(list(self.lanes))

    def _join(self, consumer: Consumer) -> None:
        consumer.subscribe(
            [self._topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _rejoin(self, consumer: Consumer) -> None:
        """Leave (`close` would not, for a static member; this does) and join: the group shares
        everything out.
        """
        logger.info(
            "%s: %s may have come back in the middle of a rebalance and joins once more",
            self._topic,
            self._instance_id,
        )
        consumer.unsubscribe()
        self._join(consumer)

    def _consider(self, fenced: _FencedError) -> None:
        """Somebody joined under our identity. If our session had just ended it was ourselves: a
        commit of the time before met the member id that we have now (a broker that restarts does
        that). Then join anew; another process shows soon, since it fences us again.
        """
        now = time.monotonic()
        self._fenced.append(now)
        often = len(self._fenced) == FENCED_MAX and now - self._fenced[0] < FENCED_WINDOW_SECONDS
        if often or now - self._lost_at > FENCED_WINDOW_SECONDS:
            reason = f"Kafka gave the membership to the other one: {fenced}"
            raise DuplicateIdentityError(self._instance_id, reason=reason) from fenced
        logger.warning(
            "%s: fenced as %s after a lost session, joining the group anew: %s",
            self._topic,
            self._instance_id,
            fenced,
        )

    def _end(self, error: OdradekError) -> None:
        logger.error("%s", error)
        self._fatal(error)

    def _turn(self, consumer: Consumer) -> None:
        self.turned_at = time.monotonic()
        self._drain_requests(run=True)
        first = consumer.poll(POLL_SECONDS)
        if first is not None:
            messages = consumer.consume(CONSUME_MAX, 0)
            messages.insert(0, first)
            self._dispatch(messages)
        self._report_positions(consumer)
        self._resume_drained(consumer)
        now = time.monotonic()
        if now - self._committed_at >= COMMIT_EVERY_SECONDS:
            self._committed_at = now
            self._commit_offsets()
            self._heal(now)
            self._note_ends(consumer)
            if self._mark.must_rejoin(self.lanes, self._partitions):
                self._rejoin(consumer)

    def _note_ends(self, consumer: Consumer) -> None:
        """Ends that came with fetches: no request. Here and not where they are asked for: the
        call from another thread waits for `poll`.
        """
        places = [TopicPartition(self._topic, partition) for partition in self.lanes]
        try:
            for place in consumer.position(places) if places else ():
                found = consumer.get_watermark_offsets(place, cached=True)
                self._ends[place.partition] = (found[1], place.offset) if found else (-1, -1)
        except KafkaException as error:  # figures are not worth a membership
            logger.debug("ends of %s: %s", self._topic, error)

    def _heal(self, now: float) -> None:
        """A lane that stopped over something that may have passed gets a successor while the
        partition is ours.
        """
        for partition in self._healing.due(self.lanes, now):
            logger.warning(
                "lane %s/%d is owned anew, it had stopped: %s",
                self._topic,
                partition,
                self.lanes[partition].error,
            )
            self._do_hold(partition)
            lane = self._new_lane(partition, self)
            lane.follow(self.lanes[partition])
            self.lanes = self.lanes | {partition: lane}
            lane.start()

    def _drain_requests(self, *, run: bool) -> None:
        for _ in range(len(self._requests)):  # not those that they leave for the next turn
            request = self._requests.popleft()
            if run:
                request()

    def _dispatch(self, messages: list[Message]) -> None:
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            if message.error() is not None:
                self._on_error(message)
                continue
            partition = typing.cast(int, message.partition())
            found = by_partition.get(partition)
            if found is None:
                by_partition[partition] = [message]
            else:
                found.append(message)
        full = [
            partition for partition, found in by_partition.items() if self._put(partition, found)
        ]
        together = self._together()
        full += [
            partition
            for partition in by_partition
            if partition in self._epochs and together.full(self.lanes[partition].inbox)
        ]
        for partition in full:
            self._pause(partition)
            self._paused_full.add(partition)

    def _put(self, partition: int, messages: list[Message]) -> bool:
        lane, epoch = self.lanes.get(partition), self._epochs.get(partition)
        return lane is not None and epoch is not None and lane.inbox.put(epoch, messages)

    def _together(self) -> Together:
        return Together([lane.inbox for lane in self.lanes.values()])

    def _on_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        partition = message.partition()
        if error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID) or error.fatal():
            raise self._fatal_error(error)
        if (
            error.code() == KafkaError._AUTO_OFFSET_RESET
            and partition is not None
            and partition in self._epochs
        ):
            # One event, then silence for ever: the lane stops loudly now.
            lane = self.lanes[partition]
            del self._epochs[partition]
            position = lane.position
            start = self._log_start(partition, position)
            lane.gap(
                InputGapError(
                    position=position, log_start=start, topic=self._topic, partition=partition
                )
            )
        elif error.code() in FORBIDDEN:
            if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise missing_acl(
                    "Read",
                    "group",
                    f"{self._topic.removesuffix('events')}processor",
                    reason=error.str(),
                )
            raise missing_acl("Read", "topic", self._topic, reason=error.str())
        elif error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            raise timeout_refused("session_timeout", SESSION_LIMITS, reason=error.str())
        elif error.code() != KafkaError._PARTITION_EOF:
            logger.warning("consumer of %s: %s", self._topic, error.str())

    def _fatal_error(self, error: KafkaError) -> Exception:
        text = error.str()
        if error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in text:
            return _FencedError(text)
        return OdradekError(f"group membership of {self._topic} ended: {text}")

    def _log_start(self, partition: int, position: int) -> int:
        assert self._consumer is not None
        try:
            found = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=5.0
            )
        except KafkaException:
            return position + 1
        return found[0] if found else position + 1

    # --- requests of lanes

    def _do_hold(self, partition: int) -> None:
        self._epochs.pop(partition, None)
        self._paused_full.discard(partition)
        if partition in self.lanes:
            self._pause(partition)

    def _do_seek(self, partition: int, offset: int, epoch: int, *, tries: int = 0) -> None:
        assert self._consumer is not None
        lane = self.lanes.get(partition)
        if lane is None or lane.epoch != epoch:
            return
        place = TopicPartition(self._topic, partition, offset)
        try:
            self._consumer.seek(place)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE:
                raise
            if tries < SEEK_TRIES:  # the partition's fetcher is not there yet
                self._requests.append(
                    lambda: self._do_seek(partition, offset, epoch, tries=tries + 1)
                )
                return
            # It ended, over an offset that was not there: it never takes a seek again, a new one
            # begins where it is told to.
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            self._consumer.incremental_assign([place])
        self._consumer.resume([TopicPartition(self._topic, partition)])
        self._epochs[partition] = epoch

    def _membership(self, partition: int) -> bool | None:
        assert self._consumer is not None
        lane = self.lanes.get(partition)
        if lane is None:
            return False
        if not lane.has_row:
            return True  # never owned yet: nothing to commit; init_transactions decides
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, partition, lane.position)], asynchronous=False
            )
        except KafkaException as error:
            inner = error.args[0]
            if inner.fatal() or inner.code() == KafkaError.FENCED_INSTANCE_ID:
                raise self._fatal_error(inner) from error
            return False if inner.code() in _FOREIGN_MEMBER else None
        return partition in self.lanes

    def _pause(self, partition: int) -> None:
        assert self._consumer is not None
        try:
            self._consumer.pause([TopicPartition(self._topic, partition)])
        except KafkaException as error:
            logger.debug("pause of %s/%d: %s", self._topic, partition, error)

    def _resume_drained(self, consumer: Consumer) -> None:
        together = self._together() if self._paused_full else None
        for partition in list(self._paused_full):
            lane = self.lanes.get(partition) if partition in self._epochs else None
            if (
                lane is not None
                and together is not None
                and not (lane.inbox.drained() and together.drained(lane.inbox))
            ):
                continue
            self._paused_full.discard(partition)
            if lane is not None:
                consumer.resume([TopicPartition(self._topic, partition)])

    def _report_positions(self, consumer: Consumer) -> None:
        """Lanes whose due timers wait for an end: the consumer's position steps over control
        records, the last input's offset does not.
        """
        for partition, lane in self.lanes.items():
            end, epoch = lane.intake.awaited_end, self._epochs.get(partition)
            if end < 0 or epoch is None:
                continue
            found = consumer.position([TopicPartition(self._topic, partition)])[0].offset
            if found >= end:
                lane.inbox.put_position(epoch, found)
                lane.intake.awaited_end = -1

    def _commit_offsets(self, *, final: bool = False) -> None:
        assert self._consumer is not None
        changed = {
            p: lane.position
            for p, lane in self.lanes.items()
            if lane.has_row and self._group_offsets.get(p) != lane.position
        }
        if not changed:
            return
        offsets = [
            TopicPartition(self._topic, partition, position)
            for partition, position in changed.items()
        ]
        try:
            if final:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            logger.debug(
                "group offsets of %s not committed: %s", self._topic, error
            )  # they may be stale; nothing is read from them
        else:
            self._group_offsets.update(changed)

    # --- the group's callbacks, inside poll

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        logger.info("%s: assigned %s", self._topic, sorted(p.partition for p in partitions))
        self._mark.assigned()
        starts = self._log_starts([p.partition for p in partitions])
        # An absolute offset that exists. A logical one is asked for in the background, and its
        # answer would undo a seek that came first.
        places = [
            TopicPartition(self._topic, p.partition, starts.get(p.partition, 0)) for p in partitions
        ]
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        lanes = dict(self.lanes)
        for place in places:
            lanes[place.partition] = self._new_lane(place.partition, self)
        self.lanes = lanes
        for place in places:
            lanes[place.partition].start()
        self.assigned_once.set()

    def _log_starts(self, partitions: list[int]) -> dict[int, int]:
        try:
            return self._start_offsets(partitions) if partitions else {}
        except (KafkaException, OdradekError) as error:
            logger.warning("log starts of %s cannot be had: %s", self._topic, error)
            return {}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._take_back(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._take_back(consumer, partitions, lost=True)

    def _take_back(
        self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool
    ) -> None:
        numbers = [p.partition for p in partitions]
        logger.info("%s: %s %s", self._topic, "lost" if lost else "gave back", sorted(numbers))
        self._mark.rebalancing()
        self._stop_lanes(numbers, lost=lost)
        if lost:
            self._lost_at = time.monotonic()
        else:
            self._commit_offsets(final=True)
        self._forget(numbers)
        consumer.incremental_unassign(partitions)

    def _forget(self, numbers: list[int]) -> None:
        lanes = dict(self.lanes)
        for number in numbers:
            lanes.pop(number, None)
            self._epochs.pop(number, None)
            self._group_offsets.pop(number, None)
            self._ends.pop(number, None)
            self._paused_full.discard(number)
        self.lanes = lanes

    def _stop_lanes(self, partitions: list[int], *, lost: bool) -> None:
        stopping = [self.lanes[p] for p in partitions if p in self.lanes]
        for lane in stopping:
            lane.stop()
        deadline = time.monotonic() + STOP_LANES_SECONDS
        for lane in stopping:
            while lane.is_alive() and time.monotonic() < deadline:
                self._drain_requests(run=not lost)  # a lane may be asking us just now
                lane.join(0.01)
            if lane.is_alive():
                logger.warning(
                    "lane %s/%d does not end; its successor fences it", self._topic, lane.partition
                )
