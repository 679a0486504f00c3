"""Our records as Temporal's messages in JSON: what has its default is left out, as protobuf's
JSON mapping does.
"""

from __future__ import annotations

from typing import Any

from odradek.engine.history_json import EXTENSION, to_json_dict
from odradek.engine.json_fields import (
    DURATION,
    FIELDS,
    INDEXED_FIELDS,
    INT64,
    NAME,
    PAYLOADS,
    TASK_QUEUE,
    TIME,
    Json,
    without_none,
    write_duration,
    write_failure,
    write_payload,
)
from odradek.wire.history import HistoryEvent
from odradek.wire.outcomes import ExecutionSummary, PendingActivity, WorkflowDescription
from odradek.wire.problems import shown_search_attributes

# Temporal's default, which runs have that were started without one.
DEFAULT_TASK_TIMEOUT_MS = 10_000


def execution(workflow_id: str, run_id: str) -> Json:
    """WorkflowExecution."""
    return without_none(workflowId=workflow_id or None, runId=run_id or None)


def execution_info(summary: ExecutionSummary) -> Json:
    """WorkflowExecutionInfo."""
    closed = bool(summary.close_time_ms)
    duration_ms = summary.close_time_ms - (summary.execution_time_ms or summary.start_time_ms)
    return without_none(
        execution=execution(summary.workflow_id, summary.run_id),
        type=NAME.write(summary.workflow_type),
        startTime=TIME.write(summary.start_time_ms),
        closeTime=TIME.write(summary.close_time_ms),
        status=f"WORKFLOW_EXECUTION_STATUS_{summary.status}",
        historyLength=INT64.write(summary.history_length),
        parentExecution=execution(summary.parent_workflow_id, summary.parent_run_id) or None,
        executionTime=TIME.write(summary.execution_time_ms or summary.start_time_ms),
        memo=FIELDS.write(summary.memo),
        searchAttributes=INDEXED_FIELDS.write(shown_search_attributes(summary)),
        taskQueue=summary.task_queue or None,
        stateTransitionCount=INT64.write(summary.state_transition_count),
        historySizeBytes=INT64.write(summary.history_size_bytes),
        executionDuration=write_duration(max(0, duration_ms)) if closed else None,
        rootExecution=execution(
            summary.root_workflow_id or summary.workflow_id, summary.root_run_id or summary.run_id
        ),
        firstRunId=summary.first_execution_run_id or None,
    )


def description(found: WorkflowDescription) -> Json:
    """DescribeWorkflowExecutionResponse."""
    summary = found.summary
    pending_task: Json | None = None
    if found.pending_task_attempt > 1 or found.pending_task_failure is not None:
        pending_task = {
            "state": "PENDING_WORKFLOW_TASK_STATE_SCHEDULED",
            "attempt": max(1, found.pending_task_attempt),
        }
    metadata = without_none(
        summary=write_payload(found.static_summary) if found.static_summary is not None else None,
        details=write_payload(found.static_details) if found.static_details is not None else None,
    )
    return without_none(
        executionConfig=without_none(
            taskQueue=TASK_QUEUE.write(summary.task_queue),
            workflowExecutionTimeout=write_duration(found.execution_timeout_ms),
            workflowRunTimeout=write_duration(found.run_timeout_ms),
            defaultWorkflowTaskTimeout=write_duration(
                found.task_timeout_ms or DEFAULT_TASK_TIMEOUT_MS
            ),
            userMetadata=metadata or None,
        ),
        workflowExecutionInfo=execution_info(summary),
        pendingActivities=[pending_activity(activity) for activity in found.pending_activities]
        or None,
        pendingWorkflowTask=pending_task,
        workflowExtendedInfo=without_none(
            executionExpirationTime=TIME.write(found.execution_expiration_time_ms),
            runExpirationTime=TIME.write(found.run_expiration_time_ms),
            cancelRequested=found.cancel_requested or None,
            originalStartTime=TIME.write(summary.start_time_ms),
        ),
    )


def pending_activity(activity: PendingActivity) -> Json:
    """PendingActivityInfo."""
    return without_none(
        activityId=activity.activity_id,
        activityType=NAME.write(activity.activity_type),
        state=f"PENDING_ACTIVITY_STATE_{activity.state}",
        heartbeatDetails=PAYLOADS.write(activity.heartbeat_details),
        lastHeartbeatTime=TIME.write(activity.last_heartbeat_time_ms),
        lastStartedTime=TIME.write(activity.last_started_time_ms),
        attempt=activity.attempt or None,
        maximumAttempts=activity.maximum_attempts or None,
        scheduledTime=TIME.write(
            activity.next_attempt_time_ms or activity.scheduled_time_ms
        ),  # of the attempt, as in Temporal
        nextAttemptScheduleTime=TIME.write(activity.next_attempt_time_ms),
        lastFailure=write_failure(activity.last_failure),
        lastWorkerIdentity=activity.last_worker_identity or None,
    )


def history(events: list[HistoryEvent], task_queue: str) -> list[Json]:
    """HistoryEvents, without what only we have: a strict reader of Temporal's messages refuses it.

    task_queue: the run's; in a page that does not begin with the first event nothing else tells
    the workflow tasks.
    """
    written: list[Json] = to_json_dict(events)["events"]
    for event in written:
        scheduled = event.get("workflowTaskScheduledEventAttributes")
        if scheduled is not None and "taskQueue" not in scheduled and task_queue:
            scheduled["taskQueue"] = TASK_QUEUE.write(task_queue)
    return [
        {name: value for name, value in event.items() if name != EXTENSION} for event in written
    ]


def duration(milliseconds: int) -> Any:
    """A duration; None for 0."""
    return DURATION.write(milliseconds)
