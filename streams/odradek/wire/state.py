"""Rows of the `state` topic and of the local store: one row a thing. Pure data; FORMAT is their
version.

Keys are text, `{table}/{row key}`; the row keys are given at each class. A partition whose
position row has a newer FORMAT is not acquired.
"""

from __future__ import annotations

import msgspec

from odradek.wire.history import HistoryEvent
from odradek.wire.payload import Failure, Payload, RetryPolicy

FORMAT = 1


class PositionRow(msgspec.Struct, gc=False):
    """Table `position`, key "": the next offset of `events` to apply, and the identity of what
    it belongs to.
    """

    offset: int
    events_topic_id: str
    state_topic_id: str
    partitions: int
    cluster_id: str = ""
    format: int = FORMAT
    identity: str = ""
    time_ms: int = 0
    open_runs: int = 0  # runs of the partition that have not closed


class WorkflowRow(msgspec.Struct, gc=False):
    """Table `workflow`, key workflow id: which run is the current (latest) one."""

    workflow_id: str
    run_id: str
    first_execution_run_id: str


class RunRow(msgspec.Struct, gc=False):
    """Table `run`, key run id: the summary and bookkeeping of a run, rewritten at each step.
    Nothing here grows with the history.
    """

    workflow_id: str
    run_id: str
    workflow_type: str
    first_execution_run_id: str
    status: str = "RUNNING"
    start_time_ms: int = 0
    execution_time_ms: int = 0
    close_time_ms: int = 0
    last_time_ms: int = 0  # workflow time; never runs back
    next_event_id: int = 1
    # of the last WorkflowTaskCompleted; later events (commands' own aside) are not seen by workflow
    # code yet
    last_task_event_id: int = 0
    history_size_bytes: int = 0
    state_transition_count: int = 0
    attempt: int = 1
    start_request_id: str = ""
    # requests that the workflow id has seen so far; RequestRow is indexed by it modulo
    # its size
    request_seq: int = 0
    cancel_requested: bool = False
    cancel_reason: str = ""
    task_attempt: int = 1  # of the workflow task that is being retried
    task_failure: Failure | None = None
    task_retry_due_ms: int = 0
    run_timeout_due_ms: int = 0
    execution_timeout_due_ms: int = 0
    first_task_due_ms: int = 0  # start delay or cron: no task before it
    retention_due_ms: int = 0
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    cron_schedule: str = ""
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    root_workflow_id: str = ""
    root_run_id: str = ""
    static_summary: Payload | None = None
    static_details: Payload | None = None
    new_execution_run_id: str = ""
    previous_run_id: str = (
        ""  # the run that had this workflow id before; a repeated start is looked for there too
    )
    reported_problems: list[str] = []  # as its last ExecutionSummary has them
    # how often in a row its process died, or the watchdog ended it, while its code executed
    crash_count: int = 0
    # why no code of it runs until an operator releases it; "" when it is not quarantined
    quarantine_reason: str = ""


class HistoryRow(msgspec.Struct, gc=False):
    """Table `history`, key `{run id}/{first event id:010d}`: the events that one step appended."""

    events: list[HistoryEvent]


class ActivityRow(msgspec.Struct, gc=False):
    """Table `activity`, key `{run id}/{scheduled event id:010d}`: an activity that has not closed."""

    run_id: str
    workflow_id: str
    scheduled_event_id: int
    seq: int  # the activator's number for it
    activity_id: str
    activity_type: str
    task_queue: str
    state: str = "SCHEDULED"  # SCHEDULED, STARTED, BACKOFF, WAITING (its topic cannot be had)
    attempt: int = 1
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    schedule_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cancellation_type: str = "TRY_CANCEL"
    scheduled_time_ms: int = 0
    attempt_scheduled_time_ms: int = 0
    started_time_ms: int = 0
    last_heartbeat_time_ms: int = 0
    heartbeat_details: list[Payload] = []
    last_failure: Failure | None = None
    identity: str = ""
    cancel_requested: bool = False
    cancel_requested_event_id: int = 0
    waiting_reason: str = ""
    timer_due_ms: int = 0  # its row in `timer`, 0 for none
    command_partition: int = -1  # where its running attempt's command stood, as the service said
    command_offset: int = -1


class UserTimerRow(msgspec.Struct, gc=False):
    """Table `user_timer`, key `{run id}/{started event id:010d}`: a durable timer of workflow
    code.
    """

    run_id: str
    workflow_id: str
    started_event_id: int
    seq: int
    timer_id: str
    due_ms: int


class TimerRow(msgspec.Struct, gc=False):
    """Table `timer`, key `{due_ms:015d}/{run id}/{kind}/{id}`: time-ordered, so that memory
    holds the next minutes only.
    """

    due_ms: int
    workflow_id: str
    run_id: str
    # USER, ACTIVITY, WORKFLOW_TASK, FIRST_TASK, RUN_TIMEOUT, EXECUTION_TIMEOUT, RETENTION, FORGET
    kind: str
    id: int = 0  # started or scheduled event id, for USER and ACTIVITY


class RequestRow(msgspec.Struct, gc=False):
    """Table `request`, key `{UUIDv5 of the workflow id}/{slot:04d}`: the deduplication
    window: a workflow's last requests and their responses, whichever run of it they were for, so that a repeated one is a
    no-op. Which ones are repeated: `engine/requests.py`.

    Key `deleted/{workflow id}/{run id}`: the verdict on the deletion of a run, kept for the
    window of request ids.
    """

    request_id: str
    kind: str  # the record's name, or SignalWithStart
    status: str
    message: str = ""
    seq: int = 0
    time_ms: int = 0
    run_id: str = ""  # the run the verdict names
    started: bool = False
    first_execution_run_id: str = ""  # the chain of runs that it was for
    # its deadline, or, without one, the timestamp of its record: what was produced twice has the
    # same
    made_ms: int = 0


Row = (
    PositionRow
    | WorkflowRow
    | RunRow
    | HistoryRow
    | ActivityRow
    | UserTimerRow
    | TimerRow
    | RequestRow
)
