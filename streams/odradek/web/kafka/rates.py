"""How fast a queue takes and does its work, and how old what waits is: told by offsets at two
moments, and by the oldest record that waits.

Approximate, as its sources are: groups commit about once a second, and the marker that ends a
transaction takes an offset too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from odradek.kafka.admin import ClusterAdmin
from odradek.web.kafka.groups import SHARE, ActivityGroups, GroupSettings
from odradek.web.kafka.reading import Search, Stretch
from odradek.wire.topics import COMMANDS, EVENTS

_READ_TIMEOUT_S = 3.0
# Offsets looked at for the oldest waiting record: the first may be a marker.
_LOOK = 16


class Rates(msgspec.Struct):
    """Of one topic of a queue. Rates per second over `interval_ms`, 0 of which means that they
    were not measured.

    `backlog_age_ms`: how long the oldest record that waits has been there, 0 when none does.
    """

    add_rate: float = 0.0
    dispatch_rate: float = 0.0
    backlog_age_ms: int = 0
    interval_ms: int = 0


class QueueRates(msgspec.Struct):
    """Of a queue's requests (`events`) and activity tasks (`commands`); None without such a
    topic, and of a share group, which nobody can measure.
    """

    workflow: Rates | None = None
    activity: Rates | None = None


class RateReader:
    """Blocking; takes `interval_s` and a moment."""

    def __init__(
        self,
        settings: GroupSettings,
        admin: ClusterAdmin,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock_s: Callable[[], float] = time.monotonic,
        wall_clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._groups = ActivityGroups(settings)
        self._sleep = sleep
        self._clock_s = clock_s
        self._wall_clock_s = wall_clock_s

    def measure(self, task_queue: str, interval_s: float) -> QueueRates:
        """Both topics over the same interval; 0 s leaves rates out."""
        topics = self._admin.topics
        watched = {
            EVENTS: (topics.events(task_queue), topics.processor_group(task_queue)),
            COMMANDS: (topics.commands(task_queue), topics.activities_group(task_queue)),
        }
        if self._groups.kind(task_queue) == SHARE:
            del watched[COMMANDS]
        facts = self._admin.describe([topic for topic, _ in watched.values()])
        there = {
            kind: (topic, group, facts[topic].partitions)
            for kind, (topic, group) in watched.items()
            if topic in facts
        }
        before_s, before = (
            self._clock_s(),
            {kind: self._look(*place) for kind, place in there.items()},
        )
        if interval_s > 0:
            self._sleep(interval_s)
            after = {kind: self._look(*place) for kind, place in there.items()}
        else:
            after = before
        elapsed_s = self._clock_s() - before_s if interval_s > 0 else 0.0
        found = {
            kind: self._rates(there[kind][0], before[kind], after[kind], elapsed_s)
            for kind in there
        }
        return QueueRates(found.get(EVENTS), found.get(COMMANDS))

    def _look(self, topic: str, group: str, partitions: int) -> dict[int, tuple[int, int]]:
        """Position and end of each partition."""
        numbers = range(partitions)
        committed = self._admin.committed_offsets(group, topic, numbers)
        starts = self._admin.start_offsets(topic, numbers)
        ends = self._admin.end_offsets(topic, numbers, committed=True)
        return {
            number: (max(committed.get(number, -1), starts[number]), ends[number])
            for number in numbers
        }

    def _rates(
        self,
        topic: str,
        before: dict[int, tuple[int, int]],
        after: dict[int, tuple[int, int]],
        elapsed_s: float,
    ) -> Rates:
        rates = Rates(
            backlog_age_ms=self._age_ms(topic, after), interval_ms=round(elapsed_s * 1000)
        )
        if elapsed_s > 0:
            rates.add_rate = round(
                sum(max(0, after[n][1] - before[n][1]) for n in after) / elapsed_s, 2
            )
            rates.dispatch_rate = round(
                sum(max(0, after[n][0] - before[n][0]) for n in after) / elapsed_s, 2
            )
        return rates

    def _age_ms(self, topic: str, places: dict[int, tuple[int, int]]) -> int:
        stretches = [
            Stretch(topic, number, low, min(end, low + _LOOK))
            for number, (low, end) in places.items()
        ]
        search = Search(self._settings, time.monotonic() + _READ_TIMEOUT_S)
        oldest_ms = min(
            (
                message.timestamp()[1]
                for message in search.records(stretches)
                if message.timestamp()[1] > 0
            ),
            default=0,
        )
        return max(0, round(self._wall_clock_s() * 1000) - oldest_ms) if oldest_ms else 0
