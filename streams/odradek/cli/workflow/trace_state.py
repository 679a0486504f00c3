"""What `workflow trace` shows of a run: its activities and timers in their order, told by its
history, and by `describe` what waits.

Pure: events and descriptions in, a tree of lines out. Activities write their start into the
history when they close; until then the description says at which attempt they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from odradek.cli.style import BLUE, FAINT, GREEN, RED, YELLOW, Painted
from odradek.cli.times import age_text, relative_text, time_text
from odradek.wire import history
from odradek.wire.history import HistoryEvent
from odradek.wire.outcomes import WorkflowDescription
from odradek.wire.payload import Failure

#: A line: texts, painted or not, one behind the other.
Line = list[str]

_ICONS = {
    "SCHEDULED": Painted("•", 0),
    "RUNNING": Painted("▷", BLUE),
    "STARTED": Painted("▷", BLUE),
    "CANCEL_REQUESTED": Painted("▷", YELLOW),
    "COMPLETED": Painted("✓", GREEN),
    "FAILED": Painted("!", RED),
    "TERMINATED": Painted("x", RED),
    "CANCELED": Painted("x", YELLOW),
    "TIMED_OUT": Painted("⏱", RED),
    "CONTINUED_AS_NEW": Painted("»", GREEN),
    "WAITING": Painted("⧖", BLUE),
    "FIRED": Painted("⧖", GREEN),
    "TIMER_CANCELED": Painted("⧖", YELLOW),
}
_CLOSES: dict[type, str] = {
    history.WorkflowExecutionCompleted: "COMPLETED",
    history.WorkflowExecutionFailed: "FAILED",
    history.WorkflowExecutionTimedOut: "TIMED_OUT",
    history.WorkflowExecutionCanceled: "CANCELED",
    history.WorkflowExecutionTerminated: "TERMINATED",
    history.WorkflowExecutionContinuedAsNew: "CONTINUED_AS_NEW",
}
_ACTIVITY_CLOSES: dict[type, str] = {
    history.ActivityTaskCompletedEvent: "COMPLETED",
    history.ActivityTaskFailedEvent: "FAILED",
    history.ActivityTaskTimedOutEvent: "TIMED_OUT",
    history.ActivityTaskCanceledEvent: "CANCELED",
}
# A retry state that says no more than that nothing was tried again for no reason of its own.
_NO_RETRY_STATE = ("", "RETRY_POLICY_NOT_SET")
_INDENT = Painted(" │  ", FAINT)


@dataclass
class Step:
    """An activity or a timer. `started_ms`: 0 before it has. `notes`: what waits, in words."""

    name: str
    status: str
    started_ms: int = 0
    closed_ms: int = 0
    attempt: int = 0
    failure: str = ""
    retry_state: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass
class TracedRun:
    """A run so far. `steps` by the id of the event that began them."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str = "RUNNING"
    started_ms: int = 0
    closed_ms: int = 0
    attempt: int = 1
    failure: str = ""
    retry_state: str = ""
    said: list[tuple[str, str]] = field(default_factory=list)
    trouble: str = ""
    next_run_id: str = ""
    steps: dict[int, Step] = field(default_factory=dict)

    def update(self, event: HistoryEvent) -> None:
        """Take the next event of the history."""
        attributes, at_ms = event.attributes, event.event_time_ms
        if isinstance(attributes, history.WorkflowExecutionStarted):
            self.started_ms, self.attempt, self.workflow_type = (
                at_ms,
                attributes.attempt,
                attributes.workflow_type,
            )
        elif isinstance(attributes, history.WorkflowExecutionCancelRequested):
            self._say("Cancel cause:", attributes.cause)
            self._say("Cancel requested by:", attributes.identity)
        elif isinstance(attributes, history.ActivityTaskScheduled):
            self.steps[event.event_id] = Step(attributes.activity_type, "SCHEDULED")
        elif isinstance(attributes, history.TimerStarted):
            name = f"Timer {attributes.timer_id} ({age_text(attributes.start_to_fire_timeout_ms)})"
            self.steps[event.event_id] = Step(name, "WAITING", started_ms=at_ms)
        elif type(attributes) in _CLOSES:
            self._close(attributes, at_ms)
        else:
            self._update_step(attributes, at_ms)

    def _close(self, attributes: history.Attributes, at_ms: int) -> None:
        self.status, self.closed_ms, self.trouble = _CLOSES[type(attributes)], at_ms, ""
        if isinstance(attributes, history.WorkflowExecutionFailed):
            self.failure = _failure_text(attributes.failure)
        if isinstance(attributes, history.WorkflowExecutionTerminated):
            self._say("Termination reason:", attributes.reason)
            self._say("Terminated by:", attributes.identity)
        self.retry_state = getattr(attributes, "retry_state", "")
        self.next_run_id = getattr(attributes, "new_execution_run_id", "")

    def _update_step(self, attributes: history.Attributes, at_ms: int) -> None:
        began = getattr(attributes, "scheduled_event_id", 0) or getattr(
            attributes, "started_event_id", 0
        )
        step = self.steps.get(began)
        if step is None:
            return  # a workflow task, or an event that a trace does not show
        if isinstance(attributes, history.ActivityTaskStartedEvent):
            step.status, step.started_ms, step.attempt = "STARTED", at_ms, attributes.attempt
        elif isinstance(attributes, history.ActivityTaskCancelRequested):
            step.status = "CANCEL_REQUESTED"
        elif isinstance(attributes, history.TimerFired):
            step.status, step.closed_ms = "FIRED", at_ms
        elif isinstance(attributes, history.TimerCanceled):
            step.status, step.closed_ms = "TIMER_CANCELED", at_ms
        elif type(attributes) in _ACTIVITY_CLOSES:
            step.status, step.closed_ms = _ACTIVITY_CLOSES[type(attributes)], at_ms
            step.failure = _failure_text(getattr(attributes, "failure", None))
            step.retry_state = getattr(attributes, "retry_state", "")
        if step.closed_ms:
            step.notes = []

    def _say(self, what: str, text: str) -> None:
        if text:
            self.said.append((what, text))

    def describe(self, found: WorkflowDescription) -> None:
        """Take what the history does not say yet. Nothing, when the run has closed meanwhile:
        its events are on their way.
        """
        if found.summary.status != "RUNNING" or self.closed_ms:
            return
        self.trouble = found.summary.quarantine_reason
        if not self.trouble and found.pending_task_failure is not None:
            self.trouble = (
                f"workflow task fails, attempt {found.pending_task_attempt}:"
                f" {found.pending_task_failure.message}"
            )
        for activity in found.pending_activities:
            step = self.steps.get(activity.scheduled_event_id)
            if step is None or step.closed_ms:
                continue
            waits = activity.state == "SCHEDULED"  # for the attempt of that number
            step.status, step.attempt, step.notes = activity.state, activity.attempt - waits, []
            step.started_ms = activity.last_started_time_ms or step.started_ms
            step.failure = _failure_text(activity.last_failure)
            if activity.waiting_reason:
                step.notes.append(f"waits: {activity.waiting_reason}")
            if activity.next_attempt_time_ms:
                step.notes.append(
                    f"attempt {activity.attempt}: {relative_text(activity.next_attempt_time_ms)}"
                )
        for timer in found.pending_timers:
            step = self.steps.get(timer.started_event_id)
            if step is not None and not step.closed_ms:
                step.notes = [f"due {time_text(timer.due_ms)}"]

    def lines(self) -> Iterator[Line]:
        """The tree. Texts of users are as they came: see `odradek.cli.output.visible`."""
        yield [
            " ",
            Painted("╪", FAINT),
            " ",
            _icon(self.status),
            f" {self.workflow_type} ",
            _extras(self),
        ]
        ids = (
            Painted("wfId: ", FAINT),
            Painted(self.workflow_id, BLUE),
            Painted(", runId: ", FAINT),
            Painted(self.run_id, BLUE),
        )
        yield [_INDENT, " ", *ids]
        yield from _ends(self, 1)
        for what, text in self.said:
            yield [_INDENT, " ", Painted(what, YELLOW), " ", Painted(text, FAINT)]
        if self.trouble:
            yield [
                _INDENT,
                " ",
                Painted("Does not get on:", RED),
                " ",
                Painted(self.trouble, FAINT),
            ]
        if self.next_run_id:
            yield [
                _INDENT,
                " ",
                Painted("Goes on in runId: ", FAINT),
                Painted(self.next_run_id, BLUE),
            ]
        for step in self.steps.values():
            yield [
                _INDENT,
                " ",
                Painted("┼", FAINT),
                " ",
                _icon(step.status),
                f" {step.name} ",
                _extras(step),
            ]
            yield from _ends(step, 2)
            for note in step.notes:
                yield [_INDENT, _INDENT, " ", Painted(note, FAINT)]


def _icon(status: str) -> str:
    return _ICONS.get(status, "?")


def _extras(one: TracedRun | Step) -> Painted:
    """How long it took, or how long ago it began; and how many attempts were begun, if several."""
    told = []
    if one.started_ms:
        told.append(
            age_text(max(0, one.closed_ms - one.started_ms))
            if one.closed_ms
            else relative_text(one.started_ms)
        )
    if one.attempt > 1:
        told.append(f"{one.attempt} attempts")
    return Painted(f"({', '.join(told)})", FAINT) if told else Painted("", 0)


def _ends(one: TracedRun | Step, depth: int) -> Iterator[Line]:
    indent: Line = [*[_INDENT] * depth, " "]
    for number, line in enumerate(one.failure.splitlines()):
        yield [
            *indent,
            Painted("Failure:", RED) if not number else " " * 8,
            " ",
            Painted(line, FAINT),
        ]
    if one.retry_state not in _NO_RETRY_STATE:
        yield [*indent, Painted("Retry state:", RED), " ", Painted(one.retry_state, FAINT)]


def _failure_text(failure: Failure | None) -> str:
    """Its message, and that of its root cause: what an activity raised."""
    if failure is None:
        return ""
    root = failure
    while root.cause is not None:
        root = root.cause
    return failure.message if root is failure else f"{failure.message}\n{root.message}"
