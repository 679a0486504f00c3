"""What `@activity.defn` leaves on a callable, and the registry a service builds of them.

Pure: looks at functions, never runs them. Rules and error texts are the Temporal Python SDK's:
positional parameters only, one name each, instances instead of classes, at most one dynamic
activity.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from odradek.common import RawValue, _type_hints_from_func

#: Where `@activity.defn` leaves its definition. Temporal's name: tools and tests look for it, and
#: so does `odradek.activation`.
ATTRIBUTE = "__temporal_activity_definition"


@dataclasses.dataclass(frozen=True)
class ActivityDefinition:
    """One activity: the callable and what is known of it before it runs."""

    #: `None` for the dynamic activity.
    name: str | None
    fn: Callable[..., Any]
    is_async: bool
    no_thread_cancel_exception: bool = False
    #: One type per parameter; `None` when a parameter has no annotation, then values are converted
    #: without hints.
    arg_types: list[type] | None = None
    ret_type: type | None = None

    @staticmethod
    def of(fn: Callable[..., Any]) -> ActivityDefinition | None:
        """The definition on `fn`, bound to `fn` itself: what was decorated may be the plain
        function of a bound method.
        """
        definition = getattr(fn, ATTRIBUTE, None)
        return (
            dataclasses.replace(definition, fn=fn)
            if isinstance(definition, ActivityDefinition)
            else None
        )

    @staticmethod
    def must_of(fn: Callable[..., Any]) -> ActivityDefinition:
        """As `of`, but `TypeError` when `fn` was never decorated."""
        definition = ActivityDefinition.of(fn)
        if definition is None:
            name = getattr(fn, "__name__", "<unknown>")
            raise TypeError(
                f"Activity {name} missing attributes, was it decorated with @activity.defn?"
            )
        return definition

    @staticmethod
    def name_and_result_type(activity: str | Callable[..., Any]) -> tuple[str, type | None]:
        """What a caller needs to schedule `activity`, given by name or as the callable."""
        if isinstance(activity, str):
            return activity, None
        if not callable(activity):
            raise TypeError("Activity must be a string or callable")
        definition = ActivityDefinition.must_of(activity)
        if not definition.name:
            raise ValueError(f"Activity {activity} definition has no name")
        return definition.name, definition.ret_type

    @staticmethod
    def apply_to(
        fn: Callable[..., Any], *, name: str | None, no_thread_cancel_exception: bool = False
    ) -> None:
        """Check `fn` and leave a definition on it. `name` `None` makes it the dynamic activity."""
        if hasattr(fn, ATTRIBUTE):
            raise ValueError("Function already contains activity definition")
        if not callable(fn):
            raise TypeError("Activity is not callable")
        if any(
            parameter.kind is inspect.Parameter.KEYWORD_ONLY
            for parameter in inspect.signature(fn).parameters.values()
        ):
            raise TypeError("Activity cannot have keyword-only arguments")
        arg_types, ret_type = _type_hints_from_func(fn)
        if name is None and (
            arg_types is None or len(arg_types) != 1 or arg_types[0] != Sequence[RawValue]
        ):
            raise TypeError(
                "Dynamic activity must accept a single Sequence[odradek.common.RawValue]"
            )
        definition = ActivityDefinition(
            name, fn, is_async_callable(fn), no_thread_cancel_exception, arg_types, ret_type
        )
        setattr(fn, ATTRIBUTE, definition)


def is_async_callable(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` gives a coroutine; sees through an object whose `__call__` is async."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004
    )


class ActivityRegistry:
    """The activities of one service, by name."""

    def __init__(self, activities: Sequence[Callable[..., Any]], executor: Executor | None) -> None:
        """`ValueError` or `TypeError` for what cannot be registered, with Temporal's texts."""
        self._by_name: dict[str, ActivityDefinition] = {}
        self._dynamic: ActivityDefinition | None = None
        for activity in activities:
            self._add(activity, executor)

    def _add(self, activity: Callable[..., Any], executor: Executor | None) -> None:
        definition = ActivityDefinition.must_of(activity)
        if definition.name in self._by_name:
            raise ValueError(f"More than one activity named {definition.name}")
        if inspect.isclass(activity):
            raise TypeError(f"Activity named {definition.name} is a class instead of an instance")
        if (
            inspect.isfunction(activity)
            and next(iter(inspect.signature(activity).parameters), "") == "self"
        ):
            warnings.warn(
                f"Activity named {definition.name} has a first parameter named self but is not"
                " bound to an instance, did you mean to register it from an instance of the"
                " class?",
                stacklevel=2,
            )
        if not definition.is_async:
            if executor is None:
                raise ValueError(
                    f"Activity {definition.name} is not async so an activity_executor must be"
                    " present"
                )
            if not isinstance(executor, ThreadPoolExecutor):
                raise ValueError(
                    f"Activity {definition.name} is not async and executor is not thread-pool"
                    " executor: activities in other processes are not supported yet, use a"
                    " ThreadPoolExecutor"
                )
        if definition.name is not None:
            self._by_name[definition.name] = definition
        elif self._dynamic is not None:
            raise TypeError("More than one dynamic activity")
        else:
            self._dynamic = definition

    def get(self, activity_type: str) -> ActivityDefinition | None:
        """The activity registered under this name, else the dynamic one, else `None`."""
        return self._by_name.get(activity_type, self._dynamic)

    @property
    def names(self) -> list[str]:
        """Registered names, sorted."""
        return sorted(self._by_name)

    @property
    def has_dynamic(self) -> bool:
        """Whether a dynamic activity takes every other name."""
        return self._dynamic is not None

    @property
    def has_async(self) -> bool:
        """Whether any activity runs on the event loop."""
        return any(d.is_async for d in self._by_name.values()) or (
            self._dynamic is not None and self._dynamic.is_async
        )
