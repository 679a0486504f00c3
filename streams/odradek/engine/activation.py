"""The activation port: what drives one run's workflow code, wherever and in whatever language it
lives.

The engine hands an `Activation` (jobs, in Temporal's order: patches; signals and updates; the
rest; queries last) and gets back a `Completion` (commands, Temporal's command types). `seq` is
the activator's own number for a thing it asked for (activity, timer), unique per kind in a run
and the same at every replay; the engine maps it to event ids. Modelled on the lang/core protocol
of Temporal's SDKs.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.payload import Failure, Payload, RetryPolicy

# ---------------------------------------------------------------- jobs


class InitializeWorkflow(msgspec.Struct, gc=False):
    """First job of a run: make the instance; its main coroutine starts after the signals and
    updates of the same activation.
    """

    attributes: WorkflowExecutionStarted
    random_seed: int
    start_time_ms: int


class NotifyHasPatch(msgspec.Struct, gc=False):
    patch_id: str


class SignalJob(msgspec.Struct, gc=False):
    signal_name: str
    input: list[Payload]
    headers: dict[str, Payload]
    identity: str = ""


class FireTimer(msgspec.Struct, gc=False):
    seq: int


class ResolveActivity(msgspec.Struct, gc=False):
    """`status`: COMPLETED (result), FAILED (failure: an ACTIVITY link with its cause) or
    CANCELED (failure likewise).
    """

    seq: int
    status: str
    result: list[Payload] = []
    failure: Failure | None = None


class CancelJob(msgspec.Struct, gc=False):
    """Cancellation of the workflow was requested."""

    reason: str = ""


class QueryJob(msgspec.Struct, gc=False):
    query_id: str
    query_type: str
    input: list[Payload]
    headers: dict[str, Payload]


Job = (
    InitializeWorkflow
    | NotifyHasPatch
    | SignalJob
    | FireTimer
    | ResolveActivity
    | CancelJob
    | QueryJob
)


class Activation(msgspec.Struct, gc=False):
    """One workflow task (or, with queries alone, a read-only look)."""

    run_id: str
    time_ms: int  # workflow.now() for all of it
    is_replaying: bool
    history_length: int
    history_size_bytes: int
    suggest_continue_as_new: bool
    jobs: list[Job]


# ---------------------------------------------------------------- commands


class CommandBase(msgspec.Struct, gc=False):
    """`origin`: file, line and function of workflow code that asked for it, for nondeterminism
    errors; may be None outside replay.
    """

    origin: tuple[str, int, str] | None = None


class ScheduleActivity(CommandBase, kw_only=True):
    seq: int
    activity_id: str
    activity_type: str
    task_queue: str  # "" = the workflow's own
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    schedule_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    cancellation_type: str = "TRY_CANCEL"  # TRY_CANCEL, WAIT_CANCELLATION_COMPLETED, ABANDON
    summary: Payload | None = None


class RequestCancelActivity(CommandBase, kw_only=True):
    """Cancel `seq`. With TRY_CANCEL and ABANDON the engine resolves it CANCELED in the next
    activation of the same step; with WAIT_CANCELLATION_COMPLETED when the activity's own end
    arrives. An activity scheduled in this same activation leaves no command at all.
    """

    seq: int


class StartTimer(CommandBase, kw_only=True):
    seq: int
    timer_id: str
    duration_ms: int
    summary: Payload | None = None


class CancelTimer(CommandBase, kw_only=True):
    seq: int


class CompleteWorkflow(CommandBase, kw_only=True):
    result: list[Payload]


class FailWorkflow(CommandBase, kw_only=True):
    failure: Failure


class CancelWorkflowExecution(CommandBase, kw_only=True):
    """Close the run as CANCELED."""

    details: list[Payload] = []


class ContinueAsNew(CommandBase, kw_only=True):
    workflow_type: str  # "" = the same
    task_queue: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    memo: dict[str, Payload] | None = None  # None: inherit
    search_attributes: dict[str, Payload] | None = None
    run_timeout_ms: int | None = None
    task_timeout_ms: int | None = None
    backoff_start_interval_ms: int = 0
    retry_policy: RetryPolicy | None = None


class SetPatchMarker(CommandBase, kw_only=True):
    patch_id: str
    deprecated: bool = False


class UpsertMemo(CommandBase, kw_only=True):
    memo: dict[str, Payload]


class UpsertSearchAttributes(CommandBase, kw_only=True):
    search_attributes: dict[str, Payload]


class RespondToQuery(CommandBase, kw_only=True):
    """Exactly one of `result` and `failure` counts: failure when not None."""

    query_id: str
    result: list[Payload] = []
    failure: Failure | None = None


Command = (
    ScheduleActivity
    | RequestCancelActivity
    | StartTimer
    | CancelTimer
    | CompleteWorkflow
    | FailWorkflow
    | CancelWorkflowExecution
    | ContinueAsNew
    | SetPatchMarker
    | UpsertMemo
    | UpsertSearchAttributes
    | RespondToQuery
)


class Commands(msgspec.Struct, gc=False):
    """The activation ran: these commands, in the order in which workflow code asked."""

    commands: list[Command]


class TaskFailed(msgspec.Struct, gc=False):
    """The workflow *task* failed (an exception that is no failure error, an unregistered type, a
    spinning activation).

    Nothing of it counts.

    `cause` is Temporal's WorkflowTaskFailedCause without prefix. `crashed`: the code had to be
    ended, which counts as a crash of the run. `logged`: whoever made it has logged it, with more
    than stands here. The instance is of no further use; the engine closes it and replays into a
    new one.
    """

    failure: Failure
    cause: str = "WORKFLOW_WORKER_UNHANDLED_FAILURE"
    crashed: bool = False
    logged: bool = False


#: An activator that answers later will add `Pending`: the task then stays in flight.
Completion = Commands | TaskFailed


class WorkflowInstance(Protocol):
    """One live run. Never called from two threads at once."""

    def activate(self, activation: Activation) -> Completion:
        """Apply the jobs, run the code until it waits, return its commands. Never raises for
        what workflow code does.
        """
        ...

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        """The engine found this run nondeterministic: fail the *workflow* if its definition says
        so, else None (the task fails).
        """
        ...

    def close(self) -> None:
        """Evicted: let go of coroutines quietly; user code must notice nothing that has an effect."""
        ...


class Activator(Protocol):
    """Makes instances. `create` never raises.

    An unregistered type gives an instance whose first activation is TaskFailed naming what is
    registered.
    """

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance: ...
