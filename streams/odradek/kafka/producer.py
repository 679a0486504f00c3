"""The plain producer: of clients, activity services, replies and members. Partitions have a
transactional one of their own.

`produce` never blocks and may be called from any thread or event loop. Delivery is reported by
callback, or to an asyncio future. The reports come on a thread of the producer, or, for a host
that has a loop of its own, wherever `serve` is called. librdkafka has one request a broker on its
way, so what comes meanwhile gathers for the next one; there is no linger.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message

from odradek.exceptions import BrokerUnreachableError, OdradekError, RecordTooLargeError
from odradek.kafka.client_config import PRODUCER_MESSAGE_MAX_BYTES, producer_config
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.errors import kafka_error, translate
from odradek.kafka.settings import KafkaSettings
from odradek.weak_method import weak_method
from odradek.wire.record_size import record_size

logger = logging.getLogger("odradek.kafka")

OnDelivery = Callable[[BaseException | None], None]
KafkaHeaders = Sequence[tuple[str, bytes]]

HASHED = -1  # as partition: the partitioner decides, by the key
_POLL_S = 0.1  # how late `close` is noticed at most; reports are served as they come


@dataclass(frozen=True, slots=True)
class ProducerStatistics:
    """A plain producer at a moment: records delivered and failed since it began, records on their
    way, and the client's last complaint.
    """

    delivered: int = 0
    failed: int = 0
    pending: int = 0
    error: str = ""


class PlainProducer:
    """Sends records. `close` (or `with`) ends it; records that were not delivered by then are
    reported as failed.

    own_thread: a thread of its own serves reports; else the host calls `serve`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clients: KafkaClients | None = None,
        own_thread: bool = True,
    ) -> None:
        self._settings = settings
        self._reason = ""
        #: Topic -> its `max.message.bytes`, as far as the host knows it
        #: (`ClusterAdmin.max_message_bytes`).
        self.limits: dict[str, int] = {}
        config = producer_config(settings) | {"error_cb": weak_method(self._on_error)}
        self._producer = (clients or ConfluentKafka()).producer(config)
        self._lock = threading.Lock()  # a record is handed over before `close` purges, or never
        self._closed = threading.Event()
        self._unreported = self._delivered = self._failed = 0
        self._settled: deque[tuple[asyncio.Future[None], BaseException | None]] = deque()
        self._thread: threading.Thread | None = None
        if own_thread:
            self._thread = threading.Thread(target=self._run, name="odradek-producer", daemon=True)
            self._thread.start()

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: KafkaHeaders = (),
        *,
        partition: int = HASHED,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Hand a record over. `on_delivery(None)` once it is durable, `on_delivery(error)` if it
        never will be.

        Raises BufferError when the local queue is full (wait for deliveries), RecordTooLargeError
        for a record that is larger than the topic's entry in `limits`, or than any topic of ours
        takes.
        """
        limit = self.limits.get(topic, PRODUCER_MESSAGE_MAX_BYTES)
        if len(value or b"") > limit // 2 and (size := record_size(key, value, headers)) > limit:
            raise RecordTooLargeError(topic, size=size, limit=limit)

        def report(error: KafkaError | None, message: Message) -> None:
            failure = None
            if error is not None:
                failure = self._failure(topic, record_size(key, value, headers), error)
            self._report(topic, failure, on_delivery)

        with self._lock:
            if not self._closed.is_set():
                try:
                    self._producer.produce(
                        topic, value, key, partition, on_delivery=report, headers=list(headers)
                    )
                except KafkaException as error:
                    raise self._failure(
                        topic, record_size(key, value, headers), kafka_error(error)
                    ) from error
                self._unreported += 1
                return
        if on_delivery is not None:
            on_delivery(OdradekError("the producer was closed: nothing is sent any more"))

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: KafkaHeaders = (),
        *,
        partition: int = HASHED,
    ) -> asyncio.Future[None]:
        """As `produce`, from a running event loop: a future that is done once the record is
        durable, or has the error.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: BaseException | None) -> None:
            self._settled.append((future, error))

        self.produce(topic, key, value, headers, partition=partition, on_delivery=settle)
        return future

    def serve(self, timeout_s: float) -> None:
        """Wait so long for delivery reports, and pass them on."""
        self._producer.poll(timeout_s)
        self._wake_loops()

    def flush(self, timeout_s: float) -> int:
        """Wait until every record is delivered or has failed; how many are still on their way
        after the time.
        """
        self._producer.flush(timeout_s)
        deadline_s = time.monotonic() + timeout_s  # the thread may have reports in its hands
        while self._unreported and self._thread is not None and time.monotonic() < deadline_s:
            time.sleep(0.005)
        self._wake_loops()
        return len(self)

    def __len__(self) -> int:
        """Records without a report."""
        return self._unreported

    def refresh(self, topic: str, timeout_s: float) -> None:
        """Have librdkafka learn of a topic that was deleted and created again: by itself it asks
        every five minutes. Blocks. Never raises: what is sent will say what is wrong.
        """
        try:
            self._producer.list_topics(topic, timeout=timeout_s)
        except KafkaException as error:
            logger.debug("%s cannot be looked up: %s", topic, error)

    def statistics(self) -> ProducerStatistics:
        """See `ProducerStatistics`."""
        return ProducerStatistics(self._delivered, self._failed, len(self), self._reason)

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what is on its way, as far as it goes in the time; how many records failed for
        it. Idempotent.
        """
        if self._closed.is_set():
            return 0
        self.flush(timeout_s)
        with self._lock:
            self._closed.set()
        remaining = len(self)
        if remaining:
            logger.warning("producer closed with %d records undelivered", remaining)
            self._producer.purge()
            self._producer.flush(1.0)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._wake_loops()
        return remaining

    def __enter__(self) -> PlainProducer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- inside

    def _run(self) -> None:
        while not self._closed.is_set():
            self.serve(_POLL_S)

    def _report(
        self, topic: str, failure: BaseException | None, on_delivery: OnDelivery | None
    ) -> None:
        with self._lock:
            self._unreported -= 1
            self._delivered += failure is None
            self._failed += failure is not None
            if failure is None:
                self._reason = ""
        try:
            if on_delivery is not None:
                on_delivery(failure)
            elif failure is not None:
                logger.warning("a record for %s was not delivered: %s", topic, failure)
        except Exception:  # a defect of the caller: reports of all others come here too
            logger.exception("a delivery callback raised")

    def _wake_loops(self) -> None:
        """Futures of one loop are settled in one wake-up: one each costs more than the record."""
        by_loop: defaultdict[
            asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], BaseException | None]]
        ] = defaultdict(list)
        while self._settled:
            future, error = self._settled.popleft()
            by_loop[future.get_loop()].append((future, error))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:
                logger.debug("%d deliveries came after their event loop was closed", len(settled))

    def _failure(self, topic: str, size: int, error: KafkaError) -> OdradekError | KafkaException:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RecordTooLargeError(topic, size=size, limit=self.limits.get(topic, 0))
        if error.code() in (
            KafkaError._MSG_TIMED_OUT,
            KafkaError._PURGE_QUEUE,
            KafkaError._PURGE_INFLIGHT,
        ):
            return BrokerUnreachableError(
                self._settings.address, reason=self._reason or error.str()
            )
        return translate(error, self._settings, topic=topic, what="write")

    def _on_error(self, error: KafkaError) -> None:
        # "all brokers down" says less than what came before it
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._reason:
            self._reason = error.str()


def _settle(settled: list[tuple[asyncio.Future[None], BaseException | None]]) -> None:
    for future, error in settled:
        if future.done():  # cancelled by whoever waited
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
