"""A plain producer with a thread of its own that serves delivery reports: for clients, activity services, replies and members.

`produce` never blocks and may be called from any thread or event loop. Delivery is reported by callback on the polling thread, or to an
asyncio future; futures of one loop are settled in one wake-up for all reports that came together, since a wake-up each would
cost more than the record. Lanes do not use it: theirs is transactional.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from odradek.exceptions import BrokerUnreachableError, OdradekError, RecordTooLargeError
from odradek.kafka.client_config import PRODUCER_MESSAGE_MAX_BYTES, producer_config
from odradek.kafka.errors import kafka_error, translate
from odradek.kafka.settings import KafkaSettings
from odradek.wire.record_size import record_size

logger = logging.getLogger("odradek.kafka")

OnDelivery = Callable[[BaseException | None], None]
KafkaHeaders = Sequence[tuple[str, bytes]]

_POLL_S = 0.1  # an upper bound on how late `close` is noticed; reports are served as they come
DEFAULT_MAX_MESSAGE_BYTES = 1_048_588  # Kafka's default of `max.message.bytes`, for a topic that nobody looked at
_HASHED = -1  # confluent-kafka's PARTITION_UA: the partitioner decides by the key


class PlainProducer:
    """Sends records. `close` (or `with`) ends its thread; records that were not delivered by then are reported as failed.

    new_producer: makes the confluent producer; tests give their own.
    """

    def __init__(self, settings: KafkaSettings, *, new_producer: Callable[[dict[str, Any]], Producer] = Producer) -> None:
        self._settings = settings
        self._new_producer = new_producer
        self._reason = ""
        #: Topic -> its `max.message.bytes`, as far as the host knows it (`ClusterAdmin.max_message_bytes`).
        self.limits: dict[str, int] = {}
        self._producer = self._make()
        self._lock = threading.Lock()
        self._settled: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None], BaseException | None]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="odradek-producer", daemon=True)
        self._thread.start()

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: KafkaHeaders = (),
        *,
        partition: int = _HASHED,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Hand a record over. `on_delivery(None)` once it is durable, `on_delivery(error)` if it never will be; on the polling thread.

        Raises BufferError when the local queue is full (wait for deliveries), RecordTooLargeError at once for a record that is larger
        than the topic's entry in `limits`, or than any topic of ours takes.
        """
        limit = self.limits.get(topic)
        if limit is not None and len(value or b"") > limit // 2 and (size := record_size(key, value, headers)) > limit:
            raise RecordTooLargeError(topic, size=size, limit=limit)
        report = None if on_delivery is None else lambda error, message: on_delivery(self._delivery_error(error, message))
        producer = self._producer
        try:
            producer.produce(topic, value, key, partition, on_delivery=report, headers=list(headers))
        except KafkaException as error:
            code = kafka_error(error).code()
            if code == KafkaError._FATAL:
                self._renew(producer)
                self._producer.produce(topic, value, key, partition, on_delivery=report, headers=list(headers))
                return
            if code == KafkaError.MSG_SIZE_TOO_LARGE:
                raise self._too_large(topic, record_size(key, value, headers)) from error
            raise translate(error, self._settings, topic=topic) from error

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: KafkaHeaders = (), *, partition: int = _HASHED
    ) -> asyncio.Future[None]:
        """As `produce`, from a running event loop: a future that is done once the record is durable, or has the error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            self._settled.append((loop, future, error))

        self.produce(topic, key, value, headers, partition=partition, on_delivery=settle)
        return future

    def flush(self, timeout_s: float) -> int:
        """Wait until everything handed over is delivered or has failed; how many records are still on the way at the time-out."""
        remaining = self._producer.flush(timeout_s)
        self._wake_loops()
        return remaining

    def __len__(self) -> int:
        """Records on the way."""
        return len(self._producer)

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what is on the way, as far as it goes in the time; how many records failed for it. Idempotent."""
        if self._closing.is_set():
            return 0
        remaining = self._producer.flush(timeout_s)
        self._closing.set()
        self._thread.join()
        if remaining:
            logger.warning("producer closed with %d records undelivered after %g s", remaining, timeout_s)
            self._producer.purge()
            self._producer.flush(1.0)
        self._wake_loops()
        return remaining

    def __enter__(self) -> PlainProducer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- inside

    def _make(self) -> Producer:
        return self._new_producer(producer_config(self._settings) | {"error_cb": self._on_error})

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(_POLL_S)
            except Exception:
                # A callback of a caller raised: its matter, but the reports of all others come through here.
                logger.exception("a delivery callback raised")
            self._wake_loops()

    def _wake_loops(self) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], BaseException | None]]] = {}
        while self._settled:
            loop, future, error = self._settled.popleft()
            by_loop.setdefault(loop, []).append((future, error))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:
                logger.debug("%d deliveries came after their event loop was closed", len(settled))

    def _renew(self, old: Producer) -> None:
        """A fatal error ends an idempotent producer for good; a new one goes on, what the old one held is reported as failed."""
        with self._lock:
            if self._producer is not old:
                return  # another thread was first
            logger.warning("producer made anew after a fatal error: %s", self._reason)
            self._producer = self._make()
        old.purge()
        old.flush(1.0)

    def _delivery_error(self, error: KafkaError | None, message: Message) -> BaseException | None:
        if error is None:
            return None
        topic = message.topic() or ""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return self._too_large(topic, record_size(None, message.value()))
        if error.code() == KafkaError._MSG_TIMED_OUT:
            return BrokerUnreachableError(self._settings.address, reason=self._reason or error.str())
        return translate(error, self._settings, topic=topic, what="produce")

    def _too_large(self, topic: str, size: int) -> OdradekError:
        limit = self.limits.get(topic, PRODUCER_MESSAGE_MAX_BYTES if size > PRODUCER_MESSAGE_MAX_BYTES else DEFAULT_MAX_MESSAGE_BYTES)
        return RecordTooLargeError(topic, size=size, limit=limit)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._reason:  # says less than what came before it
            self._reason = error.str()


def _settle(settled: list[tuple[asyncio.Future[None], BaseException | None]]) -> None:
    for future, error in settled:
        if future.done():  # cancelled by whoever waited
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
