"""Timers: the near ones in memory, in order, released only behind the end that was asked for
when they fell due.
"""

from __future__ import annotations

import pytest

from odradek.engine.keys import timer_key
from odradek.engine.memory import MemoryTables
from odradek.engine.ports import TIMER, RowChange
from odradek.processor import timers as module
from odradek.processor.timers import HORIZON_MS, POSTPONE_MS, Timers
from odradek.wire.state import TimerRow

NOW = 1_000_000_000


def _put(due_ms: int, number: int = 0) -> RowChange:
    row = TimerRow(due_ms, "w", "r", "USER", number)
    return RowChange(TIMER, timer_key(due_ms, "r", "USER", number), row)


def _delete(due_ms: int, number: int = 0) -> RowChange:
    return RowChange(TIMER, timer_key(due_ms, "r", "USER", number), None)


class Table:
    """A store and the timers over it, changed together as a commit does."""

    def __init__(self, *changes: RowChange) -> None:
        self.tables = MemoryTables()
        self.tables.apply(changes)
        self.timers = Timers(self.tables)

    def commit(self, *changes: RowChange) -> None:
        self.tables.apply(changes)
        self.timers.note(changes)

    def release(self, now_ms: int) -> None:
        assert self.timers.wants_end(now_ms)
        self.timers.asked(now_ms)
        self.timers.answered(0)
        self.timers.passed(0)

    def taken(self, limit: int = 100, now_ms: int = NOW + 10 * HORIZON_MS) -> list[int]:
        return [row.id for row in self.timers.take(limit, now_ms)]


def test_nothing_goes_before_the_position_passed_the_end() -> None:
    table = Table(_put(NOW, 1))
    timers = table.timers
    assert not timers.wants_end(NOW - 1)
    assert timers.wants_end(NOW)
    assert table.taken() == []
    timers.asked(NOW)
    assert not timers.wants_end(NOW)
    timers.passed(10**9)  # the answer is not here yet: no position releases
    assert table.taken() == []
    timers.answered(7)
    timers.passed(6)
    assert table.taken() == []
    assert timers.awaited_end() == 7
    timers.passed(7)
    assert table.taken() == [1]
    assert timers.awaited_end() == -1


def test_an_answer_speaks_for_its_own_moment_only() -> None:
    table = Table(_put(NOW, 1), _put(NOW + 5, 2))
    table.release(NOW)
    assert table.taken() == [1]
    table.commit(_delete(NOW, 1))
    assert table.taken() == []  # due since, but not covered by that answer
    assert table.timers.wants_end(NOW + 5)


def test_failed_question_is_asked_again() -> None:
    table = Table(_put(NOW, 1))
    table.timers.asked(NOW)
    table.timers.answered(-1)
    assert table.timers.wants_end(NOW)


def test_taken_timers_stay_until_their_rows_are_gone() -> None:
    table = Table(_put(NOW, 1), _put(NOW, 2))
    table.release(NOW)
    assert table.taken() == [1, 2]
    assert table.taken() == [1, 2]  # the transaction failed: they come again
    table.commit(_delete(NOW, 1), _delete(NOW, 2))
    assert table.taken() == []
    assert len(table.timers) == 0


def test_bounded_in_order() -> None:
    table = Table(*(_put(NOW + n, n) for n in range(9, -1, -1)))
    table.release(NOW + 100)
    assert table.taken(4) == [0, 1, 2, 3]
    table.commit(*(_delete(NOW + n, n) for n in range(4)))
    assert table.taken(4) == [4, 5, 6, 7]


def test_put_deleted_and_put_again() -> None:
    table = Table()
    assert table.timers.next_due_ms(NOW) is None
    for _ in range(3):
        table.commit(_put(NOW, 1))
        table.commit(_delete(NOW, 1))
    table.commit(_put(NOW, 1))
    table.release(NOW)
    assert table.taken() == [1]


def test_far_timers_wait_in_the_store() -> None:
    table = Table(_put(NOW + HORIZON_MS * 3, 1))
    assert table.timers.next_due_ms(NOW) is None
    table.commit(_put(NOW + HORIZON_MS * 2, 2))
    assert len(table.timers) == 0
    later = NOW + HORIZON_MS * 2
    assert table.timers.next_due_ms(later) == later
    assert table.timers.next_due_ms(later + HORIZON_MS) == later


def test_memory_is_bounded_and_nothing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage everything may be due: it passes through in chunks, also what is put
    meanwhile.
    """
    monkeypatch.setattr(module, "ROWS_MAX", 10)
    table = Table(*(_put(NOW + n, n) for n in range(0, 100, 2)))
    assert table.timers.next_due_ms(NOW + 1_000) == NOW
    assert len(table.timers) <= 10
    table.commit(*(_put(NOW + n, n) for n in range(1, 100, 2)))
    assert len(table.timers) <= 20
    seen: list[int] = []
    while table.timers.next_due_ms(NOW + 1_000) is not None:
        if table.timers.wants_end(NOW + 1_000):
            table.release(NOW + 1_000)
        taken = table.taken(7)
        seen += taken
        table.commit(*(_delete(NOW + n, n) for n in taken))
    assert seen == list(range(100))


def test_postponed() -> None:
    table = Table(_put(NOW, 1), _put(NOW, 2))
    table.release(NOW)
    table.timers.postpone(TimerRow(NOW, "w", "r", "USER", 1), NOW)
    assert table.taken() == [2]
    table.commit(_delete(NOW, 2))
    assert table.timers.next_due_ms(NOW + 1) is None
    assert table.timers.next_due_ms(NOW + POSTPONE_MS) == NOW
    assert table.taken() == [1]


def test_a_clock_that_is_set_back_releases_nothing_early() -> None:
    """It was ten minutes ahead, and a timer was released by it. One that is set now waits for
    its own time, and for an end of its own.
    """
    ahead = NOW + 600_000
    table = Table(_put(ahead - 5, 1))
    table.release(ahead)
    assert table.taken(now_ms=ahead) == [1]
    table.commit(_delete(ahead - 5, 1), _put(NOW + 60_000, 2), _put(NOW + 60_000, 3))
    assert not table.timers.wants_end(NOW) and table.taken(now_ms=NOW) == []
    assert not table.timers.wants_end(NOW + 59_999) and table.taken(now_ms=NOW + 59_999) == []
    assert table.taken(now_ms=NOW + 60_000) == [], "no end was asked for when they fell due"
    table.release(NOW + 60_000)
    assert table.taken(now_ms=NOW + 60_000) == [2, 3]


def test_a_clock_that_is_set_back_while_an_end_is_asked_for() -> None:
    ahead = NOW + 600_000
    table = Table(_put(ahead - 5, 1), _put(NOW + 60_000, 2))
    timers = table.timers
    assert timers.wants_end(ahead)
    timers.asked(ahead)
    assert not timers.wants_end(NOW) and timers.late_ms == 0
    timers.answered(7)
    timers.passed(7)
    assert table.taken(now_ms=NOW) == []
    table.release(NOW + 60_000)
    assert table.taken(now_ms=NOW + 60_000) == [2]
