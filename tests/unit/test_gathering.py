"""When lanes and services wait a moment for more: under load they do, what comes alone never does."""

from __future__ import annotations

from odradek.activities.gathering import CROWDED_FROM, GATHER_S, Gathering


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def crowded() -> tuple[Gathering, Clock]:
    clock = Clock()
    gathering = Gathering(clock)
    for _ in range(CROWDED_FROM + 1):
        assert not gathering.waits()
    clock.now += GATHER_S * 1.01
    return gathering, clock


def test_an_answer_that_comes_alone_leaves_at_once() -> None:
    clock = Clock()
    gathering = Gathering(clock)
    for _ in range(20):
        assert not gathering.waits()
        assert gathering.ripe()
        clock.now += GATHER_S * 1.01


def test_answers_gather_after_a_crowded_stretch_and_go_together() -> None:
    gathering, clock = crowded()
    assert gathering.waits()
    assert gathering.ripe()  # nothing was released for long
    assert gathering.waits()
    assert not gathering.ripe()
    clock.now += GATHER_S * 1.01
    assert gathering.ripe()


def test_gathering_ends_with_the_load() -> None:
    gathering, clock = crowded()
    assert gathering.waits()
    clock.now += GATHER_S * 1.01
    assert not gathering.waits()  # one in the last stretch
    gathering, clock = crowded()
    clock.now += 10 * GATHER_S  # the crowd was long ago
    assert not gathering.waits()
