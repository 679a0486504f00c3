"""Reads `commands` as a member of the services' group: which partitions are owned, from where
they are read, what is committed.

Classic group, cooperative, static identity, read_committed: a command of an aborted transaction
is never seen. Offsets are committed by hand only, up to the end of the acknowledged prefix;
`commands` is purged behind them. A group without an offset starts at the log's start. Everything
here runs on the consumer's thread, rebalance callbacks included (inside `poll`): those may ask
for offsets and commit, but nothing that takes the state of the running `poll`, `list_topics` for
one (docs/decisions/0010).
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import OwnedPartition
from odradek.activities.ownership import StartGate
from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.errors import kafka_error
from odradek.kafka.member import RebalanceMark, StaticMember

logger = logging.getLogger("odradek.activities")

T = TypeVar("T")

#: Commits go out at most this often: each is a request to the coordinator, and all they save is
#: work after a crash.
COMMIT_INTERVAL_S = 0.2
#: One call to the broker while partitions are taken over.
CALL_TIMEOUT_S = 5.0
#: How long taking partitions over may wait for a broker that does not answer; well within
#: `max.poll.interval.ms` (5 minutes).
ASSIGN_PATIENCE_S = 60.0
#: The number of the topic's partitions: one call to the broker, made again after a while when
#: nobody answers.
COUNT_TIMEOUT_S, COUNT_AGAIN_S = 1.0, 10.0
#: How often `commands` is purged behind the committed offsets.
PURGE_INTERVAL_S = 10.0

#: What a commit meets whose member the group no longer knows as it was: others joined or left, or
#: its session ended.
_SHARED_OUT_ANEW = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.UNKNOWN_MEMBER_ID,
}


class CommandConsumer:
    """The member of the group. `on_revoking` is called before partitions are given back, while
    they may still be committed.
    """

    def __init__(
        self,
        new_consumer: Callable[[], Consumer],
        admin: ClusterAdmin,
        topic: str,
        *,
        instance_id: str,
        gate: StartGate,
        clock: Callable[[], float],
        on_revoking: Callable[[list[OwnedPartition]], None],
        mark: RebalanceMark,
    ) -> None:
        self.owned: dict[int, OwnedPartition] = {}
        #: Partitions of the topic, as of the turn after the last assignment.
        self.partitions_total = 0
        self.assignments = 0
        #: Commands behind what was read, by the ends that came with fetches; None while they are
        #: not known.
        self.lag: int | None = None
        self.hold_max_s = math.inf
        self._member = StaticMember(
            new_consumer,
            topic,
            f"{topic.removesuffix('commands')}activities",
            instance_id,
            mark=mark,
            on_assigned=self._assigned,
            on_revoked=self._revoked,
            on_lost=self._lost,
            on_gap=self._after_gap,
            clock=clock,
        )
        self._admin = admin
        self._topic = topic
        self._gate = gate
        self._clock = clock
        self._on_revoking = on_revoking
        self._paused = False
        self._commits_in_flight = 0
        self._proof_after: int | None = None  # commits whose answers do not count as proof any more
        self._next_commit = 0.0
        self._next_purge = 0.0
        self._next_count = math.inf  # until the group assigns
        self._purged: dict[int, int] = {}
        self._purging: threading.Thread | None = None
        self._told = False  # that a take-over waits for the broker

    def subscribe(self) -> None:
        """Join the group."""
        self._member.join()

    @property
    def _consumer(self) -> Consumer:
        return self._member.consumer

    # --- reading

    def poll(self, timeout: float, maximum: int) -> list[Message]:
        """Commands that are there, at most `maximum`; waits up to `timeout` seconds for the
        first. Serves the group.
        """
        proven = self._gate.polled()
        messages = self._member.poll(timeout, maximum)
        if not proven:
            self._ask_for_proof()
        return messages

    def _after_gap(self, partition: int, error: KafkaError) -> None:
        """Commands were deleted before they were read; the engine's timers will find out. The
        service goes on at the log's start.
        """
        logger.error(
            "%s[%d]: commands were deleted before they were read (%s). Their activities wait for a"
            " timeout. Check who deletes records of this topic; going on at its start",
            self._topic,
            partition,
            error.str(),
        )
        self._release([partition])
        self._own([partition], ignore_committed=True)

    def belongs(self, partition: int | None) -> OwnedPartition | None:
        """The owned partition a command came from; `None` if it was given back between reading
        and now.
        """
        return self.owned.get(partition) if partition is not None else None

    def take(self, message: Message) -> tuple[OwnedPartition, Cell] | None:
        """Its partition, and its place in what is to be acknowledged there."""
        owner, offset = self.belongs(message.partition()), message.offset()
        return (
            (owner, owner.prefix.add(offset)) if owner is not None and offset is not None else None
        )

    def worn_out(self, message: Message) -> bool:
        """Never: a classic group delivers without end."""
        return False

    def drain(self) -> None:
        """Read nothing any more; partitions stay this member's until it leaves."""
        self.pause(True)

    def give_back(self, cell: Cell) -> bool:
        """A classic group gives partitions back, no single command."""
        return False

    def hand_on_to(self) -> Sequence[int]:
        """The partitions of other members."""
        return [
            partition for partition in range(self.partitions_total) if partition not in self.owned
        ]

    @property
    def partitions_owned(self) -> int:
        """How many are this member's."""
        return len(self.owned)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading without leaving the group."""
        if paused == self._paused:
            return
        self._paused = paused
        partitions = [TopicPartition(self._topic, partition) for partition in self.owned]
        if partitions:
            (self._consumer.pause if paused else self._consumer.resume)(partitions)

    # --- the group

    def _assigned(self, partitions: list[int]) -> None:
        self.assignments += 1
        self._own(partitions)
        self._next_count = self._clock()  # by the next `tick`, not in this callback

    def _own(self, partitions: list[int], *, ignore_committed: bool = False) -> None:
        if not partitions:
            self._member.own([])
            return
        self._told = False
        bounds = {
            partition: self._insist(functools.partial(self._bounds, partition))
            for partition in partitions
        }
        committed = (
            {} if ignore_committed else self._insist(functools.partial(self._committed, partitions))
        )
        chosen: list[TopicPartition] = []
        for partition in partitions:
            low, end = bounds[partition]
            offset = committed.get(
                partition, -1
            )  # none: at the log's start, and everything may be a redelivery
            if offset > end or 0 <= offset < low:
                logger.warning(
                    "%s[%d]: the group's offset %d lies outside of the log (%d to %d); starting at"
                    " its start",
                    self._topic,
                    partition,
                    offset,
                    low,
                    end,
                )
            start = offset if low <= offset <= end else low
            self.owned[partition] = OwnedPartition(partition, start=start, end_at_assignment=end)
            chosen.append(TopicPartition(self._topic, partition, start))
        self._member.own(chosen)
        if self._paused:
            self._consumer.pause(chosen)

    # Asked of the consumer, whose connections to leader and coordinator have just worked: an
    # AdminClient may take a minute to find a broker again that was restarted.

    def _bounds(self, partition: int) -> tuple[int, int]:
        """Log start and last stable offset. No member can have read beyond the latter: it is
        where possible redeliveries end.
        """
        low, end = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=CALL_TIMEOUT_S
        )
        return low, end

    def _committed(self, partitions: list[int]) -> dict[int, int]:
        found = self._consumer.committed(
            [TopicPartition(self._topic, partition) for partition in partitions],
            timeout=CALL_TIMEOUT_S,
        )
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.offset for place in found}

    def _count(self, now: float) -> None:
        """Partitions of the topic; as before while nobody says. Only handing on looks at it.
        Never in a callback: see the top.
        """
        try:
            found = self._consumer.list_topics(self._topic, timeout=COUNT_TIMEOUT_S).topics[
                self._topic
            ]
            if found.error is not None:
                raise KafkaException(found.error)
        except (KafkaException, KeyError) as error:
            logger.warning(
                "%s: the number of its partitions could not be read: %s", self._topic, error
            )
            self._next_count = now + COUNT_AGAIN_S
        else:
            self.partitions_total = len(found.partitions)
            self._next_count = math.inf

    def _insist(self, ask: Callable[[], T]) -> T:
        """Ask the broker again while it does not answer: one that restarts must not end the
        service.
        """
        deadline = self._clock() + ASSIGN_PATIENCE_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if self._clock() > deadline:
                    raise OdradekError(
                        f"offsets of {self._topic} could not be read in {ASSIGN_PATIENCE_S:g} s:"
                        f" {error}"
                    ) from error
                level, self._told = (logging.DEBUG if self._told else logging.WARNING), True
                logger.log(
                    level,
                    "%s: no offsets yet while partitions are taken over: %s",
                    self._topic,
                    error,
                )
                time.sleep(0.2)

    def _revoked(self, revoked: list[int]) -> None:
        leaving = [self.owned[partition] for partition in revoked if partition in self.owned]
        self._on_revoking(leaving)
        offsets = self._offsets(leaving)
        if offsets:
            try:
                stored = self._consumer.commit(offsets=offsets, asynchronous=False)
            except (
                KafkaException
            ) as error:  # the next owner begins earlier: some attempts run twice, none is lost
                logger.warning(
                    "%s: offsets could not be committed while partitions were given back: %s",
                    self._topic,
                    error,
                )
            else:
                for place in stored or ():
                    if place.error is None:
                        self.owned[place.partition].prefix.committed(place.offset)
        self._release(revoked)

    def _lost(self, lost: list[int]) -> None:
        logger.warning(
            "%s: this member was expelled from its group; what it had not started is left to the"
            " others",
            self._topic,
        )
        self._release(lost)
        self._commits_in_flight = 0

    def _release(self, partitions: list[int]) -> None:
        for partition in partitions:
            owner = self.owned.pop(partition, None)
            if owner is not None:
                owner.owned = False
        self._member.release(partitions)

    # --- committing

    def tick(self) -> None:
        """Commit, count and purge, when it is time."""
        now = self._clock()
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_INTERVAL_S
            self.lag = self._lag()
            if self._proof_after is not None:
                self._ask_for_proof()
            else:
                self._commit(self._offsets(list(self.owned.values())))
        if now >= self._next_count:
            self._count(now)
        if now >= self._next_purge:
            self._next_purge = now + PURGE_INTERVAL_S
            self._purge()
        self._member.tend(self.partitions_total, may_rejoin=not self._paused)

    def _lag(self) -> int | None:
        places = [TopicPartition(self._topic, partition) for partition in self.owned]
        total = 0
        try:
            # By the position, which steps over the markers of transactions; behind the last command
            # there always is one.
            for place in self._consumer.position(places) if places else ():
                found = self._consumer.get_watermark_offsets(place, cached=True)
                if not found or found[1] < 0:
                    return None
                read = place.offset if place.offset >= 0 else self.owned[place.partition].prefix.end
                total += max(0, found[1] - read)
        except KafkaException as error:  # a figure is not worth a membership
            logger.debug("lag of %s: %s", self._topic, error)
            return None
        return total

    def _offsets(self, partitions: list[OwnedPartition]) -> list[TopicPartition]:
        found = [(owner.partition, owner.prefix.to_commit) for owner in partitions]
        return [
            TopicPartition(self._topic, partition, offset)
            for partition, offset in found
            if offset is not None
        ]

    def _commit(self, offsets: list[TopicPartition]) -> None:
        if offsets:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            except KafkaException as error:
                logger.info("%s: commit not sent: %s", self._topic, error)
            else:
                self._commits_in_flight += 1

    def commit_finally(self) -> None:
        """Commit what is acknowledged and wait for it."""
        offsets = self._offsets(list(self.owned.values()))
        if offsets:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            except (
                KafkaException
            ) as error:  # what was done is delivered again, as a possible redelivery
                # A rolling deploy: the group is being shared out anew while this member leaves.
                # Nothing to look at.
                level = (
                    logging.INFO
                    if kafka_error(error).code() in _SHARED_OUT_ANEW
                    else logging.WARNING
                )
                logger.log(
                    level, "%s: the last offsets could not be committed: %s", self._topic, error
                )

    def on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Answer to a commit (`on_commit` of the client); comes out of `poll`."""
        self._commits_in_flight = max(0, self._commits_in_flight - 1)
        error = error or next((place.error for place in places if place.error is not None), None)
        if error is not None:
            logger.info("%s: commit refused: %s", self._topic, error.str())
        else:
            for place in places:
                owner = self.owned.get(place.partition)
                if owner is not None:
                    owner.prefix.committed(place.offset)
        if self._proof_after is not None:
            if self._proof_after > 0:
                self._proof_after -= 1
            elif error is None:
                self._proof_after = None
                self._gate.prove()

    def _ask_for_proof(self) -> None:
        """After a pause: commit something. The coordinator accepts it from a member of the
        current generation only.
        """
        if not self.owned:
            self._proof_after = None
            self._gate.prove()  # nothing is held that could be somebody else's
            return
        if self._proof_after is None:
            self._proof_after = self._commits_in_flight
        self._commit(
            [
                TopicPartition(self._topic, owner.partition, owner.prefix.end)
                for owner in self.owned.values()
            ]
        )

    def _purge(self) -> None:
        if self._purging is not None and self._purging.is_alive():
            return  # it waits for a broker that is away
        before: dict[tuple[str, int], int] = {}
        for partition, owner in self.owned.items():
            offset = owner.prefix.committed_offset
            if offset > self._purged.get(partition, 0):
                self._purged[partition] = offset
                before[self._topic, partition] = offset
        if before:  # a thread of its own: it waits for the broker, and nothing waits for it
            self._purging = threading.Thread(
                target=self._delete_records, args=(before,), name="odradek-purge", daemon=True
            )
            self._purging.start()

    def _delete_records(self, before: dict[tuple[str, int], int]) -> None:
        try:
            self._admin.delete_records(before)
        except (
            OdradekError,
            KafkaException,
        ) as error:  # tried again behind a later offset; the topic only grows meanwhile
            logger.warning("%s could not be purged: %s", self._topic, error)

    def close(self) -> None:
        """Leave. A static member's partitions stay its own until the session times out, or its
        successor comes.
        """
        for owner in self.owned.values():
            owner.owned = False
        self.owned.clear()
        self._member.close()
