"""Calling activities: `execute_activity`, `start_activity` and their forms for methods and
callable classes.

The forms differ in typing only. Local activities are importable and refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Concatenate, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack, overload

from odradek.activation.activity_calls import (
    ActivityCancellationType,
    ActivityHandle,
    resolve_activity_type,
    schedule_activity,
)
from odradek.activation.errors import not_supported
from odradek.activation.info import current
from odradek.activation.interceptors import StartActivityInput
from odradek.common import Priority, RetryPolicy, _arg_or_args
from odradek.common import _arg_unset as unset
from odradek.workflow._event_groups import EventGroup
from odradek.workflow._exceptions import VersioningIntent

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "LocalActivityConfig",
    "execute_activity",
    "execute_activity_class",
    "execute_activity_method",
    "execute_local_activity",
    "execute_local_activity_class",
    "execute_local_activity_method",
    "start_activity",
    "start_activity_class",
    "start_activity_method",
    "start_local_activity",
    "start_local_activity_class",
    "start_local_activity_method",
]

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")


class ActivityConfig(TypedDict, total=False):
    """Options of `start_activity` and `execute_activity`, to be kept and splatted: `**config`."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    versioning_intent: VersioningIntent | None
    summary: str | None
    event_groups: Sequence[EventGroup] | None
    priority: Priority


class LocalActivityConfig(TypedDict, total=False):
    """Options of `start_local_activity` and `execute_local_activity`."""

    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None
    event_groups: Sequence[EventGroup] | None


# ---------------------------------------------------------------- functions


@overload
def start_activity(
    activity: Callable[[], Awaitable[R]], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[[], R], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[[A], Awaitable[R]], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[[A], R], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: Callable[..., R], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R],
    **config: Unpack[ActivityConfig],
) -> ActivityHandle[R]: ...
@overload
def start_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: Any = ...,
    **config: Unpack[ActivityConfig],
) -> ActivityHandle[Any]: ...
def start_activity(
    activity: Any,
    arg: Any = unset,
    *,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    result_type: Any = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    versioning_intent: VersioningIntent | None = None,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
    priority: Priority = Priority.default,
) -> ActivityHandle[Any]:
    """Schedule an activity now and return its handle, an `asyncio.Task` that ends as the
    activity does.

    Args:
        activity: Decorated function, or name. arg: Its single argument. args: Its arguments,
        when there are several. task_queue: Queue of the services that run it; the workflow's own
        by default. result_type: For an activity given by name: the type to decode its result
        into. schedule_to_close_timeout: Limit over all attempts. schedule_to_start_timeout:
        Limit of the wait for a service, not retried. start_to_close_timeout: Limit of one
        attempt. This or `schedule_to_close_timeout` must be given. heartbeat_timeout: Longest
        silence between heartbeats. retry_policy: How failures are retried; without end by
        default. cancellation_type: What cancelling the handle means. activity_id: Unique in the
        run; a running number by default. versioning_intent: Without effect. summary: One line
        for user interfaces. event_groups: Without effect. priority: Without effect.

    Raises:
        ValueError: No timeout is given, or a negative one.
    """
    return _start(
        activity,
        arg,
        args,
        task_queue,
        result_type,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        start_to_close_timeout,
        heartbeat_timeout,
        retry_policy,
        cancellation_type,
        activity_id,
        versioning_intent,
        summary,
        event_groups,
        priority,
    )


def _start(
    activity: Any,
    arg: Any,
    args: Sequence[Any],
    task_queue: str | None,
    result_type: Any,
    schedule_to_close_timeout: timedelta | None,
    schedule_to_start_timeout: timedelta | None,
    start_to_close_timeout: timedelta | None,
    heartbeat_timeout: timedelta | None,
    retry_policy: RetryPolicy | None,
    cancellation_type: ActivityCancellationType,
    activity_id: str | None,
    versioning_intent: VersioningIntent | None,
    summary: str | None,
    event_groups: Sequence[EventGroup] | None,
    priority: Priority,
) -> ActivityHandle[Any]:
    """Schedule an activity, through interceptors if there are any. Positional, since every
    activity comes by here.
    """
    context = current()
    name, arg_types, ret_type = resolve_activity_type(activity, result_type)
    arguments = _arg_or_args(arg, args)
    if context.outbound is not None:
        context.assert_writable("start activity")
        return context.outbound.start_activity(
            StartActivityInput(
                activity=name,
                args=arguments,
                activity_id=activity_id,
                task_queue=task_queue,
                schedule_to_close_timeout=schedule_to_close_timeout,
                schedule_to_start_timeout=schedule_to_start_timeout,
                start_to_close_timeout=start_to_close_timeout,
                heartbeat_timeout=heartbeat_timeout,
                retry_policy=retry_policy,
                cancellation_type=cancellation_type,
                headers={},
                disable_eager_execution=False,
                versioning_intent=versioning_intent,
                summary=summary,
                event_groups=event_groups,
                priority=priority,
                arg_types=arg_types,
                ret_type=ret_type,
            )
        )
    result = schedule_activity(
        context,
        name,
        arguments,
        ret_type,
        task_queue,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        start_to_close_timeout,
        heartbeat_timeout,
        retry_policy,
        cancellation_type,
        activity_id,
        summary,
        None,
    )
    return ActivityHandle(result)


@overload
async def execute_activity(
    activity: Callable[[], Awaitable[R]], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(activity: Callable[[], R], **config: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(
    activity: Callable[[A], Awaitable[R]], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: Callable[[A], R], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: Callable[..., Awaitable[R]], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: Callable[..., R], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type[R],
    **config: Unpack[ActivityConfig],
) -> R: ...
@overload
async def execute_activity(
    activity: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: Any = ...,
    **config: Unpack[ActivityConfig],
) -> Any: ...
async def execute_activity(
    activity: Any,
    arg: Any = unset,
    *,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    result_type: Any = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    versioning_intent: VersioningIntent | None = None,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
    priority: Priority = Priority.default,
) -> Any:
    """Run an activity and return its result; scheduled when first awaited. Arguments as
    `start_activity`.

    Raises:
        ActivityError: It failed, timed out or was cancelled; the cause says which.
    """
    # Through a handle always, as in Temporal: without one a result would arrive a tick of the loop
    # earlier, and a cancellation that comes with it would be lost in it.
    return await _start(
        activity,
        arg,
        args,
        task_queue,
        result_type,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        start_to_close_timeout,
        heartbeat_timeout,
        retry_policy,
        cancellation_type,
        activity_id,
        versioning_intent,
        summary,
        event_groups,
        priority,
    )


# ---------------------------------------------------------------- methods


@overload
def start_activity_method(
    activity: Callable[[S], Awaitable[R]], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[[S], R], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[[S, A], Awaitable[R]], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[[S, A], R], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[Concatenate[S, P], Awaitable[R]],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> ActivityHandle[R]: ...
@overload
def start_activity_method(
    activity: Callable[Concatenate[S, P], R],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> ActivityHandle[R]: ...
def start_activity_method(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> ActivityHandle[Any]:
    """`start_activity` for an unbound method, `MyActivities.charge`, whose bound method a
    service registers.
    """
    return start_activity(activity, arg, args=args, **config)


@overload
async def execute_activity_method(
    activity: Callable[[S], Awaitable[R]], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[[S], R], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[[S, A], Awaitable[R]], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[[S, A], R], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, P], Awaitable[R]],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> R: ...
@overload
async def execute_activity_method(
    activity: Callable[Concatenate[S, P], R],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> R: ...
async def execute_activity_method(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> Any:
    """`execute_activity` for an unbound method, `MyActivities.charge`, whose bound method a
    service registers.
    """
    return await execute_activity(activity, arg, args=args, **config)


# ---------------------------------------------------------------- callable classes


@overload
def start_activity_class(
    activity: type[Callable[[], Awaitable[R]]], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_class(
    activity: type[Callable[[], R]], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_class(
    activity: type[Callable[[A], Awaitable[R]]], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_class(
    activity: type[Callable[[A], R]], arg: A, **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
@overload
def start_activity_class(
    activity: type[Callable[..., Awaitable[R]]],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> ActivityHandle[R]: ...
@overload
def start_activity_class(
    activity: type[Callable[..., R]], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> ActivityHandle[R]: ...
def start_activity_class(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> ActivityHandle[Any]:
    """`start_activity` for a class whose `__call__` is the activity."""
    return start_activity(activity, arg, args=args, **config)


@overload
async def execute_activity_class(
    activity: type[Callable[[], Awaitable[R]]], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_class(
    activity: type[Callable[[], R]], **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_class(
    activity: type[Callable[[A], Awaitable[R]]], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_class(
    activity: type[Callable[[A], R]], arg: A, **config: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity_class(
    activity: type[Callable[..., Awaitable[R]]],
    *,
    args: Sequence[Any],
    **config: Unpack[ActivityConfig],
) -> R: ...
@overload
async def execute_activity_class(
    activity: type[Callable[..., R]], *, args: Sequence[Any], **config: Unpack[ActivityConfig]
) -> R: ...
async def execute_activity_class(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> Any:
    """`execute_activity` for a class whose `__call__` is the activity."""
    return await execute_activity(activity, arg, args=args, **config)


# ---------------------------------------------------------------- local activities: later


def start_local_activity(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> NoReturn:
    """Refused: not supported yet."""
    not_supported("local activities are")


async def execute_local_activity(
    activity: Any, arg: Any = unset, *, args: Sequence[Any] = (), **config: Any
) -> NoReturn:
    """Refused: not supported yet."""
    not_supported("local activities are")


start_local_activity_method = start_local_activity_class = start_local_activity
execute_local_activity_method = execute_local_activity_class = execute_local_activity
