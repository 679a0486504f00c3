"""`control` is read on where its log begins when what stood before the reader was deleted, or
the topic was made anew.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError

from odradek.activities.control import ControlReader
from odradek.wire.codec import Codec, encode
from odradek.wire.tasks import CancelActivityTask

REQUEST = CancelActivityTask("w", "r", 5, "1", 1)


class FakeConsumer:
    """Tells what the test puts into it; `assigned` is what it would read."""

    def __init__(self) -> None:
        self.coming: list[Any] = []
        self.assigned: dict[int, int] = {}

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(
            topics={topic: SimpleNamespace(error=None, partitions={0: None, 1: None})}
        )

    def assign(self, places: list[Any]) -> None:
        self.assigned = {place.partition: place.offset for place in places}

    def incremental_assign(self, places: list[Any]) -> None:
        assert self.assigned.keys().isdisjoint(place.partition for place in places)
        self.assigned |= {place.partition: place.offset for place in places}

    def incremental_unassign(self, places: list[Any]) -> None:
        for place in places:
            del self.assigned[place.partition]

    def consume(self, number: int, timeout: float) -> list[Any]:
        found, self.coming = self.coming, []
        return found

    def close(self) -> None: ...


def message(partition: int, value: bytes | None = None, error: int | None = None) -> Any:
    found = KafkaError(error) if error is not None else None
    return SimpleNamespace(
        error=lambda: found,
        value=lambda: value,
        partition=lambda: partition,
        offset=lambda: 7,
        headers=list,
    )


def test_a_place_that_was_deleted(caplog: pytest.LogCaptureFixture) -> None:
    consumer: Any = FakeConsumer()
    reader = ControlReader(consumer, "control", Codec())
    reader.start(1.0)
    consumer.assigned[1] = 7  # it has read on
    consumer.coming = [
        message(1, error=KafkaError._AUTO_OFFSET_RESET),
        message(0, error=KafkaError._TRANSPORT),
        message(0, encode(REQUEST)),
    ]
    with caplog.at_level(logging.WARNING):
        assert reader.read() == [REQUEST]
    assert consumer.assigned == {0: OFFSET_BEGINNING, 1: OFFSET_BEGINNING}
    (told,) = caplog.messages
    assert told.startswith("control[1] was deleted or cut under its reader")
