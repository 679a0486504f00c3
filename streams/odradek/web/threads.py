"""Threads for blocking calls. They are daemons, and nobody waits for them at the end: a call that waits for a broker which is gone would
hold the end of the process up for as long as the call may take.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class DaemonPool(Executor):
    """An executor whose threads are started as they are needed and end with the process. Thread-safe.

    `concurrent.futures.ThreadPoolExecutor` joins its threads at exit, whatever was said at its shutdown.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0  # threads that wait, less the jobs that wait for them
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self._name}: no calls after shutdown")
            self._free -= 1
            if self._free < 0 and self._threads < self._max_workers:
                self._threads += 1
                self._free += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
            self._jobs.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """No more calls; threads end when they are free. Nobody waits for them, whatever `wait` says."""
        with self._lock:
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
            for _ in range(self._threads):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run(*job)
            # Not kept until the next job comes: it holds what the call was given, and what it gave.
            del job
            with self._lock:
                self._free += 1


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


# Two pools, so that calls that wait for a broker which is gone leave the read side its threads. What finds its pool full waits in its
# queue, under the deadline of its request.
_READ_SIDE_POOL = DaemonPool(16, "odradek-web-reads")
_KAFKA_POOL = DaemonPool(12, "odradek-web-kafka")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A blocking call of the read side in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_READ_SIDE_POOL, functools.partial(call, *args, **kwargs))


async def in_kafka_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A blocking call that asks brokers, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_KAFKA_POOL, functools.partial(call, *args, **kwargs))
