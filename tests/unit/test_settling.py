"""When a member that comes back joins once more, and what it keeps of its assignment."""

from __future__ import annotations

from pathlib import Path

import pytest

from odradek.kafka.settling import FILE_NAME, Settling

QUIET_S, ALL = 3.0, 4
MOVES = '"moving"'


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def back(directory: Path, clock: Clock, *, had: str | None) -> Settling:
    """A member that has just been assigned something, once, having had this."""
    if had is not None:
        (directory / FILE_NAME).write_text(had)
    settling = Settling(directory, QUIET_S, clock)
    settling.begin()
    settling.assigned()
    clock.now_s += QUIET_S
    return settling


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
        (MOVES, [0, 1], True),  # killed while the group shared out
        (MOVES, [], True),
        (MOVES, [0, 1, 2, 3], False),
    ],
)
def test_one_that_comes_back_joins_once_more_unless_it_has_all_or_what_it_had(
    tmp_path: Path, clock: Clock, had: str | None, has: list[int], again: bool
) -> None:
    settling = back(tmp_path, clock, had=had)
    assert settling.must_rejoin(has, ALL) is again
    assert kept(tmp_path) == (MOVES if again else str(sorted(has)))


def test_it_waits_for_the_rebalance_that_may_come_by_itself(tmp_path: Path, clock: Clock) -> None:
    settling = back(tmp_path, clock, had="[0, 1]")
    clock.now_s -= 0.5
    assert not settling.must_rejoin([0], ALL)
    settling.assigned()
    clock.now_s += QUIET_S
    assert not settling.must_rejoin([0], ALL), "the group has shared out anew since it is back"
    assert kept(tmp_path) == "[0]"


def test_it_joins_once_more_once_and_keeps_what_comes_of_it(tmp_path: Path, clock: Clock) -> None:
    settling = back(tmp_path, clock, had="[0, 1, 2, 3]")
    assert settling.must_rejoin([2, 3], ALL)
    assert not settling.must_rejoin([], ALL)
    settling.moved()
    settling.assigned()
    clock.now_s += QUIET_S
    assert not settling.must_rejoin([2, 3], ALL)
    assert kept(tmp_path) == "[2, 3]"


def test_from_the_first_move_on_it_is_known_to_move_until_the_group_is_at_rest(
    tmp_path: Path, clock: Clock
) -> None:
    """One that is killed between the rounds, however soon after others, must not find what it is
    left with.
    """
    settling = back(tmp_path, clock, had="[0, 1]")
    assert not settling.must_rejoin([0, 1], ALL)
    assert kept(tmp_path) == "[0, 1]"
    settling.moved()
    assert kept(tmp_path) == MOVES
    settling.assigned()
    clock.now_s += QUIET_S / 2
    assert not settling.must_rejoin([1], ALL)
    assert kept(tmp_path) == MOVES
    clock.now_s += QUIET_S / 2
    settling.must_rejoin([1], ALL)
    assert kept(tmp_path) == "[1]"


@pytest.mark.parametrize(("moves", "left"), [(False, "[0, 1]"), (True, MOVES)])
def test_what_a_consumer_gives_back_when_it_closes_is_no_move(
    tmp_path: Path, clock: Clock, moves: bool, left: str
) -> None:
    """The broker keeps it for a static member: one that is back finds it, unless the group took
    something of it before.
    """
    settling = back(tmp_path, clock, had="[0, 1]")
    assert not settling.must_rejoin([0, 1], ALL)
    if moves:
        settling.moved()
    settling.end()
    settling.moved()
    assert kept(tmp_path) == left
    again = back(tmp_path, clock, had=None)
    assert again.must_rejoin([0, 1], ALL) is moves
    settling.begin()  # or it goes on, with another consumer
    settling.moved()
    assert kept(tmp_path) == MOVES


def test_a_new_consumer_of_the_same_process_asks_as_one_that_was_killed(
    tmp_path: Path, clock: Clock
) -> None:
    settling = back(tmp_path, clock, had="[0, 1]")
    assert not settling.must_rejoin([0, 1], ALL)
    for moves, again in ((True, True), (False, False)):
        if moves:
            settling.moved()
        settling.begin()
        settling.assigned()
        clock.now_s += QUIET_S
        assert settling.must_rejoin([0, 1], ALL) is again
        settling.assigned()
        clock.now_s += QUIET_S
        assert not settling.must_rejoin([0, 1], ALL)


def test_a_member_that_is_not_static_or_cannot_write_never_does(
    tmp_path: Path, clock: Clock
) -> None:
    settling = Settling(None, QUIET_S, clock)
    settling.assigned()
    clock.now_s += QUIET_S
    assert not settling.must_rejoin([1], ALL)
    gone = back(tmp_path, clock, had="[1]")
    (tmp_path / FILE_NAME).unlink()
    tmp_path.rmdir()
    gone.assigned()
    clock.now_s += QUIET_S
    assert not gone.must_rejoin([1, 2], ALL)
