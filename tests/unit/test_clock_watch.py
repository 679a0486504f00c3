"""A clock that is set back, and a client that sleeps since."""

from __future__ import annotations

import pytest

from odradek.exceptions import OdradekError
from odradek.kafka.clock_watch import LOOKS, ClockWatch


class Machine:
    """Its clocks, and a client whose loop turns with each second, or sleeps."""

    def __init__(self, turned_at: float = 100.0) -> None:
        self.wall, self.monotonic, self.turned_at = 1_000_000.0, 100.0, turned_at
        self.watch = ClockWatch(
            lambda: self.turned_at,
            lambda error: None,
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
        )

    def seconds(self, count: int, *, sleeps: bool = False) -> OdradekError | None:
        for _ in range(count):
            self.wall += 1.0
            self.monotonic += 1.0
            if not sleeps:
                self.turned_at = self.monotonic
            error = self.watch.look()
            if error is not None:
                return error
        return None


def test_a_client_that_sleeps_since_the_clock_was_set_back() -> None:
    machine = Machine()
    assert machine.seconds(5) is None
    machine.wall -= 600.0
    error = machine.seconds(LOOKS + 2, sleeps=True)
    assert error is not None and "set back by 600 s" in str(error) and "started again" in str(error)


def test_one_that_begins_to_sleep_later() -> None:
    """What came woke it, until nothing came any more."""
    machine = Machine()
    machine.wall -= 600.0
    assert machine.seconds(60) is None
    assert machine.seconds(LOOKS + 2, sleeps=True) is not None


@pytest.mark.parametrize("step", [0.0, -2.0, 3_600.0], ids=["none", "a little", "forward"])
def test_a_client_that_stands_still_over_something_else(step: float) -> None:
    machine = Machine()
    machine.wall += step
    assert machine.seconds(10 * LOOKS, sleeps=True) is None


def test_a_client_that_goes_on_or_has_not_begun() -> None:
    machine = Machine()
    machine.wall -= 600.0
    assert machine.seconds(10 * LOOKS) is None
    machine = Machine(turned_at=0.0)
    machine.wall -= 600.0
    assert machine.seconds(10 * LOOKS, sleeps=True) is None


def test_a_machine_that_stood_still_meanwhile() -> None:
    machine = Machine()
    machine.wall -= 600.0
    machine.wall, machine.monotonic = machine.wall + 3_600.0, machine.monotonic + 3_600.0
    assert machine.seconds(1, sleeps=True) is None
    assert machine.seconds(10 * LOOKS) is None


def test_it_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[OdradekError] = []
    watch = ClockWatch(lambda: 1.0, said.append)
    error = OdradekError("set back")
    monkeypatch.setattr(watch, "look", lambda: error)
    watch.start()
    watch.join(30)
    assert said == [error] and not watch.is_alive()
