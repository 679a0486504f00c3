"""Limits of what requests and commands may hold."""

from __future__ import annotations

#: Characters of an id, a type, the name of a task queue. Temporal's `limit.maxIDLength`.
NAME_MAX = 1_000

#: A duration: 5,000 years, so that a time that far from now still is a date (Python's end with the year 9999) and has the 15 digits of the
#: timer rows' keys. A protobuf `Duration` takes twice as much.
DURATION_MAX_MS = 157_788_000_000_000
