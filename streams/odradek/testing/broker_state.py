"""What a simulated Kafka holds: topics with their logs, transactional ids, consumer groups.

Follows Kafka's rules where our code stands on them: markers take offsets, a reader of committed
records stops at the oldest open transaction, initialising a transactional id aborts its open
transaction and fences its former owner, a transaction that is open for too long is aborted and
fences its own producer, a static member keeps its partitions until its session ends.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException

from odradek.common.clock import Clock
from odradek.wire.partitioner import partition_for

#: (topic, partition)
Place = tuple[str, int]
Headers = list[tuple[str, bytes | None]]

#: Kafka's defaults, of settings that our code reads.
DEFAULT_CONFIG = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "delete.retention.ms": "86400000",
    "max.compaction.lag.ms": "9223372036854775807",
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": "9223372036854775807",
    "message.timestamp.type": "CreateTime",
    "min.cleanable.dirty.ratio": "0.5",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.bytes": "1073741824",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}


def failure(
    code: int, text: str = "", *, fatal: bool = False, retriable: bool = False, abort: bool = False
) -> KafkaException:
    """A KafkaException as librdkafka raises it."""
    return KafkaException(KafkaError(code, text, fatal, retriable, abort))


def fenced() -> KafkaException:
    """Another producer has the transactional id."""
    return failure(KafkaError._FENCED, "This instance has been fenced by a newer one", fatal=True)


@dataclass(slots=True)
class Record:
    """A record of a log. `control`: a transaction's marker. `aborted`: of an aborted one."""

    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    producer_id: int = 0  # 0: outside transactions
    control: bool = False
    aborted: bool = False


@dataclass(slots=True)
class Log:
    """A partition. `open`: records of transactions without an end yet, by producer id."""

    records: list[Record] = field(default_factory=list)
    start: int = 0
    open: dict[int, list[Record]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def stable_end(self) -> int:
        """Where readers of committed records stop."""
        return min((found[0].offset for found in self.open.values()), default=self.end)


@dataclass(slots=True)
class Topic:
    name: str
    id: int
    logs: list[Log]
    config: dict[str, str]


@dataclass(slots=True)
class Identity:
    """A transactional id. `places`: of its open transaction; `began_ms` 0: there is none."""

    producer_id: int
    epoch: int = 0
    timeout_ms: int = 60_000
    began_ms: int = 0
    places: dict[Place, None] = field(default_factory=dict)


@dataclass(eq=False)
class Member:
    """Of a group. `silent_since`: it sends no heartbeats any more; seconds, monotonic."""

    member_id: str
    instance_id: str
    topics: list[str]
    session_s: float
    wake: Callable[[], None]
    generation: int = 0
    silent_since: float | None = None
    fenced: bool = False


@dataclass
class Group:
    members: dict[str, Member] = field(default_factory=dict)
    owned: dict[Place, Member] = field(default_factory=dict)
    target: dict[Place, Member] = field(default_factory=dict)
    offsets: dict[Place, int] = field(default_factory=dict)


class Cluster:
    """The state, and what a broker does with it. All methods are called under `lock`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.cluster_id = "simulated-cluster"
        self.topics: dict[str, Topic] = {}
        self.identities: dict[str, Identity] = {}
        self.groups: dict[str, Group] = {}
        #: Consumers that wait for records or a rebalance: called when something was appended.
        self.waiting: dict[object, Callable[[Place], None]] = {}
        self._ids = itertools.count(1)

    # --- topics

    def create(self, name: str, partitions: int, config: dict[str, str]) -> None:
        if name in self.topics:
            raise failure(KafkaError.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        logs = [Log() for _ in range(max(1, partitions))]
        self.topics[name] = Topic(name, next(self._ids), logs, DEFAULT_CONFIG | config)
        self.rebalance_all()

    def delete(self, name: str) -> None:
        if self.topics.pop(name, None) is None:
            raise failure(KafkaError.UNKNOWN_TOPIC_OR_PART, "Broker: Unknown topic or partition")
        self.rebalance_all()

    def log(self, place: Place) -> Log:
        topic = self.topics.get(place[0])
        if topic is None or not 0 <= place[1] < len(topic.logs):
            raise failure(KafkaError.UNKNOWN_TOPIC_OR_PART, "Broker: Unknown topic or partition")
        return topic.logs[place[1]]

    def partition_of(self, topic: str, key: bytes | None, partition: int) -> int:
        """Where a record goes: murmur2 of its key, as all our producers are set."""
        found = self.topics.get(topic)
        if found is None:
            raise failure(KafkaError._UNKNOWN_TOPIC, "Local: Unknown topic")
        if partition >= len(found.logs):
            raise failure(KafkaError._UNKNOWN_PARTITION, "Local: Unknown partition")
        if partition >= 0:
            return partition
        return partition_for(key, len(found.logs)) if key else 0

    def append(self, place: Place, record: Record) -> int:
        """Write it at the end of the log; its offset. Raises for one that is too large."""
        log, limit = self.log(place), int(self.topics[place[0]].config["max.message.bytes"])
        size = len(record.key or b"") + len(record.value or b"")
        size += sum(len(name) + len(raw or b"") for name, raw in record.headers)
        if size + 70 > limit:  # of the batch around it
            raise failure(
                KafkaError.MSG_SIZE_TOO_LARGE, "Broker: Message size too large", abort=True
            )
        record.offset = log.end
        log.records.append(record)
        if record.producer_id and not record.control:
            log.open.setdefault(record.producer_id, []).append(record)
        self.notify(place)
        return record.offset

    def notify(self, place: Place) -> None:
        for wake in list(self.waiting.values()):
            wake(place)

    def purge(self, place: Place, before: int) -> int:
        """Delete records; the log's new start. -1: all of them."""
        log = self.log(place)
        if before > log.end:
            raise failure(KafkaError.OFFSET_OUT_OF_RANGE, "Broker: Offset out of range")
        log.start = max(log.start, log.end if before < 0 else before)
        return log.start

    # --- transactions

    def initialize(self, transactional_id: str, timeout_ms: int) -> tuple[int, int]:
        """(producer id, epoch) of its new owner: the former one is fenced, its transaction over."""
        identity = self.identities.get(transactional_id)
        if identity is None:
            identity = self.identities[transactional_id] = Identity(next(self._ids))
        else:
            self.end(identity, committed=False)
            identity.epoch += 1
        identity.timeout_ms = timeout_ms
        return identity.producer_id, identity.epoch

    def identity(self, transactional_id: str, producer_id: int, epoch: int) -> Identity:
        """Of a producer that has it still. Raises for one that is fenced or unknown."""
        identity = self.identities.get(transactional_id)
        if identity is None or identity.producer_id != producer_id:
            raise failure(
                KafkaError.INVALID_PRODUCER_ID_MAPPING,
                "Broker: Producer attempted to use a producer id which is not currently assigned"
                " to its transactional id",
                abort=True,
            )
        if (
            identity.began_ms
            and self.clock.time_ms() - identity.began_ms > identity.timeout_ms
            and identity.epoch == epoch
        ):
            self.time_out(identity)
        if identity.epoch != epoch:
            raise fenced()
        return identity

    def join_transaction(self, identity: Identity, place: Place) -> None:
        if not identity.began_ms:
            identity.began_ms = self.clock.time_ms()
        identity.places[place] = None

    def end(self, identity: Identity, *, committed: bool) -> None:
        """Markers on each partition of the open transaction, if there is one."""
        places, identity.places, identity.began_ms = identity.places, {}, 0
        for place in places:
            topic = self.topics.get(place[0])
            if topic is None:
                continue
            log = topic.logs[place[1]]
            for record in log.open.pop(identity.producer_id, ()):
                record.aborted = not committed
            self.append(
                place,
                Record(0, self.clock.time_ms(), None, None, [], identity.producer_id, control=True),
            )

    def time_out(self, identity: Identity) -> None:
        """The broker aborts a transaction that was open for too long, and fences its producer."""
        identity.epoch += 1
        self.end(identity, committed=False)

    def expire_transactions(self) -> None:
        now_ms = self.clock.time_ms()
        for identity in self.identities.values():
            if identity.began_ms and now_ms - identity.began_ms > identity.timeout_ms:
                self.time_out(identity)

    def forget_producer_ids(self) -> None:
        """As after `transactional.id.expiration.ms` without a transaction."""
        for name in [name for name, each in self.identities.items() if not each.began_ms]:
            del self.identities[name]

    # --- groups

    def join(self, group_id: str, member: Member) -> None:
        """A static member that comes back takes over what its former self had, and fences it."""
        group = self.groups.setdefault(group_id, Group())
        for other in list(group.members.values()):
            if member.instance_id and other.instance_id == member.instance_id:
                other.fenced = True
                del group.members[other.member_id]
                group.owned = {p: m for p, m in group.owned.items() if m is not other}
                group.target = {p: member if m is other else m for p, m in group.target.items()}
        group.members[member.member_id] = member
        self.rebalance(group)

    def leave(self, group_id: str, member: Member) -> None:
        group = self.groups.get(group_id)
        if group is not None and group.members.pop(member.member_id, None) is not None:
            group.owned = {p: m for p, m in group.owned.items() if m is not member}
            self.rebalance(group)

    def expire_members(self, group_id: str) -> None:
        """Members whose session has ended are out."""
        group = self.groups.get(group_id)
        now_s = self.clock.monotonic()
        for member in list(group.members.values()) if group is not None else ():
            if member.silent_since is not None and now_s - member.silent_since > member.session_s:
                self.leave(group_id, member)

    def is_member(self, group_id: str, member: Member) -> bool:
        group = self.groups.get(group_id)
        return group is not None and group.members.get(member.member_id) is member

    def rebalance_all(self) -> None:
        for group in self.groups.values():
            self.rebalance(group)

    def rebalance(self, group: Group) -> None:
        """Cooperative-sticky: nobody has more than its share, and as little as may be moves."""
        members = sorted(group.members.values(), key=lambda each: each.member_id)
        places = [
            (name, number)
            for name in sorted({name for each in members for name in each.topics})
            if name in self.topics
            for number in range(len(self.topics[name].logs))
        ]
        shares = dict.fromkeys(members, 0)
        target: dict[Place, Member] = {}
        most = -(-len(places) // len(members)) if members else 0
        for place in places:
            owner = group.target.get(place) or group.owned.get(place)
            if owner in shares and shares[owner] < most:
                target[place] = owner
                shares[owner] += 1
        for place in places:
            if place not in target:
                fewest = min(members, key=lambda each: shares[each])
                target[place] = fewest
                shares[fewest] += 1
        if members:  # the last unevenness: more than one apart
            while max(shares.values()) - min(shares.values()) > 1:
                richest = max(members, key=lambda each: shares[each])
                poorest = min(members, key=lambda each: shares[each])
                moved = next(place for place in places if target[place] is richest)
                target[moved] = poorest
                shares[richest] -= 1
                shares[poorest] += 1
        group.target = target
        for member in members:
            member.generation += 1
            member.wake()

    def commit(
        self, group_id: str, member: Member | None, offsets: Iterable[tuple[Place, int]]
    ) -> None:
        """Group offsets; a member has to be one."""
        group = self.groups.setdefault(group_id, Group())
        if member is not None:
            if member.fenced:
                raise failure(KafkaError._FATAL, "Commit failed: Local: Fatal error")
            if not self.is_member(group_id, member):
                raise failure(KafkaError.UNKNOWN_MEMBER_ID, "Broker: Unknown member")
        group.offsets.update(offsets)
