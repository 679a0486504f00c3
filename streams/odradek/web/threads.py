"""Threads for blocking calls. They are daemons, and nobody waits for them at the end: a call
that waits for a broker which is gone would hold the end of the process up for as long as the
call may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class DaemonPool(ThreadPoolExecutor):
    """An executor whose threads are started as they are needed and end with the process. Thread-safe.

    `ThreadPoolExecutor` joins its threads at exit, whatever was said at its shutdown; it is one
    by name alone, because asyncio takes no other as its default.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        super().__init__(max_workers, name)  # starts no thread
        self._most = max_workers
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._started = 0
        self._free = 0  # threads that wait, less the jobs that wait for them
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `ThreadPoolExecutor.submit`."""
        future: Future[T] = Future()
        with self._counting:
            if self._closed:
                raise RuntimeError(f"{self._name}: no calls after shutdown")
            self._free -= 1
            if self._free < 0 and self._started < self._most:
                self._started += 1
                self._free += 1
                threading.Thread(
                    target=self._work, name=f"{self._name}-{self._started}", daemon=True
                ).start()
            self._jobs.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """No more calls; threads end when they are free. Nobody waits for them, whatever `wait`
        says.
        """
        with self._counting:
            if self._closed:
                return
            self._closed = True
            while cancel_futures:
                try:
                    job = self._jobs.get_nowait()
                except Empty:
                    break
                if job is not None:
                    job[0].cancel()
            for _ in range(self._started):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run(*job)
            # Not kept until the next job comes: it holds what the call was given, and what it gave.
            del job
            with self._counting:
                self._free += 1


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        with _under_way():
            result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


_calls: set[object] = set()


@contextlib.contextmanager
def _under_way() -> Iterator[None]:
    call = object()
    _calls.add(call)
    try:
        yield
    finally:
        _calls.discard(call)


def calls_under_way() -> int:
    """Blocking calls that have not come back, of every pool, and things that are being closed."""
    return len(_calls)


class Closing:
    """Closes things beside each other, and waits for them together, for so long and no longer:
    over a broker that is gone, every last flush takes all the time it is given. From one thread.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def begin(self, close: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Close it in a thread."""

        def run() -> None:
            with _under_way():
                close(*args, **kwargs)

        thread = threading.Thread(target=run, name="odradek-closing", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until all are closed, or the time is over."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))


# Two pools, so that calls that wait for a broker which is gone leave the read side its threads.
# What finds its pool full waits in its queue, under the deadline of its request.
_READ_SIDE_POOL = DaemonPool(16, "odradek-web-reads")
_KAFKA_POOL = DaemonPool(12, "odradek-web-kafka")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A blocking call of the read side in a thread."""
    return await asyncio.get_running_loop().run_in_executor(
        _READ_SIDE_POOL, functools.partial(call, *args, **kwargs)
    )


async def in_kafka_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A blocking call that asks brokers, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(
        _KAFKA_POOL, functools.partial(call, *args, **kwargs)
    )
