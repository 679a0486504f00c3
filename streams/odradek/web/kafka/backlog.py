"""How much waited in each queue, minute by minute, as this server saw it: brokers know the lag
of now alone.

Sampled while the server runs, kept in its memory for a day and gone with it; each server has its
own. A minute without a sample (the server was not there, no broker answered, the lag was not
known) is a gap, not 0.
"""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from odradek.web.threads import in_kafka_thread

logger = logging.getLogger(__name__)

MINUTE_MS = 60_000
KEPT_MINUTES = 24 * 60
#: More queues than this are not kept: 35 kB each.
QUEUES_MAX = 500
EVERY_S = 15.0
# Looking takes at most this share of the time, however slow the brokers are.
_SHARE = 0.1
_LOOK_TIMEOUT_S = 30.0


class QueueLags(Protocol):
    """What is sampled of a queue: inputs that no processor has applied, commands that no service
    has acknowledged; None is unknown.
    """

    @property
    def name(self) -> str: ...
    @property
    def lag(self) -> int | None: ...
    @property
    def activity_lag(self) -> int | None: ...


@dataclass
class BacklogWindow:
    """The most that waited in a window, as far as it was looked at. `lag`: inputs of workflows;
    `activity_lag`: commands; null: unknown.
    """

    start_ms: int
    step_ms: int
    task_queue: str
    lag: int | None
    activity_lag: int | None


class _Ring:
    """One queue: the highest of each minute, -1 unknown. A slot is of the minute that stands in
    it.
    """

    def __init__(self) -> None:
        self.minutes = array("q", [-1]) * KEPT_MINUTES
        self.lags = array("q", [-1]) * KEPT_MINUTES
        self.activity_lags = array("q", [-1]) * KEPT_MINUTES

    def note(self, minute: int, lag: int | None, activity_lag: int | None) -> None:
        slot = minute % KEPT_MINUTES
        if self.minutes[slot] != minute:
            self.minutes[slot], self.lags[slot], self.activity_lags[slot] = minute, -1, -1
        self.lags[slot] = max(self.lags[slot], -1 if lag is None else lag)
        self.activity_lags[slot] = max(
            self.activity_lags[slot], -1 if activity_lag is None else activity_lag
        )


class Backlog:
    """See above. Of one event loop."""

    def __init__(self, *, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._clock_ms = clock_ms
        self._rings: dict[str, _Ring] = {}
        self._first_ms = 0

    @property
    def since_ms(self) -> int:
        """From when on there are samples; 0 before the first."""
        return (
            max(self._first_ms, self._clock_ms() - KEPT_MINUTES * MINUTE_MS)
            if self._first_ms
            else 0
        )

    def note(self, queues: Iterable[QueueLags]) -> None:
        """A sample of now."""
        now_ms = self._clock_ms()
        self._first_ms = self._first_ms or now_ms
        for queue in queues:
            ring = self._rings.get(queue.name)
            if ring is None and len(self._rings) < QUEUES_MAX:
                ring = self._rings[queue.name] = _Ring()
            if ring is not None:
                ring.note(now_ms // MINUTE_MS, queue.lag, queue.activity_lag)

    def windows(self, start_ms: int, end_ms: int, step_ms: int) -> list[BacklogWindow]:
        """Windows that begin in `start_ms` to `end_ms`, each step present for each queue, in
        order of time, then queue.
        """
        step_ms = max(MINUTE_MS, step_ms // MINUTE_MS * MINUTE_MS)
        start_ms = start_ms // step_ms * step_ms
        steps, names = range(start_ms, end_ms, step_ms), sorted(self._rings)
        found = {
            (step, name): BacklogWindow(step, step_ms, name, None, None)
            for step in steps
            for name in names
        }
        oldest = self._clock_ms() // MINUTE_MS - KEPT_MINUTES
        for name, ring in self._rings.items():
            for minute, lag, activity_lag in zip(
                ring.minutes, ring.lags, ring.activity_lags, strict=True
            ):
                window = (
                    found.get((minute * MINUTE_MS // step_ms * step_ms, name))
                    if minute > oldest
                    else None
                )
                if window is not None:
                    window.lag = _most(window.lag, lag)
                    window.activity_lag = _most(window.activity_lag, activity_lag)
        return list(found.values())

    async def follow(self, look: Callable[[], Sequence[QueueLags]]) -> None:
        """Sample for ever. look: blocking; whatever it raises leaves a gap."""
        while True:
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    self.note(await in_kafka_thread(look))
            except Exception as error:
                logger.debug("no sample of the backlog: %s", error)
            await asyncio.sleep(max(EVERY_S, (time.monotonic() - began_s) / _SHARE))


def _most(known: int | None, sampled: int) -> int | None:
    if sampled < 0:
        return known
    return sampled if known is None else max(known, sampled)
