"""What the front doors share when they take user functions and their arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

_arg_unset: Any = object()
"""Default of `arg` where "no argument" differs from `None`."""


def _arg_or_args(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments of a call that takes either one `arg` or a list `args`. `ValueError` for both."""
    if arg is _arg_unset:
        return args
    if args:
        raise ValueError("Cannot have arg and args")
    return [arg]


def _type_hints_from_func(func: Callable[..., Any]) -> tuple[list[Any] | None, Any | None]:
    """Type hints of a function's positional parameters, and that of its result.

    A first parameter `self` without annotation is left out. The parameter hints are `None` when
    a parameter cannot be passed by position or has no annotation: then the arguments are decoded
    without hints. A class or an object with `__call__` stands for that method.
    """
    if not inspect.isroutine(func):
        func = func.__call__ if isinstance(func, type) else type(func).__call__
    hints = typing.get_type_hints(func)
    result = hints.get("return")
    parameters: list[Any] = []
    for index, parameter in enumerate(inspect.signature(func).parameters.values()):
        unannotated = parameter.annotation is inspect.Parameter.empty
        if (
            index == 0
            and parameter.name == "self"
            and (unannotated or hints.get("self") is typing.Self)
        ):
            continue
        if unannotated or parameter.kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            return None, result
        parameters.append(hints[parameter.name])
    return parameters, result
