"""JSON as the standard has it. Python reads and writes NaN and Infinity beyond it, and reads a
number that no double holds as infinity. What is taken in so, nobody else can read, and one such
value makes a whole document no JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn


def loads(
    text: str | bytes, *, object_of: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """The value. ValueError for what is no JSON, NaN and numbers beyond a double among it;
    RecursionError for what is nested too deeply. object_of: makes an object of its members
    (default: the last of a name counts).
    """
    return json.loads(
        text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=object_of
    )


def decoder() -> json.JSONDecoder:
    """The same for texts in which several values stand, by its `raw_decode`."""
    return json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        shown = text if len(text) <= 30 else f"{text[:27]}..."
        raise ValueError(
            f"{shown} is no JSON number that others can read: it is beyond a double's range"
        )
    return number
