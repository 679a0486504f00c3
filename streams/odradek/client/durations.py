"""Timeouts that callers give, as seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any


def seconds_of(duration: Any, name: str) -> float:
    """Seconds of a timeout. ValueError, with its name, for what is no timedelta or negative, as
    in Temporal's client.
    """
    if not isinstance(duration, timedelta):
        raise ValueError(f"{name} must be a timedelta, not {duration!r}")
    if duration < timedelta(0):
        raise ValueError(f"{name} must not be negative, and is {duration}")
    return duration.total_seconds()
