"""A thread that has to run as long as its process meets an error that nobody thought of: it says
so, and goes on.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from odradek.client.readers import MembersReader
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.clients import KafkaClients
from odradek.kafka.producer import PlainProducer
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.processor.members import MemberReports
from odradek.processor.purge import Purger
from odradek.wire.codec import Codec
from odradek.wire.topics import Topics

DEFECT = "dictionary changed size during iteration"
OFTEN_S = 0.001


class Calls:
    """Raises the first time it is called; then counts, and returns what was given."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._number = itertools.count()
        self.went_on = threading.Event()

    def __call__(self, *args: Any, **options: Any) -> Any:
        if next(self._number) == 0:
            raise RuntimeError(DEFECT)
        self.went_on.set()
        return self._result


class Producer:
    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def produce(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Any,
        *,
        on_delivery: Callable[[None], None],
    ) -> None:
        self.values.append(value)
        on_delivery(None)


def started(thread: Any, calls: Calls) -> None:
    """Runs it until it has gone on, then ends it."""
    thread.start()
    assert calls.went_on.wait(10)
    thread.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_reports_of_a_processor(caplog: pytest.LogCaptureFixture) -> None:
    lanes, producer = Calls([]), Producer()
    names = {"member_id": "m", "namespace": "n", "task_queue": "q", "identity": "i"}
    told = cast(PlainProducer, producer)
    thread = MemberReports(
        told, Codec(), "members", **names, workflow_types=[], lanes=lanes, every_seconds=OFTEN_S
    )
    started(thread, lanes)
    assert DEFECT in caplog.text
    assert (
        producer.values[-1] is None and producer.values[0] is not None
    )  # a member that left says so
    assert thread.contact_error == ""


def test_the_purge_of_events(caplog: pytest.LogCaptureFixture) -> None:
    positions = Calls({})
    started(
        Purger(
            cast(ClusterAdmin, None),
            cast(Any, None),
            "t",
            audit_window_ms=0,
            positions=positions,
            every_seconds=OFTEN_S,
        ),
        positions,
    )
    assert DEFECT in caplog.text


def test_a_clients_look_at_members(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odradek.client.readers.RETRY_S", OFTEN_S)
    end = Calls(0)
    reader = MembersReader(
        Settings(address="127.0.0.1:1"), "members", Codec(), end, lambda queues: None
    )
    assert end.went_on.wait(10)
    reader.stop()
    reader.join(10)
    assert DEFECT in caplog.text


def test_the_reader_of_schemas(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odradek.kafka.schemas_topic._AFTER_DEFECT_S", OFTEN_S)
    caplog.set_level(
        logging.ERROR, "odradek.kafka"
    )  # the command line of an earlier test may have silenced it

    class Admin:
        topics = Topics("n")

        def ensure(self, names: list[str]) -> dict[str, TopicFacts]:
            return {name: TopicFacts(name, "id", 1) for name in names}

        def start_offsets(self, topic: str, partitions: range) -> dict[int, int]:
            return {0: 0}

        def end_offsets(self, topic: str, partitions: range, *, committed: bool) -> dict[int, int]:
            return {0: 0}

    class Reader:
        poll_once = Calls(None)

        def assign(self, places: Any) -> None:
            pass

        def poll(self, timeout_s: float) -> Any:
            time.sleep(OFTEN_S)
            return self.poll_once()

        def close(self) -> None:
            pass

    settings = Settings(address="127.0.0.1:1")
    clients = cast(KafkaClients, SimpleNamespace(consumer=lambda config: Reader()))
    with SchemasTopic(settings, cast(ClusterAdmin, Admin()), clients=clients):
        assert Reader.poll_once.went_on.wait(10)
    assert DEFECT in caplog.text
