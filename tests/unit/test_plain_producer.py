"""Bursts of the plain producer, against a client whose deliveries the test decides."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, OdradekError, RecordTooLargeError
from odradek.kafka import producer as producer_module
from odradek.kafka import windows as windows_module
from odradek.kafka.clients import KafkaClients
from odradek.kafka.producer import BURSTS, PlainProducer
from odradek.wire.partitioner import partition_for
from tests.support.until import until


class FakeClient:
    """confluent-kafka's Producer, as far as it is used. `deliver` reports; reports come out of
    `poll` and `flush`, as there.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.taken: list[tuple[bytes, Callable[..., None]]] = []  # ever handed over
        self.on_the_way: list[tuple[bytes, Callable[..., None]]] = []
        self.refusals: dict[bytes, Exception] = {}
        self.room = 1_000_000
        self._reports: list[tuple[Callable[..., None], KafkaError | None, FakeMessage]] = []
        self._wake = threading.Condition()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        *,
        on_delivery: Callable[..., None],
        headers: Any,
    ) -> None:
        if value in self.refusals:
            raise self.refusals[value]
        if len(self.on_the_way) >= self.room:
            raise BufferError("queue full")
        self.on_the_way.append((value, on_delivery))
        self.taken.append((value, on_delivery))

    def deliver(self, count: int = 1, error: KafkaError | None = None) -> None:
        with self._wake:
            reported = len(self._reports)
            for value, report in self.on_the_way[reported : reported + count]:
                self._reports.append((report, error, FakeMessage(value)))
            self._wake.notify_all()

    def poll(self, timeout: float) -> int:
        with self._wake:
            if not self._reports:
                self._wake.wait(timeout)
        served = 0
        while self._reports:  # after a callback that raises, the next poll goes on
            with self._wake:
                if not self._reports:
                    break
                report, error, message = self._reports.pop(0)
                del self.on_the_way[0]
            report(error, message)
            served += 1
        return served

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self)

    def purge(self) -> None:
        self.deliver(len(self.on_the_way), KafkaError(KafkaError._PURGE_QUEUE))

    def __len__(self) -> int:
        return len(self.on_the_way)

    @property
    def values(self) -> list[bytes]:
        return [value for value, _ in self.taken]


class FakeMessage:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def topic(self) -> str:
        return "t"

    def value(self) -> bytes:
        return self._value


class Bench:
    def __init__(self) -> None:
        self.clients: list[FakeClient] = []
        self.producer = PlainProducer(
            Settings(address="nowhere:1"),
            clients=cast(KafkaClients, SimpleNamespace(producer=self._new)),
        )
        self.results: list[tuple[bytes, BaseException | None]] = []

    def _new(self, config: dict[str, Any]) -> FakeClient:
        self.clients.append(FakeClient(config))
        return self.clients[-1]

    @property
    def client(self) -> FakeClient:
        return self.clients[-1]

    def send(self, *numbers: int) -> None:
        for number in numbers:
            value = b"%d" % number
            self.producer.produce(
                "t",
                b"k",
                value,
                on_delivery=lambda error, value=value: self.results.append((value, error)),
            )  # type: ignore[misc]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """No burst is overdue because the machine stood for a second: tests of that say so."""
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 600.0)
    made = Bench()
    yield made
    made.client.room = 1_000_000
    made.producer.close(0.0)


def values(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def test_a_lone_record_leaves_at_once(bench: Bench) -> None:
    bench.send(1)
    assert bench.client.values == values(1)
    bench.client.deliver()
    until(lambda: bench.results == [(b"1", None)])
    assert len(bench.producer) == 0


def test_at_most_so_many_bursts_and_what_comes_meanwhile_is_one(bench: Bench) -> None:
    bench.send(*range(10))
    assert bench.client.values == values(*range(BURSTS))
    assert len(bench.producer) == 10
    bench.client.deliver()
    until(lambda: len(bench.client.taken) == 10)  # the other eight, together
    bench.send(10)
    assert len(bench.client.taken) == 10
    bench.client.deliver()  # the second lone one
    until(lambda: len(bench.client.taken) == 11)
    bench.client.deliver(7)  # the burst of eight is not through
    bench.send(11)
    until(lambda: len(bench.results) == 9)
    assert len(bench.client.taken) == 11
    bench.client.deliver()
    until(lambda: bench.client.values == values(*range(12)))


def test_bursts_that_take_long_hold_nobody_for_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "OVERDUE_PATIENCE_S", 0.02)
    began = time.monotonic()
    bench.send(*range(BURSTS))  # for a partition without a leader
    bench.send(2, 3)
    assert bench.client.values == values(0, 1)
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 0.3)
    until(lambda: bench.client.values == values(0, 1, 2, 3))
    assert time.monotonic() - began >= 0.3
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 600.0)
    for number in range(4, 4 + 2 * BURSTS):  # the next ones do not wait as long
        bench.send(number)
        until(lambda number=number: bench.client.values[-1] == b"%d" % number)  # type: ignore[misc]
    bench.client.deliver(8)
    until(lambda: len(bench.results) == 8)
    assert bench.results == [(value, None) for value in values(*range(8))]
    bench.send(*range(8, 12))  # all of them are through: bursts count again
    assert len(bench.client.taken) == 8 + BURSTS
    bench.client.deliver(4)


def test_overdue_bursts_that_fill_the_clients_queue_lose_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 0.02)
    bench.client.room = BURSTS
    bench.send(*range(6))
    until(lambda: bench.producer._overdue == BURSTS)
    assert len(bench.producer) == 6

    def delivered() -> bool:
        bench.client.deliver()
        return len(bench.results) == 6

    until(delivered)
    assert bench.results == [(value, None) for value in values(*range(6))]
    assert len(bench.producer) == 0


def test_records_in_the_hands_of_a_thread_are_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`flush` and `close` went by what librdkafka and the backlog have: what was between them
    was taken for delivered.
    """
    given, counted = bench.client.produce, []

    def produce(*args: Any, **options: Any) -> None:
        counted.append(len(bench.producer))
        given(*args, **options)

    bench.send(*range(BURSTS))
    bench.send(*range(BURSTS, BURSTS + 3))  # these wait
    monkeypatch.setattr(bench.client, "produce", produce)
    while len(bench.results) < BURSTS + 3:
        bench.client.deliver()
        time.sleep(0.001)
    assert len(counted) == 3 and min(counted) >= 3
    assert len(bench.producer) == 0


def test_order_of_each_thread_is_kept_whoever_hands_over(bench: Bench) -> None:
    ended = threading.Event()

    def deliver() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            bench.client.deliver(1 + number % 7)

    def send(first: int) -> None:
        bench.send(*range(first, first + 2_000))

    def flush() -> None:
        while not ended.is_set():
            bench.producer.flush(0.001)

    others = [threading.Thread(target=deliver), threading.Thread(target=flush)]
    senders = [threading.Thread(target=send, args=(number * 10_000,)) for number in range(3)]
    for thread in others + senders:
        thread.start()
    for thread in senders:
        thread.join()
    until(lambda: len(bench.client.taken) == 6_000)
    ended.set()
    for thread in others:
        thread.join()
    sent = [int(value) for value in bench.client.values]
    for number in range(3):
        assert [n for n in sent if n // 10_000 == number] == list(
            range(number * 10_000, number * 10_000 + 2_000)
        )


def test_failures_and_refusals_reach_their_own_callback_and_let_the_next_burst_go(
    bench: Bench,
) -> None:
    bench.client.refusals[b"4"] = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    bench.client.refusals[b"5"] = ValueError("no")
    bench.send(0, 1, 2, 3, 4, 5, 6)
    bench.client.deliver(1, KafkaError(KafkaError._MSG_TIMED_OUT))
    until(lambda: bench.client.values == values(0, 1, 2, 3, 6))
    bench.client.deliver(4)
    until(lambda: len(bench.results) == 7)
    errors = {value: type(error) for value, error in bench.results}
    assert errors == {
        b"0": BrokerUnreachableError,
        b"4": RecordTooLargeError,
        b"5": ValueError,
        **dict.fromkeys(values(1, 2, 3, 6), type(None)),
    }
    bench.send(7)
    assert bench.client.values[-1] == b"7"


def test_refused_at_once_is_raised_and_takes_no_place(bench: Bench) -> None:
    bench.client.refusals[b"0"] = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    for _ in range(BURSTS + 1):
        with pytest.raises(RecordTooLargeError):
            bench.send(0)
    bench.send(1)
    assert bench.client.values == values(1)
    assert bench.results == []


def test_a_callback_that_raises_stops_nobody(bench: Bench) -> None:
    def broken(error: BaseException | None) -> None:
        raise RuntimeError("a caller's defect")

    for _ in range(BURSTS):
        bench.producer.produce("t", b"k", b"broken", on_delivery=broken)
    bench.send(1)
    bench.client.deliver()
    until(lambda: len(bench.client) == BURSTS - 1 + 1 and bench.client.values[-1] == b"1")
    bench.client.deliver(BURSTS)
    until(lambda: bench.results == [(b"1", None)])


def test_client_queue_full_keeps_order_and_loses_nothing(bench: Bench) -> None:
    bench.client.room = 4
    bench.send(*range(12))
    for _ in range(100):
        bench.client.deliver()
        if len(bench.results) == 12:
            break
        time.sleep(0.002)
    until(lambda: len(bench.results) == 12)
    assert bench.results == [(value, None) for value in values(*range(12))]


def test_one_that_never_fits_fails_alone(bench: Bench) -> None:
    bench.client.refusals[b"2"] = BufferError("too much for the queue")
    bench.send(0, 1, 2, 3)
    bench.client.deliver(2)
    until(lambda: bench.client.values == values(0, 1, 3))
    assert [type(error) for value, error in bench.results if value == b"2"] == [BufferError]


def test_backlog_full_is_a_buffer_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_module, "BACKLOG_MAX", 3)
    bench.send(*range(BURSTS + 3))
    with pytest.raises(BufferError, match="wait to be sent"):
        bench.send(99)
    bench.client.deliver()
    until(lambda: len(bench.client.taken) == BURSTS + 3)
    bench.send(99)


def test_partition_without_a_leader_holds_no_other_of_a_topic_that_takes_less_than_a_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 0.1)
    bench.producer.limits["t"] = 60_000
    bench.producer.partitions["t"] = 2
    dead, alive = (
        next(b"%d" % n for n in range(100) if partition_for(b"%d" % n, 2) == partition)
        for partition in (0, 1)
    )
    for key, value in [
        (dead, b"1"),
        (dead, b"2"),
        (dead, b"3"),
        (alive, b"4"),
        (alive, b"5"),
        (alive, b"6"),
    ]:
        bench.producer.produce("t", key, value + bytes(25_000))
    until(
        lambda: [value[:1] for value in bench.client.values] == values(1, 2, 4, 5)
    )  # once the burst of the dead is overdue
    assert len(bench.producer) == 6


def test_a_limit_that_was_guessed_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(topic: str) -> int:
        asked.append(topic)
        return 0 if len(asked) == 1 else 10_000_000

    monkeypatch.setattr(bench.producer, "_ask_limit", ask)
    monkeypatch.setattr(windows_module, "ASK_AGAIN_S", 0.0)
    bench.send(1, 2)
    bench.client.deliver(2, KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    until(lambda: len(asked) == 2)
    until(lambda: bench.producer._windows.limit("t") is None)
    bench.client.deliver(2)
    until(lambda: bench.results == [(value, None) for value in values(1, 2)])


@pytest.mark.promise("exactly-once")
@pytest.mark.parametrize(
    ("share", "size"), [("PARTITION_RECORDS_MAX", 1), ("PARTITION_BYTES_MAX", 1_000)]
)
def test_partition_without_a_leader_takes_its_share_of_the_queue_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, share: str, size: int
) -> None:
    monkeypatch.setattr(producer_module, share, 20 * size)
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 60.0)
    bench.producer.partitions["t"] = 2
    dead, alive = (
        next(b"%d" % n for n in range(100) if partition_for(b"%d" % n, 2) == partition)
        for partition in (0, 1)
    )
    errors: list[BaseException | None] = []

    def produce(key: bytes) -> None:
        bench.producer.produce("t", key, bytes(size), on_delivery=errors.append)

    for _ in range(25):
        produce(dead)  # as long as nothing is late each may take all
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 0.02)
    until(lambda: bench.producer._overdue)
    with pytest.raises(BufferError, match=r"25 records .* partition 0 of t"):
        produce(dead)
    produce(alive)
    until(lambda: len(bench.client.taken) == 26)
    bench.client.deliver(10, KafkaError(KafkaError._MSG_TIMED_OUT))
    until(lambda: len(errors) == 10)
    for _ in range(5):
        produce(dead)
    until(lambda: len(bench.client.taken) == 31 and bench.producer._overdue)
    with pytest.raises(BufferError, match="20 records"):
        produce(dead)
    bench.client.deliver(21)
    until(lambda: len(errors) == 31)
    assert bench.producer._waiting == {}


def test_what_was_refused_takes_no_share(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_module, "BURST_PATIENCE_S", 0.02)
    bench.producer.partitions["t"] = 1
    for number in (0, 3, 5):
        bench.client.refusals[b"%d" % number] = KafkaException(
            KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        )
    bench.client.refusals[b"6"] = BufferError("too much for the queue")
    with pytest.raises(RecordTooLargeError):
        bench.send(0)
    bench.send(*range(1, 8))

    def delivered() -> bool:
        bench.client.deliver(8)
        return len(bench.results) == 7

    until(delivered)
    assert bench.producer._waiting == {}


def test_flush_waits_for_what_gathers_too(bench: Bench) -> None:
    bench.send(*range(5))
    assert bench.producer.flush(0.0) == 5
    deliveries = threading.Thread(
        target=lambda: [
            bench.client.deliver(5),
            until(lambda: len(bench.client) == 3),
            bench.client.deliver(5),
        ]
    )
    deliveries.start()
    assert bench.producer.flush(10.0) == 0
    deliveries.join()
    assert len(bench.results) == 5


def test_close_fails_what_waits_and_what_comes_later(bench: Bench) -> None:
    bench.send(*range(5))
    assert bench.producer.close(0.0) == 5
    assert [value for value, _ in bench.results] == values(*range(5))
    assert all(isinstance(error, Exception) for _, error in bench.results)
    assert isinstance(bench.results[-1][1], BrokerUnreachableError)
    bench.send(5)
    assert isinstance(bench.results[-1][1], OdradekError)
    assert bench.client.values == values(*range(BURSTS))
    assert bench.producer.close() == 0


def test_close_fails_what_a_thread_puts_back_just_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's queue is full when a thread hands over what `close` could not see, as it was
    in its hands.
    """
    handing, go_on = threading.Event(), threading.Event()

    def produce(*args: Any, **options: Any) -> None:
        handing.set()
        assert go_on.wait(10)
        raise BufferError("full")

    bench.send(*range(BURSTS + 3))  # three wait
    monkeypatch.setattr(bench.client, "produce", produce)
    delivering = threading.Thread(target=bench.client.deliver)
    delivering.start()
    assert handing.wait(10)
    closing = threading.Thread(target=bench.producer.close, args=(0.0,))
    closing.start()
    until(lambda: bench.producer._ended)
    go_on.set()
    for thread in (delivering, closing):
        thread.join(10)
    assert (
        sorted(value for value, _ in bench.results) == values(*range(BURSTS + 3))
        and len(bench.producer) == 0
    )


@pytest.mark.parametrize("who", ["sender", "flusher"])
def test_close_fails_what_a_thread_is_just_handing_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """It reaches the client when `close` has told all others their failure, and nobody polls any
    more.
    """
    handing, go_on = threading.Event(), threading.Event()
    given = bench.client.produce
    first = values(0 if who == "sender" else BURSTS)

    def produce(topic: str, value: bytes, *args: Any, **options: Any) -> None:
        if value in first:
            handing.set()
            assert go_on.wait(10)
        given(topic, value, *args, **options)

    monkeypatch.setattr(bench.client, "produce", produce)
    if who == "sender":
        thread = threading.Thread(target=bench.send, args=(0,))
    else:  # its flush serves the reports that let the next burst go
        polling = threading.Event()
        monkeypatch.setattr(
            bench.client, "poll", lambda timeout: polling.set() or time.sleep(min(timeout, 0.01))
        )  # type: ignore[func-returns-value]
        assert polling.wait(10)
        monkeypatch.setattr(
            bench.client, "flush", lambda timeout: FakeClient.poll(bench.client, min(timeout, 0.01))
        )
        bench.send(*range(BURSTS + 3))
        bench.client.deliver()
        thread = threading.Thread(target=bench.producer.flush, args=(30.0,))
    thread.start()
    assert handing.wait(10)
    if who == "sender":
        bench.send(1, 2, 3)
    bench.producer.close(0.0)
    go_on.set()
    thread.join(30)
    told = sorted(value for value, _ in bench.results)
    assert told == values(*range(4 if who == "sender" else BURSTS + 3)) and len(bench.producer) == 0
    assert sum(error is None for _, error in bench.results) == (who == "flusher")


def test_a_flush_that_meets_the_end_of_a_close_finds_nothing(bench: Bench) -> None:
    bench.producer.close(0.0)
    bench.producer._closing.clear()  # as it was when the flush looked
    assert bench.producer.flush(1.0) == 0
    bench.producer._purge()


async def test_futures_of_a_loop(bench: Bench) -> None:
    futures = [bench.producer.send("t", b"k", b"%d" % number) for number in range(4)]
    bench.client.deliver(1)
    await futures[0]
    futures[2].cancel()
    until(lambda: len(bench.client.taken) == 4)
    bench.client.deliver(1, KafkaError(KafkaError._MSG_TIMED_OUT))
    with pytest.raises(BrokerUnreachableError):
        await futures[1]
    bench.client.deliver(2)
    await asyncio.wait_for(futures[3], 10)


def test_statistics(bench: Bench) -> None:
    bench.send(*range(4))
    bench.client.deliver(1)
    until(lambda: bench.producer.statistics().delivered == 1)
    bench.client.deliver(3, KafkaError(KafkaError._MSG_TIMED_OUT))
    until(lambda: bench.producer.statistics().failed == 3)
    assert bench.producer.statistics().pending == 0
