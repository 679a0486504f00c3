"""Random workflow programs: lists of steps that one workflow class runs.

    ["activity", name, fails]   an activity, which fails so many times first
    ["together", n]             n activities at once
    ["sleep", ms]               a timer
    ["race", ms]                an activity against a timer; who loses is cancelled
    ["signal", n]               waits until n signals came in all
    ["saga", n, fails]          n steps; if the last fails, compensations in reverse order
    ["again"]                   continues as new with the rest

The result lists what happened in the order of the code, so that the auditor can tell what it
has to be.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError

TYPE = "Program"
_TIMEOUT = timedelta(seconds=20)
_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=_TIMEOUT)
_ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name=TYPE)
class Program:
    def __init__(self) -> None:
        self.signals: list[str] = []
        self.done: list[str] = []

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signals.append(text)

    @workflow.query
    def progress(self) -> int:
        return len(self.done)

    @workflow.run
    async def run(self, steps: list[list[Any]], before: list[list[str]]) -> list[list[str]]:
        if before:
            self.done, self.signals = before[0] + self.done, before[1] + self.signals
        for index, step in enumerate(steps):
            if step[0] == "again":
                # After the handlers that came meanwhile: nothing of them is lost.
                workflow.continue_as_new(args=[steps[index + 1 :], [self.done, self.signals]])
            await getattr(self, f"_{step[0]}")(*step[1:])
        return [self.done, self.signals]

    async def _activity(self, name: str, fails: int) -> None:
        self.done.append(await self._call(name, fails))

    async def _call(self, name: str, fails: int, retry: RetryPolicy = _RETRY) -> str:
        found: str = await workflow.execute_activity(
            name, args=[name, fails], start_to_close_timeout=_TIMEOUT, retry_policy=retry
        )
        return found

    async def _together(self, count: int) -> None:
        calls = [self._call(f"part-{index}", 0) for index in range(count)]
        self.done += await asyncio.gather(*calls)

    async def _sleep(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)
        self.done.append("slept")

    async def _race(self, ms: int) -> None:
        call = asyncio.ensure_future(self._call("race", 0))
        timer = asyncio.ensure_future(asyncio.sleep(ms / 1000))
        _, pending = await asyncio.wait([call, timer], return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        self.done.append("raced")

    async def _signal(self, count: int) -> None:
        await workflow.wait_condition(lambda: len(self.signals) >= count)
        self.done.append("told")

    async def _saga(self, count: int, fails: bool) -> None:
        finished = []
        try:
            for index in range(count):
                last = fails and index == count - 1
                self.done.append(await self._call(f"step-{index}", 9 if last else 0, _ONCE))
                finished.append(index)
        except ActivityError:
            for index in reversed(finished):
                self.done.append(await self._call(f"undo-{index}", 0))


def generate(chance: random.Random) -> tuple[list[list[Any]], int]:
    """(steps, how many signals they wait for)."""
    signals = 0
    steps: list[list[Any]] = []
    for _ in range(chance.randint(1, 4)):
        kind = chance.choice(
            ["activity", "activity", "together", "sleep", "race", "signal", "saga", "again"]
        )
        if kind == "activity":
            steps.append([kind, "work", chance.choice([0, 0, 0, 1, 2])])
        elif kind == "together":
            steps.append([kind, chance.randint(2, 3)])
        elif kind in ("sleep", "race"):
            steps.append([kind, chance.choice([20, 300, 1_500, 4_000])])
        elif kind == "signal":
            signals += 1
            steps.append([kind, signals])
        elif kind == "saga":
            steps.append([kind, chance.randint(1, 3), chance.random() < 0.5])
        else:
            steps.append([kind])
    return steps, signals


def expected(steps: list[list[Any]]) -> list[str]:
    """What `done` has to be at the end, when saga steps of one attempt are taken as they came."""
    done: list[str] = []
    for kind, *given in steps:
        if kind == "activity":
            done.append(given[0])
        elif kind == "together":
            done += [f"part-{index}" for index in range(given[0])]
        elif kind == "sleep":
            done.append("slept")
        elif kind == "race":
            done.append("raced")
        elif kind == "signal":
            done.append("told")
        elif kind == "saga":
            count, fails = given
            done += [f"step-{index}" for index in range(count - fails)]
            done += [f"undo-{index}" for index in reversed(range(count - 1))] if fails else []
    return done
