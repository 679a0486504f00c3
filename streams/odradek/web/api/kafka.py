"""The Kafka beneath: queues with partitions, owners and lag; members; records; dead letters;
schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Path, Query

from odradek.service import RPCStatusCode
from odradek.web.api.overview import EndMs, StartMs, StepMs, time_range
from odradek.web.api.router import Id, Offset, Server, new_router
from odradek.web.api.trail import why_absent
from odradek.web.errors import ApiError, not_found
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
)
from odradek.web.threads import in_kafka_thread

queues, records, letters = new_router("queues"), new_router("records"), new_router("dead letters")
_LETTERS = "/task-queues/{task_queue:id}/dead-letters"


@dataclass
class Queues:
    """Task queues of the namespace."""

    task_queues: list[QueueView]


@queues.get("/task-queues", summary="Task queues, with lag and members.")
async def list_queues(server: Server) -> Queues:
    return Queues(await in_kafka_thread(server.need_queues().queues))


@queues.get("/task-queues/{task_queue:id}", summary="Its partitions, owners, lag, members.")
async def describe_queue(server: Server, task_queue: Id) -> QueueDetail:
    return await in_kafka_thread(server.need_queues().queue, task_queue)


@dataclass
class BacklogOverTime:
    """Windows in order of time, then queue; of queues that this server has seen. `since_ms`:
    from when on it has looked, 0: not yet.
    """

    since_ms: int
    windows: list[BacklogWindow]


@queues.get("/backlog", summary="What waited in queues over time, as this server saw it.")
async def backlog(
    server: Server, start_ms: StartMs = None, end_ms: EndMs = None, step_ms: StepMs = 60_000
) -> BacklogOverTime:
    start, end = time_range(start_ms, end_ms, step_ms)
    return BacklogOverTime(server.backlog.since_ms, server.backlog.windows(start, end, step_ms))


@dataclass
class Members:
    """Processors and services. `complete` False: the topic has not been read to its end yet."""

    members: list[MemberView]
    complete: bool


@queues.get("/members", summary="Processors and services.")
async def list_members(
    server: Server,
    task_queue: Annotated[str, Query(max_length=1_000, description="Of this queue only.")] = "",
) -> Members:
    return Members(server.board.members(task_queue or None), server.board.complete)


@records.get("/records/{topic}/{partition}/{offset}", summary="A record, decoded.")
async def show_record(
    server: Server,
    topic: Annotated[str, Path(min_length=1, max_length=249)],
    partition: Annotated[int, Path(ge=0, le=2**31 - 1)],
    offset: Offset,
) -> RecordView:
    reader, timeout_s = server.need_records(), server.options.search_timeout_s
    found = await in_kafka_thread(reader.record, topic, partition, offset, timeout_s=timeout_s)
    if found is None:
        where = topic, partition
        bounds = (await in_kafka_thread(reader.bounds, [where])).get(where, (0, 0))
        raise not_found(why_absent(server.topics, Place(*where, offset), bounds))
    return found


@dataclass
class Schemas:
    """Schemas in use: writers publish theirs before their first record. With a schema registry
    they stand there instead.
    """

    schemas: list[SchemaView]
    complete: bool


@records.get("/schemas", summary="Schemas in use.")
async def list_schemas(server: Server) -> Schemas:
    return Schemas(server.board.schemas(), server.board.complete)


@letters.get(_LETTERS, summary="Dead letters, latest first.")
async def list_dead_letters(
    server: Server,
    task_queue: Id,
    before: Annotated[
        Offset | None,
        Query(description="Those before this offset: `next_offset` of the page before."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> DeadLetters:
    reader, timeout_s = server.need_dead_letters(), server.options.search_timeout_s
    return await in_kafka_thread(
        reader.list, task_queue, before=before, limit=limit, timeout_s=timeout_s
    )


@letters.get(_LETTERS + "/{offset}", summary="One dead letter.")
async def show_dead_letter(server: Server, task_queue: Id, offset: Offset) -> DeadLetterView:
    reader, timeout_s = server.need_dead_letters(), server.options.search_timeout_s
    found = await in_kafka_thread(reader.get, task_queue, offset, timeout_s=timeout_s)
    if found is None:
        raise _no_dead_letter(task_queue, offset)
    return found


@dataclass
class Redriven:
    """Where a dead letter was put back; its offset is -1 if it could not be found there any more."""

    place: Place


@letters.post(_LETTERS + "/{offset}/redrive", summary="Put it back where it came from.")
async def redrive(server: Server, task_queue: Id, offset: Offset) -> Redriven:
    reader, timeout_s = server.need_dead_letters(), server.options.search_timeout_s
    try:
        place = await in_kafka_thread(reader.redrive, task_queue, offset, timeout_s=timeout_s)
    except RedriveRefusedError as error:
        raise ApiError(RPCStatusCode.FAILED_PRECONDITION, str(error)) from error
    if place is None:
        raise _no_dead_letter(task_queue, offset)
    return Redriven(place)


def _no_dead_letter(task_queue: str, offset: int) -> ApiError:
    return not_found(f"task queue {task_queue!r} has no dead letter at offset {offset}")
