"""Who is asked for together, who by himself, and what an answer that does not come holds up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from odradek.kafka.admin import EndAnswer
from odradek.processor import offsets
from odradek.processor.offsets import EndOffsets
from tests.support.until import until

NO_LEADER = RuntimeError("no leader")


class FakeAdmin:
    """`ClusterAdmin`, as far as it is used. The test answers; a request is the partitions it was
    for.
    """

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.answers: list[EndAnswer] = []
        self.refreshed = threading.Event()
        self.refusal: Exception | None = None

    def ask_ends(
        self, topic: str, partitions: Iterable[int], answer: EndAnswer, *, timeout_s: float
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.answers.append(answer)
        self.requests.append(list(partitions))

    def refresh(self, topic: str) -> None:
        self.refreshed.set()

    def reply(self, request: int, end: int | Exception) -> None:
        for partition in self.requests[request]:
            self.answers[request](partition, end)


class Bench:
    def __init__(self) -> None:
        self.admin: Any = FakeAdmin()
        self.ends = EndOffsets(self.admin, "t")
        self.told: list[tuple[int, int]] = []
        self.ends.start()

    def ask(self, *partitions: int) -> None:
        for partition in partitions:
            self.ends.ask(
                partition, lambda end, partition=partition: self.told.append((partition, end))
            )  # type: ignore[misc]

    def wait_for_requests(self, count: int) -> list[list[int]]:
        until(lambda: len(self.admin.requests) >= count)
        return self.admin.requests[:count]  # type: ignore[no-any-return]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """No request is given up because the machine stood for seconds."""
    monkeypatch.setattr(offsets, "_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(offsets, "_GRACE_SECONDS", 600.0)
    made = Bench()
    yield made
    made.ends.stop()
    made.ends.join(30)


def test_what_comes_while_a_request_is_under_way_is_the_next_one(bench: Bench) -> None:
    bench.ask(0)
    bench.wait_for_requests(1)
    bench.ask(0, 1, 2)
    bench.admin.reply(0, 7)
    assert bench.wait_for_requests(2) == [[0], [0, 1, 2]]
    bench.admin.reply(1, 9)
    assert bench.told == [(0, 7), (0, 9), (1, 9), (2, 9)]
    assert bench.ends.requests == 2


def test_one_that_fails_is_asked_for_by_itself_until_it_is_answered(bench: Bench) -> None:
    bench.ask(0, 1)
    bench.wait_for_requests(1)
    bench.admin.reply(0, NO_LEADER)  # of both: librdkafka could not tell one from the other
    assert sorted(bench.wait_for_requests(3)[1:]) == [[0], [1]]
    assert bench.told == []  # nobody is told yet
    sound = bench.admin.requests.index([1], 1)
    bench.admin.reply(sound, 5)
    assert bench.told == [(1, 5)]
    bench.ask(1, 2)  # beside the one that is still open
    assert bench.wait_for_requests(4)[3] == [1, 2]
    bench.admin.reply(3, 6)
    bench.admin.reply(3 - sound, NO_LEADER)
    until(lambda: (0, -1) in bench.told)
    assert bench.admin.refreshed.is_set()
    bench.ask(0, 1)
    assert sorted(bench.wait_for_requests(6)[4:]) == [[0], [1]]
    bench.admin.reply(bench.admin.requests.index([0], 4), 8)
    bench.admin.reply(bench.admin.requests.index([1], 4), 8)
    bench.ask(2)
    bench.wait_for_requests(7)
    bench.ask(0, 1)
    bench.admin.reply(6, 9)
    assert bench.wait_for_requests(8)[6:] == [[2], [0, 1]]  # together again


def test_a_request_that_is_never_answered_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOGETHER_SECONDS", "APART_SECONDS", "_GRACE_SECONDS"):
        monkeypatch.setattr(offsets, name, 0.02)
    bench.ask(0)
    assert bench.wait_for_requests(2) == [[0], [0]]
    until(lambda: bench.told == [(0, -1)])
    bench.admin.reply(0, 3)  # too late for both
    bench.admin.reply(1, 3)
    monkeypatch.setattr(offsets, "_GRACE_SECONDS", 600.0)
    bench.ask(0)
    bench.wait_for_requests(3)
    bench.admin.reply(2, 4)
    assert bench.told == [(0, -1), (0, 4)]


def test_a_request_that_cannot_be_made_is_paced(bench: Bench) -> None:
    bench.admin.refusal = RuntimeError("no memory")
    began = time.monotonic()
    for _ in range(3):
        told = len(bench.told)
        bench.ask(0)
        until(lambda told=told: len(bench.told) == told + 1)  # type: ignore[misc]
    assert bench.told == [(0, -1)] * 3
    assert time.monotonic() - began >= 0.15
