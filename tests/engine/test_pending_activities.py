"""Attempts, retries, the four timeouts, fencing, heartbeats, cancellation types, outputs that
are refused.
"""

from __future__ import annotations

from typing import Any

import pytest

from odradek.engine import retry
from odradek.engine.activities import CANCEL_GRACE_MS, WAITING_RETRY_MS
from odradek.engine.ports import COMMANDS, EngineLimits, Output
from odradek.wire.clean import LINKS_MAX
from odradek.wire.events import TerminateWorkflow
from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskFailedEvent,
    ActivityTaskStartedEvent,
)
from odradek.wire.payload import Failure, RetryPolicy
from tests.engine.script import ActivityFailure, ScriptActivator, values
from tests.engine.world import T0, World, canceled, completed, failed, heartbeat, started

NO_TIME = (
    "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up"
    " retrying"
)


def one(**options: Any) -> World:
    """A workflow of one activity that returns what became of it."""

    def workflow(ctx: Any) -> Any:
        try:
            value = yield ctx.activity("act", 7, **options)
        except ActivityFailure as error:
            ctx.state = error.failure
            return [error.failure.kind, error.failure.retry_state, error.failure.message]
        return value

    w = World(ScriptActivator(one=workflow))
    w.step(w.start("one"))
    return w


def outcome(w: World) -> Any:
    return values(w.results[0].result)[0]


def last_failure(w: World) -> Failure:
    """The ActivityError that workflow code saw."""
    for _, activation, _ in reversed(w.activator.log):
        for job in activation.jobs:
            failure = getattr(job, "failure", None)
            if failure is not None:
                return failure  # type: ignore[no-any-return]
    raise AssertionError("no failure")


def cause(w: World) -> Failure:
    failure = last_failure(w).cause
    assert failure is not None
    return failure


def test_command_carries_what_a_service_needs() -> None:
    w = one(heartbeat_timeout_ms=3_000, schedule_to_start_timeout_ms=20_000)
    task = w.last_task()
    assert (
        task.namespace,
        task.workflow_task_queue,
        task.task_queue,
        task.workflow_id,
        task.workflow_type,
    ) == (
        "default",
        "q",
        "q",
        "w",
        "one",
    )
    assert (
        task.activity_type,
        task.activity_id,
        task.scheduled_event_id,
        task.attempt,
        values(task.input),
    ) == ("act", "1", 5, 1, [7])
    assert (
        task.start_to_close_timeout_ms,
        task.heartbeat_timeout_ms,
        task.schedule_to_start_timeout_ms,
    ) == (10_000, 3_000, 20_000)
    assert task.retry_policy == RetryPolicy(1_000, 2.0, 100_000, 0, [])
    assert task.scheduled_time_ms == task.current_attempt_scheduled_time_ms == T0


def test_short_activity_needs_its_result_alone() -> None:
    w = one()
    assert w.tables.table("timer") == {}
    w.now_ms += 500
    w.step(completed(w.last_task(), "x", started_time_ms=T0 + 300, identity="svc"))
    assert outcome(w) == "x"
    event = w.history()[3]
    assert isinstance(event.attributes, ActivityTaskStartedEvent)
    assert (event.event_time_ms, event.attributes.identity, event.attributes.attempt) == (
        T0 + 300,
        "svc",
        1,
    )


def place_of_command(w: World) -> tuple[int, int]:
    [event] = [
        e.attributes for e in w.history() if isinstance(e.attributes, ActivityTaskStartedEvent)
    ]
    return event.command_partition, event.command_offset


def test_the_place_of_the_command_is_told_by_the_outcome() -> None:
    w = one()
    w.step(completed(w.last_task(), command_partition=3, command_offset=17))
    assert place_of_command(w) == (3, 17)


def test_the_place_of_the_command_is_told_by_started_while_it_runs_and_when_it_is_completed_from_outside() -> (
    None
):
    w = one()
    w.step(started(w.last_task(), command_partition=2, command_offset=0))
    assert [(row.command_partition, row.command_offset) for row in w.activities()] == [(2, 0)]
    w.step(completed(w.last_task()))  # by its token: that does not hold the place
    assert place_of_command(w) == (2, 0)


def test_the_place_of_the_command_is_that_of_the_last_attempt() -> None:
    w = one(retry_policy=RetryPolicy(maximum_attempts=2))
    w.step(started(w.last_task(), command_partition=2, command_offset=5))
    w.step(failed(w.last_task()))
    assert [(row.command_partition, row.command_offset) for row in w.activities()] == [(-1, -1)]
    w.advance(1_000)
    w.step(started(w.last_task(), command_partition=1, command_offset=9))
    w.advance(10_000)  # start-to-close
    assert place_of_command(w) == (1, 9)


def test_a_service_that_does_not_tell_the_place_of_the_command() -> None:
    w = one()
    w.step(completed(w.last_task()))
    assert place_of_command(w) == (-1, -1)


def test_attempts_leave_no_history_until_the_end() -> None:
    w = one()
    before = w.names()
    for attempt, wait in ((1, 1_000), (2, 2_000), (3, 4_000)):
        task = w.last_task()
        assert task.attempt == attempt
        w.step(started(task))
        w.step(failed(task))
        assert w.activities()[0].state == "BACKOFF" and w.names() == before
        w.advance(wait - 1)
        assert len(w.tasks) == attempt
        w.advance(1)
        assert len(w.tasks) == attempt + 1
    w.step(completed(w.last_task(), "ok"))
    assert w.names()[3:5] == ["ActivityTaskStarted", "ActivityTaskCompleted"]
    event = w.history()[3].attributes
    assert isinstance(event, ActivityTaskStartedEvent) and event.attempt == 4
    assert event.last_failure is not None and event.last_failure.message == "boom"
    assert len({row.due_ms for row in w.tables.table("timer").values()}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("policy", "failure", "state"),
    [
        (RetryPolicy(maximum_attempts=1), {}, "MAXIMUM_ATTEMPTS_REACHED"),
        (RetryPolicy(), {"non_retryable": True}, "NON_RETRYABLE_FAILURE"),
        (RetryPolicy(non_retryable_error_types=["Boom"]), {}, "NON_RETRYABLE_FAILURE"),
        (RetryPolicy(), {"kind": "TIMEOUT", "timeout_type": ""}, "NON_RETRYABLE_FAILURE"),
        (RetryPolicy(), {"kind": "TIMEOUT", "timeout_type": "BOGUS"}, "NON_RETRYABLE_FAILURE"),
        (RetryPolicy(maximum_attempts=1), {"kind": "BOGUS"}, "MAXIMUM_ATTEMPTS_REACHED"),
    ],
)
def test_no_more_attempts(policy: RetryPolicy, failure: dict[str, Any], state: str) -> None:
    w = one(retry_policy=policy)
    w.step(failed(w.last_task(), **failure))
    assert outcome(w) == ["ACTIVITY", state, "Activity task failed"]
    link = last_failure(w)
    assert (
        link.activity_type,
        link.activity_id,
        link.scheduled_event_id,
        link.started_event_id,
    ) == ("act", "1", 5, 6)
    assert cause(w).message == "boom"


def test_next_retry_delay_overrides_the_policy() -> None:
    w = one()
    w.step(failed(w.last_task(), next_retry_delay_ms=7_000))
    w.advance(6_999)
    assert len(w.tasks) == 1
    w.advance(1)
    assert len(w.tasks) == 2
    w.step(failed(w.last_task(), next_retry_delay_ms=0))
    assert [task.attempt for task in w.tasks] == [1, 2, 3]


def test_retry_gives_up_when_the_next_attempt_is_beyond_schedule_to_close() -> None:
    w = one(schedule_to_close_timeout_ms=2_500)
    w.step(failed(w.last_task()))
    w.advance(1_000)
    w.step(failed(w.last_task()))
    assert outcome(w) == ["ACTIVITY", "TIMEOUT", "Activity task failed"]


@pytest.mark.parametrize(
    ("options", "start", "wait", "message", "state"),
    [
        (
            {"start_to_close_timeout_ms": 5_000},
            True,
            5_000,
            "activity StartToClose timeout",
            "MAXIMUM_ATTEMPTS_REACHED",
        ),
        (
            {"heartbeat_timeout_ms": 1_000},
            True,
            1_000,
            "activity Heartbeat timeout",
            "MAXIMUM_ATTEMPTS_REACHED",
        ),
        (
            {"schedule_to_start_timeout_ms": 3_000},
            False,
            3_000,
            "activity ScheduleToStart timeout",
            "TIMEOUT",
        ),
        # Not started by then: that is schedule-to-start, which is never longer than
        # schedule-to-close.
        (
            {"schedule_to_close_timeout_ms": 4_000},
            False,
            4_000,
            "activity ScheduleToStart timeout",
            "TIMEOUT",
        ),
        ({"schedule_to_close_timeout_ms": 4_000}, True, 4_000, NO_TIME, "TIMEOUT"),
        (
            {"schedule_to_close_timeout_ms": 4_000, "start_to_close_timeout_ms": 9_000},
            True,
            4_000,
            NO_TIME,
            "TIMEOUT",
        ),
    ],
)
def test_timeouts(
    options: dict[str, Any], start: bool, wait: int, message: str, state: str
) -> None:
    w = one(retry_policy=RetryPolicy(maximum_attempts=1), **options)
    if start:
        w.step(started(w.last_task()))
    w.advance(wait - 1)
    assert w.results == []
    w.advance(1)
    assert outcome(w) == ["ACTIVITY", state, "Activity task timed out"]
    assert (cause(w).kind, cause(w).message) == ("TIMEOUT", message)
    assert w.activities() == []
    assert ("ActivityTaskStarted" in w.names()) is start


def test_schedule_to_start_is_not_retried_but_start_to_close_is() -> None:
    w = one(start_to_close_timeout_ms=5_000)
    w.step(started(w.last_task()))
    w.advance(5_000)
    w.advance(1_000)
    assert [task.attempt for task in w.tasks] == [1, 2]
    assert w.activities()[0].last_failure is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_to_close_timeout_ms": 5_000}, "activity StartToClose timeout"),
        ({"heartbeat_timeout_ms": 5_000}, "activity Heartbeat timeout"),
    ],
)
def test_last_attempt_that_times_out_has_the_one_before_as_its_cause(
    options: dict[str, Any], message: str
) -> None:
    w = one(retry_policy=RetryPolicy(maximum_attempts=3), **options)
    for _ in range(2):
        w.step(failed(w.last_task()))
        w.advance(2_000)
    w.step(started(w.last_task()))
    w.advance(5_000)
    assert outcome(w) == ["ACTIVITY", "MAXIMUM_ATTEMPTS_REACHED", "Activity task timed out"]
    before = cause(w).cause
    assert cause(w).message == message and before is not None and before.message == "boom"
    assert before.cause is None, (
        "the last but one alone: a chain of all attempts would grow without bound"
    )


def test_attempts_that_time_out_one_after_the_other_make_no_chain() -> None:
    w = one(
        start_to_close_timeout_ms=1_000,
        retry_policy=RetryPolicy(maximum_attempts=4, backoff_coefficient=1.0),
    )
    for _ in range(4):
        w.step(started(w.last_task()))
        w.advance(1_000)
        w.advance(1_000)
    before = cause(w).cause
    assert (
        before is not None
        and before.message == "activity StartToClose timeout"
        and before.cause is None
    )


def test_start_to_close_without_time_for_a_retry_says_so() -> None:
    w = one(start_to_close_timeout_ms=2_000, schedule_to_close_timeout_ms=2_500)
    w.step(started(w.last_task()))
    w.advance(2_000)
    assert outcome(w) == ["ACTIVITY", "TIMEOUT", "Activity task timed out"]
    assert cause(w).timeout_type == "SCHEDULE_TO_CLOSE" and "Not enough time" in cause(w).message
    assert cause(w).cause is not None and cause(w).cause.timeout_type == "START_TO_CLOSE"


def test_schedule_to_close_during_backoff_never_happens_but_in_a_running_attempt() -> None:
    w = one(schedule_to_close_timeout_ms=4_000)
    w.step(failed(w.last_task()))
    w.advance(1_000)
    w.step(started(w.last_task()))
    w.advance(3_000)
    assert (cause(w).message, cause(w).timeout_type) == (NO_TIME, "SCHEDULE_TO_CLOSE")
    assert cause(w).cause is not None and cause(w).cause.message == "boom"
    assert w.controls[-1].attempt == 2  # the attempt that runs is told to stop


def test_start_to_close_runs_on_the_clock_of_the_engine() -> None:
    w = one(start_to_close_timeout_ms=5_000)
    w.step(started(w.last_task(), started_time_ms=T0 - 3_600_000))
    assert w.activities()[0].timer_due_ms == T0 + 5_000


def test_results_that_lie_in_the_partition_win_over_timers() -> None:
    w = one(start_to_close_timeout_ms=5_000)
    w.step(started(w.last_task()))
    w.now_ms += 3_600_000
    w.step(completed(w.last_task(), "late but first"))
    assert outcome(w) == "late but first"


def test_heartbeats_keep_alive_and_details_reach_the_next_attempt_and_the_error() -> None:
    w = one(
        heartbeat_timeout_ms=1_000,
        start_to_close_timeout_ms=60_000,
        retry_policy=RetryPolicy(maximum_attempts=2),
    )
    w.step(started(w.last_task()))
    for n in range(5):
        w.advance(900)
        w.step(heartbeat(w.last_task(), n))
    assert w.activities()[0].attempt == 1
    w.advance(1_000)
    assert w.activities()[0].state == "BACKOFF"
    w.advance(1_000)
    assert values(w.last_task().heartbeat_details) == [4] and w.last_task().attempt == 2
    w.step(started(w.last_task()))
    w.advance(1_000)
    assert cause(w).timeout_type == "HEARTBEAT" and values(cause(w).details) == [4]


def test_heartbeats_rewrite_no_timer() -> None:
    w = one(heartbeat_timeout_ms=1_000)
    w.step(started(w.last_task()))
    w.now_ms += 500
    effects = w.step(heartbeat(w.last_task(), 1))
    assert [change.table for change in effects.rows] == ["activity"]


def test_heartbeat_details_of_a_failure_reach_the_next_attempt() -> None:
    w = one()
    report = failed(w.last_task(), heartbeat=[*w.last_task().input])
    w.step(report)
    w.advance(1_000)
    assert values(w.last_task().heartbeat_details) == [7]


def test_fencing() -> None:
    w = one(start_to_close_timeout_ms=5_000)
    first = w.last_task()
    w.step(started(first))
    w.advance(5_000)
    assert w.step(completed(first, "zombie")).rows == []
    w.advance(1_000)
    second = w.last_task()
    assert second.attempt == 2
    for report in (completed(first, "zombie"), failed(first), canceled(first)):
        assert w.step(report).rows == []
    w.step(heartbeat(first, 1))
    assert w.controls[-1].attempt == 1 and w.controls[-1].reason == "no longer awaited"
    w.step(completed(second, "right"))
    assert outcome(w) == "right"


def test_everything_may_arrive_twice() -> None:
    w = one()
    task = w.last_task()
    w.step(started(task), started(task))
    w.step(completed(task, 1), completed(task, 2))
    history = w.names()
    w.step(completed(task, 3), failed(task), started(task))
    assert outcome(w) == 1 and w.names() == history and len(w.results) == 1


def test_two_results_in_one_batch_are_one_task() -> None:
    def two(ctx: Any) -> Any:
        a, b = ctx.activity("a"), ctx.activity("b")
        x = yield a
        y = yield b
        return [x, y]

    w = World(ScriptActivator(two=two))
    w.step(w.start("two"))
    a, b = w.tasks
    w.step(completed(b, "b"), completed(a, "a"))
    assert outcome(w) == ["a", "b"]
    assert w.names().count("WorkflowTask") == 2


# ---------------------------------------------------------------- cancellation


def canceling(cancellation_type: str, **options: Any) -> World:
    """Cancels its activity on the signal `cancel`; ends on the signal `end`."""

    def workflow(ctx: Any) -> Any:
        handle = ctx.activity(
            "act", cancellation_type=cancellation_type, start_to_close_timeout_ms=60_000, **options
        )
        yield lambda: bool(ctx.signals) or handle.done
        if not handle.done:
            ctx.cancel(handle)
        try:
            value = yield handle
        except ActivityFailure as error:
            value = [error.failure.message, error.failure.cause.kind, error.failure.retry_state]  # type: ignore[union-attr]
        yield lambda: any(name == "end" for name, _ in ctx.signals)
        return value

    w = World(ScriptActivator(canceling=workflow))
    w.step(w.start("canceling"))
    return w


GONE = ["Activity cancelled", "CANCELED", "CANCEL_REQUESTED"]


@pytest.mark.parametrize("run", [False, True])
def test_try_cancel_resolves_at_once_and_drops_the_late_result(run: bool) -> None:
    w = canceling("TRY_CANCEL")
    task = w.last_task()
    if run:
        w.step(started(task))
    tasks = w.names().count("WorkflowTask")
    w.step(w.signal("cancel"))
    assert w.names()[-2:] == ["WorkflowTask", "ActivityTaskCancelRequested"]
    assert w.names().count("WorkflowTask") == tasks + 1
    assert (w.controls[-1].activity_id, w.controls[-1].attempt) == ("1", 1)
    assert w.activities()[0].cancel_requested
    w.step(completed(task, "late"))
    assert w.names()[-2:] == ["ActivityTaskStarted", "ActivityTaskCompleted"]
    assert w.activities() == []
    w.step(w.signal("end"))
    assert outcome(w) == GONE


def test_cancel_is_repeated_with_started_and_heartbeats() -> None:
    w = canceling("TRY_CANCEL")
    w.step(w.signal("cancel"))
    assert len(w.controls) == 1
    w.step(started(w.last_task()))
    assert len(w.controls) == 2
    w.step(heartbeat(w.last_task()))
    assert len(w.controls) == 3
    w.step(canceled(w.last_task()))
    assert w.names()[-1] == "ActivityTaskCanceled" and w.activities() == []


def test_cancelled_activity_of_which_nothing_is_heard_did_not_begin() -> None:
    w = canceling("TRY_CANCEL")
    w.step(w.signal("cancel"))
    w.advance(CANCEL_GRACE_MS)
    assert w.activities() == [] and w.names()[-1] == "ActivityTaskCanceled"
    w.step(started(w.last_task()))  # it did after all: stop it
    assert w.controls[-1].reason == "no longer awaited"


def test_cancelled_activity_is_not_retried() -> None:
    w = canceling("TRY_CANCEL")
    w.step(started(w.last_task()))
    w.step(w.signal("cancel"))
    w.step(failed(w.last_task()))
    assert w.names()[-1] == "ActivityTaskFailed" and len(w.tasks) == 1 and w.activities() == []


@pytest.mark.parametrize(
    ("report", "value"),
    [
        (lambda task: completed(task, "in time"), "in time"),
        (lambda task: canceled(task, 5), GONE),
        (failed, ["Activity task failed", "APPLICATION", "CANCEL_REQUESTED"]),
    ],
)
def test_wait_cancellation_completed_lets_the_activity_decide(report: Any, value: Any) -> None:
    w = canceling("WAIT_CANCELLATION_COMPLETED")
    w.step(started(w.last_task()))
    w.step(w.signal("cancel"), w.signal("end", request_id="end"))
    assert w.results == [] and len(w.controls) == 1
    w.step(report(w.last_task()))
    assert outcome(w) == value


def test_cancel_asked_twice_is_one_request() -> None:
    def twice(ctx: Any) -> Any:
        handle = ctx.activity("act", cancellation_type="WAIT_CANCELLATION_COMPLETED")
        for count in (1, 2):
            yield lambda: len(ctx.signals) >= count  # noqa: B023
            ctx.cancel(handle)
        return (yield handle)

    w = World(ScriptActivator(twice=twice))
    w.step(w.start("twice"))
    w.step(started(w.last_task()))
    w.step(w.signal("cancel"))
    w.step(w.signal("cancel"))
    assert w.names().count("ActivityTaskCancelRequested") == 1 and len(w.controls) == 1
    w.step(completed(w.last_task(), "x"))
    assert outcome(w) == "x"


def test_wait_cancellation_of_an_activity_that_did_not_begin() -> None:
    w = canceling("WAIT_CANCELLATION_COMPLETED")
    w.step(w.signal("cancel"), w.signal("end", request_id="end"))
    assert w.results == []
    w.advance(CANCEL_GRACE_MS)
    assert outcome(w) == GONE and cause(w).message == "Cancelled"
    assert [detail.data for detail in cause(w).details] == [b'"ACTIVITY_ID_NOT_STARTED"']


@pytest.mark.parametrize("cancellation_type", ["TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED"])
def test_cancel_in_backoff_resolves_within_the_step(cancellation_type: str) -> None:
    w = canceling(cancellation_type)
    w.step(failed(w.last_task()))
    w.step(w.signal("cancel"), w.signal("end", request_id="end"))
    assert outcome(w) == GONE and w.controls == []
    assert "ActivityTaskCanceled" in w.names() and len(w.tasks) == 1
    told = (
        [b'"ACTIVITY_ID_NOT_STARTED"'] if cancellation_type == "WAIT_CANCELLATION_COMPLETED" else []
    )
    assert [detail.data for detail in cause(w).details] == told
    canceled_events = [
        event for event in w.history() if isinstance(event.attributes, ActivityTaskCanceledEvent)
    ]
    assert [detail.data for detail in canceled_events[0].attributes.details] == [
        b'"ACTIVITY_ID_NOT_STARTED"'
    ]


def test_abandon_tells_nobody() -> None:
    w = canceling("ABANDON")
    task = w.last_task()
    w.step(w.signal("cancel"))
    assert "ActivityTaskCancelRequested" not in w.names() and w.controls == []
    w.step(failed(task))
    w.advance(1_000)
    assert len(w.tasks) == 2  # it goes on for itself
    w.step(completed(w.last_task(), "late"))
    assert w.names()[-1] == "ActivityTaskCompleted"
    w.step(w.signal("end"))
    assert outcome(w) == GONE


def test_cancellation_reported_without_a_request_is_a_failure() -> None:
    w = one(retry_policy=RetryPolicy(maximum_attempts=1))
    w.step(canceled(w.last_task()))
    assert outcome(w) == ["ACTIVITY", "MAXIMUM_ATTEMPTS_REACHED", "Activity task failed"]
    assert cause(w).type == "CancelledError"


def test_cancel_of_what_the_same_activation_scheduled_leaves_nothing() -> None:
    def at_once(ctx: Any) -> Any:
        handle = ctx.activity("act")
        timer = ctx.timer(5_000)
        ctx.cancel(handle)
        ctx.cancel(timer)
        try:
            yield handle
        except ActivityFailure as error:
            return error.failure.message
        return None

    w = World(ScriptActivator(at_once=at_once))
    w.step(w.start("at_once"))
    assert outcome(w) == "Activity cancelled"
    assert w.names() == ["WorkflowExecutionStarted", "WorkflowTask", "WorkflowExecutionCompleted"]
    assert w.tasks == [] and w.controls == []


def test_a_chain_of_cancellations_is_one_task() -> None:
    def many(ctx: Any) -> Any:
        handles = [ctx.activity("act") for _ in range(30)]
        yield lambda: bool(ctx.signals)
        for handle in handles:
            ctx.cancel(handle)
            try:
                yield handle
            except ActivityFailure:
                pass
        yield ctx.activity("cleanup")
        return "clean"

    w = World(ScriptActivator(many=many))
    w.step(w.start("many"))
    w.step(w.signal("cancel"))
    assert w.names().count("WorkflowTask") == 2
    assert w.last_task().activity_type == "cleanup"
    w.restart()
    w.step(completed(w.last_task()))
    assert (
        outcome(w) == "clean" and len(w.controls) == 60
    )  # at the request, and at the end of the run


def test_endless_cancellation_fails_the_task() -> None:
    def endless(ctx: Any) -> Any:
        while True:
            handle = ctx.activity("act")
            ctx.cancel(handle)
            try:
                yield handle
            except ActivityFailure:
                pass

    w = World(ScriptActivator(endless=endless), twice=False)
    w.step(w.start("endless"))
    assert w.run().task_failure is not None and w.run().task_failure.type == "EndlessCancellation"


def test_pending_activities_are_told_when_the_run_closes() -> None:
    def leaves(ctx: Any) -> Any:
        ctx.activity("a", schedule_to_close_timeout_ms=60_000)
        ctx.activity("b")
        ctx.timer(60_000)
        yield lambda: bool(ctx.signals)

    w = World(ScriptActivator(leaves=leaves))
    w.step(w.start("leaves"))
    w.step(started(w.tasks[0]))
    w.step(failed(w.tasks[1]))
    w.step(w.signal("go"))
    assert [control.activity_id for control in w.controls] == ["1"]
    assert w.activities() == [] and w.tables.table("user_timer") == {}
    assert [row.kind for row in w.tables.table("timer").values()] == ["RETENTION"]  # type: ignore[union-attr]
    w.step(heartbeat(w.tasks[0]))
    assert w.controls[-1].reason == "no longer awaited"


# ---------------------------------------------------------------- refused outputs


def test_a_command_that_is_rejected_fails_the_task() -> None:
    w = World(ScriptActivator(one=_on_other_queue))
    w.unwritable = lambda output: "ActivityTask takes 2 MB" if output.kind == COMMANDS else ""
    w.step(w.start("one"))
    failure = w.run().task_failure
    assert w.activities() == [] and w.tasks == []
    assert failure is not None and "2 MB" in failure.message


def limited(w: World, limit: int) -> None:
    """`commands` takes so many bytes of payloads."""

    def unwritable(output: Output) -> str:
        if output.kind != COMMANDS:
            return ""
        task = output.record
        size = sum(len(each.data) for each in [*task.input, *task.heartbeat_details])
        return f"{size} bytes are too many" if size > limit else ""

    w.unwritable = unwritable


def test_details_that_do_not_fit_beside_the_input_stay_behind_and_the_activity_is_tried_again() -> (
    None
):
    """What an attempt said of itself must not make a failure final that its policy retries."""
    w = one()
    limited(w, 3_000)
    first = w.last_task()
    w.step(started(first), heartbeat(first, "x" * 3_000))
    w.step(failed(first, "again"))
    w.advance(1_000)
    second = w.last_task()
    assert (second.attempt, second.heartbeat_details, values(second.input)) == (2, [], [7])
    assert values(w.activities()[0].heartbeat_details) == ["x" * 3_000], (
        "the newest that anybody reported, for its timeout"
    )
    (said,) = w.effects[-1].without_details
    assert (said.workflow_id, said.run_id, said.activity_type, said.activity_id, said.attempt) == (
        "w",
        first.run_id,
        "act",
        "1",
        2,
    )
    assert said.reason == "3003 bytes are too many"
    w.step(started(second), heartbeat(second, "small"))
    w.step(failed(second, "again"))
    w.advance(2_000)
    third = w.last_task()
    assert (third.attempt, values(third.heartbeat_details)) == (3, ["small"])
    assert w.effects[-1].without_details == []
    w.step(completed(third, "done"))
    assert outcome(w) == "done"


def test_a_topic_that_cannot_be_had_makes_the_activity_wait() -> None:
    w_activator = ScriptActivator(one=_on_other_queue)
    w = World(w_activator)
    w.missing_queues["other"] = "topic cannot be created: not authorized"
    w.step(w.start("one"))
    row = w.activities()[0]
    assert (row.state, row.waiting_reason) == ("WAITING", "topic cannot be created: not authorized")
    w.advance(WAITING_RETRY_MS)
    assert w.activities()[0].state == "WAITING" and w.tasks == []
    w.missing_queues.clear()
    w.advance(WAITING_RETRY_MS)
    assert (
        w.activities()[0].state == "SCHEDULED"
        and w.activities()[0].waiting_reason == ""
        and len(w.tasks) == 1
    )
    w.step(completed(w.last_task(), "there"))
    assert outcome(w) == "there"


def _on_other_queue(ctx: Any) -> Any:
    try:
        value = yield ctx.activity("act", task_queue="other", schedule_to_start_timeout_ms=12_000)
    except ActivityFailure as error:
        value = error.failure.cause.message  # type: ignore[union-attr]
    return value


def test_waiting_ends_with_schedule_to_start() -> None:
    w = World(ScriptActivator(one=_on_other_queue))
    w.missing_queues["other"] = "no such topic"
    w.step(w.start("one"))
    w.advance(12_000)
    assert outcome(w) == "activity ScheduleToStart timeout"


def test_activities_without_a_timeout_and_too_many_fail_the_task() -> None:
    def bare(ctx: Any) -> Any:
        yield ctx.activity("act", start_to_close_timeout_ms=0)

    def many(ctx: Any) -> Any:
        for _ in range(3):
            ctx.activity("act")
        yield lambda: False

    w = World(ScriptActivator(bare=bare, many=many), limits=EngineLimits(pending_activities_max=2))
    effects = w.step(w.start("bare", workflow_id="a"), w.start("many", workflow_id="b"))
    told = [(each.workflow_id, each.workflow_type, each.cause) for each in effects.failed_tasks]
    assert told == [
        ("a", "bare", "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES"),
        ("b", "many", "PENDING_ACTIVITIES_LIMIT_EXCEEDED"),
    ]
    assert "limit is 2" in effects.failed_tasks[1].message
    failures = [w.run(id).task_failure for id in ("a", "b")]
    assert failures[0] is not None and "start_to_close_timeout" in failures[0].message
    assert failures[1] is not None and "limit is 2" in failures[1].message
    assert w.tasks == []


def test_a_second_pending_activity_of_the_same_id_fails_the_task_and_a_later_one_does_not() -> None:
    """Temporal's rule; and the key of each is another, so that no ledger takes the later one's
    effect for a repetition.
    """

    def twice(ctx: Any) -> Any:
        ctx.activity("act", activity_id="pay")
        ctx.activity("act", activity_id="pay")
        yield lambda: False

    def again(ctx: Any) -> Any:
        for _ in range(2):
            yield ctx.activity("act", activity_id="pay")
        return "paid twice"

    w = World(ScriptActivator(twice=twice, again=again))
    w.step(w.start("twice", workflow_id="a"), w.start("again", workflow_id="b"))
    failure = w.run("a").task_failure
    assert failure is not None and "a pending activity has the id pay already" in failure.message
    assert w.history(w.run_id("a"))[-1].attributes.cause == "SCHEDULE_ACTIVITY_DUPLICATE_ID"
    first = w.last_task()
    w.step(completed(first))
    second = w.last_task()
    assert (first.activity_id, second.activity_id) == ("pay", "pay")
    assert first.scheduled_event_id != second.scheduled_event_id
    w.step(completed(second))
    assert w.run("b").status == "COMPLETED"


def test_terminate_with_a_running_activity_stops_it() -> None:
    w = one()
    w.step(started(w.last_task()))
    w.step(TerminateWorkflow("w"))
    assert [control.reason for control in w.controls] == ["workflow execution closed"]
    assert w.step(completed(w.last_task())).rows == []


# ---------------------------------------------------------------- policy


def test_policy_defaults_are_those_of_temporal() -> None:
    policy = retry.normalized(RetryPolicy(initial_interval_ms=0, backoff_coefficient=0.0))
    assert [retry.interval_ms(policy, n) for n in (1, 2, 3, 7, 8, 2_000)] == [
        1_000,
        2_000,
        4_000,
        64_000,
        100_000,
        100_000,
    ]
    assert retry.normalized(RetryPolicy(maximum_interval_ms=3_000)).maximum_interval_ms == 3_000


@pytest.mark.parametrize(
    ("failure", "retryable"),
    [
        (Failure(), True),
        (Failure(non_retryable=True), False),
        (Failure(kind="TIMEOUT", timeout_type="START_TO_CLOSE"), True),
        (Failure(kind="TIMEOUT", timeout_type="HEARTBEAT"), True),
        (Failure(kind="TIMEOUT", timeout_type="SCHEDULE_TO_START"), False),
        (Failure(kind="TIMEOUT", timeout_type="SCHEDULE_TO_CLOSE"), False),
        (Failure(kind="TIMEOUT"), False),  # Temporal's server: of timeouts these two alone
        (Failure(kind="TIMEOUT", timeout_type="BOGUS"), False),
        (Failure(kind="BOGUS"), True),
        (Failure(kind="CANCELED"), False),
        (Failure(kind="TERMINATED"), False),
        (Failure(kind="SERVER"), True),
        (Failure(kind="SERVER", non_retryable=True), False),
        (Failure(kind="ACTIVITY"), True),
    ],
)
def test_what_is_retryable(failure: Failure, retryable: bool) -> None:
    assert retry.is_retryable(failure, retry.DEFAULT_POLICY) is retryable


@pytest.mark.parametrize("attempts", [1, 0])
def test_failure_of_hundreds_of_causes_is_cut(attempts: int) -> None:
    """Records are read by recursion: what is read on a short stack must be readable on a long
    one, or the run's rows are lost.
    """

    def act(ctx: Any) -> Any:
        try:
            yield ctx.activity("act", retry_policy=RetryPolicy(maximum_attempts=attempts))
        except ActivityFailure:
            return "told"

    w = World(ScriptActivator(act=act))
    w.step(w.start("act"))
    report = failed(w.last_task())
    for depth in range(300):
        report.failure = Failure(message=f"{depth}", cause=report.failure)
    w.step(report)

    def links(failure: Failure | None) -> int:
        return 0 if failure is None else 1 + links(failure.cause)

    if attempts:
        closed = next(
            event.attributes
            for event in w.history()
            if isinstance(event.attributes, ActivityTaskFailedEvent)
        )
        assert links(closed.failure) == LINKS_MAX and closed.failure.message == "299"
    else:
        (row,) = w.activities()
        assert row.attempt == 2 and links(row.last_failure) == LINKS_MAX
