"""task-queues: who polls a queue and how much waits there, told in Temporal's words from members
and offsets.
"""

from __future__ import annotations

from typing import Any

from odradek.engine.json_fields import without_none, write_time
from odradek.exceptions import TopicMissingError
from odradek.web.kafka.facts import MemberView, QueueDetail
from odradek.web.kafka.follower import ACTIVITIES, PROCESSOR
from odradek.web.kafka.groups import SHARE
from odradek.web.temporal.endpoint import Call, without_defaults
from odradek.web.threads import in_kafka_thread

_TYPES = {1: "WORKFLOW", 2: "ACTIVITY", 3: "NEXUS"}
_KINDS = {"WORKFLOW": PROCESSOR, "ACTIVITY": ACTIVITIES}


async def describe(call: Call) -> dict[str, Any]:
    """DescribeTaskQueue. A queue that nobody has used yet has no pollers, as with Temporal: it
    is no error.
    """
    kind = call.enum("taskQueueType", "TASK_QUEUE_TYPE_", _TYPES) or "WORKFLOW"
    enhanced = call.enum("apiMode", "DESCRIBE_TASK_QUEUE_MODE_", {1: "ENHANCED"}) == "ENHANCED"
    status, stats = call.flag("includeTaskQueueStatus"), call.flag("reportStats")
    try:
        queue = await in_kafka_thread(call.server.need_queues().queue, call.path("task_queue"))
    except TopicMissingError:
        queue = None
    if enhanced:
        types = {
            str(number): _type_info(queue, name)
            for number, name in _TYPES.items()
            if name in _KINDS
        }
        return {"versionsInfo": {"": {"typesInfo": types}}}
    answer = without_defaults(pollers=_pollers(queue, kind))
    if status:
        answer["taskQueueStatus"] = without_none(backlogCountHint=_backlog(queue, kind))
    if stats:
        answer["stats"] = _stats(queue, kind)
    return answer


def _type_info(queue: QueueDetail | None, kind: str) -> dict[str, Any]:
    return {**without_defaults(pollers=_pollers(queue, kind)), "stats": _stats(queue, kind)}


def _pollers(queue: QueueDetail | None, kind: str) -> list[dict[str, Any]]:
    members = queue.members if queue is not None else []
    return [
        _poller(member) for member in members if member.alive and member.kind == _KINDS.get(kind)
    ]


def _poller(member: MemberView) -> dict[str, Any]:
    return {"lastAccessTime": write_time(member.seen_ms), "identity": member.identity}


def _stats(queue: QueueDetail | None, kind: str) -> dict[str, Any]:
    return without_none(approximateBacklogCount=_backlog(queue, kind))


def _backlog(queue: QueueDetail | None, kind: str) -> str | None:
    """Records that wait; None with a share group, of which nobody can tell. So 0 is written,
    unlike other defaults.
    """
    if queue is None:
        return "0"
    if kind == "ACTIVITY" and queue.activity_group == SHARE:
        return None
    return str(
        (queue.lag if kind == "WORKFLOW" else queue.activity_lag if kind == "ACTIVITY" else 0) or 0
    )
