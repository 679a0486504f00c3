"""The events of one run, with the records they came from: page by page, and as they come.

`CommandPlaces` finds where the commands of activities stood in Kafka. The engine writes a command
in a transaction and never learns its offset; the service that reads it echoes it, and it stands
in ActivityTaskStarted. Here it is told to every event of the activity.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import Header

from odradek.engine.history_json import expand
from odradek.service import RPCStatusCode
from odradek.web.api.router import FirstEvent, Id, PageSize, RunId, Server, TaskQueue, new_router
from odradek.web.context import ServerContext
from odradek.web.errors import ApiError, api_error
from odradek.web.hub import HELLO, KEEP_ALIVE, EventStream, sse
from odradek.web.kafka.facts import Place
from odradek.web.kafka.views import record_value
from odradek.web.runs import RunReader, last_id
from odradek.web.threads import in_kafka_thread
from odradek.wire.history import HistoryEvent, event_type
from odradek.wire.partitioner import partition_for
from odradek.wire.topics import Topics

router = new_router("runs")

_NOWHERE = Place("", -1, -1)
_FIRST_WAIT_S = 10.0
# The owner may be back soon; the browser need not ask again.
_RETRY_S = 3.0


@dataclass
class EventView:
    """A history event. `place`: the record of `events` that caused it, null if none did.
    `attributes`: with payloads decoded.

    `command`: of an activity's events, the record of `commands` that gave its last attempt to a
    service, as that service said.
    """

    event_id: int
    event_time_ms: int
    event_type: str
    attributes: dict[str, Any]
    place: Place | None
    command: Place | None = None


@dataclass
class Events:
    """A page of a run's history. `next_event_id`: where to go on, 0 when there is nothing more
    to come.
    """

    run_id: str
    task_queue: str
    events: list[EventView]
    next_event_id: int
    open: bool


def event_views(events: list[HistoryEvent], place: Place) -> list[EventView]:
    """Events as they are shown, without the owner's shorthand."""
    views = []
    for event in expand(events):
        attributes = record_value(event.attributes)
        attributes.pop("type", None)
        caused = event.offset >= 0 and place.partition >= 0
        views.append(
            EventView(
                event_id=event.event_id,
                event_time_ms=event.event_time_ms,
                event_type=event_type(event.attributes),
                attributes=attributes,
                place=Place(place.topic, place.partition, event.offset) if caused else None,
            )
        )
    return views


class CommandPlaces:
    """Fed with the events of one run in their order, sets `command` of those that belong to an
    activity whose service has told it.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._scheduled: dict[int, EventView] = {}
        #: Scheduled events that were pointed to and not seen: those of an earlier page.
        self.missing: set[int] = set()

    def note(self, events: list[EventView]) -> None:
        """Look at further events."""
        for event in events:
            if event.event_type == "ActivityTaskScheduled":
                self._scheduled[event.event_id] = event
            elif event.event_type.startswith("ActivityTask"):
                self._link(event)

    def _link(self, event: EventView) -> None:
        told = event.attributes
        scheduled = self._scheduled.get(told.get("scheduled_event_id", 0))
        if scheduled is None:
            self.missing.add(told.get("scheduled_event_id", 0))
            return
        if event.event_type == "ActivityTaskStarted" and told.get("command_offset", -1) >= 0:
            queue = scheduled.attributes["task_queue"]
            scheduled.command = command_place(
                self._topics, queue, told["command_partition"], told["command_offset"]
            )
        event.command = scheduled.command


def command_place(topics: Topics, task_queue: str, partition: int, offset: int) -> Place | None:
    """The place of a command; None when its service did not tell it."""
    if partition < 0 or offset < 0 or not task_queue:
        return None
    return Place(topics.commands(task_queue), partition, offset)


async def place_of(server: ServerContext, task_queue: str, workflow_id: str) -> Place:
    """Where the inputs of a workflow lie; partition -1 when the queue cannot be looked at."""
    if server.queues is None:
        return _NOWHERE
    count = await in_kafka_thread(server.queues.partition_count, task_queue)
    partition = partition_for(workflow_id.encode(), count) if count else -1
    return Place(server.queues.topics.events(task_queue), partition, -1)


async def _located(
    server: ServerContext, workflow_id: str, run_id: str, task_queue: str
) -> tuple[RunReader, Place]:
    """The reader of a run whose queue is known, and where its inputs lie."""
    timeout_s = server.options.request_timeout_s
    queue = task_queue or await server.need_owners().queue_of(
        workflow_id, run_id, timeout_s=timeout_s
    )
    reader = server.reader_of(workflow_id, run_id, queue)
    return reader, await place_of(server, queue, workflow_id)


@router.get(
    "/workflows/{workflow_id:id}/history", summary="Its events, with the records they came from."
)
async def history(
    server: Server,
    workflow_id: Id,
    run_id: RunId = "",
    task_queue: TaskQueue = "",
    first: FirstEvent = 1,
    page_size: PageSize = 1_000,
) -> Events:
    reader, place = await _located(server, workflow_id, run_id, task_queue)
    page = await reader.page(first, page_size)
    views = event_views(page.events, place)
    await _link_commands(reader, CommandPlaces(server.topics), views)
    return Events(page.run_id, reader.task_queue, views, page.next_event_id, page.open)


async def _link_commands(
    reader: RunReader, commands: CommandPlaces, views: list[EventView]
) -> None:
    """Set `command` of a page's events; activities that were scheduled before it are looked up,
    a page's worth of them.
    """
    commands.note(views)
    if commands.missing:
        first = min(commands.missing)
        earlier = await reader.page(first, min(1_000, max(1, views[0].event_id - first)))
        commands.note(event_views(earlier.events, _NOWHERE))
        commands.note(views)
        commands.missing.clear()


@router.get(
    "/workflows/{workflow_id:id}/events",
    summary="Its events as they come (server-sent).",
    response_class=EventStream,
    status_code=200,
)
async def follow_run(
    server: Server,
    workflow_id: Id,
    run_id: RunId = "",
    task_queue: TaskQueue = "",
    first: FirstEvent = 1,
    last_event_id: Annotated[
        str, Header(description="The last event that a browser had, when it comes back.")
    ] = "",
) -> EventStream:
    if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 13:
        first = max(first, int(last_event_id) + 1)
    reader, place = await _located(server, workflow_id, run_id, task_queue)
    if server.hub.closing.is_set():
        raise ApiError(RPCStatusCode.UNAVAILABLE, "the server is stopping")
    return EventStream(_follow(server, reader, place, first))


async def _follow(
    server: ServerContext, reader: RunReader, place: Place, first: int
) -> AsyncIterator[bytes]:
    """`events` with new events, `unavailable` while the owner does not answer, `closed` at the end.

    An owner does not learn that somebody who waits has gone: so it is asked to wait no longer
    than the stream has lived.
    """
    hub, options = server.hub, server.options
    commands = CommandPlaces(server.topics)
    yield HELLO
    closing = asyncio.ensure_future(hub.closing.wait())
    began_s = time.monotonic()
    try:
        while not closing.done():
            wait_s = min(options.stream_poll_s, max(_FIRST_WAIT_S, time.monotonic() - began_s))
            waiting = asyncio.ensure_future(reader.wait(first, 500, wait_s))
            try:
                while not waiting.done() and not closing.done():
                    done, _ = await asyncio.wait(
                        {waiting, closing},
                        timeout=options.keep_alive_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if not done:
                        yield KEEP_ALIVE
                if not waiting.done():
                    return
                page = waiting.result()
            except Exception as error:
                found = api_error(error)
                if found.status is not RPCStatusCode.UNAVAILABLE:
                    yield sse("error", found.body())
                    return
                yield sse("unavailable", found.body())
                await asyncio.wait({closing}, timeout=_RETRY_S)
                continue
            finally:
                waiting.cancel()
            if not page.events and page.open:
                yield KEEP_ALIVE
                continue
            if page.events:
                last = last_id(page.events[-1])
                views = [one for one in event_views(page.events, place) if one.event_id >= first]
                await _link_commands(reader, commands, views)
                told = Events(page.run_id, reader.task_queue, views, last + 1, page.open)
                yield sse("events", msgspec.to_builtins(told), id=str(last))
                first = last + 1
            if not page.open and page.next_event_id == 0:
                yield sse("closed", {"run_id": page.run_id})
                return
    finally:
        closing.cancel()
