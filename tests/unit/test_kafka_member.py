"""When a member that comes back joins once more, and what it keeps of its assignment."""

from __future__ import annotations

from pathlib import Path

import pytest

from odradek.kafka.member import FILE_NAME, RebalanceMark

REST_S, ALL = 3.0, 4
REBALANCING = '"rebalancing"'


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def back(directory: Path, clock: Clock, *, had: str | None) -> RebalanceMark:
    """A member that has just been assigned something, once, having had this."""
    if had is not None:
        (directory / FILE_NAME).write_text(had)
    mark = RebalanceMark(directory, REST_S, clock)
    mark.joining()
    mark.assigned()
    clock.now_s += REST_S
    return mark


def kept(directory: Path) -> str | None:
    path = directory / FILE_NAME
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize(
    ("had", "has", "again"),
    [
        ("[0, 1, 2, 3]", [2, 3], True),
        ("[0, 1, 2, 3]", [], True),
        ("[0, 1]", [0], True),
        ("[0, 1]", [0, 1], False),
        ("[0, 1]", [0, 1, 2, 3], False),  # all there are
        (None, [], False),  # a new one, and the others give back just now
        (None, [0, 1, 2, 3], False),
        (None, [0, 1], True),  # its directory is lost
        ("[0, 1", [0, 1], True),  # half a file
        ('{"a": 1}', [0, 1], True),
        ("[Infinity]", [0, 1], True),
        ('["0", "1"]', [0, 1], True),
        ("[" * 100_000, [0, 1], True),
        (REBALANCING, [0, 1], True),  # killed while the group shared out
        (REBALANCING, [], True),
        (REBALANCING, [0, 1, 2, 3], False),
    ],
)
def test_one_that_comes_back_joins_once_more_unless_it_has_all_or_what_it_had(
    tmp_path: Path, clock: Clock, had: str | None, has: list[int], again: bool
) -> None:
    mark = back(tmp_path, clock, had=had)
    assert mark.must_rejoin(has, ALL) is again
    assert kept(tmp_path) == (REBALANCING if again else str(sorted(has)))


def test_it_waits_for_the_rebalance_that_may_come_by_itself(tmp_path: Path, clock: Clock) -> None:
    mark = back(tmp_path, clock, had="[0, 1]")
    clock.now_s -= 0.5
    assert not mark.must_rejoin([0], ALL)
    mark.assigned()
    clock.now_s += REST_S
    assert not mark.must_rejoin([0], ALL), "the group has shared out anew since it is back"
    assert kept(tmp_path) == "[0]"


def test_it_joins_once_more_once_and_keeps_what_comes_of_it(tmp_path: Path, clock: Clock) -> None:
    mark = back(tmp_path, clock, had="[0, 1, 2, 3]")
    assert mark.must_rejoin([2, 3], ALL)
    assert not mark.must_rejoin([], ALL)
    mark.rebalancing()
    mark.assigned()
    clock.now_s += REST_S
    assert not mark.must_rejoin([2, 3], ALL)
    assert kept(tmp_path) == "[2, 3]"


def test_from_the_first_move_on_it_is_known_to_move_until_the_group_is_at_rest(
    tmp_path: Path, clock: Clock
) -> None:
    """One that is killed between the rounds, however soon after others, must not find what it is
    left with.
    """
    mark = back(tmp_path, clock, had="[0, 1]")
    assert not mark.must_rejoin([0, 1], ALL)
    assert kept(tmp_path) == "[0, 1]"
    mark.rebalancing()
    assert kept(tmp_path) == REBALANCING
    mark.assigned()
    clock.now_s += REST_S / 2
    assert not mark.must_rejoin([1], ALL)
    assert kept(tmp_path) == REBALANCING
    clock.now_s += REST_S / 2
    mark.must_rejoin([1], ALL)
    assert kept(tmp_path) == "[1]"


@pytest.mark.parametrize(("moves", "left"), [(False, "[0, 1]"), (True, REBALANCING)])
def test_what_a_consumer_gives_back_when_it_closes_is_no_move(
    tmp_path: Path, clock: Clock, moves: bool, left: str
) -> None:
    """The broker keeps it for a static member: one that is back finds it, unless the group took
    something of it before.
    """
    mark = back(tmp_path, clock, had="[0, 1]")
    assert not mark.must_rejoin([0, 1], ALL)
    if moves:
        mark.rebalancing()
    mark.leaving()
    mark.rebalancing()
    assert kept(tmp_path) == left
    again = back(tmp_path, clock, had=None)
    assert again.must_rejoin([0, 1], ALL) is moves
    mark.joining()  # or it goes on, with another consumer
    mark.rebalancing()
    assert kept(tmp_path) == REBALANCING


def test_a_new_consumer_of_the_same_process_asks_as_one_that_was_killed(
    tmp_path: Path, clock: Clock
) -> None:
    mark = back(tmp_path, clock, had="[0, 1]")
    assert not mark.must_rejoin([0, 1], ALL)
    for moves, again in ((True, True), (False, False)):
        if moves:
            mark.rebalancing()
        mark.joining()
        mark.assigned()
        clock.now_s += REST_S
        assert mark.must_rejoin([0, 1], ALL) is again
        mark.assigned()
        clock.now_s += REST_S
        assert not mark.must_rejoin([0, 1], ALL)


def test_a_member_that_is_not_static_or_cannot_write_never_does(
    tmp_path: Path, clock: Clock
) -> None:
    mark = RebalanceMark(None, REST_S, clock)
    mark.assigned()
    clock.now_s += REST_S
    assert not mark.must_rejoin([1], ALL)
    gone = back(tmp_path, clock, had="[1]")
    (tmp_path / FILE_NAME).unlink()
    tmp_path.rmdir()
    gone.assigned()
    clock.now_s += REST_S
    assert not gone.must_rejoin([1, 2], ALL)
