"""How much of a topic is on the way, and what comes back of a batch that was refused."""

from __future__ import annotations

import pytest

from odradek.kafka.windows import Windows

BATCH = 1_000


class Bench:
    """Records are numbers of so many bytes each; `sent` goes on the way in that order."""

    def __init__(self, size: int = 100, held_max: int = 1_000) -> None:
        self.limits: dict[str, int] = {}
        self.windows: Windows[int] = Windows(lambda _: size, batch=BATCH, limits=self.limits, held_max=held_max)
        self.sent: list[int] = []

    def send(self, *numbers: int) -> None:
        self.sent += [number for number in numbers if self.windows.enter("t", number)]

    def deliver(self, *numbers: int) -> None:
        for number in numbers:
            self.windows.left("t", number)
            self.sent += self.windows.ready("t")

    def refuse(self, *numbers: int) -> list[bool]:
        found = []
        for number in numbers:
            found.append(self.windows.refused("t", number))
            self.sent += self.windows.ready("t")
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_topic_that_takes_batches_has_no_window(bench: Bench) -> None:
    bench.limits["t"] = BATCH
    bench.send(*range(100))
    assert bench.sent == list(range(100)) and bench.windows.held == 0


def test_no_more_than_the_topic_takes_is_on_the_way(bench: Bench) -> None:
    bench.limits["t"] = 350
    bench.send(*range(10))
    assert bench.sent == [0, 1, 2] and bench.windows.held == 7
    bench.deliver(0)
    assert bench.sent == [0, 1, 2, 3]
    bench.deliver(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert bench.sent == list(range(10)) and bench.windows.held == 0


def test_one_that_is_larger_than_the_window_goes_alone() -> None:
    bench = Bench(size=100)
    bench.limits["t"] = 50
    bench.send(1, 2)
    assert bench.sent == [1]
    assert bench.refuse(1) == [False]
    bench.deliver(1)
    assert bench.sent == [1, 2]


def test_what_was_refused_together_comes_again_in_order_before_what_came_later(bench: Bench) -> None:
    bench.send(*range(6))
    assert bench.refuse(0, 1, 2) == [True, True, True]
    assert bench.windows.unsure("t")
    bench.windows.learn("t", 200)
    bench.send(6)
    bench.deliver(3)
    assert bench.sent == list(range(6)), "some of it is still on the way"
    assert bench.refuse(4, 5) == [True, True] and not bench.windows.unsure("t")
    assert bench.sent[6:] == [0, 1]
    bench.deliver(0, 1, 2, 4)
    assert bench.sent[6:] == [0, 1, 2, 4, 5, 6]


def test_refused_again_within_the_window_each_goes_alone_and_then_it_is_its_own_fault(bench: Bench) -> None:
    bench.limits["t"] = 300
    bench.send(1, 2, 3, 4)
    assert bench.refuse(1, 2, 3) == [True, True, True]
    bench.windows.learn("t", 300)  # what was believed before
    assert bench.sent == [1, 2, 3, 1]
    assert bench.refuse(1) == [False]
    bench.deliver(1)
    assert bench.sent == [1, 2, 3, 1, 2]
    bench.deliver(2, 3, 4)
    assert bench.sent == [1, 2, 3, 1, 2, 3, 4]


def test_one_alone_is_refused_for_itself_and_makes_no_window(bench: Bench) -> None:
    bench.send(1)
    assert bench.refuse(1) == [False]
    bench.deliver(1)
    bench.send(2, 3)
    assert bench.sent == [1, 2, 3]


def test_the_first_of_two_is_not_alone(bench: Bench) -> None:
    bench.send(1, 2)
    bench.deliver(2)
    assert bench.refuse(1) == [True]
    assert bench.sent == [1, 2, 1]
    assert bench.refuse(1) == [False]


def test_too_many_that_wait_are_a_buffer_error() -> None:
    bench = Bench(held_max=2)
    bench.limits["t"] = 100
    bench.send(1, 2, 3)
    with pytest.raises(BufferError):
        bench.send(4)
    assert bench.windows.clear() == [2, 3] and bench.windows.held == 0
