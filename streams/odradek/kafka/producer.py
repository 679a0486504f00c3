"""A plain producer with a thread of its own that serves delivery reports: for clients, activity
services, replies and members.

`produce` never blocks and may be called from any thread or event loop. Delivery is reported by
callback on the polling thread, or to an asyncio future; futures of one loop are settled in one
wake-up for all reports that came together, since a wake-up each would cost more than the record.
Lanes do not use it: theirs is transactional.

Records go in bursts, at most BURSTS on the way: one that comes alone leaves at once, and under
load what comes meanwhile gathers. A linger would cost each lone record a millisecond; without
either each record would be a request of its own to the broker. A burst that takes long (a
partition without a leader keeps its records until it has one) gives its place away: it holds the
records of its own partitions alone.

A record is refused as too large only if it is so by itself: of a topic that takes less than a
batch, less is on the way (`windows.py`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from odradek.exceptions import BrokerUnreachableError, OdradekError, RecordTooLargeError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import PRODUCER_MESSAGE_MAX_BYTES, producer_config
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.closed import Closed
from odradek.kafka.errors import kafka_error, translate
from odradek.kafka.settings import KafkaSettings
from odradek.kafka.windows import ANY, Place, Windows, batch_bytes
from odradek.weak_method import weak_method
from odradek.wire.partitioner import partition_for
from odradek.wire.record_size import record_size

logger = logging.getLogger("odradek.kafka")

OnDelivery = Callable[[BaseException | None], None]
KafkaHeaders = Sequence[tuple[str, bytes]]

_POLL_S = 0.1  # an upper bound on how late `close` is noticed; reports are served as they come
BURSTS = 2  # on the way at a time
# a burst that is on the way for longer no longer counts: a partition of it may have no leader
BURST_PATIENCE_S = 1.0
OVERDUE_PATIENCE_S = (
    0.05  # ... while there is one like that: the next ones go to the same partition, most likely
)
BACKLOG_MAX = 100_000  # records that wait for a burst; librdkafka's own queue takes as many
# What a partition may have of librdkafka's queue (100,000 records, 1 GiB) while some of it is late:
# one without a leader keeps its records for two minutes, and a full queue takes none for others.
PARTITION_RECORDS_MAX = 20_000
PARTITION_BYTES_MAX = 200 * 1024 * 1024
LIMIT_TIMEOUT_S = (
    5.0  # to ask what a topic takes, after a refusal; reports of others wait meanwhile
)
_HASHED = ANY  # confluent-kafka's PARTITION_UA: the partitioner decides by the key


@dataclass(slots=True)
class _Record:
    """What `produce` was given."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]
    on_delivery: OnDelivery | None
    place: Place  # where it goes, as far as that is known


@dataclass(frozen=True, slots=True)
class ProducerStatistics:
    """A plain producer at a moment: delivered and failed since it began; `pending` on the way or
    waiting; the client's last complaint.
    """

    delivered: int = 0
    failed: int = 0
    pending: int = 0
    error: str = ""


@dataclass(slots=True, eq=False)
class _Burst:
    """Records handed over together; `left` are without a report yet. `overdue`: it does not
    count any more.
    """

    left: int
    began_at: float
    overdue: bool = False


class PlainProducer:
    """Sends records. `close` (or `with`) ends its thread; records that were not delivered by
    then are reported as failed.

    clients: where the confluent producer comes from.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clients: KafkaClients | None = None,
    ) -> None:
        self._settings = settings
        self._clients = clients or ConfluentKafka()
        self._reason = ""
        #: Topic -> its `max.message.bytes`, as far as the host knows it
        #: (`ClusterAdmin.max_message_bytes`).
        self.limits: dict[str, int] = {}
        #: Topic -> the partitions that its keys are hashed over, likewise: without it none has a
        #: share or a window of its own.
        self.partitions: dict[str, int] = {}
        config = producer_config(settings)
        self._windows: Windows[_Record] = Windows(
            _size, batch=batch_bytes(config), limits=self.limits, held_max=BACKLOG_MAX
        )
        self._producer = self._clients.producer(config | {"error_cb": weak_method(self._on_error)})
        self._admin: ClusterAdmin | None = None  # made when it is needed
        self._gate = (
            threading.Lock()
        )  # over the seven below; never held while librdkafka or a caller's code runs
        self._bursts: list[_Burst] = []  # on the way, that count
        self._overdue = 0  # bursts on the way that do not
        self._handing = False  # a thread hands records over
        self._ended = False
        self._unreported = 0
        self._waiting: dict[
            Place, tuple[int, int]
        ] = {}  # of each partition, records without a report yet, and their bytes
        self._delivered = self._failed = 0  # by the polling thread
        self._backlog: list[_Record] = []
        self._settled: deque[
            tuple[asyncio.AbstractEventLoop, asyncio.Future[None], BaseException | None]
        ] = deque()
        self._serving: set[int] = set()  # threads in librdkafka's flush: callbacks may run on them
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
        """Hand a record over. `on_delivery(None)` once it is durable, `on_delivery(error)` if it
        never will be; on the polling thread.

        Raises BufferError when the local queue, or the partition's share of it, is full (wait
        for deliveries), RecordTooLargeError at once for a record that is larger than the topic's
        entry in `limits`, or than any topic of ours takes.
        """
        limit = self.limits.get(topic)
        if (
            limit is not None
            and len(value or b"") > limit // 2
            and (size := record_size(key, value, headers)) > limit
        ):
            raise RecordTooLargeError(topic, size=size, limit=limit)
        record = _Record(
            topic, key, value, list(headers), on_delivery, self._place(topic, key, partition)
        )
        with self._gate:
            ended = self._ended
            if not ended:
                self._check_share(record)
                if not self._windows.enter(record.place, record):
                    self._count(record, 1)
                    return
            if not ended and (self._handing or self._backlog or not self._has_room()):
                if len(self._backlog) >= BACKLOG_MAX:
                    self._windows.left(record.place, record)
                    raise BufferError(
                        f"{BACKLOG_MAX} records wait to be sent: the broker does not keep up"
                    )
                self._count(record, 1)
                self._backlog.append(record)
                return
            burst = _Burst(1, time.monotonic())
            if not ended:
                self._count(record, 1)
                self._handing = True
                self._bursts.append(burst)
        if ended:
            self._report(record, OdradekError("the producer was closed: nothing is sent any more"))
            return
        try:
            self._hand_over(record, burst)
        except BaseException:
            self._count_down(burst, record)
            raise
        finally:
            self._send_backlog(handing=True)
            if self._ended:
                self._fail_late_ones()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: KafkaHeaders = (),
        *,
        partition: int = _HASHED,
    ) -> asyncio.Future[None]:
        """As `produce`, from a running event loop: a future that is done once the record is
        durable, or has the error.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            self._settled.append((loop, future, error))

        self.produce(topic, key, value, headers, partition=partition, on_delivery=settle)
        return future

    def flush(self, timeout_s: float) -> int:
        """Wait until everything handed over is delivered or has failed; how many records are
        still on the way at the time-out.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self._closing.is_set():  # a burst that is through lets the next one go
            left_s = deadline_s - time.monotonic()
            self._serving.add(threading.get_ident())
            try:
                self._producer.flush(max(0.0, min(_POLL_S, left_s)))
            finally:
                self._serving.discard(threading.get_ident())
            if self._ended:
                self._fail_late_ones()
            self._wake_loops()
            remaining = len(self)
            if not remaining or left_s <= 0:
                return remaining
        return len(self)

    def __len__(self) -> int:
        """Records without a report yet, wherever they are: a thread may have some in its hands."""
        return self._unreported

    def refresh(self, topic: str, timeout_s: float) -> None:
        """Have librdkafka learn of a topic anew, which was deleted and made anew: by itself it
        asks every five minutes, and refuses records of partitions that it does not know. Blocks.
        Never raises: what is sent will say what is wrong.
        """
        try:
            self._producer.list_topics(topic, timeout=timeout_s)
        except KafkaException as error:
            logger.debug("%s cannot be looked up: %s", topic, error)

    def statistics(self) -> ProducerStatistics:
        """See `ProducerStatistics`."""
        return ProducerStatistics(self._delivered, self._failed, len(self), self._reason)

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what is on the way, as far as it goes in the time; how many records failed for
        it. Idempotent.
        """
        if self._closing.is_set():
            return 0
        self.flush(timeout_s)
        with self._gate:
            self._ended = True
            waiting, self._backlog = self._backlog + self._windows.clear(), []
            self._unreported -= len(waiting)
        self._closing.set()
        self._thread.join()
        remaining = len(waiting) + len(self)
        if remaining:
            logger.warning(
                "producer closed with %d records undelivered after %g s", remaining, timeout_s
            )
            self._purge()
        for record in waiting:
            self._report_safely(record, self._closed())
        self._wake_loops()
        if (
            not self._unreported
        ):  # else a thread has a record of it in its hands just now, and purges for itself
            self._producer = cast(Producer, Closed())
        if self._admin is not None:
            self._admin.close()
        return remaining

    def __enter__(self) -> PlainProducer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- inside

    def _purge(self) -> None:
        """What librdkafka has is reported as failed, on this thread."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _fail_late_ones(self) -> None:
        """This thread handed records over while `close` ended: they may have come behind its
        purge, and nobody polls any more.

        In a callback there is no polling: whoever serves it looks for itself then, and `close`
        waits for the polling thread.
        """
        if (
            self._unreported
            and threading.get_ident() not in self._serving
            and threading.current_thread() is not self._thread
        ):
            self._purge()
            self._wake_loops()

    def _hand_over(self, record: _Record, burst: _Burst) -> None:
        """To librdkafka. Raises as `produce`; then there will be no report."""

        def report(error: KafkaError | None, message: Message) -> None:
            again = False
            try:
                again = error is not None and self._comes_again(record, error)
                if not again:
                    self._report(record, self._delivery_error(record, error))
            finally:
                if self._count_down(burst, record, again=again):
                    self._send_backlog()

        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                record.place[1],
                on_delivery=report,
                headers=record.headers,
            )
        except KafkaException as error:
            if (
                kafka_error(error).code() == KafkaError.MSG_SIZE_TOO_LARGE
            ):  # says librdkafka: more than any topic of ours takes
                limit = self.limits.get(record.topic, PRODUCER_MESSAGE_MAX_BYTES)
                raise RecordTooLargeError(record.topic, size=_size(record), limit=limit) from error
            raise translate(error, self._settings, topic=record.topic) from error

    def _comes_again(self, record: _Record, error: KafkaError) -> bool:
        """Refused for the batch that it was in: it waits to be sent once more."""
        if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            return False
        with self._gate:
            if self._ended or not self._windows.refused(record.place, record):
                return False
        self._windows.settle(record.topic, self._ask_limit)
        return True

    def _report(self, record: _Record, error: BaseException | None) -> None:
        if error is None:
            self._delivered += 1
        else:
            self._failed += 1
        if record.on_delivery is not None:
            record.on_delivery(error)
        elif error is not None:
            logger.warning("a record for %s was not delivered: %s", record.topic, error)

    def _report_safely(self, record: _Record, error: BaseException) -> None:
        """On a thread that is not the caller's of `produce`: a callback that raises is its
        owner's matter, the others still go.
        """
        try:
            self._report(record, error)
        except Exception:
            logger.exception("a delivery callback raised")

    def _closed(self) -> BrokerUnreachableError:
        return BrokerUnreachableError(
            self._settings.address, reason=self._reason or "closed before they were sent"
        )

    def _place(self, topic: str, key: bytes | None, partition: int) -> Place:
        if partition == _HASHED and key and (count := self.partitions.get(topic)):
            partition = partition_for(key, count)
        return topic, partition

    def _count_down(self, burst: _Burst, record: _Record, *, again: bool = False) -> bool:
        """This one of it has its report, or will never have one. True if others may go for it.
        again: it will go once more itself.
        """
        with self._gate:
            if not again:
                self._gone(record)
            self._shorten(burst, 1)
            freed = self._windows.ready(record.place)
            self._backlog += freed
            return bool(freed) or (burst.left == 0 and bool(self._backlog))

    # Under the gate.

    def _check_share(self, record: _Record) -> None:
        if not self._overdue or record.place[1] == _HASHED:
            return
        records, size = self._waiting.get(record.place, (0, 0))
        if records >= PARTITION_RECORDS_MAX or size >= PARTITION_BYTES_MAX:
            topic, partition = record.place
            raise BufferError(
                f"{records} records ({size} bytes) wait for partition {partition} of {topic}: it"
                " may have no leader"
            )

    def _gone(self, record: _Record) -> None:
        self._count(record, -1)
        self._windows.left(record.place, record)

    def _count(self, record: _Record, by: int) -> None:
        self._unreported += by
        if record.place[1] == _HASHED:
            return
        records, size = self._waiting.get(record.place, (0, 0))
        if records + by:
            self._waiting[record.place] = (records + by, size + by * len(record.value or b""))
        else:
            del self._waiting[record.place]

    def _shorten(self, burst: _Burst, records: int) -> None:
        burst.left -= records
        if burst.left:
            return
        if burst.overdue:
            self._overdue -= 1
        else:
            self._bursts.remove(burst)

    def _has_room(self) -> bool:
        """Whether a burst may go now. One that has been on the way for too long loses its place
        here.
        """
        if len(self._bursts) < BURSTS:
            return True
        until_s = time.monotonic() - (OVERDUE_PATIENCE_S if self._overdue else BURST_PATIENCE_S)
        for burst in self._bursts:
            burst.overdue = burst.began_at <= until_s
            self._overdue += burst.overdue
        self._bursts = [burst for burst in self._bursts if not burst.overdue]
        return len(self._bursts) < BURSTS

    # Without it again.

    def _send_backlog(self, *, handing: bool = False) -> None:
        """What has gathered goes as a burst, while there is room for one. One thread at a time
        hands over, or order would be lost.

        handing: this thread has the turn already.
        """
        full = False
        while True:
            with self._gate:
                if self._handing and not handing:
                    return  # who has the turn sees the room that is there now
                self._handing = handing = (
                    bool(self._backlog) and not self._ended and self._has_room()
                )
                if not handing:
                    return
                records, self._backlog = self._backlog, []
                burst = _Burst(len(records), time.monotonic())
                self._bursts.append(burst)
            for index, record in enumerate(records):
                try:
                    self._hand_over(record, burst)
                except BufferError as error:  # librdkafka's queue is full
                    if self._put_back(records[index:], burst):
                        return
                    if (
                        full
                    ):  # and yet nothing is on the way: this one alone is more than the queue takes
                        with self._gate:
                            self._gone(self._backlog.pop(0))
                            self._backlog += self._windows.ready(record.place)
                        self._report_safely(record, error)
                    full = not full
                    break
                except Exception as error:
                    self._report_safely(record, error)
                    self._count_down(burst, record)
            else:
                full = False

    def _put_back(self, records: list[_Record], burst: _Burst) -> bool:
        """These of a burst wait again. True: others are on the way, and the next burst that is
        through lets them go; or all is over.
        """
        with self._gate:
            ended = self._ended
            if not ended:
                self._backlog[:0] = records
                self._shorten(burst, len(records))
                self._handing = not self._bursts and not self._overdue
                return not self._handing
        for record in records:  # `close` has taken what waits, and nobody comes for these
            self._report_safely(record, self._closed())
            self._count_down(burst, record)
        return True

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(OVERDUE_PATIENCE_S if self._overdue else _POLL_S)
            except Exception:
                # A callback of a caller raised: its matter, but the reports of all others come
                # through here.
                logger.exception("a delivery callback raised")
            if self._backlog:
                self._send_backlog()  # a burst may have become overdue meanwhile
            self._wake_loops()
            self._windows.ask_again(self._ask_limit)

    def _wake_loops(self) -> None:
        by_loop: dict[
            asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], BaseException | None]]
        ] = {}
        while self._settled:
            loop, future, error = self._settled.popleft()
            by_loop.setdefault(loop, []).append((future, error))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:
                logger.debug("%d deliveries came after their event loop was closed", len(settled))

    def _delivery_error(self, record: _Record, error: KafkaError | None) -> BaseException | None:
        if error is None:
            return None
        topic = record.topic
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RecordTooLargeError(topic, size=_size(record), limit=self._ask_limit(topic))
        if error.code() == KafkaError._MSG_TIMED_OUT:
            return BrokerUnreachableError(
                self._settings.address, reason=self._reason or error.str()
            )
        return translate(error, self._settings, topic=topic, what="produce")

    def _ask_limit(self, topic: str) -> int:
        """What a topic takes now, in bytes; 0 when nobody says. Blocks on the broker that has
        just refused a record.
        """
        try:
            if self._admin is None:
                self._admin = ClusterAdmin(
                    self._settings, request_timeout_s=LIMIT_TIMEOUT_S, clients=self._clients
                )
            return self._admin.max_message_bytes([topic])[topic]
        except Exception as error:  # no right to ask, most likely
            logger.warning("what topic %s takes is not known: %s", topic, error)
            return self.limits.get(topic, 0)

    def _on_error(self, error: KafkaError) -> None:
        if (
            error.code() != KafkaError._ALL_BROKERS_DOWN or not self._reason
        ):  # says less than what came before it
            self._reason = error.str()


def _size(record: _Record) -> int:
    headers = [
        (name, raw.encode() if isinstance(raw, str) else raw) for name, raw in record.headers
    ]
    return record_size(record.key, record.value, headers)


def _settle(settled: list[tuple[asyncio.Future[None], BaseException | None]]) -> None:
    for future, error in settled:
        if future.done():  # cancelled by whoever waited
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
