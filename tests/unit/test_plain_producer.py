"""The plain producer, against a client whose deliveries the test decides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, OdradekError, RecordTooLargeError
from odradek.kafka.clients import KafkaClients
from odradek.kafka.producer import PlainProducer
from tests.support.until import until


class FakeClient:
    """confluent-kafka's Producer, as far as it is used. Reports come out of `poll` and `flush`."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Callable[..., None]]] = []
        self.raises: Exception | None = None
        self._reports: list[tuple[Callable[..., None], KafkaError | None]] = []
        self._wake = threading.Condition()

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, **options: Any) -> None:
        if self.raises is not None:
            raise self.raises
        self.taken.append((value, options["on_delivery"]))

    def deliver(self, count: int = 1, error: KafkaError | None = None) -> None:
        with self._wake:
            for _, report in self.taken[:count]:
                self._reports.append((report, error))
            del self.taken[:count]
            self._wake.notify_all()

    def poll(self, timeout: float) -> int:
        with self._wake:
            if not self._reports:
                self._wake.wait(timeout)
            found, self._reports = self._reports, []
        for report, error in found:
            report(error, None)
        return len(found)

    def flush(self, timeout: float) -> int:
        self.poll(0.0)
        return len(self.taken)

    def purge(self) -> None:
        self.deliver(len(self.taken), KafkaError(KafkaError._PURGE_QUEUE))


class Bench:
    def __init__(self, *, own_thread: bool = True) -> None:
        self.client = FakeClient()
        clients = SimpleNamespace(producer=lambda config: self.client)
        self.producer = PlainProducer(
            Settings(address="nowhere:1"),
            clients=cast(KafkaClients, clients),
            own_thread=own_thread,
        )
        self.results: list[BaseException | None] = []

    def send(self, value: bytes = b"v") -> None:
        self.producer.produce("t", b"k", value, on_delivery=self.results.append)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.producer.close(0.0)


def test_each_record_has_one_report(bench: Bench) -> None:
    for _ in range(4):
        bench.send()
    assert len(bench.producer) == 4
    bench.client.deliver(1)
    until(lambda: bench.results == [None])
    bench.client.deliver(3, KafkaError(KafkaError._MSG_TIMED_OUT))
    until(lambda: len(bench.results) == 4)
    assert all(isinstance(error, BrokerUnreachableError) for error in bench.results[1:])
    found = bench.producer.statistics()
    assert (found.delivered, found.failed, found.pending) == (1, 3, 0)


def test_a_callback_that_raises_stops_nobody(bench: Bench) -> None:
    def defect(error: BaseException | None) -> None:
        raise ValueError("a defect")

    bench.producer.produce("t", b"k", b"v", on_delivery=defect)
    bench.send()
    bench.client.deliver(2)
    until(lambda: bench.results == [None])


def test_a_record_that_is_too_large_is_rejected_at_once(bench: Bench) -> None:
    bench.producer.limits["t"] = 1_000
    with pytest.raises(RecordTooLargeError, match="1000 bytes that topic t takes"):
        bench.send(b"x" * 1_001)
    bench.client.raises = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    with pytest.raises(RecordTooLargeError):
        bench.send()
    bench.client.raises = BufferError("queue full")
    with pytest.raises(BufferError):
        bench.send()
    assert not bench.results and len(bench.producer) == 0


def test_close_fails_what_waits_and_what_comes_later(bench: Bench) -> None:
    bench.send()
    assert bench.producer.close(0.0) == 1
    bench.send()
    assert isinstance(bench.results[0], BrokerUnreachableError)
    assert "closed" in str(bench.results[1]) and isinstance(bench.results[1], OdradekError)
    assert bench.producer.close() == 0


def test_without_a_thread_reports_come_where_serve_is_called() -> None:
    bench = Bench(own_thread=False)
    bench.send()
    bench.client.deliver()
    assert not bench.results
    bench.producer.serve(0.0)
    assert bench.results == [None]
    bench.producer.close(0.0)


async def test_futures_of_a_loop(bench: Bench) -> None:
    futures = [bench.producer.send("t", b"k", b"v") for _ in range(4)]
    bench.client.deliver(1)
    await asyncio.wait_for(futures[0], 10)
    futures[2].cancel()
    bench.client.deliver(1, KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(BrokerUnreachableError):
        await asyncio.wait_for(futures[1], 10)
    bench.client.deliver(2)
    await asyncio.wait_for(futures[3], 10)
