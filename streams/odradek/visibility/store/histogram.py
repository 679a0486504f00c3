"""Latencies in buckets whose width grows with the latency: eight a doubling, so that a
percentile is at most 9 % off at any size.

Bucket 0 holds less than 1 ms; bucket n holds from 2^((n-1)/8) ms up to, but without, 2^(n/8) ms.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping

PER_DOUBLING = 8
_BUCKETS = 400  # 2^(399/8) ms is 32,000 years
#: Lower bounds in ms of buckets 1, 2, 3, ...
BOUNDS_MS = tuple(2 ** (number / PER_DOUBLING) for number in range(_BUCKETS))


def bucket_of(latency_ms: int) -> int:
    """The bucket of a latency; a negative one (clocks differ) counts as 0 ms."""
    return bisect.bisect_right(BOUNDS_MS, latency_ms)


def percentile_ms(buckets: Mapping[int, int], share: float) -> float | None:
    """The latency that `share` (0 to 1) of the runs stay within, from runs by bucket; None
    without runs.

    Linear inside the bucket.
    """
    total = sum(buckets.values())
    if total == 0:
        return None
    wanted = share * total
    seen = 0
    for bucket in sorted(buckets):
        runs = buckets[bucket]
        if seen + runs >= wanted:
            low, high = bounds_ms(bucket)
            return low + (high - low) * max(0.0, wanted - seen) / runs
        seen += runs
    return bounds_ms(max(buckets))[1]


def bounds_ms(bucket: int) -> tuple[float, float]:
    """Lower and upper bound of a bucket."""
    return (0.0 if bucket == 0 else BOUNDS_MS[bucket - 1]), BOUNDS_MS[min(bucket, _BUCKETS - 1)]
