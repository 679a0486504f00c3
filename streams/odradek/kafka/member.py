"""A static member of a classic group (KIP-345, KIP-429): joining, assignment, revocation, a lost
session, a member fenced by its own identity. Used by activity services; partitions' group too.

A cooperative rebalance has two rounds: in the first members give partitions back, in the second
these go to others. A member that ends between the two and comes back under its static identity
is taken back without a rebalance, with what the first round left it: what it had given back is
nobody's then, in a group that is stable. So a member keeps in its directory what it owns while
the group is at rest, and a mark while a rebalance is in progress (`RebalanceMark`). One that
comes back to something else, or to the mark, leaves and joins once more, which makes the group
assign everything.

Never: ask a coordinator through an AdminClient (docs/decisions/0010).
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.exceptions import DuplicateIdentityError, OdradekError
from odradek.kafka.errors import SESSION_LIMITS, missing_acl, timeout_refused

logger = logging.getLogger("odradek.kafka")

FILE_NAME = "assignment.json"
REBALANCING = "rebalancing"  # stands there instead, while a rebalance is in progress
#: Fenced so often within this time, and it is another living process that has our identity.
FENCED_MAX, FENCED_WINDOW_S = 3, 60.0
_INFORMATIONAL = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._PARTITION_EOF,
}

OnPartitions = Callable[[list[int]], None]


class StaticMember:
    """One consumer at a time, in the group and under the identity of its configuration. On one
    thread; the callbacks run inside `poll`.

    on_assigned, on_revoked: of a rebalance; they call `own` and `release`.  on_lost: the session
    is over, these may be somebody else's by now; the same.  on_gap: the records at the position
    of a partition were deleted.
    """

    def __init__(
        self,
        new_consumer: Callable[[], Consumer],
        topic: str,
        group: str,
        instance_id: str,
        *,
        mark: RebalanceMark,
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
        on_lost: OnPartitions,
        on_gap: Callable[[int, KafkaError], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_consumer = new_consumer
        self._topic = topic
        self._group = group
        self._instance_id = instance_id
        self._mark = mark
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._on_gap = on_gap
        self._clock = clock
        self._fenced: deque[float] = deque(maxlen=FENCED_MAX)
        self._owned: dict[int, int] = {}  # partition -> which of the ownerships of this member
        self._ownerships = 0
        self.consumer = new_consumer()

    def join(self) -> None:
        """Subscribe."""
        self.consumer.subscribe(
            [self._topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def poll(self, timeout_s: float, maximum: int) -> list[Message]:
        """Records that are there, at most `maximum`; waits so long for the first. Serves the
        group. Raises what ends the membership: no right, another process with this identity.
        """
        first = self.consumer.poll(timeout_s)
        if first is None:
            return []
        partition = first.partition()
        owned = self._owned.get(partition) if partition is not None else None
        messages = self.consumer.consume(maximum - 1, 0)
        # not if it was revoked, or is read again, since
        if partition is None or self._owned.get(partition) == owned:
            messages.insert(0, first)
        return [message for message in messages if message.error() is None or self._failed(message)]

    def own(self, places: list[TopicPartition]) -> None:
        """Read these partitions, from their offsets on."""
        for place in places:
            self._ownerships += 1
            self._owned[place.partition] = self._ownerships
        self.consumer.incremental_assign(places)

    def release(self, partitions: list[int]) -> None:
        """Read these no longer."""
        for partition in partitions:
            self._owned.pop(partition, None)
        self.consumer.incremental_unassign(
            [TopicPartition(self._topic, partition) for partition in partitions]
        )

    def tend(self, partitions: int, *, may_rejoin: bool = True) -> None:
        """To be called every second or so. Leaves (`close` would not, for a static member) and
        joins, if this member came back in the middle of a rebalance. partitions: of the topic;
        0: not known.
        """
        if self._mark.must_rejoin(self._owned, partitions) and may_rejoin:
            logger.info(
                "%s: %s may have come back in the middle of a rebalance and joins once more",
                self._topic,
                self._instance_id,
            )
            self.consumer.unsubscribe()
            self.join()

    def close(self) -> None:
        """Leave. A static member's partitions stay its own until the session times out, or its
        successor comes.
        """
        self._mark.leaving()
        self._owned.clear()
        try:
            self.consumer.close()
        except (KafkaException, RuntimeError) as error:
            logger.warning("closing the consumer of %s: %s", self._topic, error)

    # --- inside

    def _assigned(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._mark.assigned()
        self._on_assigned([place.partition for place in places])

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._mark.rebalancing()
        self._on_revoked([place.partition for place in places])

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._mark.rebalancing()
        self._on_lost([place.partition for place in places])

    def _failed(self, message: Message) -> bool:
        """Deal with an error event. False: it is no record."""
        error = message.error()
        assert error is not None
        code, text = error.code(), error.str()
        if code == KafkaError.FENCED_INSTANCE_ID or (
            code == KafkaError._FATAL and "group.instance.id" in text
        ):
            self._fenced_by(text)
        elif code == KafkaError._FATAL or error.fatal():
            raise OdradekError(
                f"the consumer of {self._topic} cannot go on: {text}. Start this process again"
            )
        elif code == KafkaError._AUTO_OFFSET_RESET:
            partition = message.partition()
            if partition in self._owned:
                assert partition is not None
                self._on_gap(partition, error)
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise missing_acl("Read", "group", self._group, reason=text)
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise missing_acl("Read", "topic", self._topic, reason=text)
        elif code == KafkaError.INVALID_SESSION_TIMEOUT:
            raise timeout_refused("session_timeout", SESSION_LIMITS, reason=text)
        else:
            level = logging.DEBUG if code in _INFORMATIONAL else logging.WARNING
            logger.log(level, "consumer of %s: %s", self._topic, text)
        return False

    def _fenced_by(self, text: str) -> None:
        """Somebody joined under our identity. It may have been ourselves: after a broker's
        restart a commit of the time before meets the member that we have become. So join again;
        another process shows soon, since it fences us again.
        """
        now = self._clock()
        self._fenced.append(now)
        if len(self._fenced) == FENCED_MAX and now - self._fenced[0] < FENCED_WINDOW_S:
            raise DuplicateIdentityError(self._instance_id, reason=text)
        logger.warning("%s: fenced as %s, joins again: %s", self._topic, self._instance_id, text)
        owned = list(self._owned)
        self._on_lost(owned)
        self.close()
        self.consumer = self._new_consumer()
        self._mark.joining()
        self.join()


class RebalanceMark:
    """Told of what the group does, by the thread of the consumer. directory: its own, kept over
    restarts; None: no static member.

    rest_seconds: without a callback of the group, after which it is at rest.
    """

    def __init__(
        self,
        directory: Path | None,
        rest_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = directory / FILE_NAME if directory is not None else None
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._kept, self._rebalancing = self._read()
        self._came_back_rebalancing = False
        self._closing = False
        self._rounds = 0
        self._changed_at = clock()

    def joining(self) -> None:
        """A new consumer joins. Not for one that leaves and joins once more: the group shares
        out anew then.
        """
        self._closing = False
        self._rounds = 0
        self._came_back_rebalancing = self._rebalancing
        self._changed_at = self._clock()

    def leaving(self) -> None:
        """The consumer is about to close, which gives back all it has: to nobody, the broker
        keeps it for a static member.

        A mark of before stays. If a round of the group comes to light while it closes, one at
        most, what the broker has for it then is not what is kept here.
        """
        self._closing = True

    def rebalancing(self) -> None:
        """The group takes something: told before it is given back."""
        if self._closing:
            return
        self._changed_at = self._clock()
        if not self._rebalancing:
            self._rebalancing = True
            self._write(REBALANCING)

    def assigned(self) -> None:
        """The group assigns something, or nothing: a rebalance has ended."""
        self._rounds += 1
        self.rebalancing()

    def must_rejoin(self, owned: Collection[int], partitions: int) -> bool:
        """Once the group is at rest: whether to leave and join once more. partitions: of the
        topic; 0: not known.

        Not if it has all, or what it had, or the group has shared out anew since it joined: then
        this is kept.
        """
        if (
            self._path is None
            or self._rounds == 0
            or self._clock() - self._changed_at < self._rest_seconds
        ):
            return False
        has = sorted(owned)
        new = (
            self._kept is None and not self._came_back_rebalancing and not has
        )  # or a directory was lost: then others ask
        as_before = has == self._kept and not self._came_back_rebalancing
        if self._rounds == 1 and not as_before and not new and not 0 < partitions <= len(has):
            self._changed_at = self._clock()
            return True
        if self._rebalancing or has != self._kept:
            self._rebalancing = not self._write(has)
            self._kept = has
        return False

    def _read(self) -> tuple[list[int] | None, bool]:
        """What it had at rest, None if that is not known; whether it was moving."""
        if self._path is None:
            return None, False
        try:
            found = json.loads(self._path.read_text())
        except (
            OSError,
            ValueError,
            RecursionError,
        ):  # none yet, or a damaged one: it joins once more at most
            return None, False
        if isinstance(found, list) and all(type(partition) is int for partition in found):
            return sorted(found), False
        return None, found == REBALANCING

    def _write(self, found: list[int] | str) -> bool:
        """Whether it stands there."""
        if self._path is None:
            return True
        try:
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(found))
            draft.replace(self._path)
        except OSError as error:
            logger.debug("%s cannot be written: %s", self._path, error)
            return False
        return True
