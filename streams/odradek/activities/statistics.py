"""What a service counts, and the frozen snapshot that people, metrics and probes read.

Counts attempts that ran here: a command that Kafka delivers twice and that runs twice is two
attempts, because two attempts ran. Whether a workflow saw one outcome of them is counted by its
processor, behind its commit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from odradek.telemetry import metrics
from odradek.wire.dead_letters import SERVICE_REASONS
from odradek.wire.tasks import ActivityTask

#: An attempt whose outcome comes from outside (`activity.raise_complete_async`).
LEFT_OPEN = "async"
#: What `ActivityCounters.ended` counts.
OUTCOMES = ("completed", "failed", "canceled", LEFT_OPEN)


class ActivityCounters:
    """Counters of a service. activity_types: those that are registered: each counts from 0."""

    def __init__(self, namespace: str, task_queue: str, activity_types: Collection[str]) -> None:
        self._queue = queue = (namespace, task_queue)
        self._types = {kind: _OfType(queue, kind) for kind in activity_types}
        self._unknown: _OfType | None = None
        self.heartbeats = metrics.HEARTBEATS.labels(*queue)
        self.cancellations = metrics.CANCELLATIONS.labels(*queue)
        self.handed_on = metrics.HANDED_ON.labels(*queue)
        for reason in SERVICE_REASONS:
            metrics.DEAD_LETTERS.labels(*queue, "activities", reason)

    def started(self, task: ActivityTask, now_ms: int) -> None:
        """An attempt has a slot."""
        kind = self._of(task.activity_type)
        kind.starts.inc()
        if task.current_attempt_scheduled_time_ms:
            waited_ms = max(0, now_ms - task.current_attempt_scheduled_time_ms)
            kind.wait_seconds.observe(waited_ms / 1000)

    def ended(self, activity_type: str, outcome: str, seconds: float) -> None:
        """An attempt is over. outcome: one of `OUTCOMES`."""
        kind = self._of(activity_type)
        kind.outcomes[outcome].inc()
        kind.run_seconds.observe(max(0.0, seconds))

    def _of(self, activity_type: str) -> _OfType:
        found = self._types.get(activity_type) or self._unknown
        if found is None:
            found = self._unknown = _OfType(self._queue, metrics.UNKNOWN)
        return found


class _OfType:
    """Metrics of one activity type, bound once: finding a child by its labels takes longer than
    to count.
    """

    def __init__(self, queue: tuple[str, str], kind: str) -> None:
        self.starts = metrics.ACTIVITY_STARTS.labels(*queue, kind)
        self.wait_seconds = metrics.ACTIVITY_WAIT.labels(*queue, kind)
        self.run_seconds = metrics.ACTIVITY_SECONDS.labels(*queue, kind)
        self.outcomes = {
            outcome: metrics.ACTIVITY_OUTCOMES.labels(*queue, kind, outcome) for outcome in OUTCOMES
        }


@dataclass(frozen=True, slots=True)
class ActivityStatistics:
    """A service of one task queue.

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
    pauses: int = 0
    answers_pending: int = 0
    thread_silent_seconds: float = 0.0
    thread_alive: bool = False
    loop_silent_seconds: float = 0.0
    contact_seconds: float | None = None
    contact_error: str = ""
    draining: bool = False
    reports_dropped: int = 0
    missing_topic: str = ""
