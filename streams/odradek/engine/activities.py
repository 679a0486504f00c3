"""Pending activities: scheduling, attempts, retries, the four timeouts, cancellation.

The engine owns all of it; a service owns one attempt. An attempt leaves no history until the
activity closes: ActivityTaskStarted is written with the closing event. What answers another
attempt than the current one is dropped. Deadlines run on the engine's clock alone (a service's
clock may be wrong): start-to-close and heartbeat from when Started is applied, so an outage of
the lane costs no attempt.

One timer row an activity, never later than its nearest deadline. It is not moved when the
deadline moves away (each heartbeat would rewrite it): a timer that comes too early is set anew.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from odradek.engine import retry
from odradek.engine.failures import (
    activity_timeout,
    application,
    no_time_for_retry,
    not_started,
)
from odradek.engine.keys import event_key
from odradek.engine.matching import open_activity
from odradek.engine.ports import ACTIVITY, COMMANDS, CONTROL, CommandWithoutDetails
from odradek.wire.clean import clean_failure
from odradek.wire.events import (
    ActivityOutcome,
    ActivityReport,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskHeartbeat,
    ActivityTaskStarted,
)
from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskCancelRequested,
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    ActivityTaskTimedOutEvent,
    Attributes,
)
from odradek.wire.payload import Failure
from odradek.wire.state import ActivityRow
from odradek.wire.tasks import ActivityTask, CancelActivityTask

if TYPE_CHECKING:
    from odradek.engine.activate import ActivityCancellation
    from odradek.engine.activation import ScheduleActivity
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep

SCHEDULED = "SCHEDULED"
STARTED = "STARTED"
BACKOFF = "BACKOFF"
WAITING = "WAITING"

# How long a command whose topic cannot be had waits before it is tried again.
WAITING_RETRY_MS = 5_000

# A service reports Started at most 200 ms after it began; what is silent for so long after a cancel
# request did not begin.
CANCEL_GRACE_MS = 2_000

WAIT_CANCELLATION = "WAIT_CANCELLATION_COMPLETED"


# ---------------------------------------------------------------- scheduling


def schedule(
    step: WorkflowStep, run: LiveRun, command: ScheduleActivity, task_completed_event_id: int
) -> None:
    """Carry out ScheduleActivity."""
    queue = command.task_queue or step.context.task_queue
    policy = retry.normalized(command.retry_policy)
    to_close = command.schedule_to_close_timeout_ms
    to_start = command.schedule_to_start_timeout_ms
    start_to_close = command.start_to_close_timeout_ms
    heartbeat = command.heartbeat_timeout_ms
    if to_close:
        start_to_close = min(start_to_close, to_close) if start_to_close else to_close
        to_start = min(to_start, to_close)
    heartbeat = min(heartbeat, start_to_close) if start_to_close else heartbeat
    event = ActivityTaskScheduled(
        command.activity_id,
        command.activity_type,
        queue,
        command.input,
        command.headers,
        to_close,
        to_start,
        start_to_close,
        heartbeat,
        policy,
        task_completed_event_id,
        command.summary,
    )
    event_id = run.row.next_event_id
    row = ActivityRow(
        run_id=run.row.run_id,
        workflow_id=step.workflow_id,
        scheduled_event_id=event_id,
        seq=command.seq,
        activity_id=command.activity_id,
        activity_type=command.activity_type,
        task_queue=queue,
        input=command.input,
        headers=command.headers,
        schedule_to_close_timeout_ms=to_close,
        schedule_to_start_timeout_ms=to_start,
        start_to_close_timeout_ms=start_to_close,
        heartbeat_timeout_ms=heartbeat,
        retry_policy=policy,
        cancellation_type=command.cancellation_type,
        scheduled_time_ms=run.time_ms,
        attempt_scheduled_time_ms=run.time_ms,
    )
    _send(step, run, row)
    run.append(event)
    open_activity(run, event_id, command)
    save(step, run, row)


def _send(step: WorkflowStep, run: LiveRun, row: ActivityRow) -> None:
    """Put the attempt's command out, or make `row` WAITING while its queue cannot be had."""
    row.waiting_reason = step.missing_queues.get(row.task_queue, "")
    if row.waiting_reason:
        row.state = WAITING
        return
    details = row.heartbeat_details
    if step.rejected and details:
        # What an attempt said of itself must not stop the next one: better it begins anew.
        details = []
        step.without_details.append(
            CommandWithoutDetails(
                row.workflow_id,
                row.run_id,
                row.activity_type,
                row.activity_id,
                row.attempt,
                step.rejected,
            )
        )
    row.state = SCHEDULED
    step.emit(
        COMMANDS,
        row.task_queue,
        step.workflow_id,
        ActivityTask(
            step.context.namespace,
            step.context.task_queue,
            row.workflow_id,
            row.run_id,
            run.row.workflow_type,
            row.task_queue,
            row.activity_id,
            row.activity_type,
            row.scheduled_event_id,
            row.attempt,
            row.input,
            row.headers,
            details,
            row.scheduled_time_ms,
            row.attempt_scheduled_time_ms,
            row.schedule_to_close_timeout_ms,
            row.schedule_to_start_timeout_ms,
            row.start_to_close_timeout_ms,
            row.heartbeat_timeout_ms,
            row.retry_policy,
        ),
    )


# ---------------------------------------------------------------- rows and their timer


def save(step: WorkflowStep, run: LiveRun, row: ActivityRow, *, at_ms: int = 0) -> None:
    """Write a changed row and see that its timer is set. `at_ms`: exactly then (a backoff's
    end), else by the nearest deadline.
    """
    deadline = at_ms or _nearest_deadline(row, run.time_ms)
    set_ms = row.timer_due_ms
    if deadline and deadline != set_ms and (at_ms or not set_ms or deadline < set_ms):
        step.delete_timer(run, "ACTIVITY", set_ms, row.scheduled_event_id)
        step.put_timer(run, "ACTIVITY", deadline, row.scheduled_event_id)
        row.timer_due_ms = deadline
    run.activities[row.scheduled_event_id] = row
    step.put(ACTIVITY, event_key(row.run_id, row.scheduled_event_id), row)


def _nearest_deadline(row: ActivityRow, now_ms: int) -> int:
    """When something must happen to an activity of which nothing more is heard; 0 for never."""
    nearest = (
        row.scheduled_time_ms + row.schedule_to_close_timeout_ms
        if row.schedule_to_close_timeout_ms
        else 0
    )
    state = row.state
    if state == STARTED:
        if row.start_to_close_timeout_ms:
            due = row.started_time_ms + row.start_to_close_timeout_ms
            nearest = due if not nearest or due < nearest else nearest
        if row.heartbeat_timeout_ms:
            due = max(row.started_time_ms, row.last_heartbeat_time_ms) + row.heartbeat_timeout_ms
            nearest = due if not nearest or due < nearest else nearest
        return nearest
    if row.schedule_to_start_timeout_ms and state != BACKOFF:
        due = row.attempt_scheduled_time_ms + row.schedule_to_start_timeout_ms
        nearest = due if not nearest or due < nearest else nearest
    if state == WAITING:
        due = now_ms + WAITING_RETRY_MS
        nearest = due if not nearest or due < nearest else nearest
    elif state == BACKOFF:
        nearest = row.attempt_scheduled_time_ms
    return nearest


def forget(step: WorkflowStep, run: LiveRun, row: ActivityRow) -> None:
    """Delete the row and its timer."""
    run.activities.pop(row.scheduled_event_id, None)
    step.delete(ACTIVITY, event_key(row.run_id, row.scheduled_event_id))
    step.delete_timer(run, "ACTIVITY", row.timer_due_ms, row.scheduled_event_id)


# ---------------------------------------------------------------- reports of services


def apply_report(step: WorkflowStep, event: ActivityReport) -> None:
    """Apply what a service says of an attempt. What is late, doubled or of another attempt
    changes nothing.
    """
    run = step.run(event.run_id)
    row = run.activities.get(event.scheduled_event_id) if run is not None else None
    if (
        run is None
        or row is None
        or row.attempt != event.attempt
        or row.state not in (SCHEDULED, STARTED)
        or not run.is_open
    ):
        if isinstance(event, ActivityTaskStarted | ActivityTaskHeartbeat):
            _tell_stale(step, run, row, event)
        return
    if isinstance(event, ActivityTaskCompleted):
        _close(
            step,
            run,
            row,
            ActivityTaskCompletedEvent(row.scheduled_event_id, 0, event.result, event.identity),
            event,
        )
    elif isinstance(event, ActivityTaskStarted):
        _started(step, run, row, event)
    elif isinstance(event, ActivityTaskHeartbeat):
        _started(step, run, row, event, heartbeat=True)
    elif isinstance(event, ActivityTaskFailed):
        _failed(step, run, row, event)
    else:
        _canceled(step, run, row, event)


def _started(
    step: WorkflowStep,
    run: LiveRun,
    row: ActivityRow,
    event: ActivityTaskStarted | ActivityTaskHeartbeat,
    *,
    heartbeat: bool = False,
) -> None:
    if heartbeat or row.state == SCHEDULED:
        row = copy.copy(row)
        row.identity = event.identity or row.identity
        if row.state == SCHEDULED:
            row.state = STARTED
            row.started_time_ms = run.time_ms
            if isinstance(event, ActivityTaskStarted):
                row.command_partition, row.command_offset = (
                    event.command_partition,
                    event.command_offset,
                )
        if isinstance(event, ActivityTaskHeartbeat):
            row.last_heartbeat_time_ms = run.time_ms
            row.heartbeat_details = event.details
        save(step, run, row)
    if row.cancel_requested_event_id:
        _send_cancel(step, row)


def _failed(step: WorkflowStep, run: LiveRun, row: ActivityRow, event: ActivityTaskFailed) -> None:
    clean_failure(
        event.failure
        # a service in any language may send a chain that can just be read, and not again from
        # deeper calls
    )
    if event.last_heartbeat_details:
        row = copy.copy(row)
        row.heartbeat_details = event.last_heartbeat_details
    state = _try_again(step, run, row, event.failure)
    if state != retry.IN_PROGRESS:
        _close(
            step,
            run,
            row,
            ActivityTaskFailedEvent(
                row.scheduled_event_id, 0, event.failure, state, event.identity
            ),
            event,
        )


def _canceled(
    step: WorkflowStep, run: LiveRun, row: ActivityRow, event: ActivityTaskCanceled
) -> None:
    if row.cancel_requested_event_id:
        closing = ActivityTaskCanceledEvent(
            row.scheduled_event_id, 0, row.cancel_requested_event_id, event.details, event.identity
        )
        _close(step, run, row, closing, event)
        return
    failure = application(
        "The activity reported its cancellation, but nobody had requested it", "CancelledError"
    )
    failure.details = event.details
    state = _try_again(step, run, row, failure)
    if state != retry.IN_PROGRESS:
        _close(
            step,
            run,
            row,
            ActivityTaskFailedEvent(row.scheduled_event_id, 0, failure, state, event.identity),
            event,
        )


def _tell_stale(
    step: WorkflowStep,
    run: LiveRun | None,
    row: ActivityRow | None,
    event: ActivityTaskStarted | ActivityTaskHeartbeat,
) -> None:
    """An attempt that nobody waits for is running: tell its service to stop it."""
    if run is None:
        return  # its queue is not known any more
    queue = row.task_queue if row is not None else _queue_of(step, run, event.scheduled_event_id)
    if queue:
        cancel_task = CancelActivityTask(
            event.workflow_id,
            event.run_id,
            event.scheduled_event_id,
            event.activity_id,
            event.attempt,
        )
        cancel_task.reason = "no longer awaited"
        step.emit(CONTROL, queue, event.activity_id, cancel_task)


def _queue_of(step: WorkflowStep, run: LiveRun, scheduled_event_id: int) -> str:
    for event in step.history(run, from_event_id=scheduled_event_id):
        if event.event_id == scheduled_event_id and isinstance(
            event.attributes, ActivityTaskScheduled
        ):
            return event.attributes.task_queue
        break
    return ""


# ---------------------------------------------------------------- the end of an attempt


def _try_again(step: WorkflowStep, run: LiveRun, row: ActivityRow, failure: Failure) -> str:
    """Begin the backoff to the next attempt, if there is one. Returns the RetryState."""
    if row.cancel_requested_event_id:
        return retry.CANCEL_REQUESTED
    if failure.timeout_type in retry.FINAL_TIMEOUTS:
        return retry.EXPIRED
    expiration = (
        row.scheduled_time_ms + row.schedule_to_close_timeout_ms
        if row.schedule_to_close_timeout_ms
        else 0
    )
    state, wait_ms = retry.decide(
        row.retry_policy, failure, attempt=row.attempt, now_ms=run.time_ms, expiration_ms=expiration
    )
    if state != retry.IN_PROGRESS:
        return state
    row = copy.copy(row)
    row.attempt += 1
    row.last_failure = failure
    row.started_time_ms = row.last_heartbeat_time_ms = 0
    row.command_partition = row.command_offset = -1
    row.attempt_scheduled_time_ms = run.time_ms + wait_ms
    row.state = BACKOFF
    if wait_ms:
        save(step, run, row, at_ms=row.attempt_scheduled_time_ms)
    else:
        send_again(step, run, row)
    return state


def send_again(step: WorkflowStep, run: LiveRun, row: ActivityRow) -> None:
    """Send the command of a BACKOFF or WAITING row."""
    row = copy.copy(row)
    _send(step, run, row)
    save(step, run, row)


def _close(
    step: WorkflowStep,
    run: LiveRun,
    row: ActivityRow,
    closing: Attributes,
    report: ActivityOutcome | None = None,
) -> None:
    """Write the end of an activity to history, with the Started of its last attempt if there was
    one; let workflow code know.
    """
    offset = step.input.offset if step.input is not None and report is not None else -1
    started_event_id = 0
    if report is not None or row.state == STARTED:
        identity, started_ms = row.identity, row.started_time_ms
        partition, command_offset = row.command_partition, row.command_offset
        if report is not None:
            identity = report.identity or identity
            started_ms = started_ms or report.started_time_ms
            if report.command_offset >= 0:  # one that is completed from outside does not know it
                partition, command_offset = report.command_partition, report.command_offset
        started_ms = started_ms or run.time_ms
        started_event_id = run.append(
            ActivityTaskStartedEvent(
                row.scheduled_event_id,
                row.attempt,
                identity,
                row.last_failure,
                partition,
                command_offset,
            ),
            offset=offset,
            time_ms=min(started_ms, run.time_ms),
        )
    assert isinstance(
        closing,
        ActivityTaskCompletedEvent
        | ActivityTaskFailedEvent
        | ActivityTaskTimedOutEvent
        | ActivityTaskCanceledEvent,
    )
    closing.started_event_id = started_event_id
    run.append(closing, offset=offset)
    forget(step, run, row)
    if not row.cancel_requested or row.cancellation_type == WAIT_CANCELLATION:
        run.needs_task = True  # else workflow code was told when it cancelled


# ---------------------------------------------------------------- timeouts


def apply_timer(step: WorkflowStep, run: LiveRun, row: ActivityRow) -> None:
    """The activity's timer fell due: time out, try again, or only wait on."""
    now = run.time_ms
    row = copy.copy(row)
    row.timer_due_ms = 0  # its timer row is gone
    state = row.state
    if (
        row.schedule_to_close_timeout_ms
        and row.scheduled_time_ms + row.schedule_to_close_timeout_ms <= now
    ):
        # Schedule-to-start is never longer, and comes first where both are due. Of a later attempt
        # it ends later.
        not_begun = state in (SCHEDULED, WAITING) and row.attempt == 1
        _time_out(step, run, row, "SCHEDULE_TO_START" if not_begun else "SCHEDULE_TO_CLOSE")
    elif state == STARTED:
        beat = max(row.started_time_ms, row.last_heartbeat_time_ms)
        if (
            row.start_to_close_timeout_ms
            and row.started_time_ms + row.start_to_close_timeout_ms <= now
        ):
            _time_out(step, run, row, "START_TO_CLOSE")
        elif row.heartbeat_timeout_ms and beat + row.heartbeat_timeout_ms <= now:
            _time_out(step, run, row, "HEARTBEAT")
        else:
            save(step, run, row)
    elif state == BACKOFF and row.attempt_scheduled_time_ms <= now:
        send_again(step, run, row)
    elif (
        state != BACKOFF
        and row.schedule_to_start_timeout_ms
        and row.attempt_scheduled_time_ms + row.schedule_to_start_timeout_ms <= now
    ):
        _time_out(step, run, row, "SCHEDULE_TO_START")
    elif state == SCHEDULED and row.cancel_requested_event_id:
        _close(
            step,
            run,
            row,
            ActivityTaskCanceledEvent(
                row.scheduled_event_id, 0, row.cancel_requested_event_id, not_started()
            ),
        )
    elif state == WAITING:
        send_again(step, run, row)
    else:
        save(step, run, row)


def _time_out(step: WorkflowStep, run: LiveRun, row: ActivityRow, timeout_type: str) -> None:
    details = row.heartbeat_details
    failure = activity_timeout(timeout_type, details=details)
    state = _try_again(step, run, row, failure)
    if state == retry.IN_PROGRESS:
        return
    failure.cause = (
        row.last_failure
    )  # not before: a failure that is kept for the next attempt would grow with each of them
    if state == retry.EXPIRED and timeout_type != "SCHEDULE_TO_START":
        own = timeout_type != "SCHEDULE_TO_CLOSE"
        failure = no_time_for_retry(cause=failure if own else row.last_failure, details=details)
    _close(step, run, row, ActivityTaskTimedOutEvent(row.scheduled_event_id, 0, failure, state))
    if row.state in (SCHEDULED, STARTED):
        _send_cancel(step, row, "timed out")


# ---------------------------------------------------------------- cancellation


def cancel(
    step: WorkflowStep, run: LiveRun, command: ActivityCancellation, task_completed_event_id: int
) -> None:
    """Carry out a cancellation that workflow code asked for."""
    row = run.activities.get(command.activity.scheduled_event_id)
    if command.activity.cancellation_type == "ABANDON":
        if row is not None:  # its end is for history alone
            row = copy.copy(row)
            row.cancel_requested = True
            save(step, run, row)
        return
    event_id = run.append(
        ActivityTaskCancelRequested(command.activity.scheduled_event_id, task_completed_event_id)
    )
    if row is None:
        return
    row = copy.copy(row)
    row.cancel_requested = True
    row.cancel_requested_event_id = event_id
    if row.state in (BACKOFF, WAITING):
        _close(
            step,
            run,
            row,
            ActivityTaskCanceledEvent(row.scheduled_event_id, 0, event_id, not_started()),
        )
        return
    _send_cancel(step, row)
    if row.state == SCHEDULED:
        due = run.time_ms + CANCEL_GRACE_MS
        nearest = _nearest_deadline(row, run.time_ms)
        save(step, run, row, at_ms=min(due, nearest) if nearest else due)
    else:
        save(step, run, row)


def _send_cancel(step: WorkflowStep, row: ActivityRow, reason: str = "cancel requested") -> None:
    """Tell the services of the queue to stop the attempt. It is repeated with each Started and
    heartbeat.
    """
    cancel_task = CancelActivityTask(
        row.workflow_id, row.run_id, row.scheduled_event_id, row.activity_id, row.attempt, reason
    )
    step.emit(CONTROL, row.task_queue, row.activity_id, cancel_task)


def abandon_all(step: WorkflowStep, run: LiveRun) -> None:
    """The run closed: stop what runs, delete all rows."""
    for row in list(run.activities.values()):
        if row.state in (SCHEDULED, STARTED):
            _send_cancel(step, row, "workflow execution closed")
        forget(step, run, row)
