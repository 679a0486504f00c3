"""What a history event says on one line, what it belongs to, and whether a filter finds it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from odradek.web.api.history import EventView
from odradek.web.ui.text import brief, brief_payloads, duration, failure_line, shown

WORKFLOW, TASK, ACTIVITY, TIMER, SIGNAL, OTHER = (
    "workflow",
    "task",
    "activity",
    "timer",
    "signal",
    "other",
)
CATEGORIES = (WORKFLOW, ACTIVITY, TIMER, SIGNAL, TASK, OTHER)
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BAD = ("Failed", "TimedOut", "Terminated")


def category(event_type: str) -> str:
    """What an event belongs to."""
    name = event_type.removeprefix("EVENT_TYPE_").replace("_", "").lower()
    if name.startswith("workflowtask"):
        return TASK
    if name.startswith("activitytask"):
        return ACTIVITY
    if name.startswith("timer"):
        return TIMER
    if name.startswith("workflowexecutionsignaled"):
        return SIGNAL
    if name.startswith("workflowexecution") and "external" not in name and "update" not in name:
        return WORKFLOW
    return OTHER


def title(event_type: str) -> str:
    """ActivityTaskScheduled -> Activity task scheduled."""
    words = (
        _WORDS.sub(" ", event_type)
        if not event_type.startswith("EVENT_TYPE_")
        else event_type[11:].replace("_", " ")
    )
    return words.capitalize()


def tone(event_type: str) -> str:
    """The colour of an event: bad, good, or none; colour is for outcomes alone."""
    if event_type.endswith(_BAD) or event_type.endswith(("_FAILED", "_TIMED_OUT", "_TERMINATED")):
        return "bad"
    if event_type.endswith("ExecutionCompleted"):
        return "good"
    return "warn" if "Cancel" in event_type else ""


class Names:
    """Names of what was scheduled, by the id of the event that did: later events only point there."""

    def __init__(self, events: Iterable[EventView]) -> None:
        self._names: dict[int, str] = {}
        for event in events:
            if event.event_type == "ActivityTaskScheduled":
                self._names[event.event_id] = event.attributes["activity_type"]
            elif event.event_type == "TimerStarted":
                self._names[event.event_id] = f"timer {event.attributes['timer_id']}"

    def of(self, event: EventView) -> str:
        """The name of what an event is about; "" when it is about nothing that has one."""
        a = event.attributes
        return self._names.get(
            a.get("scheduled_event_id") or a.get("started_event_id") or event.event_id, ""
        )


def subject(event: EventView) -> int:
    """The event that began what an event is about: of an activity or a timer the one that
    scheduled it; itself, when it stands alone.
    """
    kind, a = event.event_type, event.attributes
    if kind.startswith("ActivityTask"):
        return int(a.get("scheduled_event_id") or event.event_id)
    if kind in ("TimerFired", "TimerCanceled"):
        return int(a["started_event_id"])
    return event.event_id


def related(events: Sequence[EventView], event: EventView) -> list[EventView]:
    """All events of the same activity or timer; none for what stands alone."""
    about = subject(event)
    found = [one for one in events if subject(one) == about]
    return found if len(found) > 1 else []


def summary_of(attributes: dict[str, Any]) -> str:
    """What the workflow said of an activity or a timer when it began one; "" when it said nothing."""
    text = brief(shown(attributes["summary"]), 200) if attributes.get("summary") else ""
    return text if text != "null" else ""


def line(event: EventView, names: Names) -> str:
    """An event on one line."""
    a, kind = event.attributes, event.event_type
    name = names.of(event)
    parts: Sequence[str]
    if kind == "WorkflowExecutionStarted":
        parts = (a["workflow_type"], brief_payloads(a["input"]))
    elif kind == "WorkflowExecutionSignaled":
        parts = (a["signal_name"], brief_payloads(a["input"]))
    elif kind == "ActivityTaskScheduled":
        parts = (name, summary_of(a), brief_payloads(a["input"]))
    elif kind == "ActivityTaskStarted":
        parts = (name, f"attempt {a['attempt']}", a["identity"])
    elif kind == "TimerStarted":
        parts = (name, summary_of(a), duration(a["start_to_fire_timeout_ms"]))
    elif kind == "MarkerRecorded":
        parts = (
            a["marker_name"],
            brief_payloads([value for values in a["details"].values() for value in values]),
        )
    elif kind == "WorkflowExecutionTerminated":
        parts = (a["reason"], a["identity"])
    elif kind == "WorkflowTaskFailed":
        parts = (a["cause"], failure_line(a["failure"]))
    elif "event_type" in a:
        parts = (str(a["json"])[:160],)
    else:
        parts = (
            name,
            brief_payloads(a.get("result")),
            failure_line(a.get("failure")),
            a.get("cause") or "",
            a.get("identity", "") or "",
        )
    return " · ".join(str(part) for part in parts if part)


def found(event: EventView, names: Names, text: str, categories: Sequence[str]) -> bool:
    """Whether a filter finds an event: by its category, and by any text in it."""
    if categories and category(event.event_type) not in categories:
        return False
    if not text:
        return True
    wanted = text.casefold()
    if (
        wanted in event.event_type.casefold()
        or wanted in names.of(event).casefold()
        or wanted == str(event.event_id)
    ):
        return True
    return wanted in searchable(event.attributes)


def searchable(attributes: dict[str, Any]) -> str:
    """The text of attributes, for searching."""
    return json.dumps(shown(attributes), ensure_ascii=False).casefold()
