"""Removes a task queue for good: its topics, its groups with their offsets (a share group too),
and its runs from lists.

What stands in its way is told first, by reading `executions` to its end: no read side is needed.
Members that live make topics again, runs that are open are lost with their state. Results stay
in `results` until its retention.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.errors import unreachable
from odradek.kafka.producer import PlainProducer
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.facts import MemberView
from odradek.web.kafka.follower import Board
from odradek.web.kafka.groups import ActivityGroups, GroupSettings
from odradek.web.kafka.reading import Search, Stretch, headers_of, key_text
from odradek.wire.events import READ_KINDS
from odradek.wire.headers import parse_headers
from odradek.wire.outcomes import RUNNING
from odradek.wire.topics import QUEUE_KINDS, Topics

#: More inputs than that are told by their offsets.
_COUNTED = 10_000
# A group that has members still is tried again this often, until the session timeout and a little
# more are over.
_AGAIN_S, _LEAVING_S = 0.5, 2.0


@dataclass
class QueueRuns:
    """The runs of a queue that `executions` has, by key: partition and headers of the last
    record. `open_runs`: keys of those open.
    """

    listed: dict[str, tuple[int, list[tuple[str, bytes]]]] = field(default_factory=dict)
    open_runs: list[str] = field(default_factory=list)


@dataclass
class Removal:
    """What a removal would take away, and what stands in its way."""

    task_queue: str
    topics: list[str]
    members: list[MemberView]
    runs: QueueRuns
    groups: list[str] = field(default_factory=list)
    #: Of the groups those that are still there after the removal.
    groups_left: list[str] = field(default_factory=list)
    share_group: str = ""
    #: Inputs that no processor has applied, as far as it is known where they stood.
    waiting: int = 0
    waiting_known: bool = True

    @property
    def empty(self) -> bool:
        """Nothing of that queue is there."""
        return not (self.topics or self.members or self.runs.listed or self.groups)

    @property
    def cautions(self) -> list[str]:
        """What nobody can tell; each a sentence."""
        if self.share_group not in self.groups:
            return []
        return [
            f"whether services are in share group {self.share_group} that write nothing to"
            " `members`, Kafka's client cannot tell"
        ]

    @property
    def remains(self) -> list[str]:
        """What could not be removed, and why; each a sentence."""
        return [
            f"group {group} has members still and stays (one that was killed counts as a member for"
            " up to a minute): delete the queue again"
            for group in self.groups_left
        ]

    @property
    def obstacles(self) -> list[str]:
        """Why not to do it; each a sentence."""
        found = []
        if self.members:
            names = ", ".join(member.identity or member.member_id for member in self.members[:5])
            found.append(
                f"{len(self.members)} members live ({names}) and would make its topics again: stop"
                " them"
            )
        if self.waiting:
            unsure = (
                ""
                if self.waiting_known
                else ", or some of them (nobody tells where its processors stood),"
            )
            found.append(
                f"{self.waiting} inputs lie unapplied{unsure} and would be lost: have a worker"
                " apply them first"
            )
        if self.runs.open_runs:
            shown = ", ".join(key.rpartition("/")[0] for key in self.runs.open_runs[:5])
            found.append(
                f"{len(self.runs.open_runs)} runs are open ({shown}) and would be lost: let them"
                " end, or terminate them"
            )
        return found


class QueueRemover:
    """Blocking. board: must be complete."""

    def __init__(
        self, settings: GroupSettings, admin: ClusterAdmin, board: Board, *, timeout_s: float = 60.0
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._groups = ActivityGroups(settings)
        self._board = board
        self._timeout_s = timeout_s

    def look(self, task_queue: str) -> Removal:
        """What is there. Raises BrokerUnreachableError when `executions` cannot be read to its
        end in time.
        """
        topics = self._admin.topics
        names = {
            topics.events: 0,
            topics.state: 0,
            topics.commands: 0,
            topics.control: 0,
            topics.dead_letters: 0,
        }
        assert len(names) == len(QUEUE_KINDS)
        there = list(self._admin.describe([name(task_queue) for name in names]))
        members = [member for member in self._board.members(task_queue) if member.alive]
        share = topics.activities_share_group(task_queue)
        groups = [
            group for group in (*_classic(topics, task_queue), share) if self._groups.exists(group)
        ]
        waiting, known = self._waiting(task_queue)
        runs = self._runs(task_queue)
        return Removal(
            task_queue,
            there,
            members,
            runs,
            groups,
            share_group=share,
            waiting=waiting,
            waiting_known=known,
        )

    def remove(self, removal: Removal) -> None:
        """Do it. May be done again where it broke off. Topics go first: without them no member
        can write a run's summary again.
        """
        self._admin.delete_topics(removal.topics)
        self._forget(removal.runs)
        self._delete_groups(removal)

    def _waiting(self, task_queue: str) -> tuple[int, bool]:
        """Inputs that are not applied, less those that only ask; and whether it is known from
        where on to count.
        """
        reader = QueueReader(self._settings, self._admin, self._board)
        try:
            partitions = reader.partitions(task_queue)
        finally:
            reader.close()
        topic = self._admin.topics.events(task_queue)
        stretches = [
            Stretch(topic, one.partition, max(one.position, one.start_offset), one.end_offset)
            for one in partitions
        ]
        known = all(one.lag is not None for one in partitions)
        offsets = sum(max(0, one.end - one.start) for one in stretches)
        if not 0 < offsets <= _COUNTED:
            return offsets, known
        search = Search(self._settings, time.monotonic() + self._timeout_s)
        waiting = sum(
            parse_headers(headers_of(message)).kind not in READ_KINDS
            for message in search.records(stretches)
        )
        return waiting + sum(one.end - one.start for one in search.unfinished), known

    def _delete_groups(self, removal: Removal) -> None:
        """Also those whose static members have just ended: the group keeps their places for the
        session timeout.
        """
        # Classic ones also unseen, as ever; a share group only if it is there: it needs a right on
        # a name that most do not use.
        self._admin.delete_groups(
            dict.fromkeys([*_classic(self._admin.topics, removal.task_queue), *removal.groups])
        )
        until_s = time.monotonic() + (
            0.0 if removal.members else self._settings.session_timeout.total_seconds() + _LEAVING_S
        )
        while True:
            removal.groups_left = [group for group in removal.groups if self._groups.exists(group)]
            if not removal.groups_left or time.monotonic() >= until_s:
                return
            time.sleep(_AGAIN_S)
            self._admin.delete_groups(removal.groups_left)

    def _runs(self, task_queue: str) -> QueueRuns:
        topic = self._admin.topics.executions
        facts = self._admin.describe([topic]).get(topic)
        runs = QueueRuns()
        if facts is None:
            return runs
        numbers = range(facts.partitions)
        starts, ends = (
            self._admin.start_offsets(topic, numbers),
            self._admin.end_offsets(topic, numbers, committed=True),
        )
        search = Search(self._settings, time.monotonic() + self._timeout_s)
        open_runs: dict[str, None] = {}
        for message in search.records(
            [Stretch(topic, number, starts[number], ends[number]) for number in numbers]
        ):
            key, headers = key_text(message), headers_of(message)
            if message.value() is None:
                runs.listed.pop(key, None)
                open_runs.pop(key, None)
                continue
            routing = parse_headers(headers)
            if routing.task_queue != task_queue:
                continue
            runs.listed[key] = (
                message.partition() or 0,
                [(name, _bytes(raw)) for name, raw in headers],
            )
            if routing.status == RUNNING:
                open_runs[key] = None
            else:
                open_runs.pop(key, None)
        if search.unfinished or search.purged:
            raise unreachable(
                self._settings, f"{topic} could not be read to its end within {self._timeout_s:g} s"
            )
        runs.open_runs = list(open_runs)
        return runs

    def _forget(self, runs: QueueRuns) -> None:
        """Tombstones: lists forget these runs."""
        producer = PlainProducer(self._settings)
        left = threading.Semaphore(0)
        problems: list[BaseException] = []

        def delivered(error: BaseException | None) -> None:
            if error is not None:
                problems.append(error)
            left.release()

        deadline_s = time.monotonic() + self._timeout_s
        try:
            waiting = 0
            for key, (partition, headers) in runs.listed.items():
                while True:
                    try:
                        producer.produce(
                            self._admin.topics.executions,
                            key.encode(),
                            None,
                            headers,
                            partition=partition,
                            on_delivery=delivered,
                        )
                        break
                    except BufferError:
                        self._settle(left, deadline_s)
                        waiting -= 1
                waiting += 1
            for _ in range(waiting):
                self._settle(left, deadline_s)
        finally:
            producer.close(2.0)
        if problems:
            raise problems[0]

    def _settle(self, left: threading.Semaphore, deadline_s: float) -> None:
        if not left.acquire(timeout=max(0.1, deadline_s - time.monotonic())):
            raise unreachable(
                self._settings,
                f"the brokers did not confirm within {self._timeout_s:g} s: delete the queue again",
            )


def _classic(topics: Topics, task_queue: str) -> list[str]:
    return [topics.processor_group(task_queue), topics.activities_group(task_queue)]


def _bytes(raw: str | bytes | None) -> bytes:
    return raw.encode() if isinstance(raw, str) else raw or b""
