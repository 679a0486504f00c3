"""Interceptors can be turned on and off under open runs: a worker with pass-through ones does
what one without does, tick for tick.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from odradek import workflow
from odradek.activation.interceptors import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from odradek.engine.activation import ScheduleActivity
from tests.engine.activation_driver import (
    CancelJob,
    Driver,
    FireTimer,
    activator,
    completed,
    kinds,
    result_of,
    signal,
)

MINUTE = timedelta(minutes=1)


class Outbound(WorkflowOutboundInterceptor):
    pass


class Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Outbound(outbound))


class PassThrough(Interceptor):
    """Intercepts everything and changes nothing."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return Inbound


def both(cls: type) -> list[Any]:
    """Activators without and with interceptors."""
    return [activator(cls), activator(cls, interceptors=[PassThrough()])]


async def act(name: str, *args: Any) -> Any:
    return await workflow.execute_activity(name, args=args, start_to_close_timeout=MINUTE)


@workflow.defn
class Branches:
    """Two branches go on in one activation: which one asks first is a matter of ticks."""

    @workflow.run
    async def run(self) -> list[Any]:
        async def executed() -> Any:
            await act("a")
            return await act("x")

        async def started() -> Any:
            await workflow.start_activity("b", start_to_close_timeout=MINUTE)
            return await act("y")

        async def slept() -> Any:
            await workflow.sleep(5)
            return await act("z")

        return list(await asyncio.gather(executed(), started(), slept()))


@workflow.defn
class Numbered:
    """Sets of tasks are iterated by the tasks' numbers in the run."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.go = False

    @workflow.run
    async def run(self) -> list[Any]:
        await act("a")
        tasks = [asyncio.create_task(act("b", number)) for number in range(5)]
        names = [task.get_name() for task in tasks]
        await workflow.wait_condition(lambda: self.go)
        done, _ = await asyncio.wait([*tasks, *self.tasks])
        return [names, [task.get_name() for task in done]]

    @workflow.signal
    def plain(self) -> None:
        current = asyncio.current_task()
        assert current is not None and current.get_name() == "signal: plain"
        self.tasks.append(asyncio.create_task(asyncio.sleep(0)))

    @workflow.signal
    async def finish(self) -> None:
        self.go = True


@workflow.defn
class Replaces:
    """A signal changes the handler of the next one of its batch; and a plain handler's result is
    nobody's coroutine.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= 2)
        return self.seen

    @workflow.signal
    def change(self) -> Any:
        workflow.set_signal_handler("say", lambda text: self.seen.append(f"new {text}"))
        return Awaited(self.seen)

    @workflow.signal
    def remove(self) -> None:
        workflow.set_signal_handler("say", None)

    @workflow.signal
    def say(self, text: str) -> None:
        self.seen.append(f"old {text}")


class Awaited:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def __await__(self) -> Any:
        self.seen.append("awaited")
        yield


SCRIPTS: dict[type, list[list[Any]]] = {
    Branches: [
        [],
        [FireTimer(1), completed(2, "B"), completed(1, "A")],
        [completed(3, "1"), completed(4, "2"), completed(5, "3")],
    ],
    Numbered: [
        [signal("plain")],
        [signal("plain"), completed(1, "A")],
        [signal("plain"), signal("plain"), *(completed(seq) for seq in range(2, 7))],
        [signal("finish")],
    ],
    Replaces: [[signal("remove"), signal("say", "one"), signal("change")], [signal("say", "two")]],
}


@pytest.mark.parametrize("cls", SCRIPTS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("turned", ["on", "off"])
def test_a_history_made_without_interceptors_replays_with_them_and_the_other_way_round(
    cls: type, turned: str
) -> None:
    first, then = both(cls) if turned == "on" else reversed(both(cls))
    script = SCRIPTS[cls]
    results = []
    for changed_before in range(len(script) + 1):
        run = Driver(first, cls.__name__)
        for step, jobs in enumerate(script):
            if step == changed_before:
                run.activator = then
                run.replay()
            commands = run.step(*([run.initialize()] if step == 0 else []), *jobs)
        results.append(result_of(commands))
        run.activator = then
        run.replay()
    assert all(result == results[0] for result in results)


def test_branches_ask_in_the_order_in_which_their_activities_ended() -> None:
    for made_by in both(Branches):
        run = Driver(made_by, "Branches")
        run.start()
        commands = run.step(FireTimer(1), completed(2, "B"), completed(1, "A"))
        assert [
            command.activity_type for command in commands if isinstance(command, ScheduleActivity)
        ] == ["z", "y", "x"]


def test_a_signal_reaches_the_handler_that_the_one_before_it_has_set() -> None:
    for made_by in both(Replaces):
        run = Driver(made_by, "Replaces")
        run.start(signal("change"), signal("say", "one"))
        assert result_of(run.step(signal("say", "two"))) == ["new one", "new two"]


def test_a_signal_behind_one_that_removes_its_handler_waits_for_the_next() -> None:
    """In one batch as in two; a plain function's result is not awaited."""
    for made_by in both(Replaces):
        run = Driver(made_by, "Replaces")
        run.start(signal("remove"), signal("say", "one"))
        assert run.step(signal("say", "two")) == []
        assert result_of(run.step(signal("change"))) == ["new one", "new two"]
        run.replay()


async def in_time() -> Any:
    async with asyncio.timeout(30):
        return await act("a")


@workflow.defn
class Last:
    """Ends with its only activity."""

    @workflow.run
    async def run(self, how: str) -> str:
        try:
            ways: dict[str, Any] = {
                "execute": partial(act, "a"),
                "start": partial(workflow.start_activity, "a", start_to_close_timeout=MINUTE),
                # asyncio.wait_for has lost cancellations itself before Python 3.12
                "timeout": in_time,
                "task": lambda: asyncio.create_task(act("a")),
                "gather": lambda: asyncio.gather(act("a")),
            }
            return f"returned {await ways[how]()}"
        except asyncio.CancelledError:
            if how == "execute":
                assert workflow.cancellation_reason() == "now"
            raise


@pytest.mark.parametrize("order", ["result first", "cancellation first"])
@pytest.mark.parametrize("how", ["execute", "start", "timeout", "task", "gather"])
def test_a_cancellation_with_the_last_activitys_result_is_not_lost(how: str, order: str) -> None:
    jobs: list[Any] = [completed(1, "A"), CancelJob("now")]
    if order == "cancellation first":
        jobs.reverse()
    for made_by in both(Last):
        run = Driver(made_by, "Last", how)
        run.start()
        assert kinds(run.step(*jobs))[-1] == "CancelWorkflowExecution"
        for again in both(Last):
            run.activator = again
            run.replay()
