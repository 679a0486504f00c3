"""The producer of a simulated Kafka, plain or transactional, with confluent_kafka's methods."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
)

from odradek.testing.broker_admin import cluster_metadata
from odradek.testing.broker_calls import Host, Report, call, error_of, message
from odradek.testing.broker_state import (
    Cluster,
    Headers,
    Identity,
    Place,
    Record,
    failure,
)


class SimulatedProducer:
    """Records wait in the client until a call that sends: flush, poll, or the end of a
    transaction; `deliver` sends by itself, as librdkafka's threads may at any moment.
    """

    def __init__(self, process: Host, config: Mapping[str, Any]) -> None:
        self.process = process
        self._cluster: Cluster = process.cluster
        self._id = str(config.get("transactional.id") or "")
        self._timeout_ms = int(config.get("transaction.timeout.ms", 60_000))
        self._largest = int(config.get("message.max.bytes", 1_000_000))
        self._queue: deque[tuple[Place, Record, Report | None]] = deque()
        self._reports: deque[tuple[Report, KafkaError | None, Message]] = deque()
        self._producer_id, self._epoch = 0, -1
        self._state = "new"  # ready, open, abortable, committed (without an answer), fatal
        self._error: KafkaException | None = None
        self._skipped: set[Place] = set()  # where a record was rejected: sequence numbers lack
        process.clients.append(self)

    def __len__(self) -> int:
        return len(self._queue) + len(self._reports)

    # --- transactions

    @call
    def init_transactions(self, timeout: float = -1) -> None:
        with self._cluster.lock:
            self._producer_id, self._epoch = self._cluster.initialize(self._id, self._timeout_ms)
        self._state = "ready"

    @call
    def begin_transaction(self) -> None:
        self._check_alive()
        if self._state != "ready":
            raise failure(KafkaError._STATE, f"Operation not valid in state {self._state}")
        self._state = "open"

    @call
    def commit_transaction(self, timeout: float = -1) -> None:
        self._check_alive()
        if self._state == "committed":
            self._state = "ready"  # asked again: it was
            return
        if self._state == "open":
            self.deliver()
            self._check_alive()
        if self._state == "abortable":
            assert self._error is not None
            raise self._error
        if self._state != "open":
            raise failure(KafkaError._STATE, f"Operation not valid in state {self._state}")
        with self._cluster.lock:
            identity = self._identity()
            self._cluster.end(identity, committed=True)
        self._state = "ready"
        self._serve()

    def lose_answer(self) -> None:
        """For fault hooks: the commit that was just done stays without an answer here."""
        self._state = "committed"
        raise failure(KafkaError._TIMED_OUT, "Failed to commit: timed out", retriable=True)

    @call
    def abort_transaction(self, timeout: float = -1) -> None:
        self._check_alive()
        if self._state == "committed":
            raise failure(KafkaError._CONFLICT, "A commit is in progress")
        if self._state not in ("open", "abortable"):
            raise failure(KafkaError._STATE, f"Operation not valid in state {self._state}")
        self._purge(KafkaError._PURGE_QUEUE)
        code = error_of(self._error).code() if self._error is not None else 0
        with self._cluster.lock:
            if code == KafkaError.INVALID_PRODUCER_ID_MAPPING:
                # The hazard: an abort brings a producer id that expired back to life.
                self._producer_id, self._epoch = self._cluster.initialize(
                    self._id, self._timeout_ms
                )
            else:
                self._cluster.end(self._identity(), committed=False)
        self._state, self._error = "ready", None
        self._serve()

    # --- records

    @call
    def produce(
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        on_delivery: Report | None = None,
        timestamp: int = 0,
        headers: Any = None,
        *,
        callback: Report | None = None,
    ) -> None:
        self._check_alive()
        if self._id and self._state != "open":
            raise failure(KafkaError._STATE, f"Operation not valid in state {self._state}")
        raw_value = value.encode() if isinstance(value, str) else value
        raw_key = key.encode() if isinstance(key, str) else key
        if len(raw_value or b"") + len(raw_key or b"") > self._largest:
            raise failure(KafkaError.MSG_SIZE_TOO_LARGE, "Local: Message size too large")
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        found: Headers = [
            (name, raw.encode() if isinstance(raw, str) else raw) for name, raw in pairs
        ]
        with self._cluster.lock:
            time_ms = timestamp or self._cluster.clock.time_ms()
            record = Record(0, time_ms, raw_key, raw_value, found)
            try:
                place = (topic, self._cluster.partition_of(topic, raw_key, partition))
            except KafkaException:
                place = (topic, partition)  # found out when it is sent
            self._queue.append((place, record, on_delivery or callback))

    def deliver(self, count: int = -1) -> None:
        """Send so many of the queued records; -1: all. Never raises: what fails is reported."""
        with self._cluster.lock:
            while self._queue and count != 0:
                place, record, report = self._queue.popleft()
                count -= 1
                error: KafkaError | None = None
                try:
                    if self._state == "abortable":
                        raise failure(KafkaError._PURGE_QUEUE, "Local: Purged in queue")
                    self._send(place, record)
                except KafkaException as raised:
                    error = error_of(raised)
                    self._note(raised)
                if report is not None:
                    self._reports.append((report, error, message(place, record, error)))

    def _send(self, place: Place, record: Record) -> None:
        place = (place[0], self._cluster.partition_of(place[0], record.key, place[1]))
        if self._id:
            identity = self._identity()
            self._cluster.log(place)
            if place in self._skipped:
                self._skipped.remove(place)
                raise failure(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "skipped sequence numbers")
            record.producer_id = self._producer_id
            self._cluster.join_transaction(identity, place)
        try:
            self._cluster.append(place, record)
        except KafkaException:
            if self._id:
                self._skipped.add(place)
            raise

    def _note(self, raised: KafkaException) -> None:
        if not self._id:
            return
        if error_of(raised).fatal():
            self._state, self._error = "fatal", raised
        elif self._state != "fatal" and self._error is None:
            inner = error_of(raised)
            self._state = "abortable"
            self._error = failure(inner.code(), inner.str(), abort=True)

    @call
    def flush(self, timeout: float = -1) -> int:
        self.deliver()
        self._serve()
        return len(self)

    @call
    def poll(self, timeout: float = 0) -> int:
        self.deliver()
        if not self._reports and timeout:
            self.process.sleep(timeout if timeout > 0 else 1.0)
            self.deliver()
        return self._serve()

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        self._purge(KafkaError._PURGE_QUEUE)

    @call
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        with self._cluster.lock:
            return cluster_metadata(self._cluster, topic)

    # --- inside

    def _identity(self) -> Identity:
        try:
            return self._cluster.identity(self._id, self._producer_id, self._epoch)
        except KafkaException as raised:
            self._note(raised)
            raise

    def _check_alive(self) -> None:
        self.process.check()
        if self._state == "fatal":
            assert self._error is not None
            raise self._error

    def _purge(self, code: int) -> None:
        while self._queue:
            place, record, report = self._queue.popleft()
            if report is not None:
                error = KafkaError(code, "Local: Purged in queue")
                self._reports.append((report, error, message(place, record, error)))

    def _serve(self) -> int:
        served = 0
        while self._reports:
            report, error, about = self._reports.popleft()
            report(error, about)
            served += 1
        return served
