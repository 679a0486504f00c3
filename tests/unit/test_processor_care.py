"""Who is blamed when owners die in a row, and who is not."""

from __future__ import annotations

from odradek.processor.care import (
    CAREFUL_INPUTS,
    CAREFUL_TIMERS,
    DEATHS_BEFORE_HOLDING,
    OWNS_BEFORE_CARE,
    PROVEN_AFTER_SECONDS,
    Care,
)
from odradek.wire.state import PositionRow


def _row(care: Care) -> PositionRow:
    """What an owner leaves that dies now."""
    counts = {
        "owns": care.input_owns,
        "timer_owns": care.owns,
        "processing": care.processing,
        "deaths": care.deaths,
    }
    return PositionRow(offset=0, events_topic_id="e", state_topic_id="s", partitions=1, **counts)


def _deaths(count: int, processing: str = "") -> Care:
    """The next owner after so many of them died, each in a process of its own; the careful ones
    over this.
    """
    row: PositionRow | None = None
    for _ in range(count):
        care = Care()
        care.own(row)
        if care.careful and processing:
            care.accuse(processing)
        row = _row(care)
    care = Care()
    care.own(row)
    return care


def _named(care: Care, name: str) -> Care:
    """It has come to this."""
    care.accuse(name)
    return care


def _next(care: Care) -> Care:
    """The owner after this one, which dies now."""
    after = Care()
    after.own(_row(care))
    return after


def test_the_third_owner_in_a_row_is_careful() -> None:
    assert not _deaths(OWNS_BEFORE_CARE - 1).careful
    care = _deaths(OWNS_BEFORE_CARE)
    assert care.careful and care.owns == OWNS_BEFORE_CARE + 1
    assert not care.accuse("input/1/w")  # nothing was named yet
    assert "2 owners in a row" in care.reason


def test_what_was_named_is_accused_once_with_the_number_of_owners_that_died_over_it() -> None:
    care = _deaths(OWNS_BEFORE_CARE + 3, "input/1/w")
    assert care.accused == "input/1/w" and "3 of them over input/1/w" in care.reason
    assert care.accuse("input/1/w") == 3
    assert care.accuse("input/1/w") == 0
    other = _deaths(OWNS_BEFORE_CARE + 2, "input/1/w")
    assert other.accuse("input/0/other") == 0
    assert other.accuse("input/1/w") == 2, (
        "something else, a parked run or a timer, may come before it"
    )


def test_what_owners_were_killed_over_by_chance_is_no_culprit() -> None:
    """Each died over another input: nothing is counted together."""
    row = None
    for number in range(10):
        care = Care()
        care.own(row)
        if care.careful:
            assert care.accuse(f"input/{number}/w") == 0
        row = _row(care)


def test_who_dies_before_it_comes_to_what_is_accused_did_not_die_over_it() -> None:
    care = _next(_named(_deaths(OWNS_BEFORE_CARE), "input/1/w"))
    for _ in range(10):
        assert care.deaths_over("input/1/w") == 1 and care.accused == "input/1/w"
        care = _next(care)  # its own row, and it ends
    assert _next(_named(care, "input/1/w")).deaths_over("input/1/w") == 2, (
        "but who had come to it did"
    )


def test_what_came_before_it_and_is_done_keeps_it_accused() -> None:
    """A timer comes behind the inputs that were there: another lane of the process may kill all
    of them in between.
    """
    care = _next(_named(_deaths(OWNS_BEFORE_CARE), "timer/k"))
    for number in range(10):
        _named(care, f"input/{number}/w")
        assert _row(care).processing == f"input/{number}/w"
        care.done()
        assert care.deaths_over("timer/k") == 1
        care = _next(care)
    assert _next(_named(care, "timer/k")).deaths_over("timer/k") == 2


def test_a_trial_beside_others_counts_for_nothing() -> None:
    care = _deaths(OWNS_BEFORE_CARE + 2, "input/1/w")
    assert care.accuse("input/1/w", alone=False) == 2
    care = _next(care)
    assert care.accuse("input/1/w") == 2
    assert _next(care).accuse("input/1/w") == 3


def test_an_own_that_ended_over_the_cluster_before_its_trial_forgets_no_death() -> None:
    care = _deaths(OWNS_BEFORE_CARE + 2, "input/1/w")
    for _ in range(5):
        row = _row(care)
        care.ended(blameless=True)
        care.own(row)
        assert care.deaths_over("input/1/w") == 2


def test_who_comes_through_what_was_there_ends_the_count_but_not_the_care_of_inputs() -> None:
    care = _deaths(1)
    care.came_through()
    assert care.owns == 0
    careful = _deaths(OWNS_BEFORE_CARE)
    careful.came_through()  # one thing went through: the next may still be the guilty one
    assert careful.owns == OWNS_BEFORE_CARE + 1
    for _ in range(CAREFUL_INPUTS):
        assert careful.careful_of_inputs
        assert not careful.took_one(timer=False)
    assert not careful.careful_of_inputs and careful.careful_of_timers, (
        "inputs without end keep no timer from being named"
    )
    careful.came_through()
    assert not careful.careful and careful.owns == 0


def test_owners_that_applied_inputs_make_timers_suspect_alone() -> None:
    """Killed from outside every few seconds, a partition goes on with its inputs as fast as ever."""
    row = None
    for _ in range(10):
        care = Care()
        care.own(row)
        assert not care.careful_of_inputs
        care.took_inputs()
        row = _row(care)
    assert care.careful_of_timers and care.owns == 10
    for _ in range(OWNS_BEFORE_CARE):  # these do not come to their first
        care = _next(care)
    assert _next(care).careful_of_inputs
    care = _next(care)
    care.took_inputs()  # one of them, with care: the next may still be the guilty one
    assert _next(care).careful_of_inputs


def test_so_many_timers_are_enough_too() -> None:
    care = _deaths(OWNS_BEFORE_CARE)
    assert not any(care.took_one(timer=True) for _ in range(CAREFUL_TIMERS + 50))
    assert not care.careful_of_timers and care.careful_of_inputs
    assert not any(care.took_one(timer=False) for _ in range(CAREFUL_INPUTS - 1))
    assert care.took_one(timer=False)
    care.over()
    assert not care.careful and care.owns == 0


def test_a_timer_that_kills_is_held_whatever_is_applied_before_it() -> None:
    """Each owner applies inputs and dies over the same timer: the sixth, if the first had come
    through what it found.
    """
    care, deaths = Care(), 0
    care.own(None)
    care.came_through()
    while care.deaths_over("timer/k") < DEATHS_BEFORE_HOLDING:
        if care.careful:
            for number in range(3):
                care.accuse(f"input/{number}/w")
                care.done()
                assert not care.took_one(timer=False)
            care.accuse("timer/k")
        deaths += 1
        care = _next(care)
    assert deaths == 6


def test_an_own_that_ended_over_the_cluster_is_no_death() -> None:
    care, row = Care(), None
    for _ in range(10):
        care.own(row)
        care.accuse("input/1/w")
        row = _row(care)
        care.ended(blameless=True)
    assert care.owns == 1 and not care.careful


def test_a_lane_that_was_careful_accuses_nobody_over_the_cluster() -> None:
    care = _deaths(OWNS_BEFORE_CARE)
    care.accuse("input/1/w")
    row = _row(care)
    care.ended(blameless=True)
    care.own(row)
    assert care.careful and care.accuse("input/1/w") == 0
    care.ended(blameless=False)
    care.own(row)
    assert care.accuse("input/1/w") == 1
    row = _row(care)
    care.ended(blameless=True)
    care.own(row)
    assert care.accuse("input/1/w") == 1, "what was counted stays"


def test_an_own_that_ended_before_it_read_the_row_says_nothing_of_it() -> None:
    """Such as over a restore that failed, or a store that somebody still has open, after one
    that ended over the cluster.
    """
    care = _deaths(OWNS_BEFORE_CARE)
    for _ in range(4):
        row = _row(_named(care, "input/1/w"))
        care.ended(blameless=True)
        care.ended(blameless=False)
        care.own(row)
        assert care.deaths_over("input/1/w") == 0
    row = _row(_named(care, "input/1/w"))
    care.ended(blameless=False)
    care.ended(blameless=True)
    care.own(row)
    assert care.deaths_over("input/1/w") == 1, "nor does it forgive"


def test_what_was_named_and_not_tried_is_as_if_it_had_not_been() -> None:
    care = _named(_deaths(OWNS_BEFORE_CARE), "input/1/w")
    assert care.blames
    care.withdraw()
    assert not care.blames and care.processing == "" and not _next(care).deaths_over("input/1/w")
    care = _named(_deaths(OWNS_BEFORE_CARE + 2, "input/1/w"), "input/1/w")
    care.withdraw()
    assert not care.blames and care.processing == "input/1/w"
    assert _next(care).deaths_over("input/1/w") == 2, "what was counted stays"


def test_a_trial_beside_others_blames_nobody_more() -> None:
    care = _deaths(OWNS_BEFORE_CARE + 2, "input/1/w")
    care.accuse("input/1/w", alone=False)
    assert not care.blames and _next(care).deaths_over("input/1/w") == 2


def test_an_owner_that_lives_is_proven_once() -> None:
    care = _deaths(2)
    assert not care.proven(PROVEN_AFTER_SECONDS - 1)
    assert care.proven(PROVEN_AFTER_SECONDS)
    assert not care.proven(PROVEN_AFTER_SECONDS + 60)
