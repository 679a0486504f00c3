"""Limits of what requests and commands may hold."""

from __future__ import annotations

#: Of an id, a type, the name of a task queue: bytes of UTF-8 in requests. Temporal's
#: `limit.maxIDLength`.
NAME_MAX = 1_000

#: A duration: 5,000 years, so that a time that far from now still is a date (Python's end with the
#: year 9999) and has the 15 digits of the timer rows' keys. A protobuf `Duration` takes twice as
#: much.
DURATION_MAX_MS = 157_788_000_000_000


def name_bytes(name: str) -> int:
    """Bytes of UTF-8 of a name; of a lone surrogate those that it would have."""
    return len(name.encode("utf-8", "surrogatepass"))


def name_too_long(name: str) -> bool:
    """Whether a name of a request has more than `NAME_MAX` bytes."""
    return 4 * len(name) > NAME_MAX and name_bytes(name) > NAME_MAX
