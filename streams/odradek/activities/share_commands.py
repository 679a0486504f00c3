"""Reads `commands` as members of a share group (KIP-932, Kafka 4.2): the broker locks a record
for a member, which acknowledges it alone.

A share consumer must have answered for every record of a poll before it polls again. So a
process has several of them (`MEMBERS`), each with a small batch; none holds a batch for longer
than its slowest command takes to be answered or to have said Started (200 ms). ACCEPT follows
what is durable; RELEASE gives back what was never begun. Delivered before means possibly begun:
Started first.

The broker counts deliveries and gives a record up after `group.share.delivery.count.limit` of
them (5). So a command that was delivered more than `DELIVERIES_MAX` times is handed on, as a new
record. Nothing is purged: only the broker knows the group's start offset, and the client cannot
ask for it. Everything here runs on the consumer's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import (
    AcknowledgeType,
    IllegalStateException,
    KafkaError,
    KafkaException,
    Message,
    ShareConsumer,
    TopicPartition,
)

from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import OwnedPartition
from odradek.activities.ownership import StartGate
from odradek.exceptions import OdradekError
from odradek.kafka.errors import kafka_error, missing_acl

logger = logging.getLogger("odradek.activities")

#: Share consumers of a process. A batch that waits for a slow activity holds one of them.
MEMBERS = 4
#: Settings of the group, which are the group's on the broker: set before its first member joins.
LOCK_DURATION_MS = 30_000
GROUP_CONFIG: Mapping[str, str] = {
    # commands written before the first member came would be skipped
    "share.auto.offset.reset": "earliest",
    "share.isolation.level": "read_committed",  # commands of aborted transactions would run
    "share.record.lock.duration.ms": str(LOCK_DURATION_MS),
}
#: A command that waits for a slot, or for its schema, is answered for or handed on well within its
#: lock.
HOLD_MAX_S = 8.0
#: Deliveries after which a command is handed on rather than run. Below the broker's limit, which
#: then loses it.
DELIVERIES_MAX = 3
#: Wait in one member for commands: they come to any of them.
SLICE_S = 0.005
FINAL_COMMIT_S = 10.0

_INFORMATIONAL = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._PARTITION_EOF,
}


def members_for(slots: int) -> tuple[int, int]:
    """Share consumers of a process, and records that each asks for at a time: together about as
    many as there are slots.
    """
    members = max(2, min(MEMBERS, slots))
    return members, max(1, slots // members)


class _Delivery:
    __slots__ = ("cell", "message", "owner")

    def __init__(self, message: Message, owner: OwnedPartition, cell: Cell) -> None:
        self.message, self.owner, self.cell = message, owner, cell


class _Member:
    __slots__ = ("consumer", "held")

    def __init__(self, consumer: ShareConsumer) -> None:
        self.consumer = consumer
        #: Records of the last poll that nobody has answered for.
        self.held: list[_Delivery] = []


class ShareCommands:
    """The members of one process. `done_before`: by partition, offsets below were done by a
    classic group that served the queue before.
    """

    def __init__(
        self,
        new_consumer: Callable[[], ShareConsumer],
        topic: str,
        group: str,
        *,
        members: int,
        partitions: int,
        done_before: Mapping[int, int],
        gate: StartGate,
    ) -> None:
        self.assignments = 0
        self.lag: int | None = None
        self.hold_max_s = HOLD_MAX_S
        #: Acknowledgements that the broker refused: the lock was over, and the command is or was
        #: somebody else's.
        self.refused = 0
        self._new_consumer = new_consumer
        self._topic = topic
        self._group = group
        self._partitions = range(partitions)
        self._done_before = done_before
        self._gate = gate
        self._count = members
        self._members: list[_Member] = []
        self._taken: dict[tuple[int | None, int | None], _Delivery] = {}  # of the last poll
        self._paused = False
        self._first = 0

    @property
    def partitions_owned(self) -> int:
        """None: the members of a share group share partitions."""
        return 0

    def subscribe(self) -> None:
        """Join the group with every member."""
        for _ in range(self._count):
            consumer = self._new_consumer()
            consumer.set_acknowledgement_commit_callback(self._acknowledged)
            consumer.subscribe([self._topic])
            self._members.append(_Member(consumer))

    # --- reading

    def poll(self, timeout: float, maximum: int) -> list[Message]:
        """Commands for those members that hold none."""
        proven = self._gate.polled()
        self._answer()
        self._taken.clear()
        free = [] if self._paused else [member for member in self._members if not member.held]
        if not free:
            time.sleep(min(timeout, SLICE_S))  # acknowledgements come from other threads
        for number in range(len(free)):
            member = free[(self._first + number) % len(free)]
            self._read(member, 0 if self._taken else min(timeout / len(free), SLICE_S))
        self._first += 1  # the one that is asked first waits longest
        self.assignments = (
            1  # the client does not tell when the group let it in; commands wait for it meanwhile
        )
        if not proven:
            self._after_pause()
        return [found.message for found in self._taken.values()]

    def _read(self, member: _Member, timeout: float) -> None:
        try:
            messages = list(member.consumer.poll(timeout))
        except KafkaException as error:
            self._failed(kafka_error(error))
            return
        for message in messages:
            partition, offset, error_event = message.partition(), message.offset(), message.error()
            if error_event is not None:
                self._failed(error_event)
                if offset is not None and offset >= 0:  # a record that the client could not read
                    self._say(member, message, AcknowledgeType.RELEASE)
                continue
            assert partition is not None and offset is not None
            again = (message.delivery_count() or 1) > 1
            owner = OwnedPartition(
                partition, start=offset, end_at_assignment=offset + 1 if again else 0
            )
            found = _Delivery(message, owner, owner.prefix.add(offset))
            member.held.append(found)
            if offset < self._done_before.get(partition, 0):
                found.cell.acknowledged = True
            else:
                self._taken[partition, offset] = found

    def _failed(self, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._FATAL or error.fatal():
            raise OdradekError(
                f"the share consumer of {self._topic} cannot go on: {error.str()}. Start the"
                " service again"
            )
        if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise missing_acl("Read", "group", self._group, reason=error.str())
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise missing_acl("Read", "topic", self._topic, reason=error.str())
        if code == KafkaError.UNSUPPORTED_VERSION or code == KafkaError._UNSUPPORTED_FEATURE:
            raise OdradekError(
                f"this cluster has no share groups ({error.str()}): Kafka 4.2 or newer, or"
                " `activity_group: classic`"
            )
        logger.log(
            logging.DEBUG if code in _INFORMATIONAL else logging.WARNING,
            "%s: %s",
            self._topic,
            error.str(),
        )

    def _after_pause(self) -> None:
        """This process stood still: locks may be over. What has not begun is given back, what
        runs goes on (and may run elsewhere too).
        """
        for member in self._members:
            for held in member.held:
                held.owner.owned = False
        for found in self._taken.values():
            found.cell.returned = True
        self._taken.clear()
        self._gate.prove()  # nothing that is held can begin any more

    def take(self, message: Message) -> tuple[OwnedPartition, Cell] | None:
        """Of the messages that the last `poll` gave."""
        found = self._taken.get((message.partition(), message.offset()))
        return (found.owner, found.cell) if found is not None else None

    def worn_out(self, message: Message) -> bool:
        """Delivered more than DELIVERIES_MAX times."""
        return (message.delivery_count() or 1) > DELIVERIES_MAX

    def pause(self, paused: bool) -> None:
        """Stop or go on polling."""
        self._paused = paused

    def drain(self) -> None:
        """Members that hold nothing leave, so that what the broker has locked for them goes to
        others at once.
        """
        self._paused = True
        self._answer()
        for member in [member for member in self._members if not member.held]:
            self._members.remove(member)
            self._close(member)

    def give_back(self, cell: Cell) -> bool:
        """RELEASE with the next turn."""
        cell.returned = True
        return True

    def hand_on_to(self) -> Sequence[int]:
        """Any partition: the broker decides who reads it, and each of them may be read by
        somebody who has a slot.
        """
        return self._partitions

    # --- acknowledging

    def _answer(self) -> None:
        for member in self._members:
            open_ = [
                held for held in member.held if not (held.cell.acknowledged or held.cell.returned)
            ]
            if len(open_) == len(member.held):
                continue
            for held in member.held:
                if held.cell.acknowledged:
                    self._say(member, held.message, AcknowledgeType.ACCEPT)
                elif held.cell.returned:
                    self._say(member, held.message, AcknowledgeType.RELEASE)
            member.held = open_
            try:
                member.consumer.commit_async()
            except KafkaException as error:  # it goes with the next poll, or the lock ends
                logger.info("%s: acknowledgements not sent: %s", self._topic, error)

    def _say(self, member: _Member, message: Message, kind: AcknowledgeType) -> None:
        try:
            member.consumer.acknowledge(message, kind)
        except (
            IllegalStateException
        ) as error:  # the client let it go, with its session: it is delivered again
            self.refused += 1
            logger.warning(
                "%s[%s]@%s: not acknowledged: %s",
                self._topic,
                message.partition(),
                message.offset(),
                error,
            )

    def _acknowledged(
        self, offsets: dict[TopicPartition, set[int]], error: KafkaException | None
    ) -> None:
        if error is not None:
            self.refused += sum(map(len, offsets.values()))
            logger.warning(
                "%s: acknowledgements refused, these commands may run once more: %s",
                self._topic,
                error,
            )

    def tick(self) -> None:
        """Say what is acknowledged."""
        self._answer()

    def commit_finally(self) -> None:
        """Say what is acknowledged and wait for it."""
        self._answer()
        for member in self._members:
            try:
                member.consumer.commit_sync(FINAL_COMMIT_S)
            except (
                KafkaException
            ) as error:  # what was done is delivered again, as a possible redelivery
                logger.warning(
                    "%s: the last acknowledgements could not be sent: %s", self._topic, error
                )

    def close(self) -> None:
        """Release what is still held and leave."""
        self._answer()
        for member in self._members:
            for held in member.held:
                held.owner.owned = False
                self._say(member, held.message, AcknowledgeType.RELEASE)
            self._close(member)
        self._members.clear()

    def _close(self, member: _Member) -> None:
        try:
            member.consumer.close()
        except KafkaException as error:
            logger.warning("%s: a member could not leave its share group: %s", self._topic, error)
