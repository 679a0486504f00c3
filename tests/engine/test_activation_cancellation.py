"""Cancellation: of the workflow, of activities and timers, what code does with it, and what
leaves as commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.engine.activation import RequestCancelActivity, ScheduleActivity
from odradek.exceptions import ActivityError, CancelledError, is_cancelled_exception
from tests.engine.activation_driver import (
    CancelJob,
    Driver,
    FireTimer,
    cancelled,
    completed,
    failed,
    failure_of,
    kinds,
    result_of,
    signal,
)

MINUTE = timedelta(minutes=1)
TYPES = workflow.ActivityCancellationType


def start_activity(name: str = "a", **options: Any) -> workflow.ActivityHandle[Any]:
    return workflow.start_activity(name, start_to_close_timeout=MINUTE, **options)


async def act(name: str = "a", **options: Any) -> Any:
    return await workflow.execute_activity(name, start_to_close_timeout=MINUTE, **options)


async def sleeping() -> None:
    await asyncio.sleep(10)


async def waiting_for_condition() -> None:
    await workflow.wait_condition(lambda: False)


async def waiting_for_condition_with_timeout() -> None:
    await workflow.wait_condition(lambda: False, timeout=10)


async def handle() -> None:
    await start_activity()


async def gathered() -> None:
    await asyncio.gather(act(), asyncio.sleep(10))


async def shielded() -> None:
    await asyncio.shield(start_activity())


async def in_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeping())
        group.create_task(act())


async def waited_for() -> None:
    await asyncio.wait_for(act(), 20)


async def on_an_event() -> None:
    await asyncio.Event().wait()


PROGRAMS: dict[str, Callable[[], Awaitable[None]]] = {
    program.__name__: program
    for program in (
        sleeping,
        waiting_for_condition,
        waiting_for_condition_with_timeout,
        act,
        handle,
        gathered,
        shielded,
        in_a_task_group,
        waited_for,
        on_an_event,
    )
}


@workflow.defn
class Program:
    """Runs one of the programs above."""

    @workflow.run
    async def run(self, name: str, swallow: bool) -> str:
        try:
            await PROGRAMS[name]()
        except BaseException as error:
            if swallow and is_cancelled_exception(error):
                return f"swallowed, reason {workflow.cancellation_reason()}"
            raise
        return "not cancelled"


# program -> commands of the activation that cancels, and whether the activity's answer must come
# first
CANCELS: list[tuple[str, list[str], bool]] = [
    ("sleeping", ["CancelTimer 1", "CancelWorkflowExecution"], False),
    ("waiting_for_condition", ["CancelWorkflowExecution"], False),
    ("waiting_for_condition_with_timeout", ["CancelTimer 1", "CancelWorkflowExecution"], False),
    ("act", ["RequestCancelActivity 1"], True),
    ("handle", ["RequestCancelActivity 1"], True),
    (
        "gathered",
        ["RequestCancelActivity 1", "CancelTimer 1", "CancelWorkflowExecution"],
        False,
    ),  # gather ends with its first child
    ("shielded", ["CancelWorkflowExecution"], False),
    (
        "in_a_task_group",
        ["CancelTimer 1", "RequestCancelActivity 1"],
        True,
    ),  # its ExceptionGroup counts as a cancellation
    ("waited_for", ["RequestCancelActivity 1"], True),
    ("on_an_event", ["CancelWorkflowExecution"], False),
]


@pytest.mark.parametrize(
    ("name", "commands", "answered"), CANCELS, ids=[entry[0] for entry in CANCELS]
)
def test_cancelling_the_workflow(name: str, commands: list[str], answered: bool) -> None:
    run = Driver(Program, "", name, False)
    run.start()
    first = run.step(CancelJob("enough"))
    assert sorted(kinds(first)) == sorted(commands)
    if answered:
        assert kinds(run.step(cancelled(1)))[-1] == "CancelWorkflowExecution"
    run.replay()


@pytest.mark.parametrize(
    ("name", "answered"),
    [(entry[0], entry[2]) for entry in CANCELS if entry[0] != "in_a_task_group"],
)
def test_a_cancellation_may_be_swallowed(name: str, answered: bool) -> None:
    run = Driver(Program, "", name, True)
    run.start()
    last = run.step(CancelJob("enough"))
    if answered:
        last = run.step(cancelled(1))
    assert result_of(last) == "swallowed, reason enough"


def test_a_task_group_shows_the_activity_error_in_a_group() -> None:
    run = Driver(Groups)
    run.start()
    run.step(CancelJob("enough"))
    assert result_of(run.step(cancelled(1))) == ["ActivityError"]


@workflow.defn
class Groups:
    @workflow.run
    async def run(self) -> list[str]:
        try:
            await in_a_task_group()
        except BaseExceptionGroup as group:
            return [type(error).__name__ for error in group.exceptions]
        except asyncio.CancelledError:
            return ["cancelled"]
        return []


@pytest.mark.parametrize("name", ["sleeping", "on_an_event", "waiting_for_condition"])
def test_a_cancellation_that_comes_with_the_start_is_seen_by_the_run_method(name: str) -> None:
    run = Driver(Program, "", name, True)
    assert result_of(run.start(CancelJob("at once"))) == "swallowed, reason at once"
    before = Driver(Program, "", name, True)
    assert (
        result_of(before.step(CancelJob("before"), before.initialize()))
        == "swallowed, reason before"
    )


def test_an_activity_cancelled_in_the_task_that_schedules_it_leaves_no_command() -> None:
    run = Driver(Program, "", "act", False)
    assert kinds(run.start(CancelJob())) == ["CancelWorkflowExecution"]
    run = Driver(Program, "", "gathered", False)
    assert kinds(run.start(CancelJob())) == ["CancelWorkflowExecution"]
    run = Driver(Program, "", "handle", False)
    assert kinds(run.start(CancelJob())) == ["CancelWorkflowExecution"]


def test_a_second_request_does_not_cancel_again() -> None:
    run = Driver(Cleanup)
    run.start()
    assert kinds(run.step(CancelJob("one"))) == ["CancelTimer 1", "ScheduleActivity 1"]
    assert kinds(run.step(CancelJob("two"))) == []
    assert kinds(run.step(completed(1, "cleaned"))) == ["CancelWorkflowExecution"]
    run.replay()


@workflow.defn
class Cleanup:
    @workflow.run
    async def run(self) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            assert await act("clean-up") == "cleaned"


@workflow.defn
class ByType:
    """Cancels an activity of a given type and says how it ended."""

    def __init__(self) -> None:
        self.cancel = False

    @workflow.run
    async def run(self, kind: int) -> str:
        activity = start_activity(cancellation_type=TYPES(kind))
        await workflow.wait_condition(lambda: self.cancel)
        assert activity.cancel()
        assert activity.cancel(), "asking twice is fine"
        try:
            return f"result {await activity}"
        except ActivityError as error:
            return f"{type(error.cause).__name__}, cancelled {activity.cancelled()}"

    @workflow.signal
    def stop(self) -> None:
        self.cancel = True


@pytest.mark.parametrize("kind", list(TYPES))
def test_cancellation_types_leave_the_outcome_to_the_engine(
    kind: workflow.ActivityCancellationType,
) -> None:
    run = Driver(ByType, "", int(kind))
    (scheduled,) = run.start()
    assert isinstance(scheduled, ScheduleActivity) and scheduled.cancellation_type == kind.name
    assert run.step(signal("stop")) == [RequestCancelActivity(seq=1)]
    assert result_of(run.step(cancelled(1))) == "CancelledError, cancelled False"
    run.replay()
    run = Driver(ByType, "", int(kind))
    run.start()
    run.step(signal("stop"))
    assert result_of(run.step(completed(1, "after all"))) == "result after all"
    run = Driver(ByType, "", int(kind))
    run.start()
    run.step(signal("stop"))
    assert result_of(run.step(failed(1))) == "ApplicationError, cancelled False"


def test_an_activity_resolved_in_the_same_activation_is_not_asked_to_cancel() -> None:
    run = Driver(ByType, "", int(TYPES.TRY_CANCEL))
    run.start()
    commands = run.step(completed(1, "just in time"), signal("stop"))
    assert kinds(commands) == ["CompleteWorkflow"]
    assert result_of(commands) == "result just in time"


@workflow.defn
class CancelsAtOnce:
    @workflow.run
    async def run(self) -> list[str]:
        unstarted = start_activity("a")
        unstarted.cancel()
        ended = []
        try:
            await unstarted
        except asyncio.CancelledError:
            ended.append("plain")
        started = start_activity("b")
        await asyncio.sleep(0)
        started.cancel()
        try:
            await started
        except ActivityError as error:
            assert isinstance(error.cause, CancelledError)
            ended.append("activity error")
        return ended


def test_a_handle_cancelled_at_once() -> None:
    commands = Driver(CancelsAtOnce).start()
    assert kinds(commands) == ["CompleteWorkflow"]
    assert result_of(commands) == ["plain", "activity error"]


@pytest.mark.promise("determinism")
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("order", [1, -1])
def test_a_cancellation_with_an_activity_result_is_not_lost(steps: int, order: int) -> None:
    """Whichever of the two comes first, and also with the last one's result, the run method sees
    the cancellation.
    """
    run = Driver(Steps, "", steps)
    run.start()
    for number in range(1, steps):
        run.step(completed(number, "so far"))
    jobs: list[Any] = [completed(steps, "at last"), CancelJob("now")][::order]
    assert kinds(run.step(*jobs)) == ["CancelWorkflowExecution"]
    run.replay()


def test_a_cancellation_with_an_activitys_failure_is_not_lost() -> None:
    run = Driver(Steps, "", 1)
    run.start()
    assert kinds(run.step(failed(1), CancelJob("now"))) == ["CancelWorkflowExecution"]


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, steps: int) -> str:
        for _ in range(steps):
            await act()
        return "all done"


@workflow.defn
class WaitFor:
    @workflow.run
    async def run(self) -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        except TimeoutError:
            return "timed out"
        return "not"


def test_wait_for_times_out_and_a_cancellation_beats_it() -> None:
    run = Driver(WaitFor)
    run.start()
    assert result_of(run.step(FireTimer(1))) == "timed out"
    run = Driver(WaitFor)
    run.start()
    assert kinds(run.step(CancelJob())) == ["CancelTimer 1", "CancelWorkflowExecution"]


def test_wait_for_around_an_activity_cancels_it_and_raises_its_error() -> None:
    run = Driver(WaitForActivity)
    run.start()
    assert kinds(run.step(FireTimer(1))) == ["RequestCancelActivity 1"]
    assert result_of(run.step(cancelled(1))) == "ActivityError"


@workflow.defn
class WaitForActivity:
    @workflow.run
    async def run(self) -> str:
        try:
            await asyncio.wait_for(act(), 5)
        except Exception as error:
            return type(error).__name__
        return "not"


@workflow.defn
class CancelledInside:
    @workflow.run
    async def run(self) -> None:
        raise asyncio.CancelledError("of my own")


def test_a_cancelled_error_without_a_request_fails_the_workflow() -> None:
    failure = failure_of(Driver(CancelledInside).start())
    assert (failure.kind, failure.message) == ("CANCELED", "of my own")


@workflow.defn
class ShieldedCleanup:
    @workflow.run
    async def run(self) -> str:
        task = asyncio.create_task(act())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 1
            current.uncancel()
            return f"kept: {await task}"
        return "not cancelled"


def test_a_shielded_activity_goes_on() -> None:
    run = Driver(ShieldedCleanup)
    run.start()
    assert kinds(run.step(CancelJob())) == []
    assert result_of(run.step(completed(1, "fine"))) == "kept: fine"
    run.replay()
