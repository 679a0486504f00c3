"""Signal, query and update handlers: the decorators and what they leave on a function.

Definitions are immutable but for an update's validator and the type hints, which are read on
first use: an annotation may name a class that is not finished yet while its methods are
decorated. Running handlers is the instance's work.
"""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

from odradek.common import RawValue, _type_hints_from_func

__all__ = [
    "HandlerDefinition",
    "HandlerUnfinishedPolicy",
    "QueryDefinition",
    "SignalDefinition",
    "UnfinishedSignalHandlersWarning",
    "UnfinishedUpdateHandlersWarning",
    "UpdateDefinition",
    "UpdateMethodMultiParam",
    "query",
    "signal",
    "update",
]

SIGNAL_ATTRIBUTE = "__odradek_signal_definition"
QUERY_ATTRIBUTE = "__odradek_query_definition"


class HandlerUnfinishedPolicy(Enum):
    """What happens when a workflow ends while a signal or update handler still runs."""

    WARN_AND_ABANDON = 1
    """Issue a Python warning and abandon the handler."""
    ABANDON = 2
    """Abandon the handler."""


class UnfinishedUpdateHandlersWarning(RuntimeWarning):
    """The workflow ended before all update handlers had finished."""


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """The workflow ended before all signal handlers had finished."""


class HandlerDefinition:
    """What a handler is called, and how to call it. `name` is None for the dynamic handler."""

    __slots__ = (
        "_hints",
        "description",
        "dynamic_vararg",
        "fn",
        "is_coroutine",
        "is_method",
        "name",
        "unfinished_policy",
    )

    def __init__(
        self,
        name: str | None,
        fn: Callable[..., Any],
        *,
        is_method: bool,
        unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
        description: str | None = None,
    ) -> None:
        self.name = name
        self.fn = fn
        self.is_method = is_method
        self.unfinished_policy = unfinished_policy
        self.description = description
        self.is_coroutine = inspect.iscoroutinefunction(fn)
        self._hints: tuple[list[Any] | None, Any] | None = None
        self.dynamic_vararg = name is None and self._check_dynamic()

    @property
    def arg_types(self) -> list[Any] | None:
        """Types of the arguments, None when they are not all annotated."""
        if self._hints is None:
            self._hints = _type_hints_from_func(self.fn)
        return self._hints[0]

    @property
    def ret_type(self) -> Any:
        """Annotated result type, or None."""
        if self._hints is None:
            self._hints = _type_hints_from_func(self.fn)
        return self._hints[1]

    def bind(self, instance: object) -> Callable[..., Any]:
        """The handler as a callable without `self`; a coroutine function stays recognisable as
        one.
        """
        return self.fn.__get__(instance) if self.is_method else self.fn  # type: ignore[no-any-return,unused-ignore]

    def _check_dynamic(self) -> bool:
        """True for the old form `(self, name, *args)`. `RuntimeError` unless it, or `(self,
        name: str, args: Sequence[RawValue])`.
        """
        parameters = list(inspect.signature(self.fn).parameters.values())
        if (
            len(parameters) == (3 if self.is_method else 2)
            and parameters[-2].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        ):
            return True
        accepted = (Sequence[RawValue], typing.Sequence[RawValue])
        types = self.arg_types
        if not types or len(types) != 2 or types[0] is not str or types[1] not in accepted:
            raise RuntimeError(
                "Dynamic handler must have 3 arguments: self, str, and Sequence[RawValue]"
            )
        return False


class SignalDefinition(HandlerDefinition):
    """A signal handler."""

    __slots__ = ()

    @staticmethod
    def name_of(signal: str | Callable[..., Any]) -> str:
        """Name of a signal given by name or by its decorated method. `RuntimeError` when it is
        neither.
        """
        if isinstance(signal, str):
            return signal
        definition = getattr(signal, SIGNAL_ATTRIBUTE, None)
        if definition is None:
            raise RuntimeError(
                f"Signal definition not found on {signal.__qualname__}, is it decorated with"
                " @workflow.signal?"
            )
        if not definition.name:
            raise RuntimeError("Cannot invoke dynamic signal definition")
        return str(definition.name)


class QueryDefinition(HandlerDefinition):
    """A query handler."""

    __slots__ = ()

    @staticmethod
    def name_and_result_type(query: str | Callable[..., Any]) -> tuple[str, Any]:
        """Name and result type of a query given by name (type None) or by its decorated method."""
        if isinstance(query, str):
            return query, None
        definition = getattr(query, QUERY_ATTRIBUTE, None)
        if definition is None:
            raise RuntimeError(
                f"Query definition not found on {query.__qualname__}, is it decorated with"
                " @workflow.query?"
            )
        if not definition.name:
            raise RuntimeError("Cannot invoke dynamic query definition")
        return definition.name, definition.ret_type


class UpdateDefinition(HandlerDefinition):
    """An update handler and its validator."""

    __slots__ = ("validator",)

    def __init__(
        self,
        name: str | None,
        fn: Callable[..., Any],
        *,
        is_method: bool,
        unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
        description: str | None = None,
    ) -> None:
        super().__init__(
            name,
            fn,
            is_method=is_method,
            unfinished_policy=unfinished_policy,
            description=description,
        )
        self.validator: Callable[..., None] | None = None
        if self.dynamic_vararg:
            raise RuntimeError(
                "Dynamic updates do not support a vararg third param, use Sequence[RawValue]"
            )

    def set_validator(self, validator: Callable[..., None]) -> None:
        """Add the validator: a plain function, once. (An async one would never be awaited, and
        every update accepted.)
        """
        if inspect.iscoroutinefunction(validator):
            raise ValueError("Update validator must not be an async function")
        if self.validator is not None:
            raise RuntimeError(f"Validator already set for update {self.name}")
        self.validator = validator

    @staticmethod
    def name_and_result_type(update: str | Callable[..., Any]) -> tuple[str, Any]:
        """Name and result type of an update given by name (type None) or by its decorated method."""
        definition = getattr(update, "_defn", None)
        if not isinstance(definition, UpdateDefinition):
            return str(update), None
        if not definition.name:
            raise RuntimeError("Cannot invoke dynamic update definition")
        return definition.name, definition.ret_type


P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")
SignalFn = TypeVar("SignalFn", bound=Callable[..., Awaitable[None] | None])
QueryFn = TypeVar("QueryFn", bound=Callable[..., Any])


@runtime_checkable
class UpdateMethodMultiParam(Protocol, Generic[P, R_co]):
    """What `@workflow.update` makes of a method: still callable, with a `validator` decorator."""

    _defn: UpdateDefinition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | Awaitable[R_co]: ...

    def validator(self, vfunc: Callable[P, None]) -> Callable[P, None]: ...


def _handler_name(name: str | None, dynamic: bool | None, fn: Callable[..., Any]) -> str | None:
    return None if dynamic else name or fn.__name__


def _check_name(name: str | None, dynamic: bool | None) -> None:
    if name is not None and dynamic:
        raise RuntimeError("Cannot provide name and dynamic boolean")


def warn_about_form(definition: HandlerDefinition, what: str, stacklevel: int) -> None:
    """Warn about forms that Temporal still takes but calls deprecated."""
    if isinstance(definition, QueryDefinition) and definition.is_coroutine:
        warnings.warn(
            "Queries as async def functions are deprecated",
            DeprecationWarning,
            stacklevel=stacklevel + 1,
        )
    if definition.dynamic_vararg:
        text = f"Dynamic {what} with vararg third param is deprecated, use Sequence[RawValue]"
        warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)


@overload
def signal(fn: SignalFn) -> SignalFn: ...
@overload
def signal(
    *,
    name: str | None = None,
    dynamic: Literal[False] = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[SignalFn], SignalFn]: ...
@overload
def signal(
    *,
    dynamic: Literal[True],
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[SignalFn], SignalFn]: ...
def signal(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Decorator for a method, sync or async, that takes a signal. Its result is ignored.

    Args:
        fn: The method. name: Signal name; the method's by default. Not together with `dynamic`.
        dynamic: Takes every signal without a handler of its own; the parameters are `(self,
        name: str, args: Sequence[RawValue])`. unfinished_policy: What happens when the workflow
        ends while this handler runs. description: One line for user interfaces.
    """
    _check_name(name, dynamic)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        definition = SignalDefinition(
            _handler_name(name, dynamic, fn),
            fn,
            is_method=True,
            unfinished_policy=unfinished_policy,
            description=description,
        )
        setattr(fn, SIGNAL_ATTRIBUTE, definition)
        warn_about_form(definition, "signals", 2 if wrapped else 3)
        return fn

    wrapped = fn is None
    return decorate if fn is None else decorate(fn)


@overload
def query(fn: QueryFn) -> QueryFn: ...
@overload
def query(
    *, name: str | None = None, dynamic: bool | None = False, description: str | None = None
) -> Callable[[QueryFn], QueryFn]: ...
def query(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    description: str | None = None,
) -> Any:
    """Decorator for a method that answers a query. It must change nothing and wait for nothing.

    Args:
        fn: The method. name: Query name; the method's by default. Not together with `dynamic`.
        dynamic: Answers every query without a handler of its own; the parameters are `(self,
        name: str, args: Sequence[RawValue])`. description: One line for user interfaces.
    """
    _check_name(name, dynamic)
    if fn is None and name is None and not dynamic and not description:
        raise RuntimeError("Cannot create query without function or name or dynamic")

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        definition = QueryDefinition(
            _handler_name(name, dynamic, fn), fn, is_method=True, description=description
        )
        setattr(fn, QUERY_ATTRIBUTE, definition)
        warn_about_form(definition, "queries", 2 if wrapped else 3)
        return fn

    wrapped = fn is None
    return decorate if fn is None else decorate(fn)


@overload
def update(fn: Callable[P, Awaitable[R]]) -> UpdateMethodMultiParam[P, R]: ...
@overload
def update(fn: Callable[P, R]) -> UpdateMethodMultiParam[P, R]: ...
@overload
def update(
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[Callable[P, R]], UpdateMethodMultiParam[P, R]]: ...
def update(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Decorator for a method, sync or async, that carries out an update and returns its result.

    `@that_method.validator` decorates a plain function with the same parameters that rejects an
    update by raising.

    Args:
        fn: The method. name: Update name; the method's by default. Not together with `dynamic`.
        dynamic: Takes every update without a handler of its own; the parameters are `(self,
        name: str, args: Sequence[RawValue])`. unfinished_policy: What happens when the workflow
        ends while this handler runs. description: One line for user interfaces.
    """
    _check_name(name, dynamic)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        definition = UpdateDefinition(
            _handler_name(name, dynamic, fn),
            fn,
            is_method=True,
            unfinished_policy=unfinished_policy,
            description=description,
        )
        fn._defn = definition  # type: ignore[attr-defined]
        fn.validator = partial(_add_validator, definition)  # type: ignore[attr-defined]
        return fn

    return decorate if fn is None else decorate(fn)


def _add_validator(definition: UpdateDefinition, fn: Callable[..., None]) -> Callable[..., None]:
    definition.set_validator(fn)
    return fn
