"""Records that leave a workflow: `results`, `executions`, `replies`, `members`, `schemas`. Pure
data.
"""

from __future__ import annotations

import msgspec

from odradek.wire.history import HistoryEvent
from odradek.wire.payload import Failure, Payload

# Statuses of a run, Temporal's WorkflowExecutionStatus.
RUNNING = "RUNNING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELED = "CANCELED"
TERMINATED = "TERMINATED"
CONTINUED_AS_NEW = "CONTINUED_AS_NEW"
TIMED_OUT = "TIMED_OUT"
#: Those that a run closes with.
CLOSED = (COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, CONTINUED_AS_NEW)


class WorkflowResult(msgspec.Struct, gc=False):
    """Topic `results`, key workflow id: exactly one record a closed run."""

    namespace: str
    task_queue: str
    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    result: list[Payload] = []
    failure: Failure | None = None
    start_time_ms: int = 0
    close_time_ms: int = 0
    first_execution_run_id: str = ""
    new_execution_run_id: str = ""
    history_length: int = 0


class ExecutionSummary(msgspec.Struct, gc=False):
    """Topic `executions`, key `workflow id/run id`, compacted: the latest summary of a run, for
    the read side.
    """

    namespace: str
    task_queue: str
    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    start_time_ms: int = 0
    execution_time_ms: int = 0
    close_time_ms: int = 0
    history_length: int = 0
    history_size_bytes: int = 0
    first_execution_run_id: str = ""
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    root_workflow_id: str = ""
    root_run_id: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    quarantine_reason: str = ""  # why no code of it runs until a ReleaseWorkflow
    state_transition_count: int = 0
    reported_problems: list[
        str
        # `TemporalReportedProblems`: why its workflow task keeps failing, empty when it does not
    ] = []


class PendingActivity(msgspec.Struct, gc=False):
    """What `describe` says of an activity that has not closed."""

    activity_id: str
    activity_type: str
    task_queue: str
    state: str  # SCHEDULED, STARTED, CANCEL_REQUESTED
    attempt: int
    scheduled_time_ms: int = 0
    last_started_time_ms: int = 0
    last_heartbeat_time_ms: int = 0
    next_attempt_time_ms: int = 0
    maximum_attempts: int = 0
    heartbeat_details: list[Payload] = []
    last_failure: Failure | None = None
    last_worker_identity: str = ""
    waiting_reason: str = ""
    scheduled_event_id: int = 0
    command_partition: int = (
        -1
    )  # where the running attempt's command stood in `commands`; -1 while no service has said so
    command_offset: int = -1


class PendingTimer(msgspec.Struct, gc=False):
    """What `describe` says of a user timer."""

    timer_id: str
    started_event_id: int
    due_ms: int
    summary: str = ""


class WorkflowDescription(msgspec.Struct, gc=False):
    """Answer to DescribeWorkflow."""

    summary: ExecutionSummary
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    attempt: int = 1
    cron_schedule: str = ""
    cancel_requested: bool = False
    static_summary: Payload | None = None
    static_details: Payload | None = None
    pending_activities: list[PendingActivity] = []
    pending_timers: list[PendingTimer] = []
    pending_task_attempt: int = 0  # > 1 while a workflow task keeps failing
    pending_task_failure: Failure | None = None
    task_timeout_ms: int = 0  # the start's; 0: Temporal's default
    pending_task_next_attempt_time_ms: int = (
        0  # of a task that failed; 0: of a quarantined run, an operator has to release it
    )
    execution_expiration_time_ms: int = 0  # when the whole chain is ended
    run_expiration_time_ms: int = 0  # when this run is ended


# Reply.status, the gRPC codes a Temporal client knows plus two of the query path.
OK = "OK"
INVALID_ARGUMENT = "INVALID_ARGUMENT"
NOT_FOUND = "NOT_FOUND"
ALREADY_EXISTS = "ALREADY_EXISTS"
FAILED_PRECONDITION = "FAILED_PRECONDITION"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
UNAVAILABLE = "UNAVAILABLE"
UNIMPLEMENTED = "UNIMPLEMENTED"
INTERNAL = "INTERNAL"
QUERY_FAILED = "QUERY_FAILED"
QUERY_REJECTED = "QUERY_REJECTED"


class Reply(msgspec.Struct, gc=False):
    """Topic `replies`, key client id, at most once. Which optional part is filled depends on
    `kind`.
    """

    client_id: str
    request_id: str
    # the request's record name, e.g. "StartWorkflow"; the outcome of a run comes as "AwaitResult"
    kind: str
    status: str
    message: str = ""
    workflow_id: str = ""
    run_id: str = ""
    first_execution_run_id: str = ""
    task_queue: str = ""
    workflow_type: str = ""
    payloads: list[Payload] = []  # query result
    failure: Failure | None = None  # query failure
    started: bool = False  # StartWorkflow: a new run was started by this request
    result: WorkflowResult | None = None  # AwaitResult
    description: WorkflowDescription | None = None  # DescribeWorkflow
    history: list[HistoryEvent] = []  # FetchHistory
    next_event_id: int = (
        0  # FetchHistory: where the next page begins; 0: this was the last of a closed run
    )
    workflow_status: str = ""  # QUERY_REJECTED, FetchHistory


class LaneStatus(msgspec.Struct, gc=False):
    """One lane of a member: where it stands."""

    partition: int
    state: str  # RESTORING, RUNNING, STOPPED
    position: int = 0
    restore_remaining: int = 0
    timer_backlog: int = 0
    open_runs: int = 0
    cached_runs: int = 0
    error: str = ""
    # epoch; when it last applied something, restored or had nothing to do; 0 from one that does not
    # say
    progress_time_ms: int = 0


class MemberStatus(msgspec.Struct, gc=False):
    """Topic `members`, key member id, every few seconds, outside transactions."""

    member_id: str
    kind: str  # PROCESSOR, ACTIVITIES
    namespace: str
    task_queue: str
    identity: str
    time_ms: int
    host: str = ""
    pid: int = 0
    lanes: list[LaneStatus] = []
    activity_types: list[str] = []
    workflow_types: list[str] = []
    slots_total: int = 0
    slots_used: int = 0


class PublishedSchema(msgspec.Struct, gc=False):
    """Topic `schemas`, key fingerprint (hex): the Avro schema a writer uses."""

    fingerprint: str
    name: str
    schema: str
