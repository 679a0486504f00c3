"""Histories in Temporal's JSON form, both ways and without loss.

`to_json` gives what `temporal workflow show --output json` gives: Temporal's own tools and
replayers read it. The WorkflowTask shorthand is expanded to its three events. `from_json` keeps
what these records have no place for (task ids, links, newer members, nanoseconds) beside the
events, and puts it back when the history is written again; event types that this version does
not know are kept whole, as OtherEvent. What only we have (offset, a command's place, request id,
seed, a child's queue and close policy) stands under `odradek`, which Temporal's readers skip.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from odradek.engine.json_events import BY_NAME, BY_RECORD, read_attributes, write_attributes
from odradek.engine.json_fields import Json, read_payload, read_time, write_payload, write_time
from odradek.engine.keys import random_seed
from odradek.wire.history import (
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
    OtherEvent,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionStarted,
    WorkflowTask,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)

EXTENSION = "odradek"


class JsonHistoryError(ValueError):
    """A text that is no history; says where."""


class JsonHistory(msgspec.Struct):
    """A history read from JSON. `extras`: by event id, what the records have no place for."""

    events: list[HistoryEvent]
    extras: dict[int, Json] = {}


class _Removed:
    """Stands in `extras` for a member that the original did not have."""


_REMOVED = _Removed()


def expand(events: list[HistoryEvent]) -> list[HistoryEvent]:
    """The same history without shorthand: each WorkflowTask as Scheduled, Started and Completed."""
    expanded: list[HistoryEvent] = []
    queue = ""
    for event in events:
        a = event.attributes
        if isinstance(a, WorkflowExecutionStarted):
            queue = a.task_queue
        if not isinstance(a, WorkflowTask):
            expanded.append(event)
            continue
        first = event.event_id
        started = WorkflowTaskStarted(
            first, a.identity, "", a.history_size_bytes, a.suggest_continue_as_new
        )
        expanded.append(
            HistoryEvent(first, event.event_time_ms, WorkflowTaskScheduled(queue), event.offset)
        )
        expanded.append(HistoryEvent(first + 1, a.started_time_ms, started, event.offset))
        completed = WorkflowTaskCompleted(first, first + 1, a.identity, a.lang_flags)
        expanded.append(HistoryEvent(first + 2, event.event_time_ms, completed, event.offset))
    return expanded


# ---------------------------------------------------------------- writing


def to_json_dict(history: JsonHistory | list[HistoryEvent]) -> Json:
    """`{"events": [...]}` of plain dicts."""
    events, extras = (
        (history.events, history.extras) if isinstance(history, JsonHistory) else (history, {})
    )
    written = []
    for event in expand(events):
        value = _write_event(event)
        extra = extras.get(event.event_id)
        written.append(_merged(value, extra) if extra is not None else value)
    return {"events": written}


def to_json(history: JsonHistory | list[HistoryEvent], *, indent: int | None = None) -> str:
    """The history as JSON text."""
    return json.dumps(to_json_dict(history), indent=indent)


def _write_event(event: HistoryEvent) -> Json:
    a = event.attributes
    if isinstance(a, OtherEvent):
        kept: Json = json.loads(a.json)
        return kept
    event_type = BY_RECORD[type(a)]
    value: Json = {
        "eventId": str(event.event_id),
        "eventTime": write_time(event.event_time_ms),
        "eventType": event_type.constant,
        event_type.member: write_attributes(a, event_type),
    }
    if isinstance(a, ActivityTaskScheduled | TimerStarted) and a.summary is not None:
        value["userMetadata"] = {"summary": write_payload(a.summary)}
    extension: Json = {}
    if event.offset >= 0:
        extension["offset"] = event.offset
    if isinstance(a, ActivityTaskStartedEvent) and a.command_offset >= 0:
        extension["commandPartition"], extension["commandOffset"] = (
            a.command_partition,
            a.command_offset,
        )
    if isinstance(a, WorkflowExecutionCancelRequested) and a.request_id:
        extension["requestId"] = a.request_id
    if isinstance(a, WorkflowExecutionStarted):
        if a.random_seed not in (0, random_seed(a.run_id)):
            extension["randomSeed"] = str(a.random_seed)
        if a.parent is not None:
            if a.parent.task_queue:
                extension["parentTaskQueue"] = a.parent.task_queue
            if a.parent.parent_close_policy:
                extension["parentClosePolicy"] = a.parent.parent_close_policy
    if extension:
        value[EXTENSION] = extension
    return value


# ---------------------------------------------------------------- reading


def from_json(
    history: str | bytes | Json, *, workflow_id: str = "", run_id: str = ""
) -> JsonHistory:
    """A history from JSON text or from its parsed form. `workflow_id` and `run_id` stand in for
    what older histories do not hold.
    """
    value = json.loads(history) if isinstance(history, str | bytes) else history
    if not isinstance(value, dict) or not isinstance(value.get("events"), list):
        raise JsonHistoryError("a history is an object with a list named 'events'")
    result = JsonHistory([], {})
    for number, item in enumerate(value["events"], 1):
        try:
            event = _read_event(item)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            name = item.get("eventType", "") if isinstance(item, dict) else ""
            raise JsonHistoryError(f"event {number} {name}: {error}") from error
        result.events.append(event)
        extra = _difference(_write_event(event), item)
        if extra:
            result.extras[event.event_id] = extra
    if result.events and isinstance(result.events[0].attributes, WorkflowExecutionStarted):
        started = result.events[0].attributes
        started.workflow_id = started.workflow_id or workflow_id
        started.run_id = started.run_id or run_id
        if not started.random_seed and started.run_id:
            started.random_seed = random_seed(started.run_id)
        first = result.events[0]
        result.extras[first.event_id] = _difference(_write_event(first), value["events"][0])
    return result


def _read_event(item: Json) -> HistoryEvent:
    event_id, name = int(item["eventId"]), str(item["eventType"])
    time_ms = read_time(item["eventTime"]) if item.get("eventTime") else 0
    extension = item.get(EXTENSION) or {}
    event_type = BY_NAME.get(name)
    if event_type is None:
        return HistoryEvent(event_id, time_ms, OtherEvent(name, json.dumps(item)))
    a = read_attributes(item.get(event_type.member) or {}, event_type)
    if isinstance(a, ActivityTaskScheduled | TimerStarted):
        summary = (item.get("userMetadata") or {}).get("summary")
        a.summary = read_payload(summary) if summary else None
    if isinstance(a, ActivityTaskStartedEvent):
        a.command_partition, a.command_offset = (
            int(extension.get("commandPartition", -1)),
            int(extension.get("commandOffset", -1)),
        )
    if isinstance(a, WorkflowExecutionCancelRequested):
        a.request_id = extension.get("requestId", "")
    if isinstance(a, WorkflowExecutionStarted):
        a.random_seed = (
            int(extension["randomSeed"])
            if "randomSeed" in extension
            else random_seed(a.run_id)
            if a.run_id
            else 0
        )
        if a.parent is not None:
            a.parent.task_queue = extension.get("parentTaskQueue", "")
            a.parent.parent_close_policy = extension.get("parentClosePolicy", "")
    return HistoryEvent(event_id, time_ms, a, int(extension.get("offset", -1)))


# ---------------------------------------------------------------- what the records have no place
# for


def _difference(written: Any, original: Any) -> Json:
    """Members to change in `written` to make it `original`, as a tree."""
    extra: Json = {}
    for member, value in original.items():
        if member not in written:
            extra[member] = value
        elif isinstance(value, dict) and isinstance(written[member], dict):
            inner = _difference(written[member], value)
            if inner:
                extra[member] = inner
        elif value != written[member]:
            extra[member] = value
    extra.update((member, _REMOVED) for member in written if member not in original)
    return extra


def _merged(written: Json, extra: Json) -> Json:
    merged = dict(written)
    for member, value in extra.items():
        if value is _REMOVED:
            merged.pop(member, None)
        elif isinstance(value, dict) and isinstance(merged.get(member), dict):
            merged[member] = _merged(merged[member], value)
        else:
            merged[member] = value
    return merged
