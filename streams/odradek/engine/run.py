"""One run in memory: its rows, its live instance, and what maps the activator's numbers to event ids.

Rows handed to a host are never changed afterwards: `begin` copies the run row at the first touch
in a step, activity rows are copied before each change. So an aborted step needs nothing but
dropping the LiveRun.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from odradek.engine.sizes import attributes_bytes
from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskTimedOutEvent,
    Attributes,
    HistoryEvent,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTask,
)
from odradek.wire.outcomes import RUNNING

if TYPE_CHECKING:
    from odradek.engine.activation import WorkflowInstance
    from odradek.wire.state import ActivityRow, RequestRow, RunRow, UserTimerRow

# Events that workflow code is told of. All others are written by commands, or are about tasks, or
# close the run.
INPUT_EVENTS = frozenset(
    {
        WorkflowExecutionStarted,
        WorkflowExecutionSignaled,
        WorkflowExecutionCancelRequested,
        ActivityTaskCompletedEvent,
        ActivityTaskFailedEvent,
        ActivityTaskTimedOutEvent,
        ActivityTaskCanceledEvent,
        TimerFired,
    }
)


class OpenActivity:
    """An activity whose await in workflow code is not resolved yet."""

    __slots__ = (
        "activity_id",
        "activity_type",
        "cancel_requested",
        "cancellation_type",
        "scheduled_event_id",
    )

    def __init__(
        self, scheduled_event_id: int, activity_id: str, activity_type: str, cancellation_type: str
    ) -> None:
        self.scheduled_event_id = scheduled_event_id
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.cancellation_type = cancellation_type
        self.cancel_requested = False


class OpenTimer:
    """A timer that workflow code waits for."""

    __slots__ = ("started_event_id", "timer_id")

    def __init__(self, started_event_id: int, timer_id: str) -> None:
        self.started_event_id = started_event_id
        self.timer_id = timer_id


class LiveRun:
    """A run as the engine holds it between steps.

    `open_*` and `*_seqs` are what workflow code waits for, rebuilt by replay, the same at every
    replay; `activities` and `timers` are the pending rows. They differ: a TRY_CANCEL activity is
    resolved for workflow code while its row waits for the service.
    """

    __slots__ = (
        "activated_ms",
        "activities",
        "activity_seqs",
        "dirty",
        "instance",
        "needs_task",
        "new_bytes",
        "new_events",
        "open_activities",
        "open_timers",
        "requests",
        "row",
        "summary_dirty",
        "time_ms",
        "timer_seqs",
        "timers",
        "unseen",
    )

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self.instance: WorkflowInstance | None = None
        self.activities: dict[int, ActivityRow] = {}
        self.timers: dict[int, UserTimerRow] = {}
        #: keyed by the activator's seq
        self.open_activities: dict[int, OpenActivity] = {}
        self.open_timers: dict[int, OpenTimer] = {}
        #: scheduled or started event id -> seq
        self.activity_seqs: dict[int, int] = {}
        self.timer_seqs: dict[int, int] = {}
        #: input events after the last completed task; only kept while there is an instance, else
        #: replay finds them
        self.unseen: list[HistoryEvent] = []
        #: events appended by the current step
        self.new_events: list[HistoryEvent] = []
        self.new_bytes = 0
        #: the deduplication window of the workflow, request id -> its rows (kinds, chains), loaded when a request first
        #: asks; its newest run keeps it
        self.requests: dict[str, list[RequestRow]] | None = None
        self.activated_ms = 0  # workflow time of the last activation
        self.time_ms = 0  # workflow time of the current step
        self.needs_task = False
        self.dirty = False
        self.summary_dirty = False

    def begin(self, now_ms: int) -> None:
        """Make the run ready to be changed by a step."""
        self.row = copy.copy(self.row)
        self.time_ms = max(now_ms, self.row.last_time_ms)
        self.needs_task = self.dirty = self.summary_dirty = False

    @property
    def is_open(self) -> bool:
        """Whether the run has not closed."""
        return self.row.status == RUNNING

    def append(
        self, attributes: Attributes, *, offset: int = -1, time_ms: int | None = None
    ) -> int:
        """Add an event to the history. Returns its id (of a WorkflowTask the first of its three)."""
        row = self.row
        event_id = row.next_event_id
        event = HistoryEvent(
            event_id, self.time_ms if time_ms is None else time_ms, attributes, offset
        )
        kind = type(attributes)
        row.next_event_id = event_id + (3 if kind is WorkflowTask else 1)
        size = attributes_bytes(attributes)
        row.history_size_bytes += size
        self.new_bytes += size
        row.last_time_ms = self.time_ms
        self.new_events.append(event)
        self.dirty = True
        if kind in INPUT_EVENTS and self.instance is not None:
            self.unseen.append(event)
        return event_id

    def reset_machine(self) -> None:
        """Forget what replay is about to rebuild."""
        self.open_activities = {}
        self.open_timers = {}
        self.activity_seqs = {}
        self.timer_seqs = {}
        self.unseen = []
        self.activated_ms = 0

    def drop_instance(self) -> None:
        """Let the instance go; the next task replays."""
        if self.instance is not None:
            instance, self.instance = self.instance, None
            instance.close()
        self.reset_machine()
