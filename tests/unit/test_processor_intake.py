"""What a lane takes next: inputs and timers together, or apart and in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from odradek.engine.keys import timer_key
from odradek.engine.ports import TIMER, RowChange
from odradek.processor.errors import Dropped
from odradek.processor.inputs import Sorted, Sorter
from odradek.processor.intake import Intake
from odradek.processor.services import LaneServices
from odradek.processor.timers import Timers
from odradek.processor.work import Work, timer_row_key
from odradek.wire.state import TimerRow

DUE = [
    TimerRow(workflow_id="w", run_id=f"r{number}", kind="USER", id=number, due_ms=1_000 + number)
    for number in range(3)
]


class Tables:
    """Timers that fell due long ago."""

    def get(self, table: str, key: str) -> None:
        raise NotImplementedError

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Any]]:
        return iter(
            [
                (key, row)
                for row in DUE
                if (key := timer_key(row.due_ms, row.run_id, row.kind, row.id)) >= start
            ]
        )


class Record:
    """As much of a message as is looked at."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __len__(self) -> int:
        return 1

    def offset(self) -> int:
        return self._offset


class Taking:
    """An intake of three timers and of inputs that arrive without end, from offset 0 on; what is
    taken is applied.
    """

    def __init__(self) -> None:
        def ask(partition: int, tell: Callable[[int], None]) -> None:
            tell(0)  # nothing was there when they fell due

        def sort(messages: list[Record], now_ms: int) -> Sorted:
            return Sorted()

        self.timers = Timers(Tables())
        self.intake = Intake(
            cast(LaneServices, SimpleNamespace(ends=SimpleNamespace(ask=ask))), 0, lambda: None
        )
        self.epoch = self.intake.seeks()
        self.intake.begin(self.timers, cast(Sorter, SimpleNamespace(sort=sort)))
        self.position = self.sent = 0

    def send(self, count: int) -> None:
        self.intake.inbox.put(
            self.epoch, cast(Any, [Record(self.sent + number) for number in range(count)])
        )
        self.sent += count

    def take(self, **one: bool) -> str:
        work = self.intake.next(self.position, wait_seconds=0, gathering=lambda: None, **one)
        if work is None:
            return ""
        self._applied(work)
        return "i" * len(work.messages) + "t" * len(work.timers)

    def _applied(self, work: Work) -> None:
        self.position = work.next_offset(self.position)
        self.timers.note([RowChange(TIMER, timer_row_key(timer), None) for timer in work.timers])


@pytest.mark.parametrize(
    ("one", "taken"),
    [
        pytest.param({}, ["ii", "iittt", "ii"], id="together"),
        pytest.param(
            {"one_input": True, "one_timer": True},
            ["i", "t", "i", "t", "i", "t", "i", "i"],
            id="each by itself, in turns",
        ),
        pytest.param(
            {"one_timer": True},
            ["ii", "t", "iiii", "t", "iiii", "t", "iiii"],
            id="timers by themselves",
        ),
        pytest.param({"one_input": True}, ["i", "ttt", "i", "i"], id="inputs by themselves"),
    ],
)
def test_inputs_without_end_and_timers(one: dict[str, bool], taken: list[str]) -> None:
    taking = Taking()
    found = []
    for _ in taken:
        taking.send(2)
        found.append(taking.take(**one))
    assert found == taken


def test_timers_alone_need_no_turn() -> None:
    taking = Taking()
    taking.send(1)
    taken = [taking.take(one_input=True, one_timer=True) for _ in range(6)]
    assert "".join(taken) == "ittt"


@pytest.mark.parametrize(
    "offsets",
    [[1], [1, 2], [2, 2], [3, 2]],
    ids=["again", "again, and one more", "twice", "out of order"],
)
def test_a_record_that_comes_again_is_not_taken(offsets: list[int]) -> None:
    """One that was polled before a seek and handed on behind it was applied twice; the lane
    seeks again instead.
    """
    taking = Taking()
    taking.send(2)
    taking.take()
    taking.intake.inbox.put(taking.epoch, cast(Any, [Record(offset) for offset in offsets]))
    with pytest.raises(Dropped, match="out of order, or again") as caught:
        taking.take()
    assert caught.value.blameless
