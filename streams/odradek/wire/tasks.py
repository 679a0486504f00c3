"""Records of the `commands` topic (activity tasks) and of `control` (cancel requests for running
ones). Pure data.
"""

from __future__ import annotations

import msgspec

from odradek.wire.payload import Payload, RetryPolicy


class ActivityTask(msgspec.Struct, gc=False):
    """One attempt of an activity, key workflow id. The answer goes to `events` of
    `workflow_task_queue`, key workflow id.
    """

    namespace: str
    workflow_task_queue: str  # whose `events` topic takes the answer
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    activity_id: str
    activity_type: str
    scheduled_event_id: int
    attempt: int = 1
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    heartbeat_details: list[Payload] = []
    scheduled_time_ms: int = 0
    current_attempt_scheduled_time_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    priority_key: int = 0


class CancelActivityTask(msgspec.Struct, gc=False):
    """Cancel request for a running attempt, key activity id; read by every service of the queue
    from its end.
    """

    workflow_id: str
    run_id: str
    scheduled_event_id: int
    activity_id: str
    attempt: int
    reason: str = ""
