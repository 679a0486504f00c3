"""The consumer of a simulated Kafka, with confluent_kafka's methods. Callbacks of the group are
served by `poll`, as there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from odradek.testing.broker_admin import cluster_metadata
from odradek.testing.broker_calls import Host, call, message
from odradek.testing.broker_state import (
    Cluster,
    Log,
    Member,
    Place,
    Record,
    failure,
)

_FENCED = "Broker: Static consumer fenced by other consumer with same group.instance.id"


class SimulatedConsumer:
    """Assigned by hand, or a member of a classic group with cooperative-sticky assignment."""

    def __init__(self, process: Host, config: Mapping[str, Any]) -> None:
        self.process = process
        self._cluster: Cluster = process.cluster
        self._committed = config.get("isolation.level", "read_committed") == "read_committed"
        self._eof = bool(config.get("enable.partition.eof"))
        self._reset = str(config.get("auto.offset.reset", "latest"))
        self._group_id = str(config["group.id"])
        self._instance_id = str(config.get("group.instance.id") or "")
        self._session_s = int(config.get("session.timeout.ms", 45_000)) / 1000
        self._fetch: dict[Place, int] = {}  # next offset to read
        self._read: dict[Place, int] = {}  # as `position` tells
        self._paused: set[Place] = set()
        self._at_end: dict[Place, int] = {}
        self._lost: set[Place] = set()  # silent after _AUTO_OFFSET_RESET
        self._wake = threading.Event()
        self._turn = 0
        self._member: Member | None = None
        self._callbacks: dict[str, Callable[..., object]] = {}
        self._topics: list[str] = []
        self._assigned_once = False
        self._closed = False
        process.clients.append(self)

    # --- group

    @call
    def subscribe(
        self,
        topics: list[str],
        on_assign: Callable[..., object] | None = None,
        on_revoke: Callable[..., object] | None = None,
        on_lost: Callable[..., object] | None = None,
    ) -> None:
        given = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost}
        self._callbacks = {name: each for name, each in given.items() if each is not None}
        self._topics = list(topics)
        self._join()

    def _join(self) -> None:
        with self._cluster.lock:
            member_id = self.process.next_member_id(self._instance_id)
            self._assigned_once = False
            self._member = Member(
                member_id, self._instance_id, self._topics, self._session_s, self._wake.set
            )
            self._cluster.join(self._group_id, self._member)

    @call
    def unsubscribe(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._member is not None:
            self._give("revoke", list(self._fetch))
            with self._cluster.lock:
                self._cluster.leave(self._group_id, self._member)
            self._member = None

    @call
    def close(self) -> None:
        """A static member keeps its place in the group until its session ends."""
        if self._closed:
            return
        if self._member is not None and self._instance_id:
            self._give("revoke", list(self._fetch))
            self._member.silent_since = self._cluster.clock.monotonic()
        else:
            self._leave()
        self._member, self._closed = None, True

    def memberid(self) -> str:
        return self._member.member_id if self._member is not None else ""

    def silence(self, since: float | None) -> None:
        """Of a process that is gone or stands still: no heartbeats from then on."""
        if self._member is not None:
            self._member.silent_since = since

    def expire(self) -> None:
        """Sessions of this group that have ended by now are over."""
        self._cluster.expire_members(self._group_id)

    def _give(self, name: str, places: list[Place]) -> None:
        callback = self._callbacks.get(name)
        partitions = [TopicPartition(*place) for place in sorted(places)]
        if callback is not None and (partitions or name == "assign"):
            callback(self, partitions)
        elif name == "assign":
            self.incremental_assign(partitions)
        else:
            self.incremental_unassign(partitions)

    def _rebalance(self) -> Message | None:
        """What the group wants of this member now, in callbacks."""
        member = self._member
        if member is None:
            return None
        with self._cluster.lock:
            self._cluster.expire_members(self._group_id)
            known = self._cluster.is_member(self._group_id, member)
            group = self._cluster.groups[self._group_id]
            gone = [p for p, m in group.owned.items() if m is member and group.target.get(p) != m]
        if member.fenced:
            text = f"Fatal error: {_FENCED}: Fatal consumer error: {_FENCED}"
            error = KafkaError(KafkaError._FATAL, text)
            return Message(error=error)
        if not known:
            if self._fetch:
                self._give("lost", list(self._fetch))
            self._join()
            return None
        if gone:
            self._give("revoke", gone)
            with self._cluster.lock:
                for place in gone:
                    group.owned.pop(place, None)
                for each in group.members.values():
                    each.wake()
        with self._cluster.lock:
            new = [p for p, m in group.target.items() if m is member and p not in group.owned]
            group.owned.update(dict.fromkeys(new, member))
        if new or not self._assigned_once:
            self._assigned_once = True
            self._give("assign", new)
        return None

    # --- assignment

    @call
    def assign(self, partitions: list[TopicPartition]) -> None:
        self._fetch.clear()
        self._paused.clear()
        self._add(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._add(partitions)

    def _add(self, partitions: Iterable[TopicPartition]) -> None:
        with self._cluster.lock:
            for each in partitions:
                place = (each.topic, each.partition)
                self._fetch[place] = self._first(place, each.offset)
                self._forget(place)
        self._wake.set()

    def _first(self, place: Place, offset: int) -> int:
        if offset >= 0:
            return offset
        if offset == OFFSET_INVALID:  # where the group stands
            group = self._cluster.groups.get(self._group_id)
            stored = group.offsets.get(place, -1) if group is not None else -1
            if stored >= 0:
                return stored
            offset = -2 if self._reset in ("earliest", "smallest", "beginning") else -1
        topic = self._cluster.topics.get(place[0])
        if topic is None:
            return 0
        log = topic.logs[place[1]]
        return log.start if offset == -2 else self._end(log)

    def unassign(self) -> None:
        self._fetch.clear()
        self._paused.clear()

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            place = (each.topic, each.partition)
            self._fetch.pop(place, None)
            self._paused.discard(place)
            self._forget(place)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self._fetch]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._paused |= {(each.topic, each.partition) for each in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._paused -= {(each.topic, each.partition) for each in partitions}
        self._wake.set()

    @call
    def seek(self, partition: TopicPartition) -> None:
        place = (partition.topic, partition.partition)
        if place not in self._fetch:
            raise failure(KafkaError._STATE, "Local: Erroneous state")
        self._fetch[place] = partition.offset
        self._forget(place)
        self._wake.set()

    def _forget(self, place: Place) -> None:
        self._read.pop(place, None)
        self._at_end.pop(place, None)
        self._lost.discard(place)

    # --- reading

    def _end(self, log: Log) -> int:
        return log.stable_end if self._committed else log.end

    @call
    def poll(self, timeout: float = -1) -> Message | None:
        found = self._wait(1, timeout)
        return found[0] if found else None

    @call
    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        return self._wait(num_messages, timeout)

    def _wait(self, limit: int, timeout: float) -> list[Message]:
        clock = self._cluster.clock
        until = clock.monotonic() + timeout if timeout >= 0 else None
        while True:
            self.process.check()
            if self._closed:
                raise RuntimeError("Consumer closed")
            self._wake.clear()
            told = self._rebalance()
            if told is not None:
                return [told]
            with self._cluster.lock:
                self._cluster.expire_transactions()
                found = self._take(limit)
                if not found:
                    self._cluster.waiting[self] = self._on_append
            if found:
                return found
            left = 60.0 if until is None else until - clock.monotonic()
            try:
                if left <= 0:
                    return []
                self.process.wait(self._wake, left)
            finally:
                self._cluster.waiting.pop(self, None)

    def _on_append(self, place: Place) -> None:
        if place in self._fetch and place not in self._paused:
            self._wake.set()

    def _take(self, limit: int) -> list[Message]:
        found: list[Message] = []
        places = [place for place in self._fetch if place not in self._paused]
        self._turn += 1
        for index in range(len(places)):
            place = places[(index + self._turn) % len(places)]
            if place not in self._lost and place[0] in self._cluster.topics:
                self._take_from(place, limit, found)
            if len(found) >= limit:
                break
        return found

    def _take_from(self, place: Place, limit: int, found: list[Message]) -> None:
        log = self._cluster.log(place)
        offset, end = self._fetch[place], self._end(log)
        if not log.start <= offset <= log.end:
            if self._reset not in ("error", "none"):
                offset = log.start if self._reset in ("earliest", "smallest") else end
            else:
                self._lost.add(place)
                text = f"no previous offset available: offset {offset} is out of range"
                error = KafkaError(KafkaError._AUTO_OFFSET_RESET, text)
                found.append(message(place, Record(offset, 0, None, None, []), error))
                return
        while offset < end and len(found) < limit:
            record = log.records[offset]
            offset += 1
            if not record.control and not (self._committed and record.aborted):
                found.append(message(place, record))
        if offset != self._fetch[place]:
            self._fetch[place] = self._read[place] = offset
        if self._eof and offset >= end and len(found) < limit and self._at_end.get(place) != end:
            self._at_end[place] = end
            error = KafkaError(KafkaError._PARTITION_EOF, "Broker: No more messages")
            found.append(message(place, Record(offset, 0, None, None, []), error))

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(
                p.topic, p.partition, self._read.get((p.topic, p.partition), OFFSET_INVALID)
            )
            for p in partitions
        ]

    @call
    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        with self._cluster.lock:
            log = self._cluster.log((partition.topic, partition.partition))
            return log.start, self._end(log)

    @call
    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        found = []
        with self._cluster.lock:
            for each in partitions:
                log = self._cluster.log((each.topic, each.partition))
                later = (r.offset for r in log.records[log.start :] if r.time_ms >= each.offset)
                found.append(TopicPartition(each.topic, each.partition, next(later, -1)))
        return found

    @call
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        with self._cluster.lock:
            return cluster_metadata(self._cluster, topic)

    # --- offsets

    @call
    def commit(
        self,
        message: Message | None = None,
        offsets: list[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        if message is not None:
            place = (str(message.topic()), message.partition() or 0)
            given = [(place, (message.offset() or 0) + 1)]
        else:
            given = [((o.topic, o.partition), o.offset) for o in offsets or ()]
        with self._cluster.lock:
            self._cluster.expire_members(self._group_id)
            try:
                self._cluster.commit(self._group_id, self._member, given)
            except KafkaException:
                if not asynchronous:
                    raise
        return None if asynchronous else [TopicPartition(*p, offset) for p, offset in given]

    @call
    def committed(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        with self._cluster.lock:
            group = self._cluster.groups.get(self._group_id)
            stored = group.offsets if group is not None else {}
        return [
            TopicPartition(p.topic, p.partition, stored.get((p.topic, p.partition), OFFSET_INVALID))
            for p in partitions
        ]
