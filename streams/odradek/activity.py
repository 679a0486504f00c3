"""Functions for code inside activities: `defn` to declare one, the rest to ask about the attempt
that runs.

Names, signatures and semantics are the Temporal Python SDK's. The running attempt is found
through a context variable: it follows `asyncio.create_task` and the executor of the worker, but
not threads that an activity starts itself. Runs nothing; the hosts (`odradek.activities`,
`odradek.testing`) do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, overload

from odradek.activities.context import ActivityCancellationDetails, Info, current, current_context
from odradek.activities.definition import ActivityDefinition
from odradek.activities.log import LoggerAdapter, logger
from odradek.activities.outcome import CompleteAsyncError
from odradek.common import MetricMeter
from odradek.converter import PayloadConverter

__all__ = [
    "ActivityCancellationDetails",
    "CompleteAsyncError",
    "Info",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


@overload
def defn(fn: CallableT) -> CallableT: ...
@overload
def defn(
    *, name: str | None = None, no_thread_cancel_exception: bool = False
) -> Callable[[CallableT], CallableT]: ...
@overload
def defn(
    *, no_thread_cancel_exception: bool = False, dynamic: bool = False
) -> Callable[[CallableT], CallableT]: ...


def defn(
    fn: CallableT | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
) -> CallableT | Callable[[CallableT], CallableT]:
    """Declare a callable (`def`, `async def`, method, instance with `__call__`) an activity.

    `name` defaults to the function's. With `no_thread_cancel_exception` a sync activity in a
    thread is not interrupted by cancellation. `dynamic` makes it the activity for every name
    that no other one has; it takes a single `Sequence[RawValue]`. `TypeError` for keyword-only
    parameters.
    """

    def decorate(fn: CallableT) -> CallableT:
        given = None if dynamic else name or getattr(fn, "__name__", type(fn).__name__)
        ActivityDefinition.apply_to(
            fn, name=given, no_thread_cancel_exception=no_thread_cancel_exception
        )
        return fn

    return decorate if fn is None else decorate(fn)


def in_activity() -> bool:
    """Whether the calling code runs inside an activity."""
    return current.get(None) is not None


def info() -> Info:
    """The running attempt. `RuntimeError` outside of an activity, as for all functions below."""
    return current_context().info()


def client() -> Any:
    """The worker's `odradek.client.Client`, for async activities. `RuntimeError` in sync ones.
    Not typed: this room must not know it.
    """
    client = current_context().client
    if client is None:
        raise RuntimeError(
            "No client available. The client is only available in `async def` activities; not in"
            " `def` activities. In tests you can pass a client when creating ActivityEnvironment."
        )
    return client


def heartbeat(*details: Any) -> None:
    """Say that this attempt is alive. A plain function, cheap to call often: at most one record
    per 80% of the heartbeat timeout is sent.

    The last `details` reach the next attempt as `info().heartbeat_details`. Details that cannot
    be converted cancel and fail the activity.
    """
    send = current_context().heartbeat
    if send is None:
        raise RuntimeError("Can only execute heartbeat after interceptor init")
    send(*details)


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why this activity was cancelled, `None` if it was not."""
    return current_context().cancellation_details


def is_cancelled() -> bool:
    """Whether cancellation of this activity was ever requested."""
    return current_context().cancelled_event.is_set()


async def wait_for_cancelled() -> None:
    """Wait for a cancellation request. Async activities only; the cancellation also interrupts
    this wait, as any other.
    """
    await current_context().cancelled_event.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Block until cancellation is requested, at most for `timeout` (seconds if a number)."""
    current_context().cancelled_event.wait_sync(_seconds(timeout))


@contextmanager
def shield_thread_cancel_exception() -> Iterator[None]:
    """Hold back the cancellation of a sync activity in a thread until the outermost such block
    ends; there it is raised.

    Whatever the block returns or raises, a cancellation that came meanwhile wins. Does nothing
    in other activities.
    """
    shield = current_context().shield_thread_cancel_exception
    if shield is None:
        yield
    else:
        with shield():
            yield


def is_worker_shutdown() -> bool:
    """Whether the worker is shutting down."""
    return current_context().worker_shutdown_event.is_set()


async def wait_for_worker_shutdown() -> None:
    """Wait for the worker to begin its shutdown. Async activities only."""
    await current_context().worker_shutdown_event.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Block until the worker begins its shutdown, at most for `timeout` (seconds if a number)."""
    current_context().worker_shutdown_event.wait_sync(_seconds(timeout))


def raise_complete_async() -> NoReturn:
    """Leave the activity; its outcome comes later from outside, through
    `client.get_async_activity_handle`. Timeouts go on.
    """
    raise CompleteAsyncError


def payload_converter() -> PayloadConverter:
    """The payload converter of the worker, for dynamic activities to convert raw values with."""
    return current_context().payload_converter


def metric_meter() -> MetricMeter:
    """The metric meter of this activity."""
    return current_context().metric_meter


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
