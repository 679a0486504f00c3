"""Queues: partitions, owners, lag, members. Made of what the brokers say of offsets and what
members say of themselves.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaException

from odradek.exceptions import BrokerUnreachableError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.web.kafka.facts import ActivityPartitionView, PartitionView, QueueDetail, QueueView
from odradek.web.kafka.follower import ACTIVITIES, PROCESSOR, Board
from odradek.web.kafka.groups import SHARE, ActivityGroups, GroupSettings
from odradek.web.kafka.reading import RecordCounter, Stretch
from odradek.web.threads import DaemonPool
from odradek.wire.outcomes import LaneStatus, MemberStatus
from odradek.wire.topics import COMMANDS, DEAD_LETTERS, EVENTS, Topics

#: Names of topics are asked for again after this.
_NAMES_S = 2.0
#: So are numbers of partitions: a queue may be deleted, and made anew with another.
COUNT_S = 5.0
RUNNING, STOPPED = "RUNNING", "STOPPED"


class QueueReader:
    """Blocking; called in threads."""

    def __init__(
        self,
        settings: GroupSettings,
        admin: ClusterAdmin,
        board: Board,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = admin
        self._board = board
        self._namespace = settings.namespace
        self._counter = RecordCounter(settings)
        self._groups = ActivityGroups(settings, clock_s=clock_s)
        self._clock_s = clock_s
        self._pool = DaemonPool(4, "odradek-queues")
        self._partition_counts: dict[str, tuple[float, int]] = {}
        self._names: tuple[float, list[str]] = (float("-inf"), [])

    @property
    def topics(self) -> Topics:
        """Names of the namespace's topics."""
        return self._admin.topics

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def kinds(self) -> dict[str, set[str]]:
        """Task queues of the namespace: those with topics, with the kinds they have, and those
        that a member names.
        """
        kinds: dict[str, set[str]] = defaultdict(set)
        for name in self._topic_names():
            parsed = self.topics.parse(name)
            if parsed is not None and parsed.task_queue and parsed.namespace == self._namespace:
                kinds[parsed.task_queue].add(parsed.kind)
        for status in self._board.statuses():
            kinds[status.task_queue].add("")
        return {name: found - {""} for name, found in sorted(kinds.items())}

    def queues(self) -> list[QueueView]:
        """All queues, summed up."""
        return [
            _summary(detail)
            for detail in self._pool.map(lambda item: self._detail(*item), self.kinds().items())
        ]

    def queue(self, name: str) -> QueueDetail:
        """One queue. Raises TopicMissingError when it has neither topics nor members."""
        kinds = self.kinds().get(name)
        if kinds is None:
            text = (
                f"task queue {name!r} was never used in namespace {self._namespace!r}, or was"
                " deleted"
            )
            raise TopicMissingError(
                self.topics.events(name),
                text=f"{text}: `odradek task-queue list` shows those that are there",
            )
        return self._detail(name, kinds)

    def share_groups(self, names: Iterable[str]) -> set[str]:
        """Those of the queues whose services are in a share group."""
        return {name for name in names if self._groups.kind(name) == SHARE}

    def partitions(self, name: str) -> list[PartitionView]:
        """The partitions of a queue's `events`; none when it has no such topic."""
        return self._partitions(name, self._board.statuses(name))

    def partition_count(self, name: str) -> int:
        """Partitions of a queue's `events` that ids are hashed over, 0 when it has none. As they
        were `COUNT_S` ago at most, or, where the cluster does not say now, when it last did.
        Raises what the cluster raises where it never said.
        """
        read_s, count = self._partition_counts.get(name, (float("-inf"), 0))
        if (
            count and self._clock_s() - read_s < COUNT_S
        ):  # one that is missing may be about to be made
            return count
        topic = self.topics.events(name)
        try:
            facts = self._admin.describe([topic]).get(topic)
            found = 0 if facts is None else facts.partitions
        except (BrokerUnreachableError, KafkaException):
            if not count:
                raise
            found = (
                count  # for a while again: each further question would wait as long as this one did
            )
        self._partition_counts[name] = (self._clock_s(), found)
        return found

    def _topic_names(self) -> list[str]:
        read_s, names = self._names
        if self._clock_s() - read_s > _NAMES_S:
            names = self._admin.topic_names()
            self._names = (self._clock_s(), names)
        return names

    def _detail(self, name: str, kinds: set[str]) -> QueueDetail:
        statuses = self._board.statuses(name)
        partitions = self._partitions(name, statuses) if EVENTS in kinds else []
        services = [status for status in statuses if status.kind == ACTIVITIES]
        group = self._groups.kind(name) if COMMANDS in kinds or services else ""
        activity_partitions = self._activity_partitions(name, group) if COMMANDS in kinds else []
        dead_letters = self._dead_letters(name) if DEAD_LETTERS in kinds else 0
        lags = [partition.lag for partition in partitions if partition.lag is not None]
        activity_lags = [
            partition.lag for partition in activity_partitions if partition.lag is not None
        ]
        return QueueDetail(
            name=name,
            has_workflows=EVENTS in kinds,
            has_activities=COMMANDS in kinds or bool(services),
            served=bool(partitions) and all(partition.owner for partition in partitions),
            partition_count=len(partitions),
            processors=sum(status.kind == PROCESSOR for status in statuses),
            services=len(services),
            lag=sum(lags) if partitions and len(lags) == len(partitions) else None,
            activity_lag=sum(activity_lags) if activity_partitions and group != SHARE else None,
            slots_total=sum(status.slots_total for status in services),
            slots_used=sum(status.slots_used for status in services),
            restore_remaining=_total(partition.restore_remaining for partition in partitions),
            timer_backlog=_total(partition.timer_backlog for partition in partitions),
            open_runs=_total(partition.open_runs for partition in partitions),
            dead_letters=dead_letters,
            activity_group=group,
            stuck_partitions=sum(
                bool(partition.owner and partition.trouble) for partition in partitions
            ),
            partitions=partitions,
            activity_partitions=activity_partitions,
            members=self._board.members(name),
        )

    def _partitions(self, name: str, statuses: list[MemberStatus]) -> list[PartitionView]:
        topic = self.topics.events(name)
        facts = self._admin.describe([topic]).get(topic)
        if facts is None:
            return []
        numbers = range(facts.partitions)
        starts = self._admin.start_offsets(topic, numbers)
        ends = self._admin.end_offsets(topic, numbers, committed=True)
        committed: dict[int, int] | None = None
        written: dict[int, int] | None = None
        views = []
        owners, now_ms = _owners(statuses), self._board.now_ms()
        heard = _heard_ms(self._board.statuses(name, alive=False))
        for number in numbers:
            status, lane = owners.get(number, (None, None))
            position = lane.position if lane is not None else -1
            if position < 0:
                # Nobody says; the group's offsets are committed once a second beside the
                # transaction and may be stale, or none.
                committed = (
                    self._admin.committed_offsets(self.topics.processor_group(name), topic, numbers)
                    if committed is None
                    else committed
                )
                position = committed.get(number, -1)
            known = position >= 0
            if not known:
                written = self._state_ends(name) if written is None else written
                known = not written.get(
                    number
                )  # nobody ever applied anything here: all of it waits
            running = lane is not None and lane.state == RUNNING
            views.append(
                PartitionView(
                    partition=number,
                    start_offset=starts[number],
                    end_offset=ends[number],
                    position=position,
                    lag=max(0, ends[number] - max(position, starts[number])) if known else None,
                    owner=status.member_id if status is not None else "",
                    identity=status.identity if status is not None else "",
                    state=lane.state if lane is not None else "",
                    restore_remaining=(
                        lane.restore_remaining
                        if lane is not None and lane.state != STOPPED
                        else None
                    ),
                    timer_backlog=lane.timer_backlog if lane is not None and running else None,
                    open_runs=lane.open_runs if lane is not None and running else None,
                    cached_runs=lane.cached_runs if lane is not None and running else None,
                    error=lane.error if lane is not None else "",
                    silent_ms=max(0, now_ms - heard[number]) if number in heard else None,
                    stalled_ms=(
                        max(0, now_ms - lane.progress_time_ms)
                        if lane is not None and lane.progress_time_ms
                        else None
                    ),
                )
            )
        return views

    def _state_ends(self, name: str) -> dict[int, int]:
        """Ends of `state`: an owner writes there before it applies anything."""
        topic = self.topics.state(name)
        facts = self._admin.describe([topic]).get(topic)
        return (
            {}
            if facts is None
            else self._admin.end_offsets(topic, range(facts.partitions), committed=False)
        )

    def _activity_partitions(self, name: str, group: str) -> list[ActivityPartitionView]:
        topic = self.topics.commands(name)
        facts = self._admin.describe([topic]).get(topic)
        if facts is None:
            return []
        numbers = range(facts.partitions)
        starts = self._admin.start_offsets(topic, numbers)
        ends = self._admin.end_offsets(topic, numbers, committed=True)
        if group == SHARE:
            return [ActivityPartitionView(n, starts[n], ends[n], -1, None) for n in numbers]
        committed = self._admin.committed_offsets(
            self.topics.activities_group(name), topic, numbers
        )
        lags = self._counter.count(
            [Stretch(topic, n, max(committed.get(n, -1), starts[n]), ends[n]) for n in numbers]
        )
        return [
            ActivityPartitionView(n, starts[n], ends[n], committed.get(n, -1), lags[n])
            for n in numbers
        ]

    def _dead_letters(self, name: str) -> int:
        """Dead letters; of many a few too many, see `RecordCounter`."""
        topic = self.topics.dead_letters(name)
        facts = self._admin.describe([topic]).get(topic)
        if facts is None:
            return 0
        numbers = range(facts.partitions)
        starts = self._admin.start_offsets(topic, numbers)
        ends = self._admin.end_offsets(topic, numbers, committed=True)
        return sum(
            self._counter.count(
                [Stretch(topic, number, starts[number], ends[number]) for number in numbers]
            ).values()
        )


def _total(values: Iterable[int | None]) -> int | None:
    """The sum, None when one of them is unknown."""
    known = list(values)
    return None if None in known else sum(value or 0 for value in known)


def _owners(statuses: Iterable[MemberStatus]) -> dict[int, tuple[MemberStatus, LaneStatus]]:
    """Who owns each partition, by the latest word; a lane that stopped with an error is shown
    when nobody else has the partition.
    """
    owners: dict[int, tuple[MemberStatus, LaneStatus]] = {}
    for status in sorted(statuses, key=lambda status: status.time_ms):
        if status.kind != PROCESSOR:
            continue
        for lane in status.lanes:
            present = owners.get(lane.partition)
            if present is None or lane.state != STOPPED or present[1].state == STOPPED:
                owners[lane.partition] = (status, lane)
    return owners


def _heard_ms(statuses: Iterable[MemberStatus]) -> dict[int, int]:
    """When each partition was last spoken of by a processor that has it, silent ones too: one
    that gave it back no longer lists it.
    """
    heard: dict[int, int] = {}
    for status in statuses:
        for lane in status.lanes if status.kind == PROCESSOR else ():
            heard[lane.partition] = max(heard.get(lane.partition, 0), status.time_ms)
    return heard


def _summary(detail: QueueDetail) -> QueueView:
    return QueueView(**{name: getattr(detail, name) for name in QueueView.__dataclass_fields__})
