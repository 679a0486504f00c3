"""Comparisons of workflow functions that definition checks need."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def same_parameters(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two functions take the same parameters: number, kinds, defaults and annotations;
    names may differ.
    """

    def shape(fn: Callable[..., Any]) -> list[inspect.Parameter]:
        return [
            parameter.replace(name="x") for parameter in inspect.signature(fn).parameters.values()
        ]

    return shape(one) == shape(other)


def is_method_of(fn: object, cls: type) -> bool:
    """Whether `fn` is a function written in the body of `cls` itself, not inherited."""
    return (
        inspect.isfunction(fn)
        and fn.__module__ == cls.__module__
        and fn.__qualname__.rsplit(".", 1)[0].rsplit(".", 1)[-1] == cls.__name__
    )
