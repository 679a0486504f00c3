"""One run as its owner tells it, and the release of a quarantined run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from odradek.web.api.history import command_place, place_of
from odradek.web.api.lists import RunView, run_view
from odradek.web.api.router import Id, RunId, Server, TaskQueue, new_router
from odradek.web.context import identity_of
from odradek.web.kafka.facts import Place
from odradek.web.kafka.views import record_value
from odradek.web.runs import check_reply
from odradek.wire.events import UnparkWorkflow

router = new_router("runs")


@dataclass
class PendingActivityView:
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


@dataclass
class PendingTimerView:
    """A timer that has not fired."""

    timer_id: str
    started_event_id: int
    due_ms: int
    summary: str


@dataclass
class RunDetail:
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


#: Fields of a RunDetail that its owner's description has as they are.
_TOLD = (
    "execution_timeout_ms run_timeout_ms attempt cron_schedule cancel_requested static_summary"
    " static_details pending_task_attempt pending_task_failure pending_task_next_attempt_time_ms"
).split()


@router.get("/workflows/{workflow_id:id}", summary="A run, as its owner tells it.")
async def describe_run(
    server: Server, workflow_id: Id, run_id: RunId = "", task_queue: TaskQueue = ""
) -> RunDetail:
    found = await server.reader_of(workflow_id, run_id, task_queue).describe()
    queue = found.summary.task_queue
    place = await place_of(server, queue, workflow_id)
    owner = next(
        (
            status
            for status in server.board.statuses(queue)
            if any(lane.partition == place.partition for lane in status.lanes)
        ),
        None,
    )
    return RunDetail(
        run=run_view(found.summary),
        place=place,
        owner=owner.member_id if owner is not None else "",
        owner_identity=owner.identity if owner is not None else "",
        pending_activities=[_activity(server, one) for one in found.pending_activities],
        pending_timers=[
            PendingTimerView(one.timer_id, one.started_event_id, one.due_ms, one.summary)
            for one in found.pending_timers
        ],
        **{name: record_value(getattr(found, name)) for name in _TOLD},
    )


def _activity(server: Server, one: Any) -> PendingActivityView:
    names = [name for name in PendingActivityView.__dataclass_fields__ if name != "command"]
    return PendingActivityView(
        **{name: record_value(getattr(one, name)) for name in names},
        command=command_place(
            server.topics, one.task_queue, one.command_partition, one.command_offset
        ),
    )


class ReleaseBody(BaseModel):
    """Which run; the latest when left out."""

    model_config = ConfigDict(extra="forbid")
    run_id: Annotated[str, Field(max_length=1_000)] = ""


@dataclass
class Verdict:
    """`applied`: the owner has done it. Otherwise it lies in the log and is done when an owner
    comes.
    """

    applied: bool
    message: str


@router.post("/workflows/{workflow_id:id}/release", summary="Try a quarantined run again now.")
async def release(
    server: Server, request: Request, body: ReleaseBody, workflow_id: Id, task_queue: TaskQueue = ""
) -> Verdict:
    record = UnparkWorkflow(
        workflow_id=workflow_id, run_id=body.run_id, identity=identity_of(request)
    )
    owners, timeout_s = server.need_owners(), server.options.request_timeout_s
    reply = await owners.change(record, task_queue=task_queue, timeout_s=timeout_s)
    if reply is None:
        return Verdict(False, "no processor has answered: it is applied when one comes")
    check_reply(reply)
    return Verdict(True, reply.message)
