"""Timers: the near ones in memory, in order, released only behind the end that was asked for
when they fell due.
"""

from __future__ import annotations

import pytest

from odradek.engine.keys import timer_key
from odradek.engine.memory import MemoryTables
from odradek.engine.ports import TIMER, RowChange
from odradek.processor import timers as module
from odradek.processor.timers import AGAIN_SECONDS, HORIZON_MS, POSTPONE_MS, Answer, Timers
from odradek.wire.state import TimerRow

NOW = 1_000_000_000
LATER = NOW + 100


def _put(due_ms: int, number: int = 0) -> RowChange:
    row = TimerRow(due_ms, "w", "r", "USER", number)
    return RowChange(TIMER, timer_key(due_ms, "r", "USER", number), row, "w")


def _delete(due_ms: int, number: int = 0) -> RowChange:
    return RowChange(TIMER, timer_key(due_ms, "r", "USER", number), None, "w")


class Table:
    """A store and the timers over it, changed together as a commit does. Ends are asked for, and
    answered by the test.
    """

    def __init__(self, *changes: RowChange) -> None:
        self.tables = MemoryTables()
        self.tables.apply(changes)
        self.asked: list[Answer] = []
        self.clock = ManualClock()
        self.timers = Timers(self.tables, self.asked.append, self.clock)

    def commit(self, *changes: RowChange) -> None:
        self.tables.apply(changes)
        self.timers.note(changes)

    def due(self, now_ms: int, position: int = 0, limit: int = 100) -> list[int]:
        return [row.id for row in self.timers.due(now_ms, position, limit)]

    def release(self, now_ms: int) -> None:
        assert self.due(now_ms) == []
        self.asked.pop()(0)


class ManualClock:
    """Seconds as the test sets them."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ms(self) -> int:
        return NOW


def test_nothing_goes_before_the_position_passed_the_end() -> None:
    table = Table(_put(NOW, 1))
    assert table.due(NOW - 1) == [] and not table.asked
    assert table.due(NOW, 10**9) == [], "the answer is not here yet: no position releases"
    (answer,) = table.asked
    assert table.due(NOW) == [] and len(table.asked) == 1, "one question at a time"
    answer(7)
    assert table.due(NOW, 6) == []
    assert table.timers.awaited_end() == 7
    assert table.due(NOW, 7) == [1]
    assert table.timers.awaited_end() == -1


def test_an_answer_speaks_for_its_own_moment_only() -> None:
    table = Table(_put(NOW, 1), _put(NOW + 5, 2))
    table.release(NOW)
    assert table.due(NOW) == [1]
    table.commit(_delete(NOW, 1))
    assert table.due(NOW + 5) == []  # due since, but not covered by that answer
    assert len(table.asked) == 1


def test_failed_question_is_asked_again_after_a_pause() -> None:
    table = Table(_put(NOW, 1))
    table.due(NOW)
    table.asked.pop()(RuntimeError("no leader"))
    assert table.due(NOW) == [] and not table.asked
    assert table.timers.wait_seconds(NOW) == AGAIN_SECONDS
    table.clock.now += AGAIN_SECONDS
    table.release(NOW)
    assert table.due(NOW) == [1]


def test_taken_timers_stay_until_their_rows_are_gone() -> None:
    table = Table(_put(NOW, 1), _put(NOW, 2))
    table.release(NOW)
    assert table.due(LATER) == [1, 2]
    assert table.due(LATER) == [1, 2]  # the transaction failed: they come again
    table.commit(_delete(NOW, 1), _delete(NOW, 2))
    assert table.due(LATER) == []
    assert len(table.timers) == 0


def test_bounded_in_order() -> None:
    table = Table(*(_put(NOW + n, n) for n in range(9, -1, -1)))
    table.release(NOW + 100)
    assert table.due(LATER, limit=4) == [0, 1, 2, 3]
    table.commit(*(_delete(NOW + n, n) for n in range(4)))
    assert table.due(LATER, limit=4) == [4, 5, 6, 7]


def test_put_deleted_and_put_again() -> None:
    table = Table()
    assert table.timers.next_due_ms(NOW) is None
    for _ in range(3):
        table.commit(_put(NOW, 1))
        table.commit(_delete(NOW, 1))
    table.commit(_put(NOW, 1))
    table.release(NOW)
    assert table.due(LATER) == [1]


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
        taken = table.due(NOW + 1_000, limit=7)
        if table.asked:
            table.asked.pop()(0)
        seen += taken
        table.commit(*(_delete(NOW + n, n) for n in taken))
    assert seen == list(range(100))


def test_postponed() -> None:
    table = Table(_put(NOW, 1), _put(NOW, 2))
    table.release(NOW)
    table.timers.postpone(TimerRow(NOW, "w", "r", "USER", 1), NOW)
    assert table.due(LATER) == [2]
    table.commit(_delete(NOW, 2))
    assert table.timers.next_due_ms(NOW + 1) is None
    assert table.timers.next_due_ms(NOW + POSTPONE_MS) == NOW
    assert table.due(LATER) == [1]
