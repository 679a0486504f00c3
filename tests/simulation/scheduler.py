"""Threads and time of a simulation: greenlets that one scheduler runs, in an order that its seed
gives, on a clock that jumps when nobody can run.

`simulated` puts the scheduler under Python's own modules: a `threading.Thread` becomes a task, a
lock or an event blocks the task, `time.sleep` moves the clock. So the code that is simulated is
the code that runs in production.
"""

from __future__ import annotations

import _thread
import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import greenlet

START_S = 1_800_000_000.0


class Stuck(Exception):
    """Nobody can run, and nothing is due."""


class SimProcess:
    """Tasks that live and die together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = self.frozen = False
        self.kafka: Any = None  # its clients
        self.parked: list[Task] = []  # could run, if it were not frozen


class Task:
    """A thread of a process."""

    def __init__(self, process: SimProcess, run: Callable[[], object], thread: Any) -> None:
        self.process = process
        self.thread = thread
        self.run = run
        self.greenlet: greenlet.greenlet | None = None
        self.wakes = 0  # counts what it waited for: a wake of the past is none
        self.woken = False
        self.finished = False
        self.joining: list[Task] = []


class Scheduler:
    """Runs tasks until a condition holds. `now_s`: seconds of the virtual clock."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.current: Task | None = None
        self.failures: list[BaseException] = []  # that ended a task
        self.switches = 0
        self._ready: list[Task] = []
        self._due: list[tuple[float, int, Task, int]] = []
        self._count = 0
        self._hub = greenlet.getcurrent()
        self._tasks: list[Task] = []

    # --- the clock port

    def time_ms(self) -> int:
        return int((START_S + self.now_s) * 1000)

    def monotonic(self) -> float:
        return 1_000.0 + self.now_s

    # --- tasks

    def spawn(self, process: SimProcess, run: Callable[[], object], thread: Any = None) -> Task:
        task = Task(process, run, thread)
        task.greenlet = greenlet.greenlet(lambda: self._main(task), parent=self._hub)
        self._tasks.append(task)
        self._ready.append(task)
        return task

    def _main(self, task: Task) -> None:
        try:
            task.run()
        except greenlet.GreenletExit:
            pass
        except BaseException as error:
            if not task.process.dead:
                self.failures.append(error)
        finally:
            task.finished = True
            for each in task.joining:
                self.wake(each)

    def block(self, timeout_s: float | None) -> bool:
        """Until `wake`, or the timeout; whether it was woken."""
        task = self.current
        if task is None:
            raise AssertionError("the scheduler itself would block")
        self._leave_if_dead(task)
        task.wakes += 1
        task.woken = False
        if timeout_s is not None:
            self._count += 1
            due = self.now_s + max(0.0, timeout_s)
            heapq.heappush(self._due, (due, self._count, task, task.wakes))
        self._hub.switch()
        self._leave_if_dead(task)
        return task.woken

    def pause(self) -> None:
        """Let others run."""
        if self.current is not None:
            self._ready.append(self.current)
            self.current.wakes += 1
            self._hub.switch()
            self._leave_if_dead(self.current)

    def wake(self, task: Task) -> None:
        if not task.woken and not task.finished:
            task.woken = True
            task.wakes += 1
            self._ready.append(task)

    def _leave_if_dead(self, task: Task) -> None:
        if task.process.dead:
            raise greenlet.GreenletExit

    # --- processes

    def kill(self, process: SimProcess) -> None:
        """Nothing of it runs any more, no `finally` either. If it is the current one: now."""
        process.dead = True
        if self.current is not None and self.current.process is process:
            self._hub.switch()
            raise greenlet.GreenletExit

    def freeze(self, process: SimProcess) -> None:
        process.frozen = True
        if self.current is not None and self.current.process is process:
            self.pause()

    def resume(self, process: SimProcess) -> None:
        process.frozen = False
        self._ready += process.parked
        process.parked = []

    # --- running

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Whether the condition held before the clock reached the limit."""
        while not until():
            if not self._ready and not self._advance(limit_s):
                return False
            ready = self._ready
            index = self.random.randrange(len(ready)) if len(ready) > 1 else 0
            task = ready[index]
            ready[index] = ready[-1]
            ready.pop()
            if task.finished or task.process.dead:
                continue
            if task.process.frozen:
                task.process.parked.append(task)
                continue
            self.switches += 1
            self.now_s += 0.0001
            self._switch(task)
        return True

    def _switch(self, task: Task) -> None:
        assert task.greenlet is not None
        self.current = task
        try:
            task.greenlet.switch()
        finally:
            self.current = None

    def _advance(self, limit_s: float) -> bool:
        while self._due:
            due, _, task, wakes = heapq.heappop(self._due)
            if task.finished or task.process.dead or wakes != task.wakes:
                continue
            if due > limit_s:
                heapq.heappush(self._due, (due, 0, task, wakes))
                return False
            self.now_s = max(self.now_s, due)
            task.wakes += 1
            self._ready.append(task)
            return True
        return False

    def end(self) -> None:
        """Every task ends here: the world is over."""
        for task in self._tasks:
            task.process.dead = True
        for task in self._tasks:
            for _ in range(100):
                if task.greenlet is None or task.greenlet.dead or not task.greenlet:
                    break
                self.current = task
                task.greenlet.throw(greenlet.GreenletExit)
            task.greenlet = None
        self.current = None
        self._tasks.clear()
        self._ready.clear()
        self._due.clear()


class SimLock:
    """threading.Lock, or RLock, between tasks."""

    def __init__(self, scheduler: Scheduler, *, again: bool) -> None:
        self._scheduler = scheduler
        self._again = again
        self._owner: object = None
        self._count = 0
        self._waiting: deque[Task] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = self._scheduler
        me: object = scheduler.current or scheduler
        if self._again and self._owner is me:
            self._count += 1
            return True
        until = scheduler.now_s + timeout if timeout >= 0 else None
        while self._count:
            if not blocking or (until is not None and scheduler.now_s >= until):
                return False
            if scheduler.current is None:
                raise AssertionError("the scheduler itself would block")
            self._waiting.append(scheduler.current)
            scheduler.block(None if until is None else until - scheduler.now_s)
            if scheduler.current in self._waiting:
                self._waiting.remove(scheduler.current)
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        if not self._count:
            raise RuntimeError("release unlocked lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            for task in self._waiting:
                self._scheduler.wake(task)

    def locked(self) -> bool:
        return bool(self._count)

    def _is_owned(self) -> bool:
        scheduler = self._scheduler
        return self._owner is (scheduler.current or scheduler) or not self._again

    def _release_save(self) -> int:
        count, self._count = self._count, 1
        self.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self.acquire()
        self._count = count

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


@contextmanager
def simulated(scheduler: Scheduler) -> Iterator[None]:
    """Python's threads, locks and clocks are the scheduler's meanwhile."""
    main = threading.main_thread()
    tasks: dict[threading.Thread, Task] = {}
    locals_: dict[int, dict[str, Any]] = {}

    own_thread = _thread.get_ident()

    def here(simulated: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        """Other threads of this process (pytest's) keep what they have."""
        return lambda *args, **kwargs: (simulated if _thread.get_ident() == own_thread else real)(  # noqa: PLW0108 - whose thread it is shows at the call
            *args, **kwargs
        )

    def start(thread: threading.Thread) -> None:
        current = scheduler.current
        if current is None:
            raise AssertionError("a thread outside of every process")
        tasks[thread] = scheduler.spawn(current.process, thread.run, thread)
        thread._started.set()  # type: ignore[attr-defined]

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        task = tasks.get(thread)
        if task is None or task.finished:
            return
        assert scheduler.current is not None
        task.joining.append(scheduler.current)
        scheduler.block(timeout)

    def is_alive(thread: threading.Thread) -> bool:
        task = tasks.get(thread)
        return task is not None and not task.finished

    def current_thread() -> threading.Thread:
        task = scheduler.current
        return main if task is None or task.thread is None else task.thread

    class Local:
        def __getattribute__(self, name: str) -> Any:
            found = locals_.setdefault(id(self), {})
            try:
                return found[name, id(scheduler.current)]  # type: ignore[index]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            locals_.setdefault(id(self), {})[name, id(scheduler.current)] = value  # type: ignore[index]

    def sleep(seconds: float) -> None:
        scheduler.block(seconds)

    def ident() -> int:
        return id(scheduler.current)

    def lock() -> SimLock:
        return SimLock(scheduler, again=False)

    def rlock() -> SimLock:
        return SimLock(scheduler, again=True)

    patches: list[Any] = [
        mock.patch.object(threading.Thread, "start", start),
        mock.patch.object(threading.Thread, "join", join),
        mock.patch.object(threading.Thread, "is_alive", is_alive),
        mock.patch.object(threading, "local", Local),
    ]
    of_threads: dict[str, Callable[..., Any]] = {
        "Lock": lock,
        "RLock": rlock,
        "_allocate_lock": lock,
        "_time": scheduler.monotonic,
        "get_ident": ident,
        "current_thread": current_thread,
    }
    of_time: dict[str, Callable[..., Any]] = {
        "monotonic": scheduler.monotonic,
        "perf_counter": scheduler.monotonic,
        "time": lambda: START_S + scheduler.now_s,
        "time_ns": lambda: int((START_S + scheduler.now_s) * 1_000_000_000),
        "sleep": sleep,
    }
    for module, values in ((threading, of_threads), (time, of_time)):
        for name, value in values.items():
            real = getattr(module, name)
            patches.append(mock.patch.object(module, name, here(value, real)))
    state = random.getstate()
    random.seed(scheduler.random.random())
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        try:
            scheduler.end()
        finally:
            for patch in patches:
                patch.stop()
            random.setstate(state)
