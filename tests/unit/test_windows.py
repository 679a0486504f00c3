"""How much of a topic is on the way, and what comes back of a batch that was refused."""

from __future__ import annotations

import pytest

from odradek.kafka.windows import ANY, ASK_AGAIN_MAX_S, ASK_AGAIN_S, Windows

BATCH = 1_000


class Bench:
    """Records are numbers of so many bytes each, negative ones larger than a batch; `sent` goes
    on the way in that order.
    """

    def __init__(self, size: int = 100, held_max: int = 1_000) -> None:
        self.limits: dict[str, int] = {}
        self.now = 0.0
        self.windows: Windows[int] = Windows(
            lambda number: size if number >= 0 else BATCH + 1,
            batch=BATCH,
            limits=self.limits,
            held_max=held_max,
            clock=lambda: self.now,
        )
        self.sent: list[int] = []

    def send(self, *numbers: int, partition: int = ANY) -> None:
        self.sent += [number for number in numbers if self.windows.enter(("t", partition), number)]

    def deliver(self, *numbers: int, partition: int = ANY) -> None:
        for number in numbers:
            self.windows.left(("t", partition), number)
            self.sent += self.windows.ready(("t", partition))

    def refuse(self, *numbers: int, partition: int = ANY) -> list[bool]:
        found = []
        for number in numbers:
            found.append(self.windows.refused(("t", partition), number))
            self.sent += self.windows.ready(("t", partition))
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


def test_what_was_refused_together_comes_again_in_order_before_what_came_later(
    bench: Bench,
) -> None:
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


def test_refused_again_within_the_window_each_goes_alone_and_then_it_is_its_own_fault(
    bench: Bench,
) -> None:
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


def test_one_larger_than_a_batch_is_refused_for_itself_whatever_is_on_the_way(bench: Bench) -> None:
    bench.limits["t"] = BATCH + 500
    bench.send(1, 2, -1, 3)
    assert bench.refuse(-1) == [False]
    bench.deliver(-1, 1, 2, 3)
    bench.send(*range(10, 40))
    assert bench.sent == [1, 2, -1, 3, *range(10, 40)] and bench.windows.limit("t") is None


def test_an_answer_that_was_refused_narrows_step_by_step(bench: Bench) -> None:
    """An old answer, or none: half of what was refused each time, never one by one for ever."""
    for turn, answer in enumerate([2 * BATCH, 0, 600]):
        numbers = range(10 * turn, 10 * turn + 2)
        bench.send(*numbers)
        assert bench.refuse(*numbers) == [True, True]
        assert bench.windows.unsure("t")
        bench.windows.learn("t", answer)
        assert bench.windows.limit("t") == BATCH // 2 ** (turn + 1)
        bench.deliver(*numbers)


def test_a_guess_is_asked_for_again_and_then_less_often(bench: Bench) -> None:
    bench.send(1, 2)
    bench.refuse(1, 2)
    bench.windows.learn("t", 0)
    assert bench.windows.limit("t") == 500 and bench.windows.due() == []
    bench.deliver(1, 2)
    waited = []
    for _ in range(10):
        began = bench.now
        while not bench.windows.due():
            bench.now += ASK_AGAIN_S
        waited.append(bench.now - began)
        bench.windows.learn_again("t", 0)  # still nobody says: twice as much is tried
        assert bench.windows.limit("t") is None and bench.windows.due() == []
        bench.send(1, 2)
        bench.refuse(1, 2)
        bench.windows.learn("t", 0)
        bench.deliver(1, 2)
    assert waited == sorted(waited) and waited[0] == ASK_AGAIN_S and waited[-1] == ASK_AGAIN_MAX_S
    while not bench.windows.due():
        bench.now += ASK_AGAIN_S
    bench.windows.learn_again("t", 300)
    bench.now += 2 * ASK_AGAIN_MAX_S
    assert bench.windows.limit("t") == 300 and bench.windows.due() == []


def test_a_topic_that_takes_batches_after_all_has_no_window_any_more(bench: Bench) -> None:
    bench.send(1, 2)
    bench.refuse(1, 2)
    bench.windows.learn(
        "t", 2 * BATCH
    )  # an old answer, or one that was lowered and is raised again
    bench.deliver(1, 2)
    bench.now += ASK_AGAIN_S
    assert bench.windows.due() == ["t"]
    bench.windows.learn_again("t", 2 * BATCH)
    bench.send(*range(3, 50))
    assert bench.sent[-47:] == list(range(3, 50)) and bench.windows.limit("t") is None


def test_partitions_have_windows_of_their_own(bench: Bench) -> None:
    bench.limits["t"] = 250
    bench.send(1, 2, 3, partition=0)  # has no leader
    bench.send(11, 12, 13, 14, partition=1)
    assert bench.sent == [1, 2, 11, 12]
    bench.deliver(11, 12, partition=1)
    assert bench.sent == [1, 2, 11, 12, 13, 14]
    bench.deliver(1, partition=0)
    assert bench.sent[-1] == 3


def test_what_one_partition_teaches_holds_for_all(bench: Bench) -> None:
    bench.send(1, 2, 3, partition=0)
    bench.send(11, 12, 13, partition=1)
    bench.send(21, partition=2)
    assert bench.refuse(1, partition=0) == [True]
    bench.windows.learn("t", 250)
    assert bench.refuse(2, 3, partition=0) == [True, True]
    bench.send(22, partition=2)
    assert bench.sent[7:] == [1, 2], "what else is on the way entered without a window"
    assert bench.refuse(11, 12, 13, partition=1) == [True] * 3 and not bench.windows.unsure("t"), (
        "refused for what was known too late"
    )
    assert bench.sent[7:] == [1, 2, 11, 12]
    bench.deliver(21, partition=2)
    assert bench.sent[-1] == 22
    bench.send(31, 32, 33, partition=3)
    assert bench.sent[-2:] == [31, 32]


def test_a_record_whose_partition_is_not_known_makes_one_window_of_all(bench: Bench) -> None:
    """It may have been in a batch with any of them: nobody is told that it was refused alone."""
    bench.send(1, partition=0)
    bench.send(2)
    bench.send(3, partition=1)
    assert bench.refuse(2) == [True]
    bench.windows.learn("t", 250)
    assert bench.refuse(1, partition=0) == [True]
    bench.deliver(3, partition=1)
    assert bench.sent == [1, 2, 3, 2, 1]
    bench.send(4, partition=2)
    bench.deliver(2)
    bench.deliver(1, partition=0)
    bench.deliver(4, partition=2)
    assert bench.sent == [1, 2, 3, 2, 1, 4] and bench.windows.held == 0
