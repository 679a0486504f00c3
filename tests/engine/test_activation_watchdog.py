"""The watchdog ends code that loops, reports what it cannot end, and hurts nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.activation import Watchdog, WatchedActivator
from odradek.activation.watchdog import DeadlockError, Stuck
from odradek.engine.activation import Commands, TaskFailed
from tests.engine.activation_driver import Driver, activator, kinds, result_of, signal

TIMEOUT = 0.2
RELEASE = threading.Event()


def spin() -> None:
    while True:
        pass


def endless() -> bool:
    spin()
    return True


def spin_swallowing() -> None:
    for _ in range(3):
        try:
            while True:
                pass
        except BaseException:  # as bad code does
            pass


@workflow.defn
class Loops:
    @workflow.run
    async def run(self, how: str) -> str:
        if how == "spin":
            spin()
        elif how == "swallow":
            spin_swallowing()
        elif how == "block":
            RELEASE.wait()
        elif how == "condition":
            await workflow.wait_condition(endless)
        elif how == "finally":
            try:
                await workflow.sleep(60)
            finally:
                spin()
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.query
    def ask(self) -> None:
        spin()

    @workflow.signal
    async def tell(self) -> None:
        spin()

    @workflow.update
    def change(self) -> None:
        pass


@workflow.defn
class Fine:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("a", start_to_close_timeout=timedelta(1))
        return "fine"


@pytest.fixture
def stuck() -> list[Stuck]:
    return []


@pytest.fixture
def watched(stuck: list[Stuck]) -> Iterator[WatchedActivator]:
    made = WatchedActivator(activator(Loops, Fine), Watchdog(TIMEOUT, stuck.append))
    yield made
    made.watchdog.stop()


def assert_deadlock(completion: Any, where: str) -> None:
    assert isinstance(completion, TaskFailed), completion
    assert completion.crashed
    assert completion.failure.message.startswith(
        "[TMPRL1101] Potential deadlock detected: workflow Loops (id wf) did not yield within 0.2"
        " second"
    )
    assert where in completion.failure.stack_trace
    assert "run_until_idle" not in completion.failure.stack_trace


@pytest.mark.parametrize("how", ["spin", "swallow", "condition"])
def test_a_spinning_activation_is_ended_and_counts_as_a_crash(
    watched: WatchedActivator, how: str
) -> None:
    run = Driver(watched, "Loops", how)
    begun = time.monotonic()
    assert_deadlock(run.completion(run.initialize()), "in spin")
    assert time.monotonic() - begun >= TIMEOUT
    run.instance.close()
    other = Driver(watched, "Fine")
    assert kinds(other.start()) == ["ScheduleActivity 1"], "and the thread serves others"


@pytest.mark.parametrize("name", ["ask", "tell"])
def test_handlers_are_watched_too(watched: WatchedActivator, name: str) -> None:
    from tests.engine.activation_driver import query

    run = Driver(watched, "Loops", "nothing")
    run.start()
    assert_deadlock(run.completion(query(name) if name == "ask" else signal(name)), "in spin")


def test_closing_is_watched_too(
    watched: WatchedActivator, caplog: pytest.LogCaptureFixture
) -> None:
    run = Driver(watched, "Loops", "finally")
    run.start()
    run.instance.close()
    assert "did not end its coroutines when closed" in caplog.text


def test_what_cannot_be_ended_is_reported(watched: WatchedActivator, stuck: list[Stuck]) -> None:
    RELEASE.clear()
    run = Driver(watched, "Loops", "block")
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(run.completion(run.initialize())))
    thread.start()
    wait_for(lambda: stuck)
    assert (stuck[0].workflow_id, stuck[0].workflow_type) == ("wf", "Loops")
    assert "RELEASE.wait()" in stuck[0].stack
    assert watched.watchdog.stuck_since == stuck[0].since <= time.monotonic()
    RELEASE.set()
    thread.join(30)
    assert_deadlock(outcome[0], "RELEASE.wait()")
    assert watched.watchdog.stuck_since is None
    assert len(stuck) == 1


def test_a_slow_replay_is_given_more_time(watched: WatchedActivator) -> None:
    run = Driver(watched, "Loops", "spin")
    done = threading.Event()
    outcome: list[Any] = []

    def replay() -> None:
        outcome.append(run.completion(run.initialize(), replaying=True))
        done.set()

    begun = time.monotonic()
    thread = threading.Thread(target=replay)
    thread.start()
    assert done.wait(30)
    thread.join()
    assert time.monotonic() - begun > 5 * TIMEOUT
    assert_deadlock(outcome[0], "in spin")


def test_no_interruption_reaches_code_outside_of_an_activation() -> None:
    """Activations that end about when they are interrupted, over and over: the error comes
    inside or not at all.

    (With the interpreter's switch interval of 5 ms a look every 2 ms comes every 7 ms.)
    """
    watched = WatchedActivator(activator(Edge), Watchdog(0.016))
    try:
        run = Driver(watched, "Edge")
        run.start()
        began = time.monotonic()
        rounds = 0
        # Where the machine stands for seconds, or has no time for the watchdog, it takes longer
        # until something is seen.
        while time.monotonic() - began < (
            1.5 if rounds > 1 and watched.watchdog.interrupted else 60
        ):
            rounds += 1
            for delay in (0.03, 0.045, 0.06, 0.075, 0.09, 0.12):
                completion = run.completion(signal("take", delay))
                assert isinstance(completion, TaskFailed | Commands)
                sum(range(2000))  # where a stray error would strike
                if isinstance(completion, TaskFailed):
                    run.instance.close()
                    run = Driver(watched, "Edge")
                    run.start()
        assert rounds > 1
        assert watched.watchdog.interrupted > 0
    except DeadlockError:
        pytest.fail("a DeadlockError came outside of an activation")
    finally:
        watched.watchdog.stop()


@workflow.defn
class Edge:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def take(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass


def test_threads_that_ended_are_forgotten(watched: WatchedActivator) -> None:
    def activate() -> None:
        run = Driver(watched, "Fine")
        run.start()
        run.instance.close()

    thread = threading.Thread(target=activate)
    thread.start()
    thread.join()
    wait_for(lambda: not watched.watchdog._slots)
    assert result_of([*Driver(activator(Answer), "Answer").start()]) == 1


@workflow.defn
class Answer:
    @workflow.run
    async def run(self) -> int:
        return 1


def wait_for(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition was never met"
        time.sleep(0.01)
