"""librdkafka's thread spins when an idempotent producer waits: why plain producers are not
idempotent (docs/decisions/0009).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from odradek.broker import QUICK_START, LocalBroker
from odradek.config import Settings
from odradek.kafka.client_config import producer_config

PAUSE_S = 1.0


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(jvm_options=QUICK_START) as running:
        admin = AdminClient({"bootstrap.servers": running.bootstrap})  # kept until it has answered
        admin.create_topics([NewTopic("spinning", 1, 1)])["spinning"].result(timeout=30)
        yield running


def cores_burnt_while_waiting(broker: LocalBroker, **settings: object) -> float:
    """With more batches of one partition than may be on the way, and a broker that does not
    answer.
    """
    producer = Producer(producer_config(Settings(address=broker.bootstrap)) | settings)
    producer.produce("spinning", b"first", b"k")
    assert producer.flush(30) == 0
    process, waiting = psutil.Process(broker.pid), psutil.Process()
    process.suspend()
    try:
        for _ in range(500):
            producer.produce("spinning", b"x", b"k")
            time.sleep(0.0005)  # so that they are many batches, as when records come one by one
        before, began = waiting.cpu_times(), time.monotonic()
        while time.monotonic() - began < PAUSE_S:
            time.sleep(PAUSE_S)
        after = waiting.cpu_times()
        return (after.user + after.system - before.user - before.system) / (
            time.monotonic() - began
        )
    finally:
        process.resume()
        assert producer.flush(30) == 0


def test_an_idempotent_producer_burns_a_core_while_it_waits(broker: LocalBroker) -> None:
    """Half of one on a machine that has it to give; what others take of it, it cannot burn: so
    one look of several.
    """
    idempotent = {"enable.idempotence": True, "max.in.flight.requests.per.connection": 5}
    looks = (
        (cores_burnt_while_waiting(broker, **idempotent), cores_burnt_while_waiting(broker))
        for _ in range(5)
    )
    assert any(burnt > 0.1 and burnt > 3 * ours for burnt, ours in looks)


def test_ours_does_not(broker: LocalBroker) -> None:
    """In a look in which other threads of this process have nothing to do."""
    assert any(cores_burnt_while_waiting(broker) < 0.15 for _ in range(3))
