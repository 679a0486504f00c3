"""DescribeWorkflow: what is pending in a run, from its rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from odradek.engine.activities import BACKOFF, STARTED
from odradek.engine.chain import start_attributes
from odradek.engine.sizes import failure_bytes, payloads_bytes
from odradek.engine.summaries import summary_of
from odradek.wire.outcomes import PendingActivity, PendingTimer, WorkflowDescription

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.payload import Failure
    from odradek.wire.state import ActivityRow

# Bytes of failures and heartbeat details that pending activities may bring. A description is one
# reply (16 MiB), and a run may have thousands of them pending, each with a failure and a heartbeat
# of a megabyte.
DETAILS_MAX_BYTES = 4 * 1024 * 1024
CUT_TO_CHARACTERS = 500


def description_of(step: WorkflowStep, run: LiveRun) -> WorkflowDescription:
    """Everything `describe` says of a run."""
    row = run.row
    return WorkflowDescription(
        summary=summary_of(step.context.namespace, step.context.task_queue, row),
        execution_timeout_ms=row.execution_timeout_ms,
        run_timeout_ms=row.run_timeout_ms,
        attempt=row.attempt,
        cron_schedule=row.cron_schedule,
        cancel_requested=row.cancel_requested,
        static_summary=row.static_summary,
        static_details=row.static_details,
        pending_activities=_pending_activities(run),
        pending_timers=[
            PendingTimer(timer.timer_id, timer.started_event_id, timer.due_ms)
            for _, timer in sorted(run.timers.items())
        ],
        pending_task_attempt=row.task_attempt if row.task_failure is not None else 0,
        pending_task_failure=row.task_failure,
        pending_task_next_attempt_time_ms=row.task_retry_due_ms,
        task_timeout_ms=start_attributes(step, run).task_timeout_ms,
        execution_expiration_time_ms=row.execution_timeout_due_ms,
        run_expiration_time_ms=row.run_timeout_due_ms,
    )


def _pending_activities(run: LiveRun) -> list[PendingActivity]:
    """All of them; their failures and heartbeat details whole for as long as there is room."""
    found: list[PendingActivity] = []
    left = DETAILS_MAX_BYTES
    for _, row in sorted(run.activities.items()):
        pending = _pending(row)
        size = payloads_bytes(row.heartbeat_details) + failure_bytes(row.last_failure)
        if size <= left:
            left -= size
        else:
            pending.heartbeat_details = []
            pending.last_failure = _cut_short(row.last_failure)
        found.append(pending)
    return found


def _cut_short(failure: Failure | None) -> Failure | None:
    """What a list has room for: what happened, without where and why. The whole of it is in the
    history once the activity has closed.
    """
    if failure is None:
        return None
    text = (
        f"{failure.message[:CUT_TO_CHARACTERS]}… (cut short: a description holds"
        f" {DETAILS_MAX_BYTES} bytes of failures and heartbeats)"
    )
    return msgspec.structs.replace(
        failure, message=text, stack_trace="", details=[], encoded_attributes=None, cause=None
    )


def _pending(row: ActivityRow) -> PendingActivity:
    state = (
        "CANCEL_REQUESTED"
        if row.cancel_requested_event_id
        else "STARTED"
        if row.state == STARTED
        else "SCHEDULED"
    )
    return PendingActivity(
        activity_id=row.activity_id,
        activity_type=row.activity_type,
        task_queue=row.task_queue,
        state=state,
        attempt=row.attempt,
        scheduled_time_ms=row.scheduled_time_ms,
        last_started_time_ms=row.started_time_ms,
        last_heartbeat_time_ms=row.last_heartbeat_time_ms,
        next_attempt_time_ms=row.attempt_scheduled_time_ms if row.state == BACKOFF else 0,
        maximum_attempts=row.retry_policy.maximum_attempts if row.retry_policy is not None else 0,
        heartbeat_details=row.heartbeat_details,
        last_failure=row.last_failure,
        last_worker_identity=row.identity,
        waiting_reason=row.waiting_reason,
        scheduled_event_id=row.scheduled_event_id,
        command_partition=row.command_partition,
        command_offset=row.command_offset,
    )
