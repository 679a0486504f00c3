"""What a service counts, and the frozen snapshot that people, metrics and probes read.

Counts attempts that ran here: a command that Kafka delivers twice and that runs twice is two
attempts, because two attempts ran. Whether a workflow saw one outcome of them is counted by its
processor, behind its commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from odradek.statistics import OTHER, SECONDS, Counts, Distribution, Histograms, Labels
from odradek.wire.tasks import ActivityTask

#: An attempt whose outcome comes from outside (`activity.raise_complete_async`).
LEFT_OPEN = "async"
#: What `ActivityTally.ended` counts.
OUTCOMES = ("completed", "failed", "canceled", LEFT_OPEN)


class ActivityTally:
    """Counters of a service; the event loop's thread adds to it. `activity_types`: those that
    are registered.
    """

    __slots__ = (
        "_labels",
        "cancellations",
        "heartbeats",
        "outcomes",
        "run_seconds",
        "schedule_to_start_seconds",
        "starts",
    )

    def __init__(self, activity_types: Iterable[str]) -> None:
        self._labels = Labels(activity_types)
        #: by activity type
        self.starts: Counts[str] = Counts(OTHER)
        self.schedule_to_start_seconds: Histograms[str] = Histograms(OTHER, SECONDS)
        #: by activity type and outcome
        self.outcomes: Counts[tuple[str, str]] = Counts((OTHER, OTHER))
        self.run_seconds: Histograms[str] = Histograms(OTHER, SECONDS)
        self.heartbeats = 0
        self.cancellations = 0

    def started(self, task: ActivityTask, now_ms: int) -> None:
        """An attempt has a slot."""
        kind = self._labels.of(task.activity_type)
        self.starts.add(kind)
        if task.current_attempt_scheduled_time_ms:
            waited_ms = max(0, now_ms - task.current_attempt_scheduled_time_ms)
            self.schedule_to_start_seconds.of(kind).observe(waited_ms / 1000)

    def ended(self, activity_type: str, outcome: str, seconds: float) -> None:
        """An attempt is over. outcome: completed, failed, canceled, async."""
        kind = self._labels.of(activity_type)
        self.outcomes.add((kind, outcome))
        self.run_seconds.of(kind).observe(max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class ActivityStatistics:
    """A service of one task queue. dead_letters: written and durable, by reason. activity_types:
    those that are registered.

    running: attempts in slots. waiting: commands read that wait for a slot. lag: commands behind
    what was read, None while unknown. dropped: commands that left with their partition, or that
    nobody waited for any more. twins: commands read again while they ran. pauses: times this
    process stood still. thread_silent_seconds, loop_silent_seconds: since the consumer's thread
    and the event loop last went round. contact_seconds: since the broker last acknowledged a
    record, None: never yet. reports_dropped: statuses that could not be written. missing_topic:
    the error of a topic of the namespace that is gone.
    """

    namespace: str = ""
    task_queue: str = ""
    assigned: bool = False
    partitions: int = 0
    slots_total: int = 0
    running: int = 0
    waiting: int = 0
    lag: int | None = None
    started: int = 0
    completed: int = 0
    failed: int = 0
    canceled: int = 0
    dropped: int = 0
    twins: int = 0
    handed_on: int = 0
    refused: int = 0
    pauses: int = 0
    heartbeats: int = 0
    cancellations: int = 0
    answers_pending: int = 0
    starts: Mapping[str, int] = field(default_factory=dict)
    schedule_to_start_seconds: Mapping[str, Distribution] = field(default_factory=dict)
    outcomes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    run_seconds: Mapping[str, Distribution] = field(default_factory=dict)
    thread_silent_seconds: float = 0.0
    thread_alive: bool = False
    loop_silent_seconds: float = 0.0
    contact_seconds: float | None = None
    contact_error: str = ""
    draining: bool = False
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    activity_types: tuple[str, ...] = ()
    reports_dropped: int = 0
    missing_topic: str = ""
