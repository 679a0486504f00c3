"""The Kafka beneath: queues with partitions, owners and lag; members; records; the trail of a
workflow; dead letters; schemas.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec

from odradek.client.locate import ambiguous
from odradek.service import RPCStatusCode
from odradek.web.api.operation import Asked, Operation
from odradek.web.api.parameters import Id, Offset, RunId, TaskQueue, TimeMs
from odradek.web.api.runs import EventView, event_views, place_of, reader_of
from odradek.web.commands import CommandPlaces
from odradek.web.errors import ApiError, api_error, invalid, not_found
from odradek.web.kafka.backlog import BacklogWindow
from odradek.web.kafka.dead_letters import RedriveRefusedError
from odradek.web.kafka.facts import (
    DeadLetters,
    DeadLetterView,
    MemberView,
    Place,
    QueueDetail,
    QueueView,
    RecordView,
    SchemaView,
    Trail,
)
from odradek.web.purged import add_purged, places_of, why_absent
from odradek.web.runs import last_id
from odradek.web.threads import in_kafka_thread, in_thread

#: A trail is compared with a history up to here.
_COMPARED_EVENTS = 20_000


class Queues(msgspec.Struct):
    """Task queues of the namespace."""

    task_queues: list[QueueView]


async def list_queues(asked: Asked) -> Queues:
    return Queues(await in_kafka_thread(asked.server.need_queues().queues))


class QueueParameters(msgspec.Struct):
    task_queue: Id


async def describe_queue(asked: Asked) -> QueueDetail:
    return await in_kafka_thread(asked.server.need_queues().queue, asked.parameters.task_queue)


class BacklogOverTime(msgspec.Struct):
    """Windows in order of time, then queue; of queues that this server has seen. `since_ms`:
    from when on it has looked, 0: not yet.
    """

    since_ms: int
    windows: list[BacklogWindow]


class BacklogParameters(msgspec.Struct):
    start_ms: Annotated[TimeMs, msgspec.Meta(description="An hour ago when left out.")] | None = (
        None
    )
    end_ms: Annotated[TimeMs, msgspec.Meta(description="Now when left out.")] | None = None
    step_ms: Annotated[
        int, msgspec.Meta(ge=60_000, le=24 * 3_600_000, description="Whole minutes.")
    ] = 60_000


async def backlog_over_time(asked: Asked) -> BacklogOverTime:
    given: BacklogParameters = asked.parameters
    end_ms = int(time.time() * 1000) if given.end_ms is None else given.end_ms
    start_ms = max(0, end_ms - 3_600_000 if given.start_ms is None else given.start_ms)
    if end_ms < start_ms:
        raise invalid("end_ms lies before start_ms")
    if (end_ms - start_ms) // given.step_ms > 2_000:
        raise invalid("more than 2,000 steps: take a larger step_ms")
    backlog = asked.server.backlog
    return BacklogOverTime(backlog.since_ms, backlog.windows(start_ms, end_ms, given.step_ms))


class Members(msgspec.Struct):
    """Processors and services. `complete` False: the topic has not been read to its end yet."""

    members: list[MemberView]
    complete: bool


class MembersParameters(msgspec.Struct):
    task_queue: Annotated[
        str, msgspec.Meta(max_length=1_000, description="Of this queue only.")
    ] = ""


async def list_members(asked: Asked) -> Members:
    board = asked.server.board
    return Members(board.members(asked.parameters.task_queue or None), board.complete)


# ---------------------------------------------------------------- records


class RecordParameters(msgspec.Struct):
    topic: Annotated[str, msgspec.Meta(min_length=1, max_length=249)]
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Offset


async def show_record(asked: Asked) -> RecordView:
    given: RecordParameters = asked.parameters
    records, timeout_s = asked.server.need_records(), asked.server.options.search_timeout_s
    found = await in_kafka_thread(
        records.record, given.topic, given.partition, given.offset, timeout_s=timeout_s
    )
    if found is None:
        where = given.topic, given.partition
        bounds = (await in_kafka_thread(records.bounds, [where])).get(where, (0, 0))
        raise not_found(why_absent(asked.server.topics, Place(*where, given.offset), bounds))
    return found


class TrailParameters(msgspec.Struct):
    workflow_id: Id
    run_id: RunId = ""
    task_queue: TaskQueue = ""
    since_ms: (
        Annotated[
            TimeMs, msgspec.Meta(description="From this time; from the run's start when left out.")
        ]
        | None
    ) = None
    limit: Annotated[
        int,
        msgspec.Meta(
            ge=1, le=5_000, description="Of records that are no requests that only looked."
        ),
    ] = 1_000
    reads: Annotated[
        bool,
        msgspec.Meta(description="Requests that only looked as well, up to the limit once more."),
    ] = False


async def trail(asked: Asked) -> Trail:
    given: TrailParameters = asked.parameters
    server = asked.server
    records = server.need_records()
    queue, since_ms, activity_queues = given.task_queue, given.since_ms, set[str]()
    summary = None
    if (
        server.read_side is not None and not server.building()
    ):  # a part of a copy may have an old summary; the owner knows better
        store = server.need_visibility()
        if (
            not queue
            and len(queues := await in_thread(store.queues_of, given.workflow_id, given.run_id)) > 1
        ):
            raise ambiguous(given.workflow_id, queues)
        summary = await in_thread(store.get, given.workflow_id, given.run_id)
    if summary is not None:
        queue = queue or summary.task_queue
        since_ms = summary.start_time_ms if since_ms is None else since_ms
    if not queue:
        found = await reader_of(asked, given.workflow_id, given.run_id, "").describe()
        queue, since_ms = (
            found.summary.task_queue,
            found.summary.start_time_ms if since_ms is None else since_ms,
        )
    if server.queues is not None:
        # Activities may go to any queue, and only the history says to which: all that have commands
        # are searched.
        kinds = await in_kafka_thread(server.queues.kinds)
        activity_queues = {name for name, found_kinds in kinds.items() if "commands" in found_kinds}
    found_trail = await in_kafka_thread(
        records.trail,
        given.workflow_id,
        task_queue=queue,
        run_id=given.run_id,
        activity_queues=activity_queues,
        since_ms=since_ms or 0,
        limit=given.limit,
        reads_limit=given.limit if given.reads else 0,
        timeout_s=server.options.search_timeout_s,
    )
    await _name_purged(asked, found_trail, queue)
    return found_trail


async def _name_purged(asked: Asked, found: Trail, queue: str) -> None:
    """Compare a trail with the run's history (of the latest run, if none was named): what was
    deleted, the history may know.
    """
    given: TrailParameters = asked.parameters
    records = asked.server.need_records()
    try:
        run_id, events, whole = await _known_events(asked, given, queue)
        bounds = await in_kafka_thread(
            records.bounds, {(one.place.topic, one.place.partition) for one in places_of(events)}
        )
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
    asked: Asked, given: TrailParameters, queue: str
) -> tuple[str, list[EventView], bool]:
    """The run's id, its events with their places in Kafka, and whether these are all."""
    reader, place = (
        reader_of(asked, given.workflow_id, given.run_id, queue),
        await place_of(asked.server, queue, given.workflow_id),
    )
    commands, events, run_id, first = (
        CommandPlaces(asked.server.topics),
        list[EventView](),
        given.run_id,
        1,
    )
    while len(events) < _COMPARED_EVENTS:
        page = await reader.page(first, 1_000)
        views = event_views(page.events, place)
        commands.note(views)
        events += views
        run_id = page.run_id
        if (
            page.next_event_id == 0
            or not page.events
            or (page.open and not await reader.has_more(page, 1_000))
        ):
            return run_id, events, True
        first = last_id(page.events[-1]) + 1
    return run_id, events, False


# ---------------------------------------------------------------- dead letters


class DeadLettersParameters(msgspec.Struct):
    task_queue: Id
    before: (
        Annotated[
            Offset,
            msgspec.Meta(description="Those before this offset: `next_offset` of the page before."),
        ]
        | None
    ) = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


async def list_dead_letters(asked: Asked) -> DeadLetters:
    given: DeadLettersParameters = asked.parameters
    reader, timeout_s = asked.server.need_dead_letters(), asked.server.options.search_timeout_s
    return await in_kafka_thread(
        reader.list, given.task_queue, before=given.before, limit=given.limit, timeout_s=timeout_s
    )


class DeadLetterParameters(msgspec.Struct):
    task_queue: Id
    offset: Offset


async def show_dead_letter(asked: Asked) -> DeadLetterView:
    given: DeadLetterParameters = asked.parameters
    reader, timeout_s = asked.server.need_dead_letters(), asked.server.options.search_timeout_s
    found = await in_kafka_thread(reader.get, given.task_queue, given.offset, timeout_s=timeout_s)
    if found is None:
        raise _no_dead_letter(given)
    return found


class Redriven(msgspec.Struct):
    """Where a dead letter was put back; its offset is -1 if it could not be found there any more."""

    place: Place


async def redrive(asked: Asked) -> Redriven:
    given: DeadLetterParameters = asked.parameters
    reader, timeout_s = asked.server.need_dead_letters(), asked.server.options.search_timeout_s
    try:
        place = await in_kafka_thread(
            reader.redrive, given.task_queue, given.offset, timeout_s=timeout_s
        )
    except RedriveRefusedError as error:
        raise ApiError(RPCStatusCode.FAILED_PRECONDITION, str(error)) from error
    if place is None:
        raise _no_dead_letter(given)
    return Redriven(place)


def _no_dead_letter(given: DeadLetterParameters) -> ApiError:
    return not_found(f"task queue {given.task_queue!r} has no dead letter at offset {given.offset}")


# ---------------------------------------------------------------- schemas


class Schemas(msgspec.Struct):
    """Schemas in use: writers publish theirs before their first record. With a schema registry
    they stand there instead.
    """

    schemas: list[SchemaView]
    complete: bool


async def list_schemas(asked: Asked) -> Schemas:
    return Schemas(asked.server.board.schemas(), asked.server.board.complete)


QUEUE, LETTERS = "/task-queues/{task_queue}", "/task-queues/{task_queue}/dead-letters"
KAFKA_OPERATIONS = [
    Operation(
        "GET",
        "/task-queues",
        "list_queues",
        "Task queues, with lag and members.",
        "queues",
        list_queues,
        Queues,
    ),
    Operation(
        "GET",
        QUEUE,
        "describe_queue",
        "Its partitions, owners, lag, members.",
        "queues",
        describe_queue,
        QueueDetail,
        QueueParameters,
    ),
    Operation(
        "GET",
        "/backlog",
        "backlog",
        "What waited in queues over time, as this server saw it.",
        "queues",
        backlog_over_time,
        BacklogOverTime,
        BacklogParameters,
    ),
    Operation(
        "GET",
        "/members",
        "list_members",
        "Processors and services.",
        "queues",
        list_members,
        Members,
        MembersParameters,
    ),
    Operation(
        "GET",
        "/records/{topic}/{partition}/{offset}",
        "show_record",
        "A record, decoded.",
        "records",
        show_record,
        RecordView,
        RecordParameters,
    ),
    Operation(
        "GET",
        "/workflows/{workflow_id}/trail",
        "trail",
        "Records of a workflow over all topics.",
        "records",
        trail,
        Trail,
        TrailParameters,
    ),
    Operation(
        "GET", "/schemas", "list_schemas", "Schemas in use.", "records", list_schemas, Schemas
    ),
    Operation(
        "GET",
        LETTERS,
        "list_dead_letters",
        "Dead letters, latest first.",
        "dead letters",
        list_dead_letters,
        DeadLetters,
        DeadLettersParameters,
    ),
    Operation(
        "GET",
        LETTERS + "/{offset}",
        "show_dead_letter",
        "One dead letter.",
        "dead letters",
        show_dead_letter,
        DeadLetterView,
        DeadLetterParameters,
    ),
    Operation(
        "POST",
        LETTERS + "/{offset}/redrive",
        "redrive",
        "Put it back where it came from.",
        "dead letters",
        redrive,
        Redriven,
        DeadLetterParameters,
    ),
]
