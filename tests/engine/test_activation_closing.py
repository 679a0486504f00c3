"""Eviction: coroutines end at once, without noise, and whatever they do in ending has no effect."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import weakref
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.activation.closing import ATTEMPTS
from odradek.engine.activation import Commands
from tests.engine.activation_driver import Driver, completed, kinds, signal

LOG: list[str] = []


async def act() -> Any:
    return await workflow.execute_activity("a", start_to_close_timeout=timedelta(minutes=1))


@workflow.defn
class Stubborn:
    """Does in its `finally` blocks all that it should not."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> None:
        async def inner() -> None:
            try:
                async with self.lock, asyncio.timeout(60):
                    await asyncio.Event().wait()
            finally:
                LOG.append("inner")
                workflow.logger.warning("closing time")
                await act()

        handle = workflow.start_activity("h", start_to_close_timeout=timedelta(minutes=1))
        tasks = [asyncio.create_task(inner()), asyncio.create_task(inner())]
        try:
            await asyncio.gather(
                *tasks, handle, act(), workflow.sleep(5), workflow.wait_condition(lambda: False)
            )
        except Exception:
            LOG.append("must not see an exception")
        finally:
            LOG.append("run")
            try:
                await workflow.sleep(1)
            except Exception:
                LOG.append("must not see an exception")
            finally:
                LOG.append(str(asyncio.create_task(act())))

    @workflow.signal
    async def waiting(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(
                ATTEMPTS
            ):  # and then it does, so that nothing is left when the interpreter ends
                try:
                    await asyncio.sleep(0)
                except BaseException:
                    LOG.append("refuses to end")


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    return seen


def test_closing_has_no_effect_and_makes_no_noise(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, unraisable: list[Any]
) -> None:
    LOG.clear()
    gc.collect()  # what earlier tests left makes its noise here
    recwarn.clear()
    unraisable.clear()
    run = Driver(Stubborn)
    commands = run.start()
    assert sorted(kinds(commands)) == [
        "ScheduleActivity 1",
        "ScheduleActivity 2",
        "StartTimer 1",
        "StartTimer 2",
    ]
    bystander = Driver(Bystander)
    bystander.start()
    with caplog.at_level(logging.DEBUG):
        run.instance.close()
        run.instance.close()
        del run
        gc.collect()
    assert sorted(LOG) == ["inner", "inner", "run"]
    assert caplog.records == []
    assert [str(warning.message) for warning in recwarn] == []
    assert unraisable == []
    assert kinds(bystander.step(completed(1))) == ["CompleteWorkflow"], (
        "nothing went to another workflow"
    )


@workflow.defn
class Bystander:
    @workflow.run
    async def run(self) -> None:
        await act()


def test_a_coroutine_that_does_not_end_is_kept_away_from_the_garbage_collector(
    caplog: pytest.LogCaptureFixture, unraisable: list[Any]
) -> None:
    gc.collect()  # what earlier tests left makes its noise here
    unraisable.clear()
    run = Driver(Stubborn)
    run.start()
    run.step(signal("waiting"))
    run.instance.close()
    del run
    gc.collect()
    assert "does not end" in caplog.text
    assert unraisable == []


def test_an_instance_that_never_ran_or_failed_closes(recwarn: pytest.WarningsRecorder) -> None:
    gc.collect()  # what earlier tests left makes its noise here
    recwarn.clear()
    run = Driver(Failing)
    run.instance.close()
    run = Driver(Failing)
    run.task_failure(signal("bad"), run.initialize())
    run.instance.close()
    del run
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        await act()

    @workflow.signal
    def bad(self) -> None:
        raise ValueError("first signal")


async def test_a_host_with_an_event_loop_of_its_own_is_left_as_it_was() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    run = Driver(Bystander)
    assert isinstance(run.completion(run.initialize()), Commands)
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
    run.instance.close()
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is task


def test_a_closed_run_is_freed_at_once() -> None:
    """Without the garbage collector: a lane closes hundreds of runs a second."""
    gc.collect()
    gc.disable()
    try:
        run = Driver(Bystander)
        run.start()
        context = weakref.ref(run.instance.context)
        user_object = weakref.ref(run.instance.context.instance)
        run.instance.close()
        run.instance = None
        assert user_object() is None
        assert context() is None
    finally:
        gc.enable()
