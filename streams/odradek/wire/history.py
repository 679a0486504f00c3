"""History events: Temporal's event types and attributes, as Avro records. Pure data.

An event's type is the name of its attribute record. Times and durations are in milliseconds.
`WorkflowTask` is the one shorthand: it stands for the three events WorkflowTaskScheduled,
WorkflowTaskStarted and WorkflowTaskCompleted with ids n, n+1, n+2, which always stand together
here; readers of histories expand it.
"""

from __future__ import annotations

import msgspec

from odradek.wire.events import ParentExecution
from odradek.wire.payload import Failure, Payload, RetryPolicy


class WorkflowExecutionStarted(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    first_workflow_task_backoff_ms: int = 0
    cron_schedule: str = ""
    retry_policy: RetryPolicy | None = None
    attempt: int = 1
    identity: str = ""
    first_execution_run_id: str = ""
    continued_execution_run_id: str = ""
    continued_failure: Failure | None = None
    last_completion_result: list[Payload] = []
    initiator: str = ""  # "", WORKFLOW, RETRY, CRON_SCHEDULE
    parent: ParentExecution | None = None
    root_workflow_id: str = ""
    root_run_id: str = ""
    execution_expiration_time_ms: int = 0
    random_seed: int = 0


class WorkflowExecutionCompleted(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    result: list[Payload] = []
    workflow_task_completed_event_id: int = 0
    new_execution_run_id: str = ""


class WorkflowExecutionFailed(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    failure: Failure
    retry_state: str = "RETRY_POLICY_NOT_SET"
    workflow_task_completed_event_id: int = 0
    new_execution_run_id: str = ""


class WorkflowExecutionTimedOut(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    retry_state: str = "RETRY_POLICY_NOT_SET"
    new_execution_run_id: str = ""


class WorkflowExecutionCanceled(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    details: list[Payload] = []
    workflow_task_completed_event_id: int = 0


class WorkflowExecutionTerminated(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    reason: str = ""
    details: list[Payload] = []
    identity: str = ""


class WorkflowExecutionContinuedAsNew(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    new_execution_run_id: str
    workflow_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    backoff_start_interval_ms: int = 0
    initiator: str = "WORKFLOW"
    failure: Failure | None = None
    last_completion_result: list[Payload] = []
    workflow_task_completed_event_id: int = 0


class WorkflowExecutionCancelRequested(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    cause: str = ""
    identity: str = ""
    request_id: str = ""


class WorkflowExecutionSignaled(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    signal_name: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    identity: str = ""
    request_id: str = ""


class WorkflowTask(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    """Shorthand for a completed workflow task: ids n (scheduled), n+1 (started), n+2 (completed)."""

    started_time_ms: int
    identity: str = ""
    history_size_bytes: int = 0
    suggest_continue_as_new: bool = False
    lang_flags: list[int] = []  # semantic rules of the activator that this run uses


class WorkflowTaskScheduled(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    task_queue: str = ""
    attempt: int = 1
    start_to_close_timeout_ms: int = 0


class WorkflowTaskStarted(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int = 0
    identity: str = ""
    request_id: str = ""
    history_size_bytes: int = 0
    suggest_continue_as_new: bool = False


class WorkflowTaskCompleted(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    lang_flags: list[int] = []


class WorkflowTaskFailed(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int = 0
    started_event_id: int = 0
    cause: str = ""  # WORKFLOW_WORKER_UNHANDLED_FAILURE, NON_DETERMINISTIC_ERROR, ...
    failure: Failure | None = None
    identity: str = ""


class WorkflowTaskTimedOut(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int = 0
    started_event_id: int = 0
    timeout_type: str = "START_TO_CLOSE"


class ActivityTaskScheduled(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    activity_id: str
    activity_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    schedule_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    workflow_task_completed_event_id: int = 0
    summary: Payload | None = None


class ActivityTaskStartedEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    """Temporal's ActivityTaskStarted; written only when the activity closes, with its last attempt.

    `command_partition`, `command_offset`: where the attempt's command stood in `commands`, as
    its service said; -1 if it did not.
    """

    scheduled_event_id: int
    attempt: int = 1
    identity: str = ""
    last_failure: Failure | None = None
    command_partition: int = -1
    command_offset: int = -1


class ActivityTaskCompletedEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int
    started_event_id: int
    result: list[Payload] = []
    identity: str = ""


class ActivityTaskFailedEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int
    started_event_id: int
    failure: Failure
    retry_state: str = ""
    identity: str = ""


class ActivityTaskTimedOutEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int
    started_event_id: int
    failure: Failure
    retry_state: str = ""


class ActivityTaskCancelRequested(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int
    workflow_task_completed_event_id: int = 0


class ActivityTaskCanceledEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    scheduled_event_id: int
    started_event_id: int = 0
    latest_cancel_requested_event_id: int = 0
    details: list[Payload] = []
    identity: str = ""


class TimerStarted(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    timer_id: str
    start_to_fire_timeout_ms: int
    workflow_task_completed_event_id: int = 0
    summary: Payload | None = None


class TimerFired(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    timer_id: str
    started_event_id: int


class TimerCanceled(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    timer_id: str
    started_event_id: int
    workflow_task_completed_event_id: int = 0


class MarkerRecorded(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    marker_name: str
    details: dict[str, list[Payload]] = {}
    workflow_task_completed_event_id: int = 0
    failure: Failure | None = None


class UpsertWorkflowSearchAttributes(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    search_attributes: dict[str, Payload] = {}
    workflow_task_completed_event_id: int = 0


class WorkflowPropertiesModified(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    upserted_memo: dict[str, Payload] = {}
    workflow_task_completed_event_id: int = 0


class OtherEvent(msgspec.Struct, tag=True, tag_field="-type", gc=False):
    """An event that this version does not know (an imported history): Temporal's JSON of it,
    kept as it came.
    """

    event_type: str
    json: str


Attributes = (
    WorkflowExecutionStarted
    | WorkflowTask
    | ActivityTaskScheduled
    | ActivityTaskStartedEvent
    | ActivityTaskCompletedEvent
    | ActivityTaskFailedEvent
    | ActivityTaskTimedOutEvent
    | ActivityTaskCancelRequested
    | ActivityTaskCanceledEvent
    | TimerStarted
    | TimerFired
    | TimerCanceled
    | WorkflowExecutionSignaled
    | WorkflowExecutionCancelRequested
    | WorkflowExecutionCompleted
    | WorkflowExecutionFailed
    | WorkflowExecutionTimedOut
    | WorkflowExecutionCanceled
    | WorkflowExecutionTerminated
    | WorkflowExecutionContinuedAsNew
    | MarkerRecorded
    | UpsertWorkflowSearchAttributes
    | WorkflowPropertiesModified
    | WorkflowTaskScheduled
    | WorkflowTaskStarted
    | WorkflowTaskCompleted
    | WorkflowTaskFailed
    | WorkflowTaskTimedOut
    | OtherEvent
)


class HistoryEvent(msgspec.Struct, gc=False):
    """One event. `offset`: where the record that caused it stood in the run's `events`
    partition, -1 if none did.
    """

    event_id: int
    event_time_ms: int
    attributes: Attributes
    offset: int = -1


def event_type(attributes: Attributes) -> str:
    """Temporal's event type: the record's name without the suffix that only tells it from the
    record of `events` (`ActivityTaskStarted`).

    An `OtherEvent` says its own. `WorkflowTask` is this room's shorthand, no type of Temporal's:
    expand it first.
    """
    if isinstance(attributes, OtherEvent):
        return attributes.event_type
    return type(attributes).__name__.removesuffix("Event")
