"""What is said of queues, members and records, in the form in which the API gives it.

Times are epoch milliseconds, -1 is an unknown offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Place:
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


@dataclass
class RecordView:
    """A record, decoded, an event in plain JSON too.

    One that cannot be decoded has an `error` that says why; `value` is then its bytes in base64,
    or, of plain JSON, what it says.
    """

    topic: str
    topic_kind: str
    partition: int
    offset: int
    time_ms: int
    key: str
    kind: str
    headers: dict[str, str]
    value: Any
    size_bytes: int
    error: str = ""


#: A processor says every 3 s how it stands: after this two of its reports are missing.
SILENT_AFTER_MS = 8_000
#: Work that does nothing wrong ends sooner: an activation is given up after `deadlock_timeout` (2
#: s), most transactions take milliseconds.
STALLED_AFTER_MS = 10_000


@dataclass
class PartitionView:
    """A partition of a queue's `events` and who owns it. `lag`: records that are committed there
    and not applied yet, None if unknown. Where nobody ever served the queue that is all of them.

    `owner` is "" when no living member says that it owns the partition. What only a running
    owner knows is None without one: `open_runs`, `cached_runs`, `timer_backlog` (timers in its
    memory: those due in the next minutes), and `restore_remaining` while nobody restores.

    `silent_ms`: since the owner, or without one whoever had it last, said how it stands (a
    stopped process, one cut off from Kafka); None when nobody did within the hour. `stalled_ms`:
    since the owner's lane last applied something, restored rows or had nothing to do (an
    activation that blocks, a call to Kafka that does not return, an owner that is dropped again
    and again); None without an owner, and from processors that do not say.
    """

    partition: int
    start_offset: int
    end_offset: int
    position: int
    lag: int | None
    owner: str
    identity: str
    state: str
    restore_remaining: int | None = None
    timer_backlog: int | None = None
    open_runs: int | None = None
    cached_runs: int | None = None
    error: str = ""
    silent_ms: int | None = None
    stalled_ms: int | None = None

    @property
    def trouble(self) -> str:
        """ "silent" when whoever owns it, or did last, has stopped to report; "stalled" when it
        reports that it gets nowhere; else "".
        """
        if self.silent_ms is not None and self.silent_ms >= SILENT_AFTER_MS:
            return "silent"
        return (
            "stalled" if self.stalled_ms is not None and self.stalled_ms >= STALLED_AFTER_MS else ""
        )


@dataclass
class ActivityPartitionView:
    """A partition of a queue's `commands`. `lag`: commands that no service has acknowledged yet;
    None with a share group, whose offsets (`committed`, -1) cannot be asked for.
    """

    partition: int
    start_offset: int
    end_offset: int
    committed: int
    lag: int | None


@dataclass
class MemberView:
    """A processor or service, as it said itself. `alive`: it has said something lately.
    `timer_backlog`: timers due soon, in its memory.
    """

    member_id: str
    kind: str
    task_queue: str
    identity: str
    host: str
    pid: int
    alive: bool
    seen_ms: int
    partitions: list[int]
    activity_types: list[str]
    workflow_types: list[str]
    slots_total: int
    slots_used: int
    restore_remaining: int
    timer_backlog: int
    open_runs: int


@dataclass
class QueueView:
    """A task queue. `served`: every partition of its `events` has a living owner.
    `activity_group`: "classic" or "share", the kind of group that its services are in, ""
    without activities; with a share group `activity_lag` is None, since nobody can tell it.
    `restore_remaining`, `timer_backlog` (timers due soon: see `PartitionView`) and `open_runs`
    are None as long as they are unknown for one of its partitions. `stuck_partitions`: those
    whose owner is silent or whose lane makes no progress, see `PartitionView`.
    """

    name: str
    has_workflows: bool
    has_activities: bool
    served: bool
    partition_count: int
    processors: int
    services: int
    lag: int | None
    activity_lag: int | None
    slots_total: int
    slots_used: int
    restore_remaining: int | None
    timer_backlog: int | None
    open_runs: int | None
    dead_letters: int
    activity_group: str
    stuck_partitions: int = 0


@dataclass
class QueueDetail(QueueView):
    """A task queue with its partitions and members."""

    partitions: list[PartitionView] = field(default_factory=list)
    activity_partitions: list[ActivityPartitionView] = field(default_factory=list)
    members: list[MemberView] = field(default_factory=list)


@dataclass
class PurgedRecord:
    """A record that Kafka has deleted, as far as the run's history knows it: where it stood, and
    the event that it caused or that made it.

    `kind`: of the record, as far as the event tells; "" otherwise.
    """

    place: Place
    kind: str
    event_id: int
    event_type: str
    event_time_ms: int


@dataclass
class Trail:
    """Records of one workflow over all topics, in order of time.

    `complete` False: the search ended at its deadline or limit, or records of the run are
    deleted already; `missing` says what is not here. `purged`: the deleted ones that the run's
    history knows. `reads_left_out`: requests that only looked and are not in `records`.
    `limited`: there are more records than were asked for; these were met first.
    """

    workflow_id: str
    records: list[RecordView]
    complete: bool
    missing: list[str]
    reads_left_out: int = 0
    purged: list[PurgedRecord] = field(default_factory=list)
    limited: bool = False


@dataclass
class DeadLetterView:
    """A dead letter: why it lies there, where it stood, what it is.

    `redriven`: where it was put back, the last time first. None: the search was not made or did
    not end (a long topic), so nobody knows. `target`: where it would be put back, by its key
    (offset -1): not always where it stood. None when it cannot be put back.
    """

    place: Place
    reason: str
    message: str
    origin: Place
    time_ms: int
    error_type: str
    stack_trace: str
    workflow_id: str
    record: RecordView
    redriven: list[Place] | None = None
    target: Place | None = None


@dataclass
class DeadLetters:
    """Dead letters of a queue, latest first. `next_offset`: where the next page ends, None when
    this was the last.
    """

    dead_letters: list[DeadLetterView]
    next_offset: int | None
    complete: bool


@dataclass
class SchemaView:
    """A schema that a writer has published."""

    fingerprint: str
    name: str
    schema: str
    published_ms: int
    known: bool
