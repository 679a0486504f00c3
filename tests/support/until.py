"""Waiting for a condition: no fixed sleeps, one way to fail."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
TIMEOUT_S = 60.0


def until(
    condition: Callable[[], T], timeout_s: float = TIMEOUT_S, what: str | Callable[[], str] = ""
) -> T:
    """The first true value of `condition`. Each check may read a whole topic: the longer the wait
    has taken, the longer the pauses between checks.
    """
    began_s = time.monotonic()
    while not (value := condition()):
        time.sleep(_pause_s(time.monotonic() - began_s, timeout_s, what or str(condition)))
    return value


async def until_async(
    condition: Callable[[], T | Awaitable[T]],
    timeout_s: float = TIMEOUT_S,
    what: str | Callable[[], str] = "",
    *,
    step: Callable[[], object] = lambda: None,
    ignore: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """As `until`, in an event loop. `condition` may be a coroutine function; `step` runs before
    each check; the errors `ignore` count as "not yet".
    """
    began_s = time.monotonic()
    while True:
        last: str | Callable[[], str] = what or str(condition)
        step()
        try:
            found = condition()
            value = await found if inspect.isawaitable(found) else found
            if value:
                return value
        except ignore as error:
            last = f"{last} ({error!r})" if isinstance(last, str) else last
        await asyncio.sleep(_pause_s(time.monotonic() - began_s, timeout_s, last))


def _pause_s(spent_s: float, timeout_s: float, what: str | Callable[[], str]) -> float:
    if spent_s >= timeout_s:
        raise AssertionError(
            f"not within {timeout_s:g} s: {what if isinstance(what, str) else what()}"
        )
    return min(0.1, max(0.005, spent_s / 20))
