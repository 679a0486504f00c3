"""What workflow code knows and asks about itself: info, time, randomness, memo, patches,
waiting, handlers at run time.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar, overload

from odradek.activation import attributes as _attributes
from odradek.activation import metrics as _metrics
from odradek.activation.info import Info, ParentInfo, RootInfo, UpdateInfo, current, maybe_current
from odradek.activation.logs import current_update
from odradek.common import (
    MetricMeter,
    SearchAttributes,
    SearchAttributeUpdate,
    _warn_on_deprecated_search_attributes,
)
from odradek.common import _arg_unset as unset
from odradek.converter import PayloadConverter
from odradek.workflow._event_groups import EventGroup

__all__ = [
    "Info",
    "ParentInfo",
    "RootInfo",
    "UpdateInfo",
    "cancellation_reason",
    "current_update_info",
    "deprecate_patch",
    "extern_functions",
    "get_current_details",
    "get_last_completion_result",
    "get_last_failure",
    "has_last_completion_result",
    "in_workflow",
    "info",
    "instance",
    "is_failure_exception",
    "memo",
    "memo_value",
    "metric_meter",
    "new_random",
    "now",
    "patched",
    "payload_converter",
    "random",
    "random_seed",
    "register_random_seed_callback",
    "set_current_details",
    "sleep",
    "time",
    "time_ns",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "uuid7",
    "wait_condition",
]

T = TypeVar("T")
D = TypeVar("D")


# ---------------------------------------------------------------- the run


def info() -> Info:
    """The running workflow."""
    return current().info()


def instance() -> Any:
    """The running workflow's object."""
    return current().instance


def in_workflow() -> bool:
    """Whether workflow code is calling."""
    return maybe_current() is not None


def cancellation_reason() -> str | None:
    """Reason given with the cancellation request of this workflow (perhaps empty); None when
    none came.
    """
    return current().cancel_reason


def is_failure_exception(err: BaseException) -> bool:
    """Whether `err`, uncaught, would fail this workflow. Any other exception fails the workflow
    task, which is tried again.
    """
    return current().is_failure_exception(err)


def extern_functions() -> Mapping[str, Callable[..., Any]]:
    """Functions that the worker's interceptors hand to workflow code."""
    return current().settings.extern_functions


def payload_converter() -> PayloadConverter:
    """Payload converter of this workflow, for raw values of dynamic handlers."""
    return current().payload_converter


def metric_meter() -> MetricMeter:
    """Meter whose metrics are not recorded at replay."""
    return _metrics.metric_meter(current())


def current_update_info() -> UpdateInfo | None:
    """The update whose handler, or a task made by it, is calling."""
    return current_update.get()


def get_current_details() -> str:
    """What `set_current_details` set."""
    return current().current_details


def set_current_details(description: str) -> None:
    """Text about where the workflow stands, for user interfaces; several lines of markdown,
    replaced each time.
    """
    context = current()
    context.assert_writable("set current details")
    context.current_details = description


def has_last_completion_result() -> bool:
    """Whether an earlier run of this workflow (cron, continue-as-new after a retry) left a result."""
    initialize = current().initialize
    return bool(initialize and initialize.attributes.last_completion_result)


@overload
def get_last_completion_result() -> Any | None: ...
@overload
def get_last_completion_result(type_hint: type[T]) -> T | None: ...
def get_last_completion_result(type_hint: Any = None) -> Any | None:
    """Result of the earlier run, None when there is none."""
    context = current()
    payloads = context.initialize.attributes.last_completion_result if context.initialize else []
    if not payloads:
        return None
    return context.payload_converter.from_payload(payloads[0], type_hint)


def get_last_failure() -> BaseException | None:
    """Failure of the earlier run, None when there is none."""
    context = current()
    failure = context.initialize.attributes.continued_failure if context.initialize else None
    return None if failure is None else context.from_failure(failure)


# ---------------------------------------------------------------- time and chance


def now() -> datetime:
    """Current time in UTC: that of the current workflow task, the same all through it and again
    at replay.
    """
    return datetime.fromtimestamp(time(), UTC)


def time() -> float:
    """Current time as seconds since the epoch."""
    return current().activation.time_ms / 1000


def time_ns() -> int:
    """Current time as nanoseconds since the epoch; whole milliseconds."""
    return current().activation.time_ms * 1_000_000


def random() -> Random:
    """The run's own generator, the same at replay. Not for secrets."""
    return current().random()


def random_seed() -> int:
    """Seed of the run's random numbers."""
    return current().seed


def register_random_seed_callback(callback: Callable[[int], None]) -> None:
    """Call `callback` with the new seed when it changes, which only a reset of the workflow does."""
    context = current()
    context.assert_writable("register random seed callback")
    context.seed_callbacks.append(callback)


def new_random(name: str | None = None) -> Random:
    """A generator of its own, seeded with the run's seed, and `name` if given: other names,
    other numbers.
    """

    def seed_for(seed: int) -> int | str:
        return seed if name is None else f"{seed}:{name}"

    generator = Random(seed_for(random_seed()))
    register_random_seed_callback(lambda seed: generator.seed(seed_for(seed)))
    return generator


def uuid4() -> uuid.UUID:
    """A random UUID from `random()`. Not for secrets."""
    return uuid.UUID(int=random().getrandbits(128), version=4)


def uuid7() -> uuid.UUID:
    """A UUID that sorts by time (RFC 9562): 48 bits of workflow time in milliseconds, the rest
    from `random()`.
    """
    generator = random()
    milliseconds = current().activation.time_ms & 0xFFFF_FFFF_FFFF
    high, low = generator.getrandbits(12), generator.getrandbits(62)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


# ---------------------------------------------------------------- waiting


async def sleep(
    duration: float | timedelta,
    *,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> None:
    """A durable timer: seconds or a timedelta, in whole milliseconds, at least one. It may last
    for years.

    Args:
        duration: How long.
        summary: One line for user interfaces.
        event_groups: Without effect.
    """
    await current().sleep(
        duration.total_seconds() if isinstance(duration, timedelta) else duration, summary
    )


async def wait_condition(
    fn: Callable[[], bool],
    *,
    timeout: timedelta | float | None = None,  # noqa: ASYNC109 - Temporal's signature
    timeout_summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> None:
    """Wait until `fn()` is true. It is called after each pass of the event loop, so keep it
    short, and without effects.

    Args:
        fn: Function without arguments, not async.
        timeout: Seconds or timedelta; a durable timer.
        timeout_summary: One line for user interfaces about that timer.
        event_groups: Without effect.

    Raises:
        asyncio.TimeoutError: The timeout is over. Uncaught, it fails the workflow.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    await current().wait_condition(fn, seconds, timeout_summary)


# ---------------------------------------------------------------- memo, search attributes, patches


def memo() -> Mapping[str, Any]:
    """All memo values, decoded without type hints."""
    return _attributes.memo(current())


@overload
def memo_value(key: str, default: Any = ...) -> Any: ...
@overload
def memo_value(key: str, *, type_hint: type[T]) -> T: ...
@overload
def memo_value(key: str, default: D, *, type_hint: type[T]) -> D | T: ...
def memo_value(key: str, default: Any = unset, *, type_hint: Any = None) -> Any:
    """One memo value. `KeyError` when it is absent and no default is given."""
    return _attributes.memo_value(current(), key, default, type_hint)


def upsert_memo(
    updates: Mapping[str, Any], *, event_groups: Sequence[EventGroup] | None = None
) -> None:
    """Set memo values; a value of None removes one."""
    _attributes.upsert_memo(current(), updates)


def upsert_search_attributes(
    attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]],
    *,
    event_groups: Sequence[EventGroup] | None = None,
) -> None:
    """Set search attributes: a list of `key.value_set(value)` and `key.value_unset()`. The dict
    form is deprecated.
    """
    if not attributes:
        return
    _warn_on_deprecated_search_attributes(attributes)
    _attributes.upsert_search_attributes(current(), attributes)


def patched(id: str, *, event_groups: Sequence[EventGroup] | None = None) -> bool:
    """Whether to take the new path of a change in workflow code: yes unless this run went by
    here before the change.

    Args:
        id: Name of the change; may be asked about repeatedly.
        event_groups: Without effect.
    """
    return current().patched(id, deprecated=False)


def deprecate_patch(id: str, *, event_groups: Sequence[EventGroup] | None = None) -> None:
    """Say that no open run took the old path any more, and its code is gone."""
    current().patched(id, deprecated=True)
