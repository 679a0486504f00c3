"""Records of `windows`, the changelog of the read side's windowed statistics. Pure data, and the
keys that they stand under.

A window's record holds its counts as they are, no differences: the latest of a key counts.
`source` is the topic id of `executions`, which is another one once that topic was deleted and
made anew: what was counted from the former topic is no part of the new one's windows.
"""

from __future__ import annotations

import msgspec


class LatencyBucket(msgspec.Struct, gc=False):
    """How many completed runs took about as long: bucket n holds from 2^((n-1)/8) ms up to, but
    without, 2^(n/8) ms.
    """

    bucket: int
    runs: int


class Window(msgspec.Struct, gc=False):
    """Topic `windows`, key `window/{source}/{start_ms}/{workflow type}`: what one minute has
    seen of the runs of one workflow type.
    """

    source: str
    start_ms: int
    workflow_type: str
    started: int = 0
    completed: int = 0
    failed: int = 0
    timed_out: int = 0
    canceled: int = 0
    terminated: int = 0
    continued_as_new: int = 0
    latency_sum_ms: int = 0  # of the completed ones
    deleted: int = 0  # runs that were deleted while they were open
    latencies: list[LatencyBucket] = []


class WindowsCheckpoint(msgspec.Struct, gc=False):
    """Topic `windows`, key `checkpoint/{source}/{store id}`: all windows that begin in this
    stretch of time lie in the topic, each with all that it has seen; those that are not there
    have seen nothing.
    """

    source: str
    store_id: str
    complete_since_ms: int = 0  # 0: since the first record of `executions`
    complete_until_ms: int = 0


def key_of(record: Window | WindowsCheckpoint) -> bytes:
    """Where a record stands."""
    if isinstance(record, Window):
        return f"window/{record.source}/{record.start_ms}/{record.workflow_type}".encode()
    return f"checkpoint/{record.source}/{record.store_id}".encode()
