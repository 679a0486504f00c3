"""Callbacks that do not keep alive what they belong to.

A thread, or a client of librdkafka, that holds a bound method of its owner makes a ring of them:
the owner is not gone when nobody needs it any more, but when the garbage collector comes to it,
with its threads and sockets until then.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


def weak_method(method: Callable[[A], R]) -> Callable[[A], R | None]:
    """Calls the bound method of one argument while its object lives; afterwards does nothing and
    gives None.
    """
    found = weakref.WeakMethod(method)

    def call(argument: A) -> R | None:
        alive = found()
        return alive(argument) if alive is not None else None

    return call
