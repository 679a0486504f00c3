"""workers: members of the namespace, processors and activity services, in Temporal's words. They
say every few seconds how they stand.
"""

from __future__ import annotations

import time
from typing import Any

from odradek.engine.json_fields import write_duration, write_time
from odradek.web.errors import invalid, not_found
from odradek.web.kafka.follower import ACTIVITIES
from odradek.web.temporal.endpoint import Call, new_token, without_defaults
from odradek.web.temporal.worker_query import worker_filter
from odradek.wire.outcomes import MemberStatus


async def list_workers(call: Call) -> dict[str, Any]:
    """ListWorkers: those that live, by member id. The query: `worker_query`."""
    found = _members(call)
    size, first = call.number("pageSize", 1_000, most=1_000), _first(call)
    page, rest = found[first : first + size], found[first + size :]
    return without_defaults(
        workersInfo=[{"workerHeartbeat": _heartbeat(member)} for member in page],
        workers=[_listed(member) for member in page],
        nextPageToken=new_token(str(first + size).encode() if rest else b""),
    )


async def count_workers(call: Call) -> dict[str, Any]:
    """CountWorkers."""
    return without_defaults(count=str(len(_members(call))))


async def describe_worker(call: Call) -> dict[str, Any]:
    """DescribeWorker."""
    key = call.path("worker_instance_key")
    member = next((one for one in call.server.board.statuses() if one.member_id == key), None)
    if member is None:
        raise not_found(f"worker {key} is not known, or was not heard of lately")
    return {"workerInfo": {"workerHeartbeat": _heartbeat(member)}}


def _members(call: Call) -> list[MemberStatus]:
    call.flag("includeSystemWorkers")
    fits = worker_filter(call.text("query"))
    return sorted(filter(fits, call.server.board.statuses()), key=lambda one: one.member_id)


def _first(call: Call) -> int:
    token = call.token()
    if token and not (token.isdigit() and len(token) < 10):
        raise invalid("Invalid NextPageToken.")
    return int(token or 0)


def _listed(member: MemberStatus) -> dict[str, Any]:
    """WorkerListInfo."""
    return {
        "workerInstanceKey": member.member_id,
        "workerIdentity": member.identity,
        "taskQueue": member.task_queue,
        "status": "WORKER_STATUS_RUNNING",
        **({"hostName": member.host} if member.host else {}),
        **({"processId": str(member.pid)} if member.pid else {}),
    }


def _heartbeat(member: MemberStatus) -> dict[str, Any]:
    """WorkerHeartbeat."""
    host = {
        **({"hostName": member.host} if member.host else {}),
        **({"processId": str(member.pid)} if member.pid else {}),
    }
    beat: dict[str, Any] = {
        "workerInstanceKey": member.member_id,
        "workerIdentity": member.identity,
        "hostInfo": host,
        "taskQueue": member.task_queue,
        "status": "WORKER_STATUS_RUNNING",
        "heartbeatTime": write_time(member.time_ms),
        "elapsedSinceLastHeartbeat": write_duration(
            max(0, int(time.time() * 1000) - member.time_ms)
        )
        or "0s",
    }
    if member.kind == ACTIVITIES:
        used, free = member.slots_used, max(0, member.slots_total - member.slots_used)
        slots = {
            "currentAvailableSlots": free,
            "currentUsedSlots": used,
            "slotSupplierKind": "Fixed",
        }
        beat["activityTaskSlotsInfo"] = {name: value for name, value in slots.items() if value}
    elif cached := sum(lane.cached_runs for lane in member.lanes):
        beat["currentStickyCacheSize"] = cached
    return beat
