"""Records that Kafka has deleted: which there were of a run, as its history knows, and why a
record is gone.

Odradek deletes `commands` right behind what their services have acknowledged, and `events` once
they are applied and `audit_window` old. A history names the place of each record that caused an
event, and of each activity's last command; so it can be said what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable

from odradek.web.api.runs import EventView
from odradek.web.kafka.facts import Place, PurgedRecord, RecordView, Trail
from odradek.wire.headers import RUN_ID
from odradek.wire.topics import COMMANDS, EVENTS, Topics

COMMAND = "ActivityTask"
#: Offsets that are still there, by topic and partition: the first, and the one behind the last.
Bounds = dict[tuple[str, int], tuple[int, int]]

#: Events that a record of one kind alone causes.
_CAUSES = {
    "WorkflowExecutionStarted": "StartWorkflow",
    "WorkflowExecutionSignaled": "SignalWorkflow",
    "WorkflowExecutionCancelRequested": "CancelWorkflow",
    "WorkflowExecutionTerminated": "TerminateWorkflow",
    "ActivityTaskCompleted": "ActivityTaskCompleted",
    "ActivityTaskFailed": "ActivityTaskFailed",
    "ActivityTaskCanceled": "ActivityTaskCanceled",
}
_WHY = {
    COMMANDS: (
        "Records of `commands` are deleted within seconds once the service has acknowledged them."
    ),
    EVENTS: (
        "Records of `events` are deleted once they are applied and older than the setting"
        " `audit_window` (1 h unless set)."
    ),
}


def places_of(events: Iterable[EventView]) -> list[PurgedRecord]:
    """Every record that a history knows, each once, in the order of its events."""
    found: dict[tuple[str, int, int], PurgedRecord] = {}
    for event in events:
        for place, kind in (
            (event.place, _CAUSES.get(event.event_type, "")),
            (event.command, COMMAND),
        ):
            if place is not None and place.offset >= 0:
                key = place.topic, place.partition, place.offset
                found.setdefault(
                    key,
                    PurgedRecord(
                        place, kind, event.event_id, event.event_type, event.event_time_ms
                    ),
                )
    return list(found.values())


def add_purged(trail: Trail, events: list[EventView], bounds: Bounds, run_id: str) -> None:
    """Name in a trail what is deleted of its run; it is not complete then.

    A history has the place of an activity's last command alone, and only if its service told it:
    of the others it is said how many.
    """
    searched = not trail.missing
    here = {(record.topic, record.partition, record.offset) for record in trail.records}
    for one in places_of(events):
        place = one.place
        start, _ = bounds.get((place.topic, place.partition), (0, 0))
        if place.offset < start and (place.topic, place.partition, place.offset) not in here:
            trail.purged.append(one)
    commands = sum(one.kind == COMMAND for one in trail.purged)
    others = len(trail.purged) - commands
    if commands:
        trail.missing.append(
            f"{_count(commands, 'command')} known from the history: commands are deleted once they"
            " are acknowledged"
        )
    if others:
        trail.missing.append(
            f"{_count(others, 'event')} known from the history: events are deleted once applied and"
            " older than audit_window"
        )
    sent = sum(
        event.attributes.get("attempt", 1)
        for event in events
        if event.event_type == "ActivityTaskStarted"
    )
    more = sent - commands - sum(_is_command(record, run_id) for record in trail.records)
    if more > 0 and searched:
        trail.missing.append(
            f"{_count(more, 'more command')} deleted likewise: the history does not say where (it"
            " knows the place of an activity's last attempt, if its service told it)"
        )
    trail.complete = trail.complete and not trail.missing


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _is_command(record: RecordView, run_id: str) -> bool:
    return record.kind == COMMAND and record.headers.get(RUN_ID, run_id) == run_id


def why_absent(topics: Topics, place: Place, bounds: tuple[int, int]) -> str:
    """Why there is no committed record at a place of an existing partition."""
    start, end = bounds
    name = f"{place.topic}/{place.partition}"
    if place.offset >= end:
        return f"{name} has no offset {place.offset} yet: the next one is {end}."
    if place.offset >= start:
        return (
            f"{name} has no record at offset {place.offset}: a transaction's marker stands there,"
            " or what was compacted or never committed."
        )
    parsed = topics.parse(place.topic)
    why = _WHY.get(
        parsed.kind if parsed is not None else "", "The topic's retention has deleted it."
    )
    return f"{name} no longer has offset {place.offset}: it begins at {start}. {why}"
