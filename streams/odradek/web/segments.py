"""Ids as segments of paths of pages and of our own API. Browsers take segments that are `.` or
`..` out of an address, `%2e%2e` too: those know `~.` and `~..` for them (and `~~..` for `~..`).
Temporal's API knows its ids as they are.

Apart from `paths.py`, which needs a web framework: commands ask for such paths too.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_DOTS = re.compile(r"~*\.{1,2}")


def segment(text: str) -> str:
    """An id as one segment of a page's path, or of our own API's."""
    return quote(f"~{text}" if _DOTS.fullmatch(text) else text, safe="")


def segment_text(given: str) -> str:
    """The id that `segment` made this of, decoded as servers do."""
    return given[1:] if given.startswith("~") and _DOTS.fullmatch(given) else given
