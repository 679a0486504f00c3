"""How many bytes a transaction may hold: halved by those that took long in vain, back with those
that get through.
"""

from __future__ import annotations

from odradek.processor.pacing import BYTES_LEAST, BYTES_MAX, LONG_SECONDS, ByteBound


def test_it_halves_below_what_was_tried_and_comes_back() -> None:
    bound = ByteBound()
    bound.failed(6_000_000, LONG_SECONDS)
    assert bound.limit == 3_000_000
    bound.committed(1_000_000)  # says nothing about larger ones
    assert bound.limit == 3_000_000
    bound.committed(2_000_000)
    assert bound.limit == 6_000_000
    for _ in range(10):
        bound.committed(bound.limit)
    assert bound.limit == BYTES_MAX


def test_what_fails_at_once_says_nothing_of_its_size() -> None:
    bound = ByteBound()
    bound.failed(6_000_000, LONG_SECONDS / 2)
    assert bound.limit == BYTES_MAX


def test_it_has_a_floor() -> None:
    bound = ByteBound()
    for _ in range(40):
        bound.failed(bound.limit + 1, 60.0)
    assert bound.limit == BYTES_LEAST


def test_a_small_one_that_fails_says_nothing_of_sizes() -> None:
    """A position row that a broker which is away does not take: it halved the bound down to its
    floor.
    """
    bound = ByteBound()
    bound.failed(300, 60.0)
    assert bound.limit == BYTES_MAX
