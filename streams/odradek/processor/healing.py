"""Which stops of a lane pass by themselves, and when its partition is owned anew.

A lane that stopped says so (`members`, the log) and stays stopped until then: each own runs
every tripwire again, so that trying is never guessing. What needs a person stays stopped until
somebody starts the process again: records that were deleted unread, topics made anew or copied,
another number of partitions, state of a newer version, a defect of ours that comes back at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from odradek.exceptions import (
    BrokerUnreachableError,
    DiskFullError,
    OdradekError,
    StateStoreError,
    TopicError,
    TopicMissingError,
    TopicSettingError,
)
from odradek.processor.lane_state import LaneState

if TYPE_CHECKING:
    from odradek.processor.lane import Lane

FIRST_SECONDS, MAX_SECONDS = 5.0, 60.0
RAN_SECONDS = 60.0  # a lane that ran for so long had recovered: the next stop counts as the first

# Room on the disk, a broker, a topic that metadata did not show, a setting of a topic, a store that
# somebody else had open.
_PASSING = (
    BrokerUnreachableError,
    DiskFullError,
    StateStoreError,
    TopicMissingError,
    TopicSettingError,
)
# By themselves, not what is derived from them: rights that were taken away and come back.
_RIGHTS = (OdradekError, TopicError)


def may_pass(error: OdradekError | None) -> bool:
    """Whether the reason for a stop can go away without a restart."""
    return isinstance(error, _PASSING) or type(error) in _RIGHTS


@dataclass(slots=True)
class _Stops:
    """Of one partition."""

    count: int = 0
    lane: int = 0  # id of the lane that was seen last
    again_at: float | None = None
    ran_since: float | None = None


class Healing:
    """Remembers the stops of each partition. Pure; one thread."""

    def __init__(self) -> None:
        self._stops: dict[int, _Stops] = {}

    def due(self, lanes: Mapping[int, Lane], now: float) -> list[int]:
        """Partitions whose lane stopped over something that may have passed, and waited long
        enough. now: seconds, monotonic.
        """
        found = []
        for partition, lane in lanes.items():
            if lane.state is LaneState.FAILED:
                if (
                    not lane.is_alive()
                    and may_pass(lane.error)
                    and self._waited(partition, lane, now)
                ):
                    found.append(partition)
            elif partition in self._stops:
                self._note_life(partition, lane, now)
        for partition in [p for p in self._stops if p not in lanes]:
            del self._stops[partition]
        return found

    def _waited(self, partition: int, lane: Lane, now: float) -> bool:
        stops = self._stops.setdefault(partition, _Stops())
        stops.ran_since = None
        if stops.again_at is None or stops.lane != id(lane):
            stops.lane = id(lane)
            stops.again_at = now + min(MAX_SECONDS, FIRST_SECONDS * 2**stops.count)
            stops.count = min(stops.count + 1, 10)
        return now >= stops.again_at

    def _note_life(self, partition: int, lane: Lane, now: float) -> None:
        stops = self._stops[partition]
        if lane.state is not LaneState.RUNNING:
            stops.ran_since = None
        elif stops.ran_since is None:
            stops.ran_since = now
        elif now - stops.ran_since >= RAN_SECONDS:
            del self._stops[partition]
