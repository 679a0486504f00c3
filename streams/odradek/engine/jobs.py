"""From input events to activation jobs. Live steps and replay use the same function, so that
they cannot differ.

Temporal's order inside an activation: patches; signals and updates; the rest in history order;
queries in an activation of their own. InitializeWorkflow, of a run's first activation, comes
before all.
"""

from __future__ import annotations

from odradek.engine.activation import (
    CancelJob,
    FireTimer,
    InitializeWorkflow,
    Job,
    NotifyHasPatch,
    ResolveActivity,
    SignalJob,
)
from odradek.engine.failures import CANCELED_MESSAGE, activity_link, canceled
from odradek.engine.keys import random_seed
from odradek.engine.run import LiveRun, OpenActivity
from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskTimedOutEvent,
    HistoryEvent,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from odradek.wire.payload import Failure, Payload

# The message of the ACTIVITY link; that of its cause is CANCELED_MESSAGE.
ACTIVITY_CANCELED = "Activity cancelled"


def take_jobs(
    run: LiveRun, events: list[HistoryEvent], patches: list[str] | None = None
) -> list[Job]:
    """Jobs of one activation, in order. What they resolve is no longer open in `run`."""
    first: list[Job] = []
    signals: list[Job] = []
    rest: list[Job] = []
    for event in events:
        a = event.attributes
        kind = type(a)
        if kind is ActivityTaskCompletedEvent:
            seq = _resolved(run, a.scheduled_event_id)  # type: ignore[union-attr]
            if seq is not None:
                rest.append(ResolveActivity(seq[0], "COMPLETED", a.result))  # type: ignore[union-attr]
        elif isinstance(a, WorkflowExecutionSignaled):
            signals.append(SignalJob(a.signal_name, a.input, a.headers, a.identity))
        elif isinstance(a, TimerFired):
            timer_seq = run.timer_seqs.pop(a.started_event_id, None)
            if timer_seq is not None:
                del run.open_timers[timer_seq]
                rest.append(FireTimer(timer_seq))
        elif isinstance(a, WorkflowExecutionStarted):
            first.append(
                InitializeWorkflow(a, a.random_seed or random_seed(a.run_id), event.event_time_ms)
            )
        elif isinstance(a, WorkflowExecutionCancelRequested):
            rest.append(CancelJob(a.cause))
        elif isinstance(
            a, (ActivityTaskFailedEvent, ActivityTaskTimedOutEvent, ActivityTaskCanceledEvent)
        ):
            seq = _resolved(run, a.scheduled_event_id)
            if seq is not None:
                rest.append(_unsuccessful(seq[0], seq[1], a))
    patch_jobs: list[Job] = [NotifyHasPatch(patch) for patch in patches] if patches else []
    return first + patch_jobs + signals + rest if first or patch_jobs or signals else rest


def canceled_activity(
    seq: int,
    activity: OpenActivity,
    *,
    started_event_id: int = 0,
    details: list[Payload] | None = None,
) -> ResolveActivity:
    """The job that resolves a cancelled activity."""
    failure = activity_link(
        ACTIVITY_CANCELED,
        canceled(CANCELED_MESSAGE, details),
        activity_type=activity.activity_type,
        activity_id=activity.activity_id,
        scheduled_event_id=activity.scheduled_event_id,
        started_event_id=started_event_id,
        identity="",
        retry_state="CANCEL_REQUESTED",
    )
    return ResolveActivity(seq, "CANCELED", failure=failure)


def _resolved(run: LiveRun, scheduled_event_id: int) -> tuple[int, OpenActivity] | None:
    """The seq and activity that an event closes; None if workflow code no longer waits
    (cancelled before).
    """
    seq = run.activity_seqs.pop(scheduled_event_id, None)
    return None if seq is None else (seq, run.open_activities.pop(seq))


def _unsuccessful(
    seq: int,
    activity: OpenActivity,
    a: ActivityTaskFailedEvent | ActivityTaskTimedOutEvent | ActivityTaskCanceledEvent,
) -> ResolveActivity:
    if isinstance(a, ActivityTaskCanceledEvent):
        return canceled_activity(
            seq, activity, started_event_id=a.started_event_id, details=a.details
        )
    failure: Failure = activity_link(
        "Activity task failed"
        if isinstance(a, ActivityTaskFailedEvent)
        else "Activity task timed out",
        a.failure,
        activity_type=activity.activity_type,
        activity_id=activity.activity_id,
        scheduled_event_id=a.scheduled_event_id,
        started_event_id=a.started_event_id,
        identity=a.identity if isinstance(a, ActivityTaskFailedEvent) else "",
        retry_state=a.retry_state,
    )
    return ResolveActivity(seq, "FAILED", failure=failure)
