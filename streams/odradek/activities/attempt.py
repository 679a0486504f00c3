"""One attempt of an activity inside a service, from the command that was read to the outcome
that was sent. State only.

The consumer's thread makes it, the event loop's thread runs it; each field names its writer
where both read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from odradek.activities.acknowledgement import AckPrefix, Cell
from odradek.activities.context import ActivityCancellationDetails, Context, Info
from odradek.activities.heartbeat import HeartbeatThrottle
from odradek.activities.thread_cancel import ThreadCanceller
from odradek.activities.token import TaskToken
from odradek.common import Priority, RetryPolicy
from odradek.wire.tasks import ActivityTask

AttemptKey = tuple[str, int, int]

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OwnedPartition:
    """One partition of `commands`, for as long as this member owns it. Owned again, it is
    another object.
    """

    __slots__ = ("end_at_assignment", "owned", "partition", "prefix")

    def __init__(self, partition: int, *, start: int, end_at_assignment: int) -> None:
        self.partition = partition
        self.prefix = AckPrefix(start)
        #: Commands below may be redeliveries: somebody may have begun them.
        self.end_at_assignment = end_at_assignment
        self.owned = True


class CommandRecord(Protocol):
    """The record a command came as (a `confluent_kafka.Message`): what handing it on and dead
    letters need.
    """

    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def headers(self) -> Any: ...


class Attempt:
    """An attempt: its command, where it lies, and how far it has come."""

    __slots__ = (
        "cancel_details",
        "canceller",
        "cell",
        "context",
        "done",
        "entered",
        "heard_cancel",
        "heartbeat_encoder",
        "heartbeat_error",
        "heartbeat_unencoded",
        "heartbeats",
        "info_cache",
        "is_async",
        "on_heartbeat",
        "owner",
        "received",
        "record",
        "redelivery",
        "reported",
        "started_ms",
        "started_said",
        "started_values",
        "task",
        "task_handle",
        "twins",
    )

    def __init__(
        self,
        task: ActivityTask,
        record: CommandRecord,
        owner: OwnedPartition,
        cell: Cell,
        received: float,
        *,
        handed_on: bool = False,
    ) -> None:
        self.task = task
        self.record = record
        self.owner = owner
        self.cell = cell
        #: Host's monotonic clock when the command was read.
        self.received = received
        #: Whether somebody may have begun it before: it then says Started before it runs.
        self.redelivery = handed_on or cell.offset < owner.end_at_assignment
        self.started_ms = 0
        #: Started was handed to the producer.
        self.started_said = False
        #: The coroutine that runs it has made its first step: from here on the task may be
        #: cancelled.
        self.entered = False
        #: User code has ended; nothing may interrupt the reporting of its outcome.
        self.done = False
        #: The outcome was handed to the producer; timers skip it.
        self.reported = False
        self.task_handle: asyncio.Task[None] | None = None
        self.context: Context | None = None
        self.is_async = False
        self.canceller: ThreadCanceller | None = None
        self.cancel_details: ActivityCancellationDetails | None = None
        self.heard_cancel = False
        self.heartbeat_error: Exception | None = None
        #: With a codec, heartbeats are encoded by a task of the loop; the newest details wait while
        #: it is busy.
        self.heartbeat_encoder: asyncio.Task[None] | None = None
        self.heartbeat_unencoded: tuple[Any, ...] | None = None
        self.heartbeats: HeartbeatThrottle | None = None
        self.on_heartbeat: Callable[..., None] | None = None
        self.started_values: Sequence[Any] = ()
        self.info_cache: Info | None = None
        #: The same command read once more while it runs here: it is not run twice, they share its
        #: acknowledgement.
        self.twins: list[Attempt] = []

    @property
    def key(self) -> AttemptKey:
        """What a cancel request names: run, activity, attempt."""
        return self.task.run_id, self.task.scheduled_event_id, self.task.attempt

    def acknowledge(self) -> None:
        """Its outcome or its Started event is durable: the command need not be delivered again."""
        self.cell.acknowledged = True
        for twin in self.twins:
            twin.cell.acknowledged = True

    def hand_back(self) -> None:
        """It does not begin here: the command is for somebody else."""
        self.cell.returned = True
        for twin in self.twins:
            twin.cell.returned = True

    @property
    def owned(self) -> bool:
        """Whether its command is this member's still, or again."""
        return self.owner.owned or any(twin.owner.owned for twin in self.twins)

    @property
    def committed(self) -> bool:
        """Whether it is known that the group goes on behind its command: then nobody else gets
        it. Classic groups alone know.
        """
        return any(
            one.cell.offset < one.owner.prefix.committed_offset for one in (self, *self.twins)
        )

    def end(self) -> None:
        """User code has ended, and what it gave is reported. Nothing of it refers back to it:
        the collector has no part in it.
        """
        self.done = self.reported = True
        self.context = self.on_heartbeat = self.task_handle = None

    def add_twin(self, twin: Attempt) -> None:
        """The same command was read again. Safe against a concurrent `acknowledge`: one of the
        two sees the other.
        """
        self.twins.append(twin)
        if self.cell.acknowledged:
            twin.cell.acknowledged = True

    @property
    def hears_cancellation(self) -> bool:
        """Whether a cancel request reaches the activity now. Temporal's rule: only those that
        heartbeat learn of it.
        """
        return self.task.heartbeat_timeout_ms > 0 or self.heartbeats is not None

    def info(self) -> Info:
        """`activity.info()`; made when first asked for. `started_values` must hold the decoded
        heartbeat details by then.
        """
        if self.info_cache is None:
            self.info_cache = self._make_info()
        return self.info_cache

    def _make_info(self) -> Info:
        task = self.task
        token = TaskToken(
            namespace=task.namespace,
            queue=task.workflow_task_queue,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            scheduled_event_id=task.scheduled_event_id,
            activity_id=task.activity_id,
            attempt=task.attempt,
        )
        return Info(
            activity_id=task.activity_id,
            activity_type=task.activity_type,
            attempt=task.attempt,
            current_attempt_scheduled_time=_time(task.current_attempt_scheduled_time_ms),
            heartbeat_details=self.started_values,
            heartbeat_timeout=_duration(task.heartbeat_timeout_ms),
            is_local=False,
            namespace=task.namespace,
            schedule_to_close_timeout=_duration(task.schedule_to_close_timeout_ms),
            scheduled_time=_time(task.scheduled_time_ms),
            start_to_close_timeout=_duration(task.start_to_close_timeout_ms),
            started_time=_time(self.started_ms),
            task_queue=task.task_queue,
            task_token=token.encode(),
            workflow_id=task.workflow_id,
            workflow_namespace=task.namespace,
            workflow_run_id=task.run_id,
            workflow_type=task.workflow_type,
            priority=Priority(priority_key=task.priority_key or None),
            retry_policy=(
                RetryPolicy.from_wire(task.retry_policy) if task.retry_policy is not None else None
            ),
            scheduled_event_id=task.scheduled_event_id,
        )


def _time(epoch_ms: int) -> datetime:
    return _EPOCH + epoch_ms * _MILLISECOND


def _duration(ms: int) -> timedelta | None:
    return ms * _MILLISECOND if ms else None
