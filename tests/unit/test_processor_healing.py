"""Which stops of a lane pass by themselves, and when."""

from __future__ import annotations

from typing import Any

import pytest

from odradek.exceptions import (
    BrokerUnreachableError,
    DiskFullError,
    InputGapError,
    LaneError,
    OdradekError,
    PartitionCountError,
    StateFormatError,
    TopicError,
    TopicMissingError,
    TopicRecreatedError,
    TopicSettingError,
)
from odradek.processor.healing import FIRST_SECONDS, MAX_SECONDS, RAN_SECONDS, Healing, may_pass
from odradek.processor.lane_state import LaneState


class FakeLane:
    def __init__(
        self, state: LaneState, error: OdradekError | None = None, alive: bool = False
    ) -> None:
        self.state, self.error, self._alive = state, error, alive

    def is_alive(self) -> bool:
        return self._alive


def failed(error: OdradekError | None = None, *, alive: bool = False) -> Any:
    return FakeLane(LaneState.FAILED, error or DiskFullError("/disk"), alive)


def running() -> Any:
    return FakeLane(LaneState.RUNNING, alive=True)


@pytest.mark.parametrize(
    "error",
    [
        BrokerUnreachableError("a:1"),
        DiskFullError("/d"),
        TopicMissingError("t"),
        TopicError("no right", topic="t"),
        TopicSettingError(
            "t", setting="cleanup.policy", value="delete", wanted="compact", reason="rows expire"
        ),
        OdradekError("no right"),
    ],
)
def test_what_passes(error: OdradekError) -> None:
    assert may_pass(error)


@pytest.mark.parametrize(
    "error",
    [
        InputGapError(position=1, log_start=5, topic="t", partition=0),
        TopicRecreatedError("t", expected_id="a", found_id="b"),
        PartitionCountError("t", expected=8, found=4),
        LaneError("a defect", topic="t", partition=0),
        StateFormatError.__new__(StateFormatError),
    ],
)
def test_what_needs_a_person(error: OdradekError) -> None:
    assert not may_pass(error)
    healing = Healing()
    assert healing.due({0: failed(error)}, 0.0) == healing.due({0: failed(error)}, 1e9) == []


def test_back_off_doubles_and_is_bounded_while_it_stops_again() -> None:
    healing, now, waits = Healing(), 0.0, []
    for _ in range(7):
        lane = failed()
        assert healing.due({0: lane}, now) == []
        began = now
        while not healing.due({0: lane}, now):
            now += 0.5
        waits.append(now - began)
    assert waits[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert waits[-1] == MAX_SECONDS


def test_partitions_wait_for_themselves_and_a_lane_that_still_ends_is_left_alone() -> None:
    healing, first, second = Healing(), failed(), failed()
    assert healing.due({0: first}, 0.0) == []
    assert healing.due({0: first, 1: second}, 4.0) == []
    assert healing.due({0: first, 1: second}, 6.0) == [0]
    assert healing.due({1: second, 2: failed(alive=True)}, 9.0) == [1]


def test_a_lane_that_ran_for_a_while_begins_anew() -> None:
    healing = Healing()
    for now in (0.0, 10.0):
        healing.due({0: failed()}, now)
    lane = running()
    healing.due({0: lane}, 20.0)
    healing.due({0: lane}, 20.0 + RAN_SECONDS)
    again = failed()
    assert healing.due({0: again}, 100.0) == []
    assert healing.due({0: again}, 100.0 + FIRST_SECONDS) == [0]


def test_a_partition_that_was_given_back_is_forgotten() -> None:
    healing, lane = Healing(), failed()
    healing.due({0: failed()}, 0.0)
    healing.due({}, 1.0)
    assert healing.due({0: lane}, 2.0) == []
    assert healing.due({0: lane}, 2.0 + FIRST_SECONDS) == [0]
