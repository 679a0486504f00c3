"""In which order things run: jobs, tasks, conditions; and that a replay of the same activations
gives the same commands.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.engine.activation import ScheduleActivity, StartTimer
from tests.engine.activation_driver import (
    Driver,
    FireTimer,
    NotifyHasPatch,
    activator,
    completed,
    failed,
    kinds,
    result_of,
    signal,
)

MINUTE = timedelta(minutes=1)


async def act(name: str, *args: Any) -> Any:
    return await workflow.execute_activity(name, args=args, start_to_close_timeout=MINUTE)


@workflow.defn
class Journal:
    """Writes down what runs."""

    def __init__(self) -> None:
        self.seen = ["init"]

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("run")
        await act("a")
        self.seen.append("a done")
        await workflow.wait_condition(lambda: "finish" in self.seen)
        return self.seen

    @workflow.signal
    def plain(self, text: str) -> None:
        self.seen.append(text)

    @workflow.signal
    async def waiting(self, text: str) -> None:
        self.seen.append(f"{text} begins")
        await asyncio.sleep(0)
        self.seen.append(text)


def test_signals_of_the_first_task_run_before_the_run_method() -> None:
    run = Driver(Journal)
    commands = run.start(signal("plain", "one"), signal("waiting", "two"))
    assert kinds(commands) == ["ScheduleActivity 1"]
    commands = run.step(completed(1), signal("plain", "finish"))
    assert result_of(commands) == ["init", "one", "two begins", "two", "run", "finish", "a done"]
    run.replay()


def test_signals_run_before_what_the_activation_resolves_whatever_the_order_of_jobs() -> None:
    run = Driver(Journal)
    run.start()
    commands = run.step(completed(1), signal("waiting", "x"), signal("plain", "finish"))
    assert result_of(commands) == ["init", "run", "x begins", "finish", "x", "a done"]


@workflow.defn
class Gathered:
    @workflow.run
    async def run(self) -> list[Any]:
        return await asyncio.gather(
            *(act(f"a{number}") for number in range(4)), asyncio.sleep(5, "slept")
        )


def test_gather_schedules_in_order_and_keeps_the_order_of_results() -> None:
    run = Driver(Gathered)
    commands = run.start()
    assert [c.activity_type for c in commands if isinstance(c, ScheduleActivity)] == [
        "a0",
        "a1",
        "a2",
        "a3",
    ]
    assert kinds(commands)[-1] == "StartTimer 1"
    run.step(completed(3, "third"), FireTimer(1))
    run.step(completed(1, "first"))
    assert result_of(run.step(completed(4, "fourth"), completed(2, "second"))) == [
        "first",
        "second",
        "third",
        "fourth",
        "slept",
    ]
    run.replay()


@workflow.defn
class Conditions:
    def __init__(self) -> None:
        self.count = 0
        self.order: list[str] = []

    async def wait(self, name: str, at_least: int) -> None:
        await workflow.wait_condition(lambda: self.count >= at_least)
        self.order.append(name)
        self.count += 1  # lets the next one pass in the next pass of the same activation

    @workflow.run
    async def run(self) -> list[str]:
        await asyncio.gather(self.wait("c", 3), self.wait("b", 2), self.wait("a", 1))
        return self.order

    @workflow.signal
    def add(self) -> None:
        self.count += 1


def test_conditions_are_looked_at_after_each_pass() -> None:
    run = Driver(Conditions)
    assert run.start() == []
    assert result_of(run.step(signal("add"))) == ["a", "b", "c"]
    run.replay()


@workflow.defn
class Timeouts:
    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            await workflow.wait_condition(
                lambda: self.ready, timeout=seconds, timeout_summary="patience"
            )
        except TimeoutError:
            return "timeout"
        return "ready"

    @workflow.signal
    def go(self) -> None:
        self.ready = True


def test_wait_condition_times_out() -> None:
    run = Driver(Timeouts, "", 2.5)
    (timer,) = run.start()
    assert isinstance(timer, StartTimer)
    assert timer.duration_ms == 2500
    assert timer.summary is not None and timer.summary.data == b'"patience"'
    assert result_of(run.step(FireTimer(1))) == "timeout"


def test_wait_condition_met_cancels_its_timer() -> None:
    run = Driver(Timeouts, "", 2.5)
    run.start()
    commands = run.step(signal("go"))
    assert kinds(commands) == ["CancelTimer 1", "CompleteWorkflow"]
    run.replay()


def test_a_condition_met_in_the_task_that_starts_the_timer_leaves_no_timer() -> None:
    run = Driver(Timeouts, "", 2.5)
    assert kinds(run.start(signal("go"))) == ["CompleteWorkflow"]


def test_a_timer_that_fired_in_the_same_activation_is_not_cancelled() -> None:
    run = Driver(Timeouts, "", 2.5)
    run.start()
    commands = run.step(FireTimer(1), signal("go"))
    assert kinds(commands) == ["CompleteWorkflow"]
    assert result_of(commands) == "ready"


def test_wait_condition_with_timeout_zero_times_out_at_once() -> None:
    assert result_of(Driver(Timeouts, "", 0).start()) == "timeout"


@workflow.defn
class BadCondition:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: 1 / 0 > 1)


def test_an_exception_in_a_condition_fails_the_task() -> None:
    failure = Driver(BadCondition).task_failure(Driver(BadCondition).initialize()).failure
    assert failure.type == "ZeroDivisionError"


@workflow.defn
class Primitives:
    """asyncio's own tools."""

    @workflow.run
    async def run(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        lock, event, queue, semaphore = (
            asyncio.Lock(),
            asyncio.Event(),
            asyncio.Queue[int](maxsize=1),
            asyncio.Semaphore(2),
        )
        order: list[str] = []

        async def locked(name: str) -> None:
            async with lock, semaphore:
                order.append(f"{name} in")
                await asyncio.sleep(0)
                order.append(f"{name} out")

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)
            event.set()

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(locked(name))
            group.create_task(produce())
            group.create_task(event.wait())
            out["queue"] = [await queue.get() for _ in range(3)]
        out["order"] = order
        try:
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        except TimeoutError:
            out["timeout"] = True
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 3)
        except TimeoutError:
            out["wait_for"] = True
        done, pending = await workflow.wait(
            [asyncio.create_task(asyncio.sleep(9, "x")), asyncio.create_task(asyncio.sleep(1))],
            timeout=5,
        )
        out["wait"] = [len(done), len(pending)]
        out["as_completed"] = [
            await item
            for item in workflow.as_completed([asyncio.sleep(2, "b"), asyncio.sleep(1, "a")])
        ]
        return out


def test_asyncio_primitives_on_durable_timers() -> None:
    run = Driver(Primitives)
    assert [c.duration_ms for c in run.start() if isinstance(c, StartTimer)] == [1000]
    commands = run.step(FireTimer(1))
    assert [c.duration_ms for c in commands if isinstance(c, StartTimer)] == [3000]
    commands = run.step(FireTimer(2))
    assert sorted(c.duration_ms for c in commands if isinstance(c, StartTimer)) == [
        1000,
        5000,
        9000,
    ]
    seqs = {c.duration_ms: c.seq for c in commands if isinstance(c, StartTimer)}
    run.step(FireTimer(seqs[1000]))
    commands = run.step(FireTimer(seqs[5000]))
    seqs = {c.duration_ms: c.seq for c in commands if isinstance(c, StartTimer)}
    run.step(FireTimer(seqs[1000]))
    assert result_of(run.step(FireTimer(seqs[2000]))) == {
        "queue": [0, 1, 2],
        "order": ["a in", "a out", "b in", "b out"],
        "timeout": True,
        "wait_for": True,
        "wait": [1, 1],
        "as_completed": ["a", "b"],
    }
    run.replay()


@workflow.defn
class Patched:
    @workflow.run
    async def run(self) -> str:
        first, again = workflow.patched("new"), workflow.patched("new")
        assert first == again
        return "new" if first else "old"


def test_patches_are_known_before_anything_runs() -> None:
    run = Driver(Patched)
    commands = run.start()
    assert kinds(commands) == ["SetPatchMarker", "CompleteWorkflow"]
    assert result_of(commands) == "new"
    old = Driver(Patched)
    assert result_of(old.step(old.initialize(), replaying=True)) == "old"
    new = Driver(Patched)
    assert result_of(new.step(new.initialize(), NotifyHasPatch("new"), replaying=True)) == "new"


@workflow.defn
class CompletedFirst:
    @workflow.run
    async def run(self) -> str:
        other = asyncio.create_task(self.other())
        del other
        return "done"

    async def other(self) -> None:
        await act("late")


def test_only_the_first_completion_counts_and_nothing_comes_after_it() -> None:
    assert kinds(Driver(CompletedFirst).start()) == ["CompleteWorkflow"]


@workflow.defn
class Time:
    @workflow.run
    async def run(self) -> list[Any]:
        before = (
            workflow.now(),
            workflow.time(),
            workflow.time_ns(),
            asyncio.get_running_loop().time(),
        )
        await workflow.sleep(timedelta(seconds=1))
        after = (
            workflow.now(),
            workflow.time(),
            workflow.time_ns(),
            asyncio.get_running_loop().time(),
        )
        return [
            before[1] == before[3],
            (after[0] - before[0]).total_seconds(),
            after[1] - before[1],
            after[2] - before[2],
            str(before[0].tzinfo),
        ]


def test_time_stands_still_in_an_activation() -> None:
    run = Driver(Time)
    run.start()
    assert result_of(run.step(FireTimer(1))) == [True, 1.0, 1.0, 1_000_000_000, "UTC"]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0.0004, 1),
        (0, 1),
        (0.1, 100),
        (1.0001, 1001),
        (60, 60_000),
        (86400 * 365 * 10, 315_360_000_000),
    ],
)
def test_timers_are_whole_milliseconds_rounded_up(seconds: float, milliseconds: int) -> None:
    run = Driver(Sleeps, "", seconds)
    (timer,) = run.start()
    assert isinstance(timer, StartTimer)
    assert timer.duration_ms == milliseconds


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await workflow.sleep(seconds)


def test_a_negative_sleep_fails_the_task() -> None:
    assert (
        "negative delay"
        in Driver(Sleeps, "", -1).task_failure(Driver(Sleeps, "", -1).initialize()).failure.message
    )


@workflow.defn
class Chance:
    @workflow.run
    async def run(self) -> list[Any]:
        return [
            workflow.random().random(),
            str(workflow.uuid4()),
            workflow.uuid4().version,
            workflow.uuid7().version,
            workflow.uuid7().int >> 80,
            workflow.new_random().random(),
            workflow.new_random("x").random(),
            workflow.random_seed(),
        ]


def test_chance_is_the_runs_own_and_the_same_again() -> None:
    run = Driver(Chance)
    values = result_of(run.start())
    assert values[2:4] == [4, 7]
    assert values[4] == run.now_ms
    assert values[5] == values[0] != values[6]
    assert values[7] == 42
    run.replay()


def test_activity_results_are_decoded_by_hint_and_failures_raise() -> None:
    run = Driver(activator(Outcome), "Outcome")
    run.start()
    assert result_of(run.step(failed(1, "no luck", "Unlucky"))) == [
        "ActivityError",
        "ApplicationError",
        "Unlucky: no luck",
    ]


@workflow.defn
class Outcome:
    @workflow.run
    async def run(self) -> list[str]:
        try:
            await act("a")
        except Exception as error:
            return [type(error).__name__, type(error.__cause__).__name__, str(error.__cause__)]
        return []
