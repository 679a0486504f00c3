"""A clock that a broker does not take: what a client, an activity service and a lane say of it,
and how often.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.activities import reports
from odradek.activities.reports import Reports
from odradek.cli.status import Status, status_of
from odradek.client import RPCError, RPCStatusCode
from odradek.client.kafka_transport import KafkaTransport
from odradek.config import Settings
from odradek.exceptions import ClockError
from odradek.kafka.clients import KafkaClients
from odradek.kafka.errors import translate
from odradek.kafka.log_filter import RepeatedLines
from odradek.kafka.producer import PlainProducer
from odradek.processor.errors import Dropped, classify
from odradek.wire.codec import Codec

# Of a record alone in its batch, and of several that are all refused.
CODES = [KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD]


@pytest.mark.parametrize("code", CODES)
def test_a_client_gets_an_rpc_error_that_names_the_clock(code: int) -> None:
    error = translate(KafkaError(code), Settings(), topic="orders.events")
    assert isinstance(error, ClockError) and isinstance(
        translate(KafkaException(KafkaError(code)), Settings()), ClockError
    )
    transport, told = object.__new__(KafkaTransport), list[Any]()
    transport._refused("orders", object(), told.append, error)  # type: ignore[arg-type]
    (rpc,) = told
    assert (
        isinstance(rpc, RPCError) and rpc.status is RPCStatusCode.UNAVAILABLE and rpc.cause is error
    )
    for part in (
        "orders.events",
        "clock of this machine",
        "UTC",
        "NTP",
        "`message.timestamp.after.max.ms`",
    ):
        assert part in rpc.message
    assert status_of(rpc)[0] is Status.UNAVAILABLE


def test_a_lane_is_dropped_and_names_the_clock() -> None:
    found = classify(
        KafkaException(
            KafkaError(KafkaError.INVALID_TIMESTAMP, "ProduceRequest for orders.state [2] failed")
        )
    )
    assert isinstance(found, Dropped) and found.blameless
    assert "clock of this machine" in str(found) and "orders.state [2]" in str(found)


class Refusing:
    """A producer whose records are all refused."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.count = 0

    def produce(self, *_: Any, on_delivery: Any, **__: Any) -> None:
        self.given.append(on_delivery)

    def poll(self, _: float) -> int:
        given, self.given = self.given, []
        for report in given:
            self.count += 1
            report(KafkaError(CODES[self.count % 2]), None)
        return len(given)

    def __len__(self) -> int:
        return len(self.given)


def test_a_service_says_it_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reports, "RETRY_S", 0.0)
    now = [1_000.0]
    (limiter,) = [one for one in reports.rejected.filters if isinstance(one, RepeatedLines)]
    monkeypatch.setattr(limiter, "_clock", lambda: now[0])
    monkeypatch.setattr(limiter, "_kinds", {})
    caplog.set_level(logging.INFO)
    producer: Any = Refusing()
    writing = Reports(
        PlainProducer(
            Settings(),
            clients=cast(KafkaClients, SimpleNamespace(producer=lambda config: producer)),
            own_thread=False,
        ),
        Codec(),
        limit_of=lambda _: 0,
        undeliverable=lambda *_: None,
        on_fatal=lambda _: None,
    )
    for number in range(20):
        writing.send("orders.events", b"k", b"%d" % number, [])
    for second in range(61):
        now[0] = 1_000.0 + second
        writing.serve()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert producer.count > 100 and len(said) == 4, said  # each of both errors twice
    assert (
        all("clock of this machine" in line and "orders.events" in line for line in said)
        and "more like this" in said[-1]
    )
    assert writing.pending == 20
