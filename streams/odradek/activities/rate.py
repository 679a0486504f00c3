"""`max_activities_per_second`: a token bucket of one second. Pure, with the host's monotonic
clock.
"""

from __future__ import annotations

from collections.abc import Callable


class RateLimit:
    """At most `per_second` starts a second; a burst of one second's worth after idle time."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        if per_second <= 0:
            raise ValueError(f"max_activities_per_second must be positive, not {per_second}")
        self._per_second = per_second
        self._burst = max(per_second, 1.0)
        self._clock = clock
        self._tokens = self._burst
        self._at = clock()

    def delay(self) -> float:
        """Seconds until one more may start; 0 for now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._per_second

    def take(self) -> None:
        """One starts."""
        self._tokens -= 1
