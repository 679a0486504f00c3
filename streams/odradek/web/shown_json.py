"""JSON of other people that pages and answers show: parsed, unless it could not be written again
(nested too deeply, NaN, Infinity).
"""

from __future__ import annotations

from typing import Any

from odradek.wire import standard_json

# Python's own limit counts its callers too, so what was read may be too deep for what writes it
LEVELS_MAX = 100
_TOO_DEEP = f"nested more than {LEVELS_MAX} levels deep"


def parse_shown(text: bytes | str) -> Any:
    """The value. ValueError for what is no JSON by the standard, or has more than LEVELS_MAX
    lists and objects in each other.
    """
    try:
        value = standard_json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    brackets = (
        text.count("[") + text.count("{")
        if isinstance(text, str)
        else text.count(b"[") + text.count(b"{")
    )
    if brackets > LEVELS_MAX and _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(LEVELS_MAX + 1):
        inner = [part for part in level if isinstance(part, list | dict)]
        if not inner:
            return False
        level = [
            child for part in inner for child in (part.values() if isinstance(part, dict) else part)
        ]
    return True
