"""One run as its owner tells it, with where its events came from; its events as they come; unpark."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from odradek.engine.history_json import expand
from odradek.service import RPCStatusCode
from odradek.web.api.lists import RunView, run_view
from odradek.web.api.operation import Asked, Operation
from odradek.web.api.parameters import Id, OptionalId, PageSize, RunId, TaskQueue
from odradek.web.commands import CommandPlaces, command_place
from odradek.web.context import ServerContext, identity_of
from odradek.web.errors import ApiError, api_error
from odradek.web.hub import HELLO, KEEP_ALIVE, EventStream, sse
from odradek.web.kafka.facts import Place
from odradek.web.kafka.views import record_value
from odradek.web.runs import RunReader, check_reply, last_id
from odradek.web.threads import in_kafka_thread
from odradek.wire.events import ReleaseWorkflow
from odradek.wire.history import HistoryEvent, event_type
from odradek.wire.partitioner import partition_for


class PendingActivityView(msgspec.Struct):
    """An activity that has not closed. `waiting_reason`: why its command cannot be sent.
    `command`: where the running attempt's command stands, null until its service has told it.
    """

    activity_id: str
    activity_type: str
    task_queue: str
    state: str
    attempt: int
    maximum_attempts: int
    scheduled_time_ms: int
    last_started_time_ms: int
    last_heartbeat_time_ms: int
    next_attempt_time_ms: int
    heartbeat_details: list[Any]
    last_failure: dict[str, Any] | None
    last_worker_identity: str
    waiting_reason: str
    scheduled_event_id: int
    command: Place | None


class PendingTimerView(msgspec.Struct):
    """A timer that has not fired."""

    timer_id: str
    started_event_id: int
    due_ms: int
    summary: str


class RunDetail(msgspec.Struct):
    """A run as its owner tells it. `place`: where its inputs lie (the offset is that of its
    start, -1 when it is not known).

    `owner`, `owner_identity`: the member that owns them, and the process that it is; "" when
    nobody living does.
    """

    run: RunView
    place: Place
    owner: str
    owner_identity: str
    execution_timeout_ms: int
    run_timeout_ms: int
    attempt: int
    cron_schedule: str
    cancel_requested: bool
    static_summary: Any
    static_details: Any
    pending_activities: list[PendingActivityView]
    pending_timers: list[PendingTimerView]
    pending_task_attempt: int
    pending_task_failure: dict[str, Any] | None
    pending_task_next_attempt_time_ms: int


class RunParameters(msgspec.Struct):
    workflow_id: Id
    run_id: RunId = ""
    task_queue: TaskQueue = ""


def reader_of(asked: Asked, workflow_id: str, run_id: str, task_queue: str) -> RunReader:
    """The reader of a run."""
    server = asked.server
    return RunReader(
        server.need_owners(),
        workflow_id,
        run_id,
        task_queue=task_queue,
        timeout_s=server.options.request_timeout_s,
    )


async def describe_run(asked: Asked) -> RunDetail:
    given: RunParameters = asked.parameters
    found = await reader_of(asked, given.workflow_id, given.run_id, given.task_queue).describe()
    queue = found.summary.task_queue
    place = await place_of(asked.server, queue, given.workflow_id)
    owners = {
        lane.partition: status
        for status in asked.server.board.statuses(queue)
        for lane in status.lanes
    }
    owner = owners.get(place.partition)
    return RunDetail(
        run=run_view(found.summary),
        place=place,
        owner=owner.member_id if owner is not None else "",
        owner_identity=owner.identity if owner is not None else "",
        execution_timeout_ms=found.execution_timeout_ms,
        run_timeout_ms=found.run_timeout_ms,
        attempt=found.attempt,
        cron_schedule=found.cron_schedule,
        cancel_requested=found.cancel_requested,
        static_summary=record_value(found.static_summary),
        static_details=record_value(found.static_details),
        pending_activities=[
            PendingActivityView(
                **{
                    name: record_value(getattr(one, name))
                    for name in PendingActivityView.__struct_fields__
                    if name != "command"
                },
                command=command_place(
                    asked.server.topics, one.task_queue, one.command_partition, one.command_offset
                ),
            )
            for one in found.pending_activities
        ],
        pending_timers=[
            PendingTimerView(one.timer_id, one.started_event_id, one.due_ms, one.summary)
            for one in found.pending_timers
        ],
        pending_task_attempt=found.pending_task_attempt,
        pending_task_failure=record_value(found.pending_task_failure),
        pending_task_next_attempt_time_ms=found.pending_task_next_attempt_time_ms,
    )


async def place_of(server: ServerContext, task_queue: str, workflow_id: str) -> Place:
    """Where the inputs of a workflow lie; partition -1 when the queue cannot be looked at."""
    if server.queues is None:
        return Place("", -1, -1)
    count = await in_kafka_thread(server.queues.partition_count, task_queue)
    partition = partition_for(workflow_id.encode(), count) if count else -1
    return Place(server.queues.topics.events(task_queue), partition, -1)


class EventView(msgspec.Struct):
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


class Events(msgspec.Struct):
    """A page of a run's history. `next_event_id`: where to go on, 0 when there is nothing more
    to come.
    """

    run_id: str
    task_queue: str
    events: list[EventView]
    next_event_id: int
    open: bool


class EventsParameters(msgspec.Struct):
    workflow_id: Id
    run_id: RunId = ""
    task_queue: TaskQueue = ""
    first: Annotated[int, msgspec.Meta(ge=1, le=2**40, description="The event to begin with.")] = 1
    page_size: PageSize = 1_000


async def history(asked: Asked) -> Events:
    given: EventsParameters = asked.parameters
    server = asked.server
    queue = given.task_queue or await _queue_of(asked, given.workflow_id, given.run_id)
    reader = reader_of(asked, given.workflow_id, given.run_id, queue)
    page = await reader.page(given.first, given.page_size)
    views = event_views(page.events, await place_of(server, queue, given.workflow_id))
    await _link_commands(reader, CommandPlaces(server.topics), views)
    return Events(page.run_id, queue, views, page.next_event_id, page.open)


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
        commands.note(event_views(earlier.events, Place("", -1, -1)))
        commands.note(views)
        commands.missing.clear()


def event_views(events: list[HistoryEvent], place: Place) -> list[EventView]:
    """Events as they are shown, without the owner's shorthand."""
    return [
        EventView(
            event_id=event.event_id,
            event_time_ms=event.event_time_ms,
            event_type=event_type(event.attributes),
            attributes={
                name: value
                for name, value in record_value(event.attributes).items()
                if name != "type"
            },
            place=(
                Place(place.topic, place.partition, event.offset)
                if event.offset >= 0 and place.partition >= 0
                else None
            ),
        )
        for event in expand(events)
    ]


async def _queue_of(asked: Asked, workflow_id: str, run_id: str) -> str:
    return await asked.server.need_owners().queue_of(
        workflow_id, run_id, timeout_s=asked.server.options.request_timeout_s
    )


class UnparkBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which run; the latest when left out."""

    run_id: OptionalId = ""


class Verdict(msgspec.Struct):
    """`applied`: the owner has done it. Otherwise it lies in the log and is done when an owner
    comes.
    """

    applied: bool
    message: str


class UnparkParameters(msgspec.Struct):
    workflow_id: Id
    task_queue: TaskQueue = ""


async def unpark(asked: Asked) -> Verdict:
    given: UnparkParameters = asked.parameters
    record = ReleaseWorkflow(
        workflow_id=given.workflow_id, run_id=asked.body.run_id, identity=identity_of(asked.request)
    )
    owners, timeout_s = asked.server.need_owners(), asked.server.options.request_timeout_s
    reply = await owners.change(record, task_queue=given.task_queue, timeout_s=timeout_s)
    if reply is None:
        return Verdict(False, "no processor has answered: it is applied when one comes")
    check_reply(reply)
    return Verdict(True, reply.message)


# ---------------------------------------------------------------- its events as they come


class FollowParameters(msgspec.Struct):
    workflow_id: Id
    run_id: RunId = ""
    task_queue: TaskQueue = ""
    first: Annotated[
        int, msgspec.Meta(ge=1, le=2**40, description="The first event that is wanted.")
    ] = 1


async def follow(asked: Asked) -> EventStream:
    given: FollowParameters = asked.parameters
    # A browser that comes back says what it had last.
    last = asked.request.headers.get("last-event-id", "")
    first = (
        max(given.first, int(last) + 1)
        if last.isascii() and last.isdigit() and len(last) < 13
        else given.first
    )
    queue = given.task_queue or await _queue_of(asked, given.workflow_id, given.run_id)
    place = await place_of(asked.server, queue, given.workflow_id)
    if asked.server.hub.closing.is_set():
        raise ApiError(RPCStatusCode.UNAVAILABLE, "the server is stopping")
    return EventStream(_follow(asked, given, queue, place, first))


_FIRST_WAIT_S = 10.0


async def _follow(
    asked: Asked, given: FollowParameters, queue: str, place: Place, first: int
) -> AsyncIterator[bytes]:
    """`events` with new events, `unavailable` while the owner does not answer, `closed` at the end.

    An owner does not learn that somebody who waits has gone: so it is asked to wait no longer
    than the stream has lived.
    """
    hub, options = asked.server.hub, asked.server.options
    reader = reader_of(asked, given.workflow_id, given.run_id, queue)
    commands = CommandPlaces(asked.server.topics)
    yield HELLO
    closing = asyncio.ensure_future(hub.closing.wait())
    began_s = time.monotonic()
    try:
        while not closing.done():
            wait_s = min(options.stream_poll_s, max(_FIRST_WAIT_S, time.monotonic() - began_s))
            waiting = asyncio.ensure_future(reader.wait(first, 500, wait_s))
            try:
                while not (
                    await asyncio.wait(
                        {waiting, closing},
                        timeout=options.keep_alive_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                )[0]:
                    yield KEEP_ALIVE
                if not waiting.done():
                    return
                page = waiting.result()
            except Exception as error:
                found = api_error(error)
                yield sse(
                    "unavailable" if found.status is RPCStatusCode.UNAVAILABLE else "error",
                    found.body(),
                )
                if found.status is not RPCStatusCode.UNAVAILABLE:
                    return
                await asyncio.wait(
                    {closing}, timeout=3.0
                )  # the owner may be back soon; the browser need not ask again
                continue
            finally:
                waiting.cancel()
            if not page.events and page.open:
                yield KEEP_ALIVE
                continue
            if page.events:
                last = last_id(page.events[-1])
                views = [
                    event for event in event_views(page.events, place) if event.event_id >= first
                ]
                await _link_commands(reader, commands, views)
                yield sse(
                    "events",
                    msgspec.to_builtins(Events(page.run_id, queue, views, last + 1, page.open)),
                    id=str(last),
                )
                first = last + 1
            if not page.open and page.next_event_id == 0:
                yield sse("closed", {"run_id": page.run_id})
                return
    finally:
        closing.cancel()


RUN_OPERATIONS = [
    Operation(
        "GET",
        "/workflows/{workflow_id}",
        "describe_run",
        "A run, as its owner tells it.",
        "runs",
        describe_run,
        RunDetail,
        RunParameters,
    ),
    Operation(
        "GET",
        "/workflows/{workflow_id}/history",
        "history",
        "Its events, with the records they came from.",
        "runs",
        history,
        Events,
        EventsParameters,
    ),
    Operation(
        "GET",
        "/workflows/{workflow_id}/events",
        "follow_run",
        "Its events as they come (server-sent).",
        "runs",
        follow,
        None,
        FollowParameters,
        streams=True,
    ),
    Operation(
        "POST",
        "/workflows/{workflow_id}/unpark",
        "unpark_run",
        "Try a parked run again now.",
        "runs",
        unpark,
        Verdict,
        UnparkParameters,
        UnparkBody,
    ),
]
