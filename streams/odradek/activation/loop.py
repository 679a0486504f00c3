"""A deterministic asyncio event loop: what it runs, and in which order, depends on nothing but
the activations fed to it.

Callbacks run first in, first out. Time is the activation's and stands still inside it. A timer
is a durable timer of the workflow: the loop only counts it and tells its host, it never waits.
There are no threads, sockets, files, subprocesses or signals: each of those calls raises. One
loop lives as long as one run, and runs on whatever thread activates it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar

from odradek.activation.errors import WorkflowEvictedError

logger = logging.getLogger("odradek.workflow")
T = TypeVar("T")


class TimerHost(Protocol):
    """Whom the loop tells about timers, and asks whether now is a time to change anything."""

    read_only: bool
    closing: bool

    def timer_started(self, timer: Timer, delay: float) -> int:
        """A timer begins; returns its seq."""
        ...

    def timer_cancelled(self, timer: Timer) -> None: ...

    def refuse(self, action: str, *, scheduled: bool = False) -> NoReturn:
        """Raise, because of `read_only`. `scheduled`: a future was already set, so the instance
        no longer is what its history says.
        """
        ...


class Callback(asyncio.Handle):
    """An `asyncio.Handle` without the debug bookkeeping of its constructor."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class Timer(asyncio.TimerHandle):
    """A pending durable timer. `seq` is its number in this run; `started_in` counts the
    activation that started it.
    """

    __slots__ = ("seq", "started_in")
    seq: int
    started_in: int

    def cancel(self) -> None:
        """Cancel it; without effect once it fired or was cancelled."""
        if not self._cancelled:
            self._loop._timer_handle_cancelled(self)  # type: ignore[attr-defined]
        super().cancel()


class _ClosedHost:
    """Host of a loop whose run was closed: whatever still calls has no effect. Takes the run's
    place, so that nothing holds it.
    """

    read_only = False
    closing = True

    def timer_started(self, timer: Timer, delay: float) -> int:
        raise WorkflowEvictedError

    def timer_cancelled(self, timer: Timer) -> None:
        pass

    def refuse(self, action: str, *, scheduled: bool = False) -> NoReturn:
        raise WorkflowEvictedError


_swap_current_task: Any = getattr(asyncio.tasks, "_swap_current_task", None)  # Python 3.12


def enter(loop: WorkflowLoop) -> tuple[asyncio.AbstractEventLoop | None, Any]:
    """Make `loop` the running one of this thread, also inside a task of another. Give the result
    to `leave`.
    """
    outer = asyncio._get_running_loop()
    task = (
        _swap_current_task(outer, None)
        if outer is not None and _swap_current_task is not None
        else None
    )
    asyncio._set_running_loop(loop)
    return outer, task


def leave(before: tuple[asyncio.AbstractEventLoop | None, Any]) -> None:
    """Undo `enter`."""
    outer, task = before
    asyncio._set_running_loop(outer)
    if task is not None:
        _swap_current_task(outer, task)


class WorkflowTask(asyncio.Task[T]):
    """A task whose hash is its number in the run, not its address.

    asyncio keeps tasks in sets (`TaskGroup`, `asyncio.wait`): which of them a group cancels
    first, say, would otherwise change from run to run. The run's id stands in the upper bits:
    asyncio also has one set of all tasks of the process, and the first tasks of 500 live runs
    under one hash made each new one a walk along all the others.
    """

    def __init__(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        loop: WorkflowLoop,
        name: str | None = None,
        context: contextvars.Context | None = None,
        *,
        forgotten: bool = True,
        **options: Any,
    ) -> None:
        loop.task_count = self.number = loop.task_count + 1
        self._hash = loop.task_hash_base | self.number
        # Kept, to close the coroutine in it; `Task.get_context` is of Python 3.12.
        self.variables = contextvars.copy_context() if context is None else context
        # asyncio's own default name counts the tasks of the process.
        super().__init__(
            coro, loop=loop, name=name or f"Task-{self.number}", context=self.variables, **options
        )
        loop.tasks[self.number] = self  # asyncio itself holds tasks weakly
        self._log_destroy_pending = False
        if forgotten:  # else its coroutine leaves `loop.tasks` itself
            self.add_done_callback(loop.forget)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The event loop of one run. `context` is that run's `WorkflowContext`."""

    def __init__(self, host: TimerHost, run_id: str = "") -> None:
        self.host = host
        self.task_hash_base = (
            zlib.crc32(run_id.encode()) << 29
        )  # fits a positive Py_hash_t below 2**61 with 2**29 tasks
        self.context: Any = host
        self.seconds = 0.0  # time of the current activation
        self.activation = 0  # count of activations
        self.timers: dict[int, Timer] = {}
        self.tasks: dict[int, WorkflowTask[Any]] = {}  # those not done, by number
        self.task_count = 0
        self.conditions: list[
            tuple[Callable[[], bool], asyncio.Future[None], contextvars.Context]
        ] = []
        self.failure: BaseException | None = None  # ends the current pass
        self._ready: deque[Callback] = deque()
        self._exception_handler: (
            Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
        ) = None

    def detach(self) -> None:
        """Forget everything: the run was closed."""
        self.host = self.context = _ClosedHost()
        self.tasks.clear()
        self.timers.clear()
        self.conditions.clear()
        self._ready.clear()

    # ------------------------------------------------------------ running

    def run_until_idle(self, check_conditions: bool) -> None:
        """Run callbacks until none is ready; after each pass look at the conditions of
        `wait_condition`, if `check_conditions`.
        """
        ready = self._ready
        popleft = ready.popleft
        while ready:
            while ready:
                callback = popleft()
                if not callback._cancelled:
                    try:
                        callback._context.run(callback._callback, *callback._args)
                    except Exception as error:
                        self._callback_failed(callback, error)
                if self.failure is not None:
                    raise self.failure
            if check_conditions and self.conditions:
                self._check_conditions()

    def _check_conditions(self) -> None:
        waiting = []
        for condition in self.conditions:
            predicate, future, variables = condition
            if future.done():
                continue
            if variables.run(predicate):
                future.set_result(None)
            else:
                waiting.append(condition)
        self.conditions = waiting

    def _callback_failed(self, callback: Callback, error: Exception) -> None:
        self.call_exception_handler(
            {
                "message": f"Exception in callback {callback._callback!r}",
                "exception": error,
                "handle": callback,
            }
        )

    def fire(self, seq: int) -> None:
        """A durable timer fired. One that was cancelled earlier in the same activation is no
        longer there: nothing happens.
        """
        timer = self.timers.pop(seq, None)
        if timer is not None:
            self._ready.append(timer)  # type: ignore[arg-type]

    # ------------------------------------------------------------ asyncio's interface

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Callback:
        handle = Callback(callback, args, self, context)
        host = self.host
        if host.read_only:
            host.refuse("schedule task", scheduled=True)
        if not host.closing:
            self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Timer:
        host = self.host
        if host.read_only:
            host.refuse("schedule timer")
        if delay < 0:
            raise RuntimeError("Attempting to schedule timer with negative delay")
        timer = Timer(self.seconds + delay, callback, args, self, context)
        timer.started_in = self.activation
        timer.seq = seq = host.timer_started(timer, delay)
        self.timers[seq] = timer
        return timer

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Timer:
        # `when` is loop.time() plus something, as asyncio.timeout makes it; the difference is off
        # in the last bits of a float.
        return self.call_later(
            max(0.0, round(when - self.seconds, 3)), callback, *args, context=context
        )

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        assert isinstance(timer, Timer)
        if self.timers.pop(timer.seq, None) is not None and not self.host.closing:
            self.host.timer_cancelled(timer)

    def time(self) -> float:
        return self.seconds

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        host = self.host
        if host.read_only or host.closing:
            coro.close()
            if host.closing:
                raise WorkflowEvictedError
            host.refuse("create task")
        return WorkflowTask(coro, self, name, context, **options)

    def forget(self, task: WorkflowTask[Any]) -> None:
        """A task is done."""
        self.tasks.pop(task.number, None)

    def frames(self, task: asyncio.Task[Any]) -> list[FrameType]:
        """Where a task stands: the frames of its coroutine and of those it awaits, outermost
        first (`Task.get_stack` has only one).
        """
        frames: list[FrameType] = []
        awaited: Any = task.get_coro()
        while awaited is not None:
            frame = (
                getattr(awaited, "cr_frame", None)
                or getattr(awaited, "gi_frame", None)
                or getattr(awaited, "ag_frame", None)
            )
            if frame is None:
                break
            frames.append(frame)
            awaited = (
                getattr(awaited, "cr_await", None)
                or getattr(awaited, "gi_yieldfrom", None)
                or getattr(awaited, "ag_await", None)
            )
        return frames

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        _refuse("loop.set_debug")

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(
        self,
    ) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        return self._exception_handler

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        logger.error(
            "%s",
            context.get("message") or "Unhandled exception in workflow event loop",
            exc_info=error if error else None,
        )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.host.closing:
            return
        handler = self._exception_handler
        if handler is None:
            self.default_exception_handler(context)
            return
        try:
            handler(self, context)
        except Exception as error:
            self.default_exception_handler(
                {"message": "Unhandled error in exception handler", "exception": error}
            )

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators end with the run."""


def _refuse(call: str) -> NoReturn:
    # What asyncio's own base class raises, as in Temporal. No NondeterminismError: under
    # `failure_exception_types` that ends workflows.
    raise NotImplementedError(
        f"{call} cannot be used in workflow code: what it does would not be the same at replay. Do"
        " it in an activity; for waiting use workflow.sleep, workflow.wait_condition or asyncio's"
        " own primitives"
    )


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: WorkflowLoop, *args: Any, **kwargs: Any) -> Any:
        _refuse(f"loop.{name}")

    refuse.__name__ = name
    return refuse


# Everything else that asyncio loops can do, each refused by name.
_REFUSED = """
    run_forever run_until_complete stop close shutdown_default_executor call_soon_threadsafe run_in_executor set_default_executor
    getaddrinfo getnameinfo create_connection create_server create_unix_connection create_unix_server start_tls sendfile
    create_datagram_endpoint connect_accepted_socket connect_read_pipe connect_write_pipe subprocess_shell subprocess_exec
    add_reader remove_reader add_writer remove_writer sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall
    sock_sendto sock_connect sock_accept sock_sendfile add_signal_handler remove_signal_handler set_task_factory
"""
for _name in _REFUSED.split():
    setattr(WorkflowLoop, _name, _refusal(_name))
