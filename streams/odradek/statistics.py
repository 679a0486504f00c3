"""Counters of every room: plain attributes that one thread adds to, and the frozen snapshots
that others read.

What counts: an increment, a list index, a dictionary look-up; no lock, no label objects, no
clock of its own. What exports them (`odradek.telemetry`) reads snapshots when it is scraped, so
a room costs the same whether somebody looks or not.

Never: block, allocate a label for each record, or count what is not durable (whoever counts does
it behind the commit).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

#: Upper bounds in seconds: from a commit that takes a millisecond to an activity that takes an
#: hour.
SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    3600.0,
)
#: For what computes or commits: nothing of it should take longer than a minute.
SHORT_SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
#: For sizes of batches.
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)

#: For all types that are not registered here: whoever may start a workflow names its type, and
#: would make labels for the life of a process.
UNKNOWN = "(unknown)"
#: Where one more name would be one label too many.
OTHER = "(other)"
NAMES_MAX = 200


class Labels:
    """Types as labels of metrics: those that are registered as they are, all others, also those
    of dynamic code, as `UNKNOWN`.
    """

    __slots__ = ("_registered",)

    def __init__(self, registered: Iterable[str]) -> None:
        self._registered = frozenset(registered)

    def of(self, name: str) -> str:
        """The label of a type."""
        return name if name in self._registered else UNKNOWN


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram at a moment: `counts[i]` values up to `bounds[i]` and above the bound before,
    the last one above all bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def __add__(self, other: Distribution) -> Distribution:
        """Both together. They must have the same bounds."""
        if self.bounds != other.bounds:
            raise ValueError("distributions with different bounds cannot be added")
        return Distribution(
            self.bounds,
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            self.sum + other.sum,
        )


class Histogram:
    """Buckets that one thread adds to: about a quarter of a microsecond a value."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> Distribution:
        """As it is now. Count and sum may be a value apart when another thread is adding."""
        return Distribution(self._bounds, tuple(self._counts), self._sum)


K = TypeVar("K")


class Counts(dict[K, int]):
    """Counters by key, of which the thread that owns it makes at most `NAMES_MAX`; what comes
    then is counted under `rest`.
    """

    __slots__ = ("_rest",)

    def __init__(self, rest: K) -> None:
        super().__init__()
        self._rest = rest

    def add(self, key: K, count: int = 1) -> None:
        """Count."""
        if key in self:
            self[key] += count
        elif len(self) < NAMES_MAX:
            self[key] = count
        else:
            self[self._rest] = self.get(self._rest, 0) + count


class Histograms(Generic[K]):
    """Histograms by key, bounded like `Counts`."""

    __slots__ = ("_bounds", "_found", "_rest")

    def __init__(self, rest: K, bounds: tuple[float, ...] = SECONDS) -> None:
        self._rest = rest
        self._bounds = bounds
        self._found: dict[K, Histogram] = {}

    def of(self, key: K) -> Histogram:
        """The histogram of a key; keep it where it is used often."""
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= NAMES_MAX and key != self._rest:
                return self.of(self._rest)
            found = self._found[key] = Histogram(self._bounds)
        return found

    def snapshot(self) -> dict[K, Distribution]:
        """All of them as they are now."""
        return {key: histogram.snapshot() for key, histogram in self._found.copy().items()}


def merged(parts: list[dict[K, Distribution]]) -> dict[K, Distribution]:
    """Distributions of several owners, added by key."""
    total: dict[K, Distribution] = {}
    for part in parts:
        for key, distribution in part.items():
            total[key] = total[key] + distribution if key in total else distribution
    return total


def summed(parts: list[dict[K, int]]) -> dict[K, int]:
    """Counts of several owners, added by key."""
    total: dict[K, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total
