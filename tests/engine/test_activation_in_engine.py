"""Python workflows in the real engine, over memory tables: every step is aborted and done again,
and owners change at any time.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek import workflow
from odradek.activation import Watchdog, WatchedActivator
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from odradek.wire import outcomes
from odradek.wire.events import CancelWorkflow, Event, QueryWorkflow
from odradek.wire.history import WorkflowTaskFailed
from odradek.wire.tasks import ActivityTask
from tests.engine.activation_driver import activator
from tests.engine.script import values
from tests.engine.test_activation_determinism import Interpreter, programs
from tests.engine.test_activation_interceptors import both
from tests.engine.world import World, canceled, completed, failed

ONCE = RetryPolicy(maximum_attempts=1)


def world(*workflows: type, **options: Any) -> World:
    return World(activator(*workflows), **options)  # type: ignore[arg-type]


@workflow.defn
class Order:
    """The order saga in small."""

    def __init__(self) -> None:
        self.status = "new"
        self.cancelled = False

    @workflow.run
    async def run(self, number: str) -> str:
        undo: list[str] = []
        try:
            for step, compensation in (
                ("create", "cancel"),
                ("reserve", "release"),
                ("freeze", ""),
            ):
                self.status = step
                done = workflow.start_activity(
                    step, number, start_to_close_timeout=timedelta(minutes=1), retry_policy=ONCE
                )
                await workflow.wait_condition(lambda done=done: self.cancelled or done.done())  # type: ignore[misc]
                if self.cancelled and not done.done():
                    done.cancel()
                await done
                undo.append(compensation)
            return "completed"
        except ActivityError as error:
            for compensation in reversed(undo):
                await workflow.execute_activity(
                    compensation, number, start_to_close_timeout=timedelta(minutes=1)
                )
            return f"compensated after {type(error.cause).__name__}"

    @workflow.signal(name="cancel-order")
    def cancel(self) -> None:
        self.cancelled = True

    @workflow.query(name="status")
    def get_status(self) -> str:
        return self.status


def play(lane: World, outcome: dict[str, str], *, restart: bool) -> str:
    """Answer activities until the workflow has a result."""
    lane.step(lane.start("Order", "7"))
    answered = 0
    while not lane.results:
        if restart:
            lane.restart()
        assert answered < len(lane.tasks), "the workflow waits for nothing"
        task = lane.tasks[answered]
        answered += 1
        lane.step(
            failed(task) if outcome.get(task.activity_type) == "fails" else completed(task, "ok")
        )
    (result,) = lane.results
    return str(values(result.result)[0])


@pytest.mark.parametrize("restart", [False, True])
def test_the_saga(restart: bool) -> None:
    lane = world(Order)
    assert play(lane, {}, restart=restart) == "completed"
    assert [task.activity_type for task in lane.tasks] == ["create", "reserve", "freeze"]
    lane = world(Order)
    assert play(lane, {"freeze": "fails"}, restart=restart) == "compensated after ApplicationError"
    assert [task.activity_type for task in lane.tasks] == [
        "create",
        "reserve",
        "freeze",
        "release",
        "cancel",
    ]


@pytest.mark.parametrize("restart", [False, True])
def test_the_saga_cancelled_by_signal(restart: bool) -> None:
    lane = world(Order)
    lane.step(lane.start("Order", "7"))
    lane.step(completed(lane.last_task(), "ok"))
    if restart:
        lane.restart()
    lane.step(QueryWorkflow("w", "status", request_id="q", reply_to="client"))
    assert values(lane.replies[-1].payloads) == ["reserve"]
    lane.step(lane.signal("cancel-order"))
    if restart:
        lane.restart()
    assert [control.activity_id for control in lane.controls] == ["2"]
    lane.step(completed(lane.last_task(), "ok"))
    assert values(lane.results[0].result) == ["compensated after CancelledError"]


def test_a_signal_before_the_first_task_is_seen_by_the_run_method() -> None:
    lane = world(Order)
    lane.step(lane.start("Order", "7"), lane.signal("cancel-order"))
    assert values(lane.results[0].result) == ["compensated after CancelledError"]
    assert lane.tasks == [], "scheduled and cancelled in one task: nothing leaves"


@workflow.defn(name="Changing")
class Before:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("one", start_to_close_timeout=timedelta(1))
        await workflow.execute_activity("two", start_to_close_timeout=timedelta(1))


@workflow.defn(name="Changing")
class After:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("other", start_to_close_timeout=timedelta(1))
        await workflow.execute_activity("two", start_to_close_timeout=timedelta(1))


@workflow.defn(name="Changing", failure_exception_types=[workflow.NondeterminismError])
class AfterFailing(After):
    @workflow.run
    async def run(self) -> None:
        await super().run()


@workflow.defn(name="Changing")
class AfterPatched:
    @workflow.run
    async def run(self) -> None:
        first = "other" if workflow.patched("other") else "one"
        await workflow.execute_activity(first, start_to_close_timeout=timedelta(1))
        await workflow.execute_activity("two", start_to_close_timeout=timedelta(1))


def changed(new: type) -> World:
    lane = world(Before)
    lane.step(lane.start("Changing"))
    lane.activator = activator(new)  # type: ignore[assignment]
    lane.restart()
    lane.step(completed(lane.last_task()))
    return lane


def test_nondeterminism_names_the_line_of_workflow_code() -> None:
    lane = changed(After)
    (event,) = [
        event.attributes
        for event in lane.history()
        if isinstance(event.attributes, WorkflowTaskFailed)
    ]
    assert event.failure is not None and event.cause == "NON_DETERMINISTIC_ERROR"
    assert "ActivityTaskScheduled (activity 'one', id '1')" in event.failure.message
    assert "ScheduleActivity (activity 'other', id '1')" in event.failure.message
    line = After.run.__code__.co_firstlineno + 2
    assert f"{__file__}:{line} in run" in event.failure.message
    lane.activator = activator(Before)  # type: ignore[assignment]
    lane.restart()
    lane.advance(120_000)
    assert lane.last_task().activity_type == "two"


def test_nondeterminism_fails_the_workflow_that_wants_it() -> None:
    lane = changed(AfterFailing)
    assert lane.results[0].status == "FAILED"
    assert lane.results[0].failure is not None and "TMPRL1100" in lane.results[0].failure.message


def test_patches_keep_old_runs_and_change_new_ones() -> None:
    lane = changed(AfterPatched)
    assert [task.activity_type for task in lane.tasks] == ["one", "two"]
    lane.step(completed(lane.last_task()))
    assert lane.results[0].status == "COMPLETED"
    lane.step(lane.start("Changing", workflow_id="new"))
    assert lane.last_task().activity_type == "other"
    lane.restart()
    lane.step(completed(lane.last_task()))
    assert lane.last_task().activity_type == "two"


@workflow.defn
class Spinning:
    @workflow.run
    async def run(self) -> None:
        while True:
            pass


def test_a_spinning_workflow_fails_its_task_and_its_neighbours_go_on() -> None:
    watched = WatchedActivator(activator(Spinning, Order), Watchdog(0.2))
    try:
        lane = World(watched, twice=False)  # type: ignore[arg-type]
        lane.step(
            lane.start("Spinning", workflow_id="bad"), lane.start("Order", "1", workflow_id="good")
        )
        assert [task.workflow_id for task in lane.tasks] == ["good"]
        failure = lane.run("bad").task_failure
        assert failure is not None and "[TMPRL1101] Potential deadlock" in failure.message
        assert lane.run("bad").crash_count == 1
        lane.step(lane.signal("anything", workflow_id="bad"), completed(lane.last_task(), "ok"))
        assert lane.last_task().activity_type == "reserve"
    finally:
        watched.watchdog.stop()


@workflow.defn
class Waking:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    @workflow.run
    async def run(self) -> str:
        await self.event.wait()
        return "woken"

    @workflow.signal
    def wake(self) -> None:
        self.event.set()

    @workflow.query
    def sin(self) -> None:
        self.event.set()

    @workflow.query
    def awake(self) -> bool:
        return self.event.is_set()


@pytest.mark.promise("reads")
def test_a_query_that_changes_the_workflow_fails_and_leaves_no_trace() -> None:
    lane = world(Waking)
    lane.step(lane.start("Waking"))
    lane.step(QueryWorkflow("w", "sin", request_id="1", reply_to="client"))
    assert lane.replies[-1].status == outcomes.QUERY_FAILED
    assert (
        lane.replies[-1].failure is not None
        and lane.replies[-1].failure.type == "ReadOnlyContextError"
    )
    lane.step(QueryWorkflow("w", "awake", request_id="2", reply_to="client"))
    assert values(lane.replies[-1].payloads) == [False]
    lane.step(lane.signal("wake"))
    assert values(lane.results[0].result) == ["woken"]
    lane.step(QueryWorkflow("w", "awake", request_id="3", reply_to="client"))
    assert values(lane.replies[-1].payloads) == [True], "closed runs answer too"


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, number: int) -> list[Any]:
        if number < 3:
            workflow.continue_as_new(number + 1)
        if workflow.info().attempt == 1:
            raise ApplicationError("once more")
        return [
            number,
            workflow.info().attempt,
            workflow.info().continued_run_id is not None,
            type(workflow.get_last_failure()).__name__,
        ]


def test_continue_as_new_and_retry() -> None:
    lane = world(Chain)
    lane.step(lane.start("Chain", 0, retry_policy=RetryPolicy(maximum_attempts=2).to_wire()))
    lane.advance(10_000)
    assert values(lane.results[-1].result) == [[3, 2, True, "ApplicationError"]]


# ---------------------------------------------------------------- random programs, random owners


KINDS = both(Interpreter)
"""Workers without and with interceptors."""


class Player:
    """Draws what happens next to one run of the interpreter."""

    def __init__(self, lane: World, data: st.DataObject) -> None:
        self.lane = lane
        self.data = data
        self.answered: set[tuple[int, int]] = set()

    def open_tasks(self) -> list[ActivityTask]:
        return [
            task
            for task in self.lane.tasks
            if (task.scheduled_event_id, task.attempt) not in self.answered
        ]

    def events(self) -> list[Event]:
        draw = self.data.draw
        events: list[Event] = []
        for kind in draw(
            st.lists(
                st.sampled_from(["poke", "nudge", "activity", "activity", "cancel"]),
                min_size=1,
                max_size=3,
            )
        ):
            if kind in ("poke", "nudge"):
                events.append(
                    self.lane.signal(
                        kind,
                        draw(st.integers(1, 3)),
                        request_id=f"s{len(self.lane.effects)}-{len(events)}",
                    )
                )
            elif kind == "cancel" and draw(st.integers(0, 3)) == 0:
                events.append(
                    CancelWorkflow(
                        "w",
                        request_id=f"c{len(self.lane.effects)}-{len(events)}",
                        reply_to="client",
                    )
                )
            elif self.open_tasks():
                task = draw(st.sampled_from(self.open_tasks()))
                self.answered.add((task.scheduled_event_id, task.attempt))
                answers: list[Event] = [
                    completed(task, "result"),
                    failed(task, non_retryable=True),
                    canceled(task),
                ]
                events.append(draw(st.sampled_from(answers)))
        return events

    def play(self, program: list[Any], steps: int) -> None:
        draw, lane = self.data.draw, self.lane
        lane.step(
            lane.start("Interpreter", program),
            *([lane.signal("poke", 1)] if draw(st.booleans()) else []),
        )
        for _ in range(steps):
            what = draw(
                st.sampled_from(["events", "events", "time", "restart", "evict", "other code"])
            )
            if what == "events":
                lane.step(*self.events())
            elif what == "time":
                lane.advance(draw(st.sampled_from([100, 1_000, 5_000, 30_000])))
            elif what == "restart":
                lane.restart()
            elif (
                what == "other code"
            ):  # a new owner of the partition, with interceptors where the former had none
                lane.activator = draw(st.sampled_from(KINDS))
                lane.restart()
            else:
                lane.engine.evict_all()
            failures = [
                event.attributes
                for event in lane.history()
                if isinstance(event.attributes, WorkflowTaskFailed)
            ]
            # a program may raise an ExceptionGroup that holds more than failure errors; nothing
            # else may fail a task
            for failure in failures:
                assert failure.failure is not None and failure.failure.type == "ExceptionGroup", (
                    failure
                )
            if lane.results:
                break


@pytest.mark.promise("determinism")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, data=st.data())
@pytest.mark.filterwarnings("ignore::odradek.workflow.UnfinishedSignalHandlersWarning")
def test_random_programs_survive_random_owners(program: list[Any], data: st.DataObject) -> None:
    lane = world(Interpreter)
    Player(lane, data).play(program, data.draw(st.integers(1, 15)))
    lane.restart()
    lane.step(
        QueryWorkflow("w", "__stack_trace", request_id="last", reply_to="client")
    )  # replays the whole history
    if lane.run().task_failure is None:
        assert lane.replies[-1].status == outcomes.OK, lane.replies[-1].message
