"""Runs one workflow task's activations: the first, and those that cancelled activities ask for.

A cancelled activity of type TRY_CANCEL or ABANDON resolves at once, in a follow-up activation of
the same workflow task, without any event (as Temporal's core does): replay derives it again from
the same commands. What was scheduled in the same task and is cancelled before the task ends
leaves no command at all.
"""

from __future__ import annotations

from odradek.engine.activation import (
    Activation,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    CommandBase,
    CompleteWorkflow,
    ContinueAsNew,
    FailWorkflow,
    Job,
    RequestCancelActivity,
    ScheduleActivity,
    StartTimer,
    TaskFailed,
)
from odradek.engine.failures import application
from odradek.engine.jobs import canceled_activity
from odradek.engine.run import LiveRun, OpenActivity, OpenTimer

# A workflow that cancels activities in an endless loop would never give the lane back.
FOLLOW_UPS_MAX = 10_000

CLOSING = frozenset({CompleteWorkflow, FailWorkflow, CancelWorkflowExecution, ContinueAsNew})
CANCELING = frozenset({RequestCancelActivity, CancelTimer})


class ActivityCancellation(CommandBase, kw_only=True):
    """RequestCancelActivity, with what it cancels."""

    activity: OpenActivity


class TimerCancellation(CommandBase, kw_only=True):
    """CancelTimer, with what it cancels."""

    timer: OpenTimer


TaskCommand = Command | ActivityCancellation | TimerCancellation


def activate(run: LiveRun, activation: Activation) -> list[TaskCommand] | TaskFailed:
    """The commands of a workflow task in order, up to and with the first that closes the run."""
    assert run.instance is not None
    run.activated_ms = activation.time_ms
    completion = run.instance.activate(activation)
    if isinstance(completion, TaskFailed):
        return completion
    commands = completion.commands
    for position, command in enumerate(commands):
        kind = type(command)
        if kind in CANCELING:
            return _with_follow_ups(run, activation, commands)
        if kind in CLOSING:
            return list(commands[: position + 1])
    return commands  # type: ignore[return-value]


class _Task:
    """Commands gathered over the activations of one task."""

    def __init__(self, run: LiveRun) -> None:
        self.run = run
        self.commands: list[TaskCommand | None] = []
        #: seq -> position of a command of this task that is not sent yet
        self.activities: dict[int, int] = {}
        self.timers: dict[int, int] = {}
        self.jobs: list[Job] = []
        self.closed = False

    def add(self, command: Command) -> None:
        if isinstance(command, ScheduleActivity):
            self.activities[command.seq] = len(self.commands)
        elif isinstance(command, StartTimer):
            self.timers[command.seq] = len(self.commands)
        elif isinstance(command, CancelTimer):
            self._cancel_timer(command)
            return
        elif isinstance(command, RequestCancelActivity):
            self._cancel_activity(command)
            return
        elif type(command) in CLOSING:
            self.closed = True
        self.commands.append(command)

    def _cancel_timer(self, command: CancelTimer) -> None:
        position = self.timers.pop(command.seq, None)
        if position is not None:
            self.commands[position] = None
            return
        timer = self.run.open_timers.pop(command.seq, None)
        if timer is not None:  # else it fired in this very activation
            del self.run.timer_seqs[timer.started_event_id]
            self.commands.append(TimerCancellation(origin=command.origin, timer=timer))

    def _cancel_activity(self, command: RequestCancelActivity) -> None:
        run, seq = self.run, command.seq
        position = self.activities.pop(seq, None)
        if position is not None:
            scheduled = self.commands[position]
            assert isinstance(scheduled, ScheduleActivity)
            self.commands[position] = None
            never_sent = OpenActivity(
                0, scheduled.activity_id, scheduled.activity_type, scheduled.cancellation_type
            )
            self.jobs.append(canceled_activity(seq, never_sent))
            return
        activity = run.open_activities.get(seq)
        if activity is None or activity.cancel_requested:
            return  # resolved in this very activation, or asked before
        activity.cancel_requested = True
        self.commands.append(ActivityCancellation(origin=command.origin, activity=activity))
        if activity.cancellation_type != "WAIT_CANCELLATION_COMPLETED":
            del run.open_activities[seq]
            del run.activity_seqs[activity.scheduled_event_id]
            self.jobs.append(canceled_activity(seq, activity))


def _with_follow_ups(
    run: LiveRun, activation: Activation, commands: list[Command]
) -> list[TaskCommand] | TaskFailed:
    assert run.instance is not None
    task = _Task(run)
    for _ in range(FOLLOW_UPS_MAX):
        for command in commands:
            task.add(command)
            if task.closed:
                break
        if task.closed or not task.jobs:
            return [command for command in task.commands if command is not None]
        jobs, task.jobs = task.jobs, []
        completion = run.instance.activate(
            Activation(
                run_id=activation.run_id,
                time_ms=activation.time_ms,
                is_replaying=activation.is_replaying,
                history_length=activation.history_length,
                history_size_bytes=activation.history_size_bytes,
                suggest_continue_as_new=activation.suggest_continue_as_new,
                jobs=jobs,
            )
        )
        if isinstance(completion, TaskFailed):
            return completion
        commands = completion.commands
    message = (
        f"The workflow cancelled activities {FOLLOW_UPS_MAX} times within one workflow task and"
        " does not stop"
    )
    return TaskFailed(application(message, "EndlessCancellation"))
