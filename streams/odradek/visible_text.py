"""Text of others as it may be shown: what steers a terminal or turns text around is written as
an escape.

Ids, types, messages and keys are anybody's words. As they are, they could move a cursor, retitle
a window, forge a line, or read as another id than they are (U+202E turns what stands behind it
around).
"""

from __future__ import annotations

import re

# Line and paragraph separators, bidirectional embeddings, overrides and isolates; beside C0, DEL
# and C1.
_BEYOND_LATIN = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
#: For texts that are JSON already: what it leaves as it is, by its own escapes.
IN_JSON = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *_BEYOND_LATIN)}
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible_lines(text: str) -> str:
    """Text whose control and bidirectional characters are written as `\\x1b`, `\\u202e`; line
    feeds and tabs stay.
    """
    return text if text.isprintable() else _STEERING.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
