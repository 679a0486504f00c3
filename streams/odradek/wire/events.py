"""Records of the `events` topic: every input of a workflow, keyed by workflow id. Pure data, one
Struct an Avro record.

Requests (start, signal, query, cancel, terminate, describe, history, result, release, delete)
carry `request_id` (the owner answers a repeated one with the same verdict), `reply_to` (the
client id, key in `replies`; "" when nobody waits) and `deadline_ms` (epoch; 0 for none).
Activity results carry the attempt they answer, which fences them, and say where its command
stood (`command_partition` and `command_offset` of the `commands` topic; -1 from a service that
does not say). A raw start may leave `run_id` empty: it is then derived from topic id, partition
and offset.
"""

from __future__ import annotations

import msgspec

from odradek.wire.payload import Failure, Payload, RetryPolicy


class ParentExecution(msgspec.Struct, gc=False):
    """Who started a child, and which of its events did."""

    namespace: str = ""
    task_queue: str = ""
    workflow_id: str = ""
    run_id: str = ""
    initiated_event_id: int = 0
    parent_close_policy: str = ""


class StartWorkflow(msgspec.Struct, gc=False):
    """Start a run. With `signal_name` set: signal-with-start (one atomic request)."""

    workflow_id: str
    workflow_type: str
    request_id: str = ""
    run_id: str = ""
    reply_to: str = ""
    deadline_ms: int = 0
    identity: str = ""
    await_result: bool = False  # also answer when the run closes, as an AwaitResult would
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    start_delay_ms: int = 0
    cron_schedule: str = ""
    retry_policy: RetryPolicy | None = None
    id_reuse_policy: str = "ALLOW_DUPLICATE"
    id_conflict_policy: str = "FAIL"
    signal_name: str = ""
    signal_input: list[Payload] = []
    signal_headers: dict[str, Payload] = {}
    static_summary: Payload | None = None
    static_details: Payload | None = None
    parent: ParentExecution | None = None
    root_workflow_id: str = ""
    root_run_id: str = ""


class RunRequest(msgspec.Struct, gc=False):
    """What every request on a run begins with. Start, signal and query have their own required
    field in between, so they spell it out.
    """

    workflow_id: str
    run_id: str = ""  # "": the current run
    request_id: str = ""
    reply_to: str = ""
    deadline_ms: int = 0
    identity: str = ""


class SignalWorkflow(msgspec.Struct, gc=False):
    """Deliver a signal to the current run of `workflow_id`, or to `run_id` if given."""

    workflow_id: str
    signal_name: str
    run_id: str = ""
    request_id: str = ""
    reply_to: str = ""
    deadline_ms: int = 0
    identity: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}


class QueryWorkflow(msgspec.Struct, gc=False):
    """Ask a run. Never changes anything; dropped, not run, when past `deadline_ms`."""

    workflow_id: str
    query_type: str
    run_id: str = ""
    request_id: str = ""
    reply_to: str = ""
    deadline_ms: int = 0
    identity: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    reject_condition: str = ""  # "", NONE, NOT_OPEN, NOT_COMPLETED_CLEANLY


class CancelWorkflow(RunRequest):
    """Request cancellation. `first_execution_run_id` guards against a later chain with the same
    id.
    """

    first_execution_run_id: str = ""
    reason: str = ""


class TerminateWorkflow(RunRequest):
    """Close a run as TERMINATED without running workflow code."""

    first_execution_run_id: str = ""
    reason: str = ""
    details: list[Payload] = []


class DescribeWorkflow(RunRequest):
    """Describe a run, or locate it: read-only."""


class FetchHistory(RunRequest):
    """A page of history from `from_event_id` on. With `wait_new_event` the answer waits for an
    event at or after it, or the deadline.
    """

    from_event_id: int = 1
    max_events: int = 1000
    wait_new_event: bool = False


class AwaitResult(RunRequest):
    """Long poll for the outcome of a run (`run_id` empty: the current one). Answered at its
    close or at the deadline; clients ask again.
    """


class ReleaseWorkflow(RunRequest):
    """Let a quarantined run go on, or try a failed task again now (an operator's command)."""


class DeleteWorkflow(RunRequest):
    """Delete a run: its rows, its history, its entry in `executions`. An open one is terminated
    first (Temporal's rule).
    """


class AttemptReport(msgspec.Struct, gc=False):
    """What every report of an activity begins with: the attempt that it is about."""

    workflow_id: str
    run_id: str
    scheduled_event_id: int
    activity_id: str
    attempt: int


class ActivityTaskStarted(AttemptReport):
    """An attempt began and its command was acknowledged: from here on the engine's timers guard
    it.
    """

    started_time_ms: int = 0
    identity: str = ""
    command_partition: int = -1
    command_offset: int = -1


class ActivityTaskHeartbeat(AttemptReport):
    """An attempt is alive; `details` reach the next attempt."""

    details: list[Payload] = []
    identity: str = ""


class ActivityTaskCompleted(AttemptReport):
    """An attempt returned. `started_time_ms` is when it began, so that a short activity needs
    this record alone.
    """

    result: list[Payload] = []
    started_time_ms: int = 0
    identity: str = ""
    command_partition: int = -1
    command_offset: int = -1


class ActivityTaskFailed(AttemptReport):
    """An attempt raised. Whether it is retried is the engine's decision."""

    failure: Failure
    last_heartbeat_details: list[Payload] = []
    started_time_ms: int = 0
    identity: str = ""
    command_partition: int = -1
    command_offset: int = -1


class ActivityTaskCanceled(AttemptReport):
    """An attempt ended because it was told to (only valid after a cancel request)."""

    details: list[Payload] = []
    started_time_ms: int = 0
    identity: str = ""
    command_partition: int = -1
    command_offset: int = -1


Request = (
    StartWorkflow
    | SignalWorkflow
    | QueryWorkflow
    | CancelWorkflow
    | TerminateWorkflow
    | DescribeWorkflow
    | FetchHistory
    | AwaitResult
    | ReleaseWorkflow
    | DeleteWorkflow
)
ActivityOutcome = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskCanceled
ActivityReport = ActivityTaskStarted | ActivityTaskHeartbeat | ActivityOutcome
Event = Request | ActivityReport

#: Requests that change nothing, and the names of their records.
READ_REQUESTS = (QueryWorkflow, DescribeWorkflow, FetchHistory, AwaitResult)
READ_KINDS = frozenset(one.__name__ for one in READ_REQUESTS)
