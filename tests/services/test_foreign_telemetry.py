"""Probes of a foreign service: when it is live, when ready, and what it says when it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services import foreign_telemetry
from services.foreign_telemetry import Telemetry

READY, LIVE = "/health/ready", "/health/live"


class Clock:
    """Time moved by hand, in place of the module's `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(foreign_telemetry, "time", clock)
    return clock


@pytest.fixture
def telemetry(clock: Clock) -> Telemetry:
    """Of a service that has all it needs."""
    telemetry = Telemetry("payments", "")
    telemetry.assigned = True
    telemetry.contact()
    telemetry.stands(0, 0)
    assert telemetry.reasons(READY) == telemetry.reasons(LIVE) == []
    return telemetry


def test_at_first_nothing_is_known_and_it_is_live_all_the_same(clock: Clock) -> None:
    telemetry = Telemetry("payments", "")
    assert telemetry.reasons(LIVE) == []
    assert telemetry.reasons(READY) == [
        "payments: the group has not assigned partitions yet",
        "payments: no broker has answered yet",
    ]


def pass_time(telemetry: Telemetry, clock: Clock, seconds: int, each: Callable[[], None]) -> None:
    for _ in range(seconds):
        clock.now_s += 1
        telemetry.beat()
        each()


def test_a_broker_that_does_not_answer_is_not_ready_and_no_reason_to_restart(
    telemetry: Telemetry, clock: Clock
) -> None:
    pass_time(telemetry, clock, 600, lambda: None)
    assert telemetry.reasons(READY) == ["payments: no broker has answered for 600 s"]
    assert telemetry.reasons(LIVE) == []
    telemetry.contact()
    assert telemetry.reasons(READY) == []


def test_what_it_lacks_is_told_where_a_broker_answers(telemetry: Telemetry, clock: Clock) -> None:
    telemetry.lacks("topic members is missing")
    assert (telemetry.reasons(READY), telemetry.reasons(LIVE)) == (
        ["payments: topic members is missing"],
        [],
    )
    pass_time(telemetry, clock, 11, lambda: None)
    assert telemetry.reasons(READY) == ["payments: no broker has answered for 11 s"], "which is why"
    telemetry.contact()
    telemetry.lacks("")
    assert telemetry.reasons(READY) == []


def test_records_that_wait_while_none_is_taken(telemetry: Telemetry, clock: Clock) -> None:
    def stuck() -> None:
        telemetry.contact()
        telemetry.stands(7, 3)

    pass_time(telemetry, clock, 30, stuck)
    assert telemetry.reasons(READY) == []
    pass_time(telemetry, clock, 2, stuck)
    assert telemetry.reasons(READY) == ["payments: 3 records wait, and none was taken for 31 s"]
    telemetry.stands(8, 2)
    assert telemetry.reasons(READY) == [], "it goes on"


def test_behind_but_going_on_and_at_the_end_with_nothing_to_do_are_ready(
    telemetry: Telemetry, clock: Clock
) -> None:
    positions = iter(range(10_000))

    def slow() -> None:
        telemetry.contact()
        telemetry.stands(next(positions), 50)

    def idle() -> None:
        telemetry.contact()
        telemetry.stands(5_000, 0)

    pass_time(telemetry, clock, 120, slow)
    assert telemetry.reasons(READY) == []
    pass_time(telemetry, clock, 120, idle)
    assert telemetry.reasons(READY) == []
    telemetry.stands(5_000, 1)
    assert telemetry.reasons(READY) == [], "one that has only just come has not waited for long"


def test_a_loop_that_hangs_is_not_live_and_one_that_ends_not_ready(
    telemetry: Telemetry, clock: Clock
) -> None:
    clock.now_s += 61
    telemetry.contact()
    assert (
        telemetry.reasons(LIVE)
        == telemetry.reasons(READY)
        == ["payments: its loop has been silent for 61 s"]
    )
    telemetry.beat()
    telemetry.stopping = True
    assert (telemetry.reasons(LIVE), telemetry.reasons(READY)) == (
        [],
        ["payments: it is shutting down"],
    )
