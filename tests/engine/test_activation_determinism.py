"""Random programs on random batches of inputs: the recorded activations, fed to a fresh
instance, give the same commands.

Also when interceptors are turned on or off under the run, at every step. And while they run:
only what is open is cancelled, nothing comes after a completion, and what was cancelled at once
left no command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek import workflow
from odradek.activation import PythonActivator
from odradek.engine.activation import (
    CancelJob,
    CancelTimer,
    CancelWorkflowExecution,
    CommandBase,
    CompleteWorkflow,
    ContinueAsNew,
    FailWorkflow,
    Job,
    RequestCancelActivity,
    ScheduleActivity,
    StartTimer,
)
from odradek.exceptions import ActivityError
from tests.engine.activation_driver import Driver, FireTimer, cancelled, completed, failed, signal
from tests.engine.test_activation_interceptors import both

CLOSING = (CompleteWorkflow, FailWorkflow, CancelWorkflowExecution, ContinueAsNew)
TYPES = workflow.ActivityCancellationType


@workflow.defn
class Interpreter:
    """Runs a program given as nested lists."""

    def __init__(self) -> None:
        self.signals = 0
        self.log: list[Any] = []
        self.background: list[asyncio.Task[Any]] = []
        self.lock = asyncio.Lock()
        self.queue: asyncio.Queue[int] = asyncio.Queue()

    @workflow.run
    async def run(self, program: list[Any]) -> list[Any]:
        for step in program:
            self.log.append(await self.execute(step))
        return self.log

    async def execute(self, step: list[Any]) -> Any:
        return await getattr(self, "do_" + step[0])(*step[1:])

    async def do_sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    async def do_activity(self, name: str, kind: int) -> Any:
        try:
            return await workflow.execute_activity(
                name, start_to_close_timeout=timedelta(1), cancellation_type=TYPES(kind)
            )
        except ActivityError as error:
            return type(error.cause).__name__

    async def do_handle(self, name: str, kind: int, cancel: bool) -> Any:
        handle = workflow.start_activity(
            name, start_to_close_timeout=timedelta(1), cancellation_type=TYPES(kind)
        )
        if cancel:
            await asyncio.sleep(0)
            handle.cancel()
        try:
            return await handle
        except ActivityError as error:
            return type(error.cause).__name__

    async def do_gather(self, *steps: Any) -> Any:
        return await asyncio.gather(*(self.execute(step) for step in steps))

    async def do_group(self, *steps: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.execute(step)) for step in steps]
        return [task.result() for task in tasks]

    async def do_race(self, *steps: Any) -> Any:
        tasks = [asyncio.create_task(self.execute(step)) for step in steps]
        try:
            done, pending = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return [len(done), len(pending), [tasks.index(task) for task in done]]

    async def do_wait(self, *steps: Any) -> Any:
        """asyncio's own goes through sets, in the order of the tasks' numbers."""
        tasks = [asyncio.create_task(self.execute(step)) for step in steps]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return [[tasks.index(task) for task in some] for some in (done, pending)]

    async def do_timeout(self, seconds: float, step: Any) -> Any:
        try:
            return await asyncio.wait_for(self.execute(step), seconds)
        except TimeoutError:
            return "timeout"

    async def do_signals(self, count: int) -> Any:
        await workflow.wait_condition(lambda: self.signals >= count, timeout=30)
        return self.signals

    async def do_shield(self, step: Any) -> Any:
        try:
            return await asyncio.shield(self.execute(step))
        except asyncio.CancelledError:
            return "cancelled around a shield"

    async def do_background(self, step: Any) -> Any:
        self.background.append(asyncio.create_task(self.execute(step)))
        return "in the background"

    async def do_locked(self, step: Any) -> Any:
        async with self.lock:
            return await self.execute(step)

    async def do_chance(self) -> Any:
        return [
            workflow.random().random(),
            str(workflow.uuid4()),
            workflow.now().isoformat(),
            workflow.patched("chance"),
        ]

    async def do_take(self) -> Any:
        return await self.queue.get()

    @workflow.signal
    async def poke(self, number: int) -> None:
        self.signals += 1
        self.log.append(number)
        self.queue.put_nowait(number)
        if number % 3 == 0:
            await asyncio.sleep(number)
            self.log.append(-number)

    @workflow.signal
    def nudge(self, number: int) -> None:
        self.signals += 1
        if number % 2 == 0:
            self.background.append(asyncio.create_task(self.do_activity("nudged", 0)))


leaf = st.one_of(
    st.tuples(st.just("sleep"), st.sampled_from([0, 0.5, 2, 10])),
    st.tuples(st.just("activity"), st.sampled_from("ab"), st.integers(0, 2)),
    st.tuples(st.just("handle"), st.sampled_from("ab"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("signals"), st.integers(0, 3)),
    st.just(("chance",)),
    st.just(("take",)),
)


def nested(step: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(step, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda steps: ("gather", *steps)),
        several.map(lambda steps: ("group", *steps)),
        several.map(lambda steps: ("race", *steps)),
        several.map(lambda steps: ("wait", *steps)),
        st.tuples(st.just("timeout"), st.sampled_from([1, 5]), step),
        step.map(lambda inner: ("shield", inner)),
        step.map(lambda inner: ("background", inner)),
        step.map(lambda inner: ("locked", inner)),
    )


programs = st.lists(st.recursive(leaf, nested, max_leaves=6), min_size=1, max_size=4)
MADE_BY, INTERCEPTED = both(Interpreter)


class World:
    """What an engine keeps of a run: open timers and activities. Asserts what the port promises
    about commands.
    """

    def __init__(self) -> None:
        self.timers: set[int] = set()
        self.activities: dict[int, str] = {}
        self.cancelling: list[int] = []  # to be answered in the next activation
        self.closed = False

    def apply(self, commands: list[CommandBase]) -> None:
        for command in commands:
            assert not self.closed, f"{command} after the completion"
            if isinstance(command, StartTimer):
                assert command.seq not in self.timers
                self.timers.add(command.seq)
            elif isinstance(command, CancelTimer):
                self.timers.remove(command.seq)
            elif isinstance(command, ScheduleActivity):
                assert command.seq not in self.activities
                self.activities[command.seq] = command.cancellation_type
            elif isinstance(command, RequestCancelActivity):
                assert command.seq not in self.cancelling
                if self.activities[command.seq] != "WAIT_CANCELLATION_COMPLETED":
                    self.cancelling.append(command.seq)
            elif isinstance(command, CLOSING):
                self.closed = True

    def draw(self, data: st.DataObject) -> list[Job]:
        """A batch of what may happen next."""
        if self.cancelling:
            return [
                self.end_activity(seq, cancelled(seq))
                for seq in [self.cancelling.pop(0) for _ in list(self.cancelling)]
            ]
        choices: list[tuple[str, int]] = [("timer", seq) for seq in self.timers] + [
            ("activity", seq) for seq in self.activities
        ]
        choices += [(name, number) for name in ("poke", "nudge") for number in range(1, 4)] + [
            ("cancel", 0)
        ]
        jobs: list[Job] = []
        for kind, number in data.draw(
            st.lists(st.sampled_from(choices), min_size=1, max_size=4, unique=True)
        ):
            if kind == "timer":
                self.timers.discard(number)
                jobs.append(FireTimer(number))
            elif kind == "activity":
                outcome = data.draw(
                    st.sampled_from(
                        [completed(number, "result"), failed(number), cancelled(number)]
                    )
                )
                jobs.append(self.end_activity(number, outcome))
            elif kind in ("poke", "nudge"):
                jobs.append(signal(kind, number))
            elif data.draw(st.integers(0, 3)) == 0:
                jobs.append(CancelJob("because"))
        return jobs or [signal("poke", 1)]

    def end_activity(self, seq: int, job: Any) -> Any:
        del self.activities[seq]
        return job


def play(run: Driver, data: st.DataObject, between: Callable[[], object]) -> None:
    """A run's life. `between` is called after each of its activations."""
    world = World()
    first = [
        signal("poke", number) for number in data.draw(st.lists(st.integers(1, 3), max_size=2))
    ]
    result = run.completion(run.initialize(), *first)
    for _ in range(data.draw(st.integers(1, 12))):
        commands = getattr(result, "commands", None)
        if commands is None:  # an ExceptionGroup, say: the task failed, nothing of it counts
            break
        world.apply(commands)
        between()
        if world.closed:
            break
        result = run.completion(*world.draw(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, data=st.data())
@pytest.mark.filterwarnings("ignore::odradek.workflow.UnfinishedSignalHandlersWarning")
def test_replay_gives_the_same_commands(program: list[Any], data: st.DataObject) -> None:
    run = Driver(MADE_BY, "Interpreter", program)
    play(run, data, lambda: None)
    run.replay()
    run.instance.close()


@pytest.mark.promise("determinism")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, data=st.data(), first=st.sampled_from([MADE_BY, INTERCEPTED]))
@pytest.mark.filterwarnings("ignore::odradek.workflow.UnfinishedSignalHandlersWarning")
def test_interceptors_may_be_turned_on_and_off_at_every_step(
    program: list[Any], data: st.DataObject, first: PythonActivator
) -> None:
    run = Driver(first, "Interpreter", program)

    def turn() -> None:
        """The next activation is done by a worker of the other kind, which replays everything
        before.
        """
        run.activator = MADE_BY if run.activator is INTERCEPTED else INTERCEPTED
        run.replay()

    play(run, data, turn)
    for made_by in (MADE_BY, INTERCEPTED):
        run.activator = made_by
        run.replay()
    run.instance.close()
