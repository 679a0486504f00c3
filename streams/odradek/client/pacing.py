"""When to ask again: a request's answer can be lost, and an owner can die with it.

First request: the response time is estimated as TCP estimates its own (RFC 6298: smoothed time
plus four deviations; Karn: a request that was asked twice is no sample), so that a slow queue is
not asked again for what it has in its log already. Then the interval doubles. Long polls are
answered when a run closes, so nothing can be learnt from them: they have a fixed rhythm.
"""

from __future__ import annotations

FIRST_MIN_S = 1.5
FIRST_MAX_S = 8.0
INTERVAL_MAX_S = 10.0
# While nobody seems to own a queue its log is not filled with what lies there already; a new owner
# is asked as soon as it shows.
NO_OWNER_INTERVAL_S = 30.0
# An await_result start is answered twice; the second answer may be lost with a dying owner, so a
# poll follows.
POLL_INTERVALS_S = (3.0, 5.0, 8.0)
# A long poll for history events is asked again this often: a new owner is asked as soon as it
# shows, so only a lost answer needs it.
WAIT_INTERVAL_S = 15.0


class ResponseTimes:
    """Smoothed response time of one client's requests."""

    def __init__(self) -> None:
        self.smoothed = 0.0
        self.deviation = 0.0
        self.samples = 0

    def sample(self, seconds: float) -> None:
        """A request that was asked once was answered after `seconds`."""
        if self.samples == 0:
            self.smoothed, self.deviation = seconds, seconds / 2
        else:
            self.deviation += (abs(self.smoothed - seconds) - self.deviation) / 4
            self.smoothed += (seconds - self.smoothed) / 8
        self.samples += 1

    def first_interval(self) -> float:
        """Seconds to wait for an answer before the request is asked again."""
        return min(max(self.smoothed + 4 * self.deviation, FIRST_MIN_S), FIRST_MAX_S)


def next_interval(interval: float) -> float:
    """Seconds until the next time, after `interval`."""
    return min(interval * 2, INTERVAL_MAX_S)


def poll_interval(polls: int) -> float:
    """Seconds from the long poll number `polls` (0, 1, …) to the next."""
    return POLL_INTERVALS_S[polls] if polls < len(POLL_INTERVALS_S) else INTERVAL_MAX_S
