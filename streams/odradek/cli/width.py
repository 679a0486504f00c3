"""How wide a text stands on a terminal: letters of China, Japan and Korea and most emoji take
two columns, what joins the letter before it none. By Python's own tables; terminals differ over
sequences of emoji, and nothing but a row's neat end depends on it.
"""

from __future__ import annotations

import unicodedata

_NOTHING = frozenset({"Mn", "Me", "Cf"})


def width_of(text: str) -> int:
    """Columns that a text without control characters takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, width: int) -> str:
    """The text in so many columns at most, with `…` for what does not fit."""
    if width_of(text) <= width:
        return text
    left, kept = width - 1, 0
    for letter in text:
        left -= _columns(letter)
        if left < 0:
            break
        kept += 1
    return text[:kept] + "…" if width > 0 else ""


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in _NOTHING:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
