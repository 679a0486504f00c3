"""Who is blamed when owners die in a row, and who is not."""

from __future__ import annotations

from odradek.processor.care import CAREFUL_INPUTS, OWNS_BEFORE_CARE, PROVEN_AFTER_SECONDS, Care
from odradek.wire.state import PositionRow


def _row(care: Care, processing: str = "") -> PositionRow:
    """What an owner leaves that dies now."""
    return PositionRow(
        offset=0, events_topic_id="e", state_topic_id="s", partitions=1, cluster_id="c", identity="i", owns=care.owns, processing=processing
    )


def _deaths(count: int, processing: str = "") -> Care:
    """The next owner after so many of them died, each in a process of its own."""
    row: PositionRow | None = None
    for _ in range(count):
        care = Care()
        care.own(row)
        row = _row(care, processing)
    care = Care()
    care.own(row)
    return care


def test_the_fourth_owner_in_a_row_is_careful() -> None:
    assert not _deaths(OWNS_BEFORE_CARE - 1).careful
    care = _deaths(OWNS_BEFORE_CARE)
    assert care.careful and care.owns == OWNS_BEFORE_CARE + 1
    assert not care.accuse("input/1/w")  # nothing was named yet


def test_what_was_named_is_accused_once() -> None:
    care = _deaths(OWNS_BEFORE_CARE + 1, "input/1/w")
    assert care.accused == "input/1/w"
    assert care.accuse("input/1/w")
    assert not care.accuse("input/1/w")
    other = _deaths(OWNS_BEFORE_CARE + 1, "input/1/w")
    assert not other.accuse("input/0/other")
    assert other.accuse("input/1/w"), "something else, a parked run or a timer, may come before it"


def test_progress_ends_the_count_but_not_the_care() -> None:
    care = _deaths(1)
    care.progress()
    assert care.owns == 0
    careful = _deaths(OWNS_BEFORE_CARE)
    careful.progress()  # one thing went through: the next may still be the guilty one
    assert careful.owns == OWNS_BEFORE_CARE + 1
    assert not any(careful.took_one() for _ in range(CAREFUL_INPUTS - 1))
    assert careful.took_one()
    careful.over()
    assert not careful.careful and careful.owns == 0


def test_an_own_that_ended_over_the_cluster_is_no_death() -> None:
    care, row = Care(), None
    for _ in range(10):
        care.own(row)
        row = _row(care, "input/1/w")
        care.ended(blameless=True)
    assert care.owns == 1 and not care.careful


def test_a_lane_that_was_careful_accuses_nobody_over_the_cluster() -> None:
    care = _deaths(OWNS_BEFORE_CARE)
    row = _row(care, "input/1/w")
    care.ended(blameless=True)
    care.own(row)
    assert care.careful and not care.accuse("input/1/w")
    care.ended(blameless=False)
    care.own(row)
    assert care.accuse("input/1/w")


def test_an_owner_that_lives_is_proven_once() -> None:
    care = _deaths(2)
    assert not care.proven(PROVEN_AFTER_SECONDS - 1)
    assert care.proven(PROVEN_AFTER_SECONDS)
    assert not care.proven(PROVEN_AFTER_SECONDS + 60)
