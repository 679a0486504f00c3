"""The Kafka beneath: queues, services, dead letters, schemas. What the API says, as pages."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from odradek.web.api import kafka as api
from odradek.web.errors import not_found
from odradek.web.kafka.follower import ACTIVITIES
from odradek.web.segments import segment
from odradek.web.shown_json import parse_shown
from odradek.web.threads import in_kafka_thread
from odradek.web.ui.visit import Visit


async def queues(visit: Visit) -> Response:
    """All queues."""
    found = await api.list_queues(visit.server)
    board = visit.server.board
    return visit.render(
        "queues.html",
        part="parts/queues.html",
        queues=found.task_queues,
        complete=board.complete,
        gone=board.gone(),
    )


async def queue(visit: Visit) -> Response:
    """A queue: partitions, owners, lag, members."""
    detail = await api.describe_queue(visit.server, visit.path("task_queue"))
    topics = visit.server.need_queues().topics
    return visit.render("queue.html", part="parts/queue.html", queue=detail, topics=topics)


async def services(visit: Visit) -> Response:
    """Processors and services with their slots."""
    found = await api.list_members(visit.server)
    shared = await _share_groups(
        visit, {member.task_queue for member in found.members if member.kind == ACTIVITIES}
    )
    complete, gone = found.complete, visit.server.board.gone()
    return visit.render(
        "services.html",
        part="parts/services.html",
        members=found.members,
        complete=complete,
        gone=gone,
        shared=shared,
    )


async def dead_letters(visit: Visit) -> Response:
    """Queues with dead letters; of one queue its letters, latest first."""
    chosen = visit.text("task_queue")
    listed = (await api.list_queues(visit.server)).task_queues
    letters = None
    if not chosen:
        chosen = next((one.name for one in listed if one.dead_letters), "")
    if chosen:
        before = visit.number("before", 0) if visit.text("before") else None
        letters = await api.list_dead_letters(visit.server, chosen, before)
    unknown = chosen if chosen not in {one.name for one in listed} else ""
    return visit.render(
        "dead_letters.html",
        status=404 if unknown else 200,
        queues=listed,
        chosen=chosen,
        letters=letters,
        unknown=unknown,
    )


async def dead_letter(visit: Visit) -> Response:
    """One dead letter."""
    task_queue, offset = _letter(visit)
    letter = await api.show_dead_letter(visit.server, task_queue, offset)
    return visit.render("dead_letter.html", task_queue=task_queue, letter=letter)


async def redrive(visit: Visit) -> Response:
    """Put one back. Its page then shows where it stands: the record itself is found by the mark
    it carries.
    """
    task_queue, offset = _letter(visit)
    await api.redrive(visit.server, task_queue, offset)
    return visit.go(f"/dead-letters/{segment(task_queue)}/{offset}", notice="redriven")


def _letter(visit: Visit) -> tuple[str, int]:
    offset = visit.path("offset")
    if not offset.isdecimal() or len(offset) > 18:
        raise not_found(f"there is no dead letter at {offset!r}")
    return visit.path("task_queue"), int(offset)


async def schemas(visit: Visit) -> Response:
    """Schemas in use."""
    found = await api.list_schemas(visit.server)
    return visit.render("schemas.html", schemas=found.schemas, complete=found.complete)


async def schema(visit: Visit) -> Response:
    """One schema."""
    fingerprint = visit.path("fingerprint")
    found = next(
        (
            one
            for one in (await api.list_schemas(visit.server)).schemas
            if one.fingerprint == fingerprint
        ),
        None,
    )
    if found is None:
        raise not_found(f"no writer has published a schema {fingerprint!r}")
    return visit.render("schema.html", schema=found, parsed=_parsed(found.schema))


async def _share_groups(visit: Visit, names: set[str]) -> set[str]:
    """Queues whose services are in a share group; none when Kafka does not answer soon: who is
    there is worth showing without.
    """
    try:
        async with asyncio.timeout(3.0):
            return await in_kafka_thread(visit.server.need_queues().share_groups, sorted(names))
    except Exception:
        return set()


def _parsed(text: str) -> Any:
    try:
        return parse_shown(text)
    except ValueError:
        return text


async def queue_totals(visit: Visit) -> list[Any]:
    """Queues for the dashboard; none when Kafka does not answer soon: the plots are worth having
    without.
    """
    try:
        async with asyncio.timeout(3.0):
            return list((await api.list_queues(visit.server)).task_queues)
    except Exception:
        return []
