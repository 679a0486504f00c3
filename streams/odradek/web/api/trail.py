"""The trail of a workflow: its records over all topics, and what its history knows of those that
Kafka has deleted.

Odradek deletes `commands` right behind what their services have acknowledged, and `events` once
they are applied and `audit_window` old. A history names the place of each record that caused an
event, and of each activity's last command; so it can be said what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import Query

from odradek.client.locate import ambiguous
from odradek.web.api.history import CommandPlaces, EventView, event_views, place_of
from odradek.web.api.router import Id, RunId, Server, TaskQueue, TimeMs, new_router
from odradek.web.context import ServerContext
from odradek.web.errors import api_error
from odradek.web.kafka.facts import Place, PurgedRecord, RecordView, Trail
from odradek.web.runs import RunReader, last_id
from odradek.web.threads import in_kafka_thread, in_thread
from odradek.wire.headers import RUN_ID
from odradek.wire.topics import COMMANDS, EVENTS, Topics

router = new_router("records")

COMMAND = "ActivityTask"
#: A trail is compared with a history up to here.
_COMPARED_EVENTS = 20_000
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


@router.get("/workflows/{workflow_id:id}/trail", summary="Records of a workflow over all topics.")
async def trail(
    server: Server,
    workflow_id: Id,
    run_id: RunId = "",
    task_queue: TaskQueue = "",
    since_ms: Annotated[
        TimeMs | None, Query(description="From this time; from the run's start when left out.")
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=5_000, description="Of records that are no requests that only looked.")
    ] = 1_000,
    reads: Annotated[
        bool, Query(description="Requests that only looked as well, up to the limit once more.")
    ] = False,
) -> Trail:
    records = server.need_records()
    summary = None
    # A part of a copy may have an old summary; the owner knows better.
    if server.read_side is not None and not server.building():
        store = server.need_visibility()
        queues = (
            [task_queue] if task_queue else await in_thread(store.queues_of, workflow_id, run_id)
        )
        if len(queues) > 1:
            raise ambiguous(workflow_id, queues)
        summary = await in_thread(store.get, workflow_id, run_id)
    if summary is None:
        summary = (await server.reader_of(workflow_id, run_id, task_queue).describe()).summary
    # Activities may go to any queue, and only the history says to which: all that have commands
    # are searched.
    kinds = await in_kafka_thread(server.queues.kinds) if server.queues is not None else {}
    queue = task_queue or summary.task_queue
    found = await in_kafka_thread(
        records.trail,
        workflow_id,
        task_queue=queue,
        run_id=run_id,
        activity_queues={name for name, topics in kinds.items() if "commands" in topics},
        since_ms=summary.start_time_ms if since_ms is None else since_ms,
        limit=limit,
        reads_limit=limit if reads else 0,
        timeout_s=server.options.search_timeout_s,
    )
    await _name_purged(server, found, server.reader_of(workflow_id, run_id, queue))
    return found


async def _name_purged(server: ServerContext, found: Trail, reader: RunReader) -> None:
    """Compare a trail with the run's history (of the latest run, if none was named): what was
    deleted, the history may know.
    """
    try:
        place = await place_of(server, reader.task_queue, found.workflow_id)
        run_id, events, whole = await _known_events(server, reader, place)
        places = {(one.place.topic, one.place.partition) for one in places_of(events)}
        bounds = await in_kafka_thread(server.need_records().bounds, places)
    except Exception as error:
        found.complete = False
        found.missing.append(
            "what Kafka has deleted of it, commands above all: the history cannot be read"
            f" ({api_error(error).message})"
        )
        return
    add_purged(found, events, bounds, run_id)
    if not whole:
        found.complete = False
        found.missing.append(
            f"what Kafka has deleted behind event {_COMPARED_EVENTS:,}: so far the history was"
            " looked at"
        )


async def _known_events(
    server: ServerContext, reader: RunReader, place: Place
) -> tuple[str, list[EventView], bool]:
    """The run's id, its events with their places in Kafka, and whether these are all."""
    commands = CommandPlaces(server.topics)
    events: list[EventView] = []
    first = 1
    while True:
        page = await reader.page(first, 1_000)
        views = event_views(page.events, place)
        commands.note(views)
        events += views
        if not await reader.has_more(page, 1_000):
            return page.run_id, events, True
        if len(events) >= _COMPARED_EVENTS:
            return page.run_id, events, False
        first = last_id(page.events[-1]) + 1


def places_of(events: Iterable[EventView]) -> list[PurgedRecord]:
    """Every record that a history knows, each once, in the order of its events."""
    found: dict[tuple[str, int, int], PurgedRecord] = {}
    for event in events:
        cause = _CAUSES.get(event.event_type, "")
        for place, kind in ((event.place, cause), (event.command, COMMAND)):
            if place is not None and place.offset >= 0:
                record = PurgedRecord(
                    place, kind, event.event_id, event.event_type, event.event_time_ms
                )
                found.setdefault((place.topic, place.partition, place.offset), record)
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
    kind = parsed.kind if parsed is not None else ""
    why = _WHY.get(kind, "The topic's retention has deleted it.")
    return f"{name} no longer has offset {place.offset}: it begins at {start}. {why}"
