"""Lanes that stand still: what the queue reader makes of what members last said, and how page
and command line show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from odradek.cli import task_queue
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.client_config import topics_of
from odradek.web.kafka.cluster import COUNT_S, QueueReader
from odradek.web.kafka.facts import PartitionView, QueueDetail
from odradek.web.kafka.follower import FORGET_S, SILENCE_S, Board
from odradek.web.kafka.rates import QueueRates
from odradek.wire.outcomes import LaneStatus, MemberStatus
from tests.unit.web_ui import UiServer, text_of

NOW_MS = 1_790_000_000_000


class Admin:
    """A queue of two partitions with ten records each."""

    def __init__(self, settings: Settings) -> None:
        self.topics = topics_of(settings)

    def topic_names(self) -> list[str]:
        return [self.topics.events("orders")]

    def describe(self, names: list[str]) -> dict[str, Any]:
        return {name: SimpleNamespace(partitions=2) for name in names}

    def start_offsets(self, topic: str, partitions: Any) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, topic: str, partitions: Any, *, committed: bool) -> dict[int, int]:
        return dict.fromkeys(partitions, 10)

    def committed_offsets(self, group: str, topic: str, partitions: Any) -> dict[int, int]:
        return dict.fromkeys(partitions, 4)


class Reader:
    """A queue reader over a board that the test fills, at a time that the test sets."""

    def __init__(self) -> None:
        self.at_ms = NOW_MS
        self.board = Board(clock_s=lambda: self.at_ms / 1000)
        settings = Settings()
        self.reader = QueueReader(settings, Admin(settings), self.board)  # type: ignore[arg-type]

    def said(self, member: str, *lanes: LaneStatus, ago_ms: int = 0) -> None:
        self.board.member(
            member,
            MemberStatus(
                member, "PROCESSOR", "default", "orders", member, NOW_MS - ago_ms, lanes=list(lanes)
            ),
        )

    def partitions(self) -> list[PartitionView]:
        return self.reader.queue("orders").partitions


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.reader.close()


def test_partitions_are_counted_anew_where_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is missing is about to be made; while no broker answers each call would take
    its timeout.
    """
    now_s, asked, partitions = 0.0, 0, 0
    settings = Settings()
    admin = Admin(settings)

    def describe(names: list[str]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if partitions < 0:
            raise BrokerUnreachableError("localhost:9092", setting="address", reason="timed out")
        return {name: SimpleNamespace(partitions=partitions) for name in names if partitions}

    monkeypatch.setattr(admin, "describe", describe)
    reader = QueueReader(settings, admin, Board(), clock_s=lambda: now_s)  # type: ignore[arg-type]
    try:
        assert reader.partition_count("orders") == 0
        partitions, now_s = 4, 0.5
        assert reader.partition_count("orders") == 4
        partitions, now_s, asked = -1, now_s + COUNT_S, 0
        for _ in range(5):
            assert reader.partition_count("orders") == 4
        assert asked == 1
        partitions, now_s = 9, now_s + COUNT_S
        assert reader.partition_count("orders") == 9
    finally:
        reader.close()


def lane(
    partition: int, ago_ms: int | None = None, state: str = "RUNNING", position: int = 10
) -> LaneStatus:
    return LaneStatus(
        partition, state, position, progress_time_ms=0 if ago_ms is None else NOW_MS - ago_ms
    )


def test_a_lane_that_gets_on(reader: Reader) -> None:
    reader.said("a", lane(0, 900), lane(1, 3_400), ago_ms=800)
    assert [(one.silent_ms, one.stalled_ms, one.trouble) for one in reader.partitions()] == [
        (800, 900, ""),
        (800, 3_400, ""),
    ]
    assert reader.reader.queue("orders").stuck_partitions == 0


def test_a_lane_that_reports_and_makes_no_progress(reader: Reader) -> None:
    """The process lives and says so every few seconds: its status alone looks healthy."""
    reader.said("a", lane(0, 900), lane(1, 45_000, position=6), ago_ms=800)
    fine, stuck = reader.partitions()
    assert (fine.trouble, stuck.state, stuck.lag, stuck.stalled_ms, stuck.trouble) == (
        "",
        "RUNNING",
        4,
        45_000,
        "stalled",
    )
    detail = reader.reader.queue("orders")
    assert detail.served and detail.stuck_partitions == 1


def test_an_owner_that_has_stopped_to_report(reader: Reader) -> None:
    reader.said("a", lane(0, 100), lane(1, 100))
    reader.at_ms += 9_000
    assert [
        (one.silent_ms, one.stalled_ms, one.trouble, one.owner) for one in reader.partitions()
    ] == [(9_000, 9_100, "silent", "a")] * 2
    reader.at_ms += int(SILENCE_S * 1000)
    gone = reader.partitions()[0]
    assert (gone.owner, gone.state, gone.stalled_ms) == ("", "", None), (
        "only a living owner knows how its lane is"
    )
    assert (gone.silent_ms, gone.trouble) == (24_000, "silent"), "who had it last is still told of"
    assert (
        reader.reader.queue("orders").stuck_partitions == 0
        and not reader.reader.queue("orders").served
    )
    reader.at_ms += int(FORGET_S * 1000)
    assert reader.partitions()[0].silent_ms is None


def test_a_successor_is_heard_and_so_is_giving_back(reader: Reader) -> None:
    reader.said("a", lane(0, 20_000), lane(1, 20_000), ago_ms=20_000)
    reader.said("b", lane(0, 100), ago_ms=50)
    first, second = reader.partitions()
    assert (first.owner, first.silent_ms, first.trouble) == ("b", 50, "") and (
        second.owner,
        second.trouble,
    ) == ("", "silent")
    reader.said("a", ago_ms=5)  # it is back, and has no partition any more
    assert reader.partitions()[1].silent_ms is None


def test_a_processor_from_before_says_nothing_of_progress(reader: Reader) -> None:
    reader.said("a", lane(0), lane(1), ago_ms=500)
    assert [(one.silent_ms, one.stalled_ms, one.trouble) for one in reader.partitions()] == [
        (500, None, "")
    ] * 2


def test_a_clock_that_goes_before_ours_is_not_the_past(reader: Reader) -> None:
    reader.said("a", lane(0, -3_000), lane(1, -3_000), ago_ms=-2_000)
    assert [(one.silent_ms, one.stalled_ms) for one in reader.partitions()] == [(0, 0)] * 2


def detail(*partitions: PartitionView) -> QueueDetail:
    stuck = sum(bool(one.owner and one.trouble) for one in partitions)
    return QueueDetail(
        "orders", True, False, True, 3, 1, 0, 2, None, 0, 0, 0, 0, 5, 0, "", stuck, list(partitions)
    )


def test_the_command_line_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        PartitionView(0, 0, 10, 10, 0, "a", "worker-a", "RUNNING", silent_ms=500, stalled_ms=700),
        PartitionView(1, 0, 10, 6, 4, "a", "worker-a", "RUNNING", silent_ms=500, stalled_ms=45_000),
        PartitionView(
            2, 0, 10, 10, 0, "b", "worker-b", "RUNNING", silent_ms=9_000, stalled_ms=9_500
        ),
    ]
    task_queue._print_queue(detail(*given), QueueRates(None, None))
    said = capsys.readouterr().out
    assert re.search(
        r"Stuck +partition 2: whoever has it says nothing; partition 1: no progress", said
    ), said
    table = [
        line.split() for line in said.partition("Partitions (of workflows)")[2].splitlines()[1:5]
    ]
    assert table[0][10] == "PROGRESS"  # DUE SOON are two words
    assert [" ".join(row[9:12]) for row in table[1:]] == [
        "700 ms ago",
        "none for 45.0",
        "silent for 9.0",
    ]
    task_queue._print_queue(detail(given[0]), QueueRates(None, None))
    assert "Stuck" not in capsys.readouterr().out


async def test_the_pages_mark_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = UiServer(tmp_path)
    async with server.client(
        headers={"accept": "text/html", "sec-fetch-site": "same-origin"}
    ) as client:
        html = (await client.get("/queues/orders")).text
        assert (
            "stalled" not in html
            and "silent" not in text_of(html)
            and "1.20 s ago" in text_of(html)
        )
        server.kafka.heard |= {1: (500, 45_000), 2: (9_000, 9_500), 3: (500, None)}
        said = text_of((await client.get("/queues/orders")).text)
        assert (
            "2 of 4 partitions do not get on" in said
            and "running stalled for 45 s" in said
            and "running silent for 9 s" in said
        )
        served = detail(
            PartitionView(
                0, 0, 10, 6, 4, "a", "worker-a", "RUNNING", silent_ms=500, stalled_ms=45_000
            )
        )
        monkeypatch.setattr(server.kafka, "queues", lambda: [served])
        assert "1 stuck" in text_of((await client.get("/queues")).text)
    server.store.close()
