"""Events put together by what they are about: an activity with all that happened to it, a timer,
a signal. Pure.

What a history does not hold, the times of earlier attempts, is not made up: a group knows when
it was scheduled, when its last attempt began and when it ended. For what is still open the
owner's description adds the attempt, its last failure and when it is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from odradek.web.api.history import EventView
from odradek.web.api.runs import PendingActivityView
from odradek.web.ui.event_text import (
    ACTIVITY,
    OTHER,
    SIGNAL,
    TASK,
    TIMER,
    WORKFLOW,
    Names,
    category,
    summary_of,
    title,
    tone,
)
from odradek.web.ui.text import brief_payloads, duration, failure_line

#: How a group stands. Statuses are colour; WAITING is one that has not begun.
OPEN, WAITING, COMPLETED, FAILED, TIMED_OUT, CANCELED, POINT = (
    "open",
    "waiting",
    "completed",
    "failed",
    "timed-out",
    "canceled",
    "point",
)
_ENDS = {
    "ActivityTaskCompleted": COMPLETED,
    "ActivityTaskFailed": FAILED,
    "ActivityTaskTimedOut": TIMED_OUT,
    "ActivityTaskCanceled": CANCELED,
    "TimerFired": COMPLETED,
    "TimerCanceled": CANCELED,
}


@dataclass
class Group:
    """What belongs together. `started_ms`: when the last attempt began, 0 if none did; `end_ms`
    0: it is open.

    `failure`: what it ended with, or what its last attempt failed with while it is open;
    `earlier_failure`: of the attempt before its last, once it has ended.
    """

    category: str
    name: str
    id: str
    start_ms: int
    state: str = OPEN
    started_ms: int = 0
    end_ms: int = 0
    due_ms: int = 0
    attempt: int = 0
    events: list[EventView] = field(default_factory=list)
    before: str = ""
    after: str = ""
    summary: str = ""
    failure: str = ""
    earlier_failure: str = ""
    pending: PendingActivityView | None = None

    @property
    def first_id(self) -> int:
        """Id of its first event."""
        return self.events[0].event_id

    @property
    def tone(self) -> str:
        """Its colour, for what has no length: that of its event."""
        return "bad" if self.failure else tone(self.events[-1].event_type)

    @property
    def retried(self) -> str:
        """How many attempts of what has ended failed before its last, and why; "" of what was
        done in one.
        """
        count = self.attempt - 1
        if count < 1 or not self.end_ms:
            return ""
        said = f"after {count} failed attempt{'' if count == 1 else 's'}"
        return (
            f"{said}{':' if count == 1 else ', last:'} {self.earlier_failure}"
            if self.earlier_failure
            else said
        )

    def taken_ms(self, now_ms: int) -> int | None:
        """How long it took, or has taken; None for what has no length."""
        return None if self.state == POINT else max(0, (self.end_ms or now_ms) - self.start_ms)


def groups_of(
    events: Iterable[EventView], pending: Iterable[PendingActivityView] = ()
) -> list[Group]:
    """Groups in the order in which they began. Completed workflow tasks are left out: they are
    the code between the lines.
    """
    events = list(events)
    names = Names(events)
    waiting = {one.activity_id: one for one in pending}
    by_event: dict[int, Group] = {}
    groups: list[Group] = []
    for event in events:
        group = _continued(event, by_event)
        if group is None:
            group = _begun(event, names)
            if group is None:
                continue
            groups.append(group)
            by_event[event.event_id] = group
        group.events.append(event)
    for group in groups:
        if group.category == ACTIVITY and not group.end_ms:
            _describe(group, waiting.get(group.id))
    return groups


def _begun(event: EventView, names: Names) -> Group | None:
    a, kind, at = event.attributes, event.event_type, event.event_time_ms
    if kind == "ActivityTaskScheduled":
        return Group(
            ACTIVITY,
            a["activity_type"],
            a["activity_id"],
            at,
            WAITING,
            before=brief_payloads(a["input"]),
            summary=summary_of(a),
        )
    if kind == "TimerStarted":
        length_ms = a["start_to_fire_timeout_ms"]
        return Group(
            TIMER,
            summary_of(a) or "Timer",
            a["timer_id"],
            at,
            OPEN,
            at,
            due_ms=at + length_ms,
            before=duration(length_ms),
        )
    if kind == "WorkflowExecutionSignaled":
        return Group(
            SIGNAL,
            f"Signal {a['signal_name']}",
            "",
            at,
            POINT,
            at,
            at,
            before=brief_payloads(a["input"]),
        )
    if kind == "WorkflowTaskFailed":
        return Group(
            TASK,
            "Workflow task failed",
            "",
            at,
            POINT,
            at,
            at,
            failure=failure_line(a["failure"]) or a["cause"],
        )
    if category(kind) == TASK:
        return None
    group = Group(
        category(kind) if category(kind) in (WORKFLOW, SIGNAL) else OTHER,
        title(kind),
        "",
        at,
        POINT,
        at,
        at,
    )
    if kind == "WorkflowExecutionStarted":
        group.name, group.before = a["workflow_type"], brief_payloads(a["input"])
    elif kind == "MarkerRecorded":
        group.name = f"Marker {a['marker_name']}"
    group.after = brief_payloads(a.get("result"))
    group.failure = failure_line(a.get("failure"))
    return group


def _continued(event: EventView, by_event: dict[int, Group]) -> Group | None:
    a, kind = event.attributes, event.event_type
    if category(kind) == ACTIVITY:
        group = by_event.get(a.get("scheduled_event_id", 0))
    elif kind in ("TimerFired", "TimerCanceled"):
        group = by_event.get(a["started_event_id"])
    else:
        return None
    if group is None:
        return None
    if kind == "ActivityTaskStarted":
        group.started_ms, group.attempt, group.state = event.event_time_ms, a["attempt"], OPEN
        group.failure = failure_line(a["last_failure"])
    elif kind in _ENDS:
        group.end_ms, group.state = event.event_time_ms, _ENDS[kind]
        group.after = brief_payloads(a.get("result") or a.get("details"))
        # Started comes with the end, and has why the attempt before failed: what the last one gave
        # is another thing.
        group.earlier_failure = group.failure
        group.failure = failure_line(a.get("failure")) if group.state in (FAILED, TIMED_OUT) else ""
    return group


def _describe(group: Group, pending: PendingActivityView | None) -> None:
    if pending is None:
        return
    group.pending = pending
    group.attempt = pending.attempt
    group.started_ms = pending.last_started_time_ms or group.started_ms
    group.due_ms = pending.next_attempt_time_ms
    group.failure = failure_line(pending.last_failure)
    group.state = OPEN if pending.state != "SCHEDULED" else WAITING


def summaries_of(events: Iterable[EventView]) -> dict[int, str]:
    """Summaries of activities, by the id of the event that scheduled them."""
    return {
        event.event_id: said
        for event in events
        if event.event_type == "ActivityTaskScheduled" and (said := summary_of(event.attributes))
    }
