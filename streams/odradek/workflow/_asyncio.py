"""`wait` and `as_completed` that keep the order in which futures were given.

asyncio's own go through sets, whose order changes from run to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar, overload

__all__ = ["as_completed", "wait"]

T = TypeVar("T")
F = TypeVar("F", bound="asyncio.Future[Any]")


@overload
async def wait(
    fs: Iterable[F],
    *,
    timeout: float | None = None,  # noqa: ASYNC109
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[F], list[F]]: ...
@overload
async def wait(
    fs: Iterable[asyncio.Task[T]],
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - Temporal's signature
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[asyncio.Task[T]], list[asyncio.Task[T]]]: ...
async def wait(
    fs: Iterable[Any],
    *,
    timeout: float | None = None,  # noqa: ASYNC109
    return_when: str = asyncio.ALL_COMPLETED,
) -> tuple[list[Any], list[Any]]:
    """`asyncio.wait` with lists: done and pending futures, each in the order given.

    Raises:
        ValueError: No futures, or an unknown `return_when`.
        TypeError: A coroutine among them; make tasks of coroutines.
    """
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"Expect an iterable of Tasks/Futures, not {type(fs).__name__}")
    futures: list[asyncio.Future[Any]] = list(dict.fromkeys(fs))
    if not futures:
        raise ValueError("Sequence of Tasks/Futures must not be empty.")
    if return_when not in (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED):
        raise ValueError(f"Invalid return_when value: {return_when}")
    if any(asyncio.iscoroutine(future) for future in futures):
        raise TypeError("Passing coroutines is forbidden, use tasks explicitly.")

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def release() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def enough(done: list[asyncio.Future[Any]]) -> bool:
        if return_when == asyncio.FIRST_COMPLETED:
            return bool(done)
        if return_when == asyncio.FIRST_EXCEPTION and any(
            not future.cancelled() and future.exception() is not None for future in done
        ):
            return True
        return len(done) == len(futures)

    def ended(_: asyncio.Future[Any]) -> None:
        if enough([future for future in futures if future.done()]):
            release()

    if not enough([future for future in futures if future.done()]):
        timer = None if timeout is None else loop.call_later(_seconds(timeout), release)
        for future in futures:
            future.add_done_callback(ended)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            for future in futures:
                future.remove_done_callback(ended)
    return [future for future in futures if future.done()], [
        future for future in futures if not future.done()
    ]


def as_completed(
    fs: Iterable[Awaitable[T]], *, timeout: float | None = None
) -> Iterator[Awaitable[T]]:
    """`asyncio.as_completed` without sets: an iterator of awaitables, each giving the next result.

    Raises:
        asyncio.TimeoutError: From the awaitables, once `timeout` seconds are over.
    """
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
    loop = asyncio.get_running_loop()
    pending: list[asyncio.Future[T]] = [
        asyncio.ensure_future(future, loop=loop) for future in dict.fromkeys(fs)
    ]
    count = len(pending)
    ended: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()
    timer: asyncio.TimerHandle | None = None

    def on_end(future: asyncio.Future[T]) -> None:
        if future not in pending:
            return  # the timeout was first
        pending.remove(future)
        ended.put_nowait(future)
        if not pending and timer is not None:
            timer.cancel()

    def on_timeout() -> None:
        for future in pending:
            future.remove_done_callback(on_end)
            ended.put_nowait(None)
        pending.clear()

    async def next_result() -> T:
        future = await ended.get()
        if future is None:
            raise TimeoutError
        return future.result()

    for future in list(pending):
        future.add_done_callback(on_end)
    if pending and timeout is not None:
        timer = loop.call_later(_seconds(timeout), on_timeout)
    for _ in range(count):
        yield next_result()


def _seconds(timeout: float | timedelta) -> float:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
