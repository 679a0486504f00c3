"""The table of event types in Temporal's JSON histories: for each attribute its member name and
kind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from odradek.engine import json_fields as j
from odradek.engine.json_fields import Json, Kind
from odradek.wire import history as h
from odradek.wire.events import ParentExecution


class Field(NamedTuple):
    """Attribute of ours, member of theirs (a dot goes one object deeper), kind."""

    name: str
    member: str
    kind: Kind


class EventType(NamedTuple):
    """One event type."""

    record: type[Any]
    name: str  # Temporal's, in camel case
    fields: tuple[Field, ...]

    @property
    def constant(self) -> str:
        """EVENT_TYPE_..."""
        return "EVENT_TYPE_" + j.screaming(self.name)

    @property
    def member(self) -> str:
        """Where the attributes stand in the event."""
        return f"{self.name[0].lower()}{self.name[1:]}EventAttributes"


_TASK_COMPLETED = Field("workflow_task_completed_event_id", "workflowTaskCompletedEventId", j.INT64)
_SCHEDULED = Field("scheduled_event_id", "scheduledEventId", j.INT64)
_STARTED = Field("started_event_id", "startedEventId", j.INT64)
_IDENTITY = Field("identity", "identity", j.STRING)
_REQUEST_ID = Field("request_id", "requestId", j.STRING)
_RETRY_STATE = Field("retry_state", "retryState", j.RETRY_STATE)
_NEW_RUN = Field("new_execution_run_id", "newExecutionRunId", j.STRING)
_RESULT = Field("result", "result", j.PAYLOADS)
_INPUT = Field("input", "input", j.PAYLOADS)
_HEADERS = Field("headers", "header", j.FIELDS)
_MEMO = Field("memo", "memo", j.FIELDS)
_SEARCH_ATTRIBUTES = Field("search_attributes", "searchAttributes", j.INDEXED_FIELDS)
_WORKFLOW_TYPE = Field("workflow_type", "workflowType", j.NAME)
_TASK_QUEUE = Field("task_queue", "taskQueue", j.TASK_QUEUE)
_RETRY_POLICY = Field("retry_policy", "retryPolicy", j.RETRY_POLICY)
_FAILURE = Field("failure", "failure", j.FAILURE)
_DETAILS = Field("details", "details", j.PAYLOADS)
_RUN_TIMEOUT = Field("run_timeout_ms", "workflowRunTimeout", j.DURATION)
_TASK_TIMEOUT = Field("task_timeout_ms", "workflowTaskTimeout", j.DURATION)
_INITIATOR = Field("initiator", "initiator", j.enum("CONTINUE_AS_NEW_INITIATOR_"))
_LAST_RESULT = Field("last_completion_result", "lastCompletionResult", j.PAYLOADS)

TYPES: tuple[EventType, ...] = (
    EventType(
        h.WorkflowExecutionStarted,
        "WorkflowExecutionStarted",
        (
            Field("workflow_id", "workflowId", j.STRING),
            Field("run_id", "originalExecutionRunId", j.STRING),
            _WORKFLOW_TYPE,
            _TASK_QUEUE,
            _INPUT,
            _HEADERS,
            _MEMO,
            _SEARCH_ATTRIBUTES,
            Field("execution_timeout_ms", "workflowExecutionTimeout", j.DURATION),
            _RUN_TIMEOUT,
            _TASK_TIMEOUT,
            Field("first_workflow_task_backoff_ms", "firstWorkflowTaskBackoff", j.DURATION),
            Field("cron_schedule", "cronSchedule", j.STRING),
            _RETRY_POLICY,
            Field("attempt", "attempt", j.INT32),
            _IDENTITY,
            Field("first_execution_run_id", "firstExecutionRunId", j.STRING),
            Field("continued_execution_run_id", "continuedExecutionRunId", j.STRING),
            Field("continued_failure", "continuedFailure", j.FAILURE),
            _LAST_RESULT,
            _INITIATOR,
            Field("root_workflow_id", "rootWorkflowExecution.workflowId", j.STRING),
            Field("root_run_id", "rootWorkflowExecution.runId", j.STRING),
            Field("execution_expiration_time_ms", "workflowExecutionExpirationTime", j.TIME),
        ),
    ),
    EventType(
        h.WorkflowExecutionCompleted,
        "WorkflowExecutionCompleted",
        (Field("result", "result", j.PAYLOADS), _TASK_COMPLETED, _NEW_RUN),
    ),
    EventType(
        h.WorkflowExecutionFailed,
        "WorkflowExecutionFailed",
        (_FAILURE, _RETRY_STATE, _TASK_COMPLETED, _NEW_RUN),
    ),
    EventType(h.WorkflowExecutionTimedOut, "WorkflowExecutionTimedOut", (_RETRY_STATE, _NEW_RUN)),
    EventType(
        h.WorkflowExecutionCanceled, "WorkflowExecutionCanceled", (_TASK_COMPLETED, _DETAILS)
    ),
    EventType(
        h.WorkflowExecutionTerminated,
        "WorkflowExecutionTerminated",
        (Field("reason", "reason", j.STRING), _DETAILS, _IDENTITY),
    ),
    EventType(
        h.WorkflowExecutionContinuedAsNew,
        "WorkflowExecutionContinuedAsNew",
        (
            _NEW_RUN,
            _WORKFLOW_TYPE,
            _TASK_QUEUE,
            _INPUT,
            _HEADERS,
            _MEMO,
            _SEARCH_ATTRIBUTES,
            _RUN_TIMEOUT,
            _TASK_TIMEOUT,
            Field("backoff_start_interval_ms", "backoffStartInterval", j.DURATION),
            _INITIATOR,
            _FAILURE,
            _LAST_RESULT,
            _TASK_COMPLETED,
        ),
    ),
    EventType(
        h.WorkflowExecutionCancelRequested,
        "WorkflowExecutionCancelRequested",
        (Field("cause", "cause", j.STRING), _IDENTITY),
    ),
    EventType(
        h.WorkflowExecutionSignaled,
        "WorkflowExecutionSignaled",
        (Field("signal_name", "signalName", j.STRING), _INPUT, _IDENTITY, _HEADERS, _REQUEST_ID),
    ),
    EventType(
        h.WorkflowTaskScheduled,
        "WorkflowTaskScheduled",
        (
            _TASK_QUEUE,
            Field("start_to_close_timeout_ms", "startToCloseTimeout", j.DURATION),
            Field("attempt", "attempt", j.INT32),
        ),
    ),
    EventType(
        h.WorkflowTaskStarted,
        "WorkflowTaskStarted",
        (
            _SCHEDULED,
            _IDENTITY,
            _REQUEST_ID,
            Field("suggest_continue_as_new", "suggestContinueAsNew", j.BOOL),
            Field("history_size_bytes", "historySizeBytes", j.INT64),
        ),
    ),
    EventType(
        h.WorkflowTaskCompleted,
        "WorkflowTaskCompleted",
        (
            _SCHEDULED,
            _STARTED,
            _IDENTITY,
            Field("lang_flags", "sdkMetadata.langUsedFlags", Kind(lambda v: list(v) or None, list)),
        ),
    ),
    EventType(
        h.WorkflowTaskFailed,
        "WorkflowTaskFailed",
        (
            _SCHEDULED,
            _STARTED,
            Field("cause", "cause", j.enum("WORKFLOW_TASK_FAILED_CAUSE_")),
            _FAILURE,
            _IDENTITY,
        ),
    ),
    EventType(
        h.WorkflowTaskTimedOut,
        "WorkflowTaskTimedOut",
        (_SCHEDULED, _STARTED, Field("timeout_type", "timeoutType", j.TIMEOUT_TYPE)),
    ),
    EventType(
        h.ActivityTaskScheduled,
        "ActivityTaskScheduled",
        (
            Field("activity_id", "activityId", j.STRING),
            Field("activity_type", "activityType", j.NAME),
            _TASK_QUEUE,
            _HEADERS,
            _INPUT,
            Field("schedule_to_close_timeout_ms", "scheduleToCloseTimeout", j.DURATION),
            Field("schedule_to_start_timeout_ms", "scheduleToStartTimeout", j.DURATION),
            Field("start_to_close_timeout_ms", "startToCloseTimeout", j.DURATION),
            Field("heartbeat_timeout_ms", "heartbeatTimeout", j.DURATION),
            _TASK_COMPLETED,
            _RETRY_POLICY,
        ),
    ),
    EventType(
        h.ActivityTaskStartedEvent,
        "ActivityTaskStarted",
        (
            _SCHEDULED,
            _IDENTITY,
            Field("attempt", "attempt", j.INT32),
            Field("last_failure", "lastFailure", j.FAILURE),
        ),
    ),
    EventType(
        h.ActivityTaskCompletedEvent,
        "ActivityTaskCompleted",
        (Field("result", "result", j.PAYLOADS), _SCHEDULED, _STARTED, _IDENTITY),
    ),
    EventType(
        h.ActivityTaskFailedEvent,
        "ActivityTaskFailed",
        (_FAILURE, _SCHEDULED, _STARTED, _IDENTITY, _RETRY_STATE),
    ),
    EventType(
        h.ActivityTaskTimedOutEvent,
        "ActivityTaskTimedOut",
        (_FAILURE, _SCHEDULED, _STARTED, _RETRY_STATE),
    ),
    EventType(
        h.ActivityTaskCancelRequested, "ActivityTaskCancelRequested", (_SCHEDULED, _TASK_COMPLETED)
    ),
    EventType(
        h.ActivityTaskCanceledEvent,
        "ActivityTaskCanceled",
        (
            _DETAILS,
            Field("latest_cancel_requested_event_id", "latestCancelRequestedEventId", j.INT64),
            _SCHEDULED,
            _STARTED,
            _IDENTITY,
        ),
    ),
    EventType(
        h.TimerStarted,
        "TimerStarted",
        (
            Field("timer_id", "timerId", j.STRING),
            Field("start_to_fire_timeout_ms", "startToFireTimeout", j.DURATION),
            _TASK_COMPLETED,
        ),
    ),
    EventType(h.TimerFired, "TimerFired", (Field("timer_id", "timerId", j.STRING), _STARTED)),
    EventType(
        h.TimerCanceled,
        "TimerCanceled",
        (Field("timer_id", "timerId", j.STRING), _STARTED, _TASK_COMPLETED),
    ),
    EventType(
        h.MarkerRecorded,
        "MarkerRecorded",
        (
            Field("marker_name", "markerName", j.STRING),
            Field("details", "details", j.DETAILS),
            _TASK_COMPLETED,
            _FAILURE,
        ),
    ),
    EventType(
        h.UpsertWorkflowSearchAttributes,
        "UpsertWorkflowSearchAttributes",
        (_TASK_COMPLETED, _SEARCH_ATTRIBUTES),
    ),
    EventType(
        h.WorkflowPropertiesModified,
        "WorkflowPropertiesModified",
        (_TASK_COMPLETED, Field("upserted_memo", "upsertedMemo", j.FIELDS)),
    ),
)

BY_RECORD: dict[type, EventType] = {event_type.record: event_type for event_type in TYPES}
BY_NAME: dict[str, EventType] = {
    name: event_type for event_type in TYPES for name in (event_type.constant, event_type.name)
}

#: fields that a record cannot do without, and what stands for them when a history leaves them out
EMPTY: dict[str, Any] = {
    "failure": lambda: j.read_failure({}),
    "start_to_fire_timeout_ms": lambda: 0,
    "started_event_id": lambda: 0,
}


def write_attributes(attributes: Any, event_type: EventType) -> Json:
    """Attributes as their JSON object."""
    out: Json = {}
    for field in event_type.fields:
        value = field.kind.write(getattr(attributes, field.name))
        if value is not None:
            *parents, member = field.member.split(".")
            target = out
            for parent in parents:
                target = target.setdefault(parent, {})
            target[member] = value
    if event_type.record is h.WorkflowExecutionStarted and attributes.parent is not None:
        out.update(_write_parent(attributes.parent))
    return out


def read_attributes(value: Json, event_type: EventType) -> Any:
    """The attribute record of a JSON object. Members that we have no place for are left to the
    caller.
    """
    values: dict[str, Any] = {}
    for field in event_type.fields:
        found: Any = value
        for member in field.member.split("."):
            found = found.get(member) if isinstance(found, dict) else None
        if found is not None:
            values[field.name] = field.kind.read(found)
    for name in event_type.record.__struct_fields__:
        if name not in values:
            default = _default(event_type.record, name)
            if default is not None:
                values[name] = default
    if event_type.record is h.WorkflowExecutionStarted:
        values["parent"] = _read_parent(value)
    return event_type.record(**values)


def _default(record: type[Any], name: str) -> Any:
    """What protobuf's default means for a field whose Struct default differs from it (attempt,
    retry state) or that has none.
    """
    if name in _PROTO_DEFAULTS.get(record, {}):
        return _PROTO_DEFAULTS[record][name]
    required = record.__struct_fields__[
        : len(record.__struct_fields__) - len(record.__struct_defaults__)
    ]
    if name not in required:
        return None
    return EMPTY[name]() if name in EMPTY else 0 if name == "scheduled_event_id" else ""


_PROTO_DEFAULTS: dict[type, dict[str, Any]] = {
    h.WorkflowExecutionStarted: {"attempt": 0},
    h.WorkflowExecutionFailed: {"retry_state": ""},
    h.WorkflowExecutionTimedOut: {"retry_state": ""},
    h.WorkflowExecutionContinuedAsNew: {"initiator": "", "failure": None},
    h.WorkflowTaskScheduled: {"attempt": 0},
    h.WorkflowTaskTimedOut: {"timeout_type": ""},
    h.ActivityTaskStartedEvent: {"attempt": 0},
}


def _write_parent(parent: ParentExecution) -> Json:
    return j.without_none(
        parentWorkflowNamespace=parent.namespace or None,
        parentWorkflowExecution=j.without_none(
            workflowId=parent.workflow_id or None, runId=parent.run_id or None
        )
        or None,
        parentInitiatedEventId=j.INT64.write(parent.initiated_event_id),
    )


def _read_parent(value: Json) -> ParentExecution | None:
    execution = value.get("parentWorkflowExecution")
    if not execution:
        return None
    return ParentExecution(
        namespace=value.get("parentWorkflowNamespace") or "",
        workflow_id=execution.get("workflowId") or "",
        run_id=execution.get("runId") or "",
        initiated_event_id=int(value.get("parentInitiatedEventId") or 0),
    )
