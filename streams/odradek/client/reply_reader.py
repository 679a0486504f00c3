"""The thread that reads `replies` for one client: the partition of its client id, from the end,
whatever comes.

It waits for the first request (`begin`): a client that asks nothing, such as an activity
service's, does not read the replies of others.

It filters by key and hands raw values over in one wake-up of the loop for all that came
together; decoding happens there, since two threads that both hold the interpreter only make each
other wait. But a schema that is not known yet is asked for here: a registry blocks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from odradek.exceptions import OdradekError
from odradek.kafka.client_config import reader_config
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.settings import KafkaSettings

logger = logging.getLogger(__name__)

_POLL_S = 0.2  # bounds how late `stop` is noticed; records are served as they come
_AT_ONCE = 1000
_START_S = 5.0


class ReplyReader:
    """Reads one partition of `replies`. The constructor blocks until its position is fixed: no
    reply after it is missed.

    end: a partition's end now; blocks.  readable: whether a value of this client can be decoded;
    may block.  on_values: called on `loop` with those that can.  on_gap: called on `loop` when
    replies were lost.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        partition: int,
        key: bytes,
        end: Callable[[int], int],
        loop: asyncio.AbstractEventLoop,
        readable: Callable[[bytes], bool | None],
        on_values: Callable[[list[bytes]], object],
        on_gap: Callable[[None], object],
        clients: KafkaClients | None = None,
    ) -> None:
        self._place = (topic, partition)
        self._key = key
        self._end = end
        self._loop = loop
        self._readable = readable
        self._on_values = on_values
        self._on_gap = on_gap
        self._inbox: list[bytes] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._from = end(partition)
        self._begun = threading.Event()
        self._anew = threading.Event()
        self._consumer = (clients or ConfluentKafka()).consumer(
            reader_config(settings, read_uncommitted=True)
        )
        self._thread = threading.Thread(target=self._run, name="odradek-replies", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """A request is about to be sent: read from now on. Again: nothing."""
        self._begun.set()

    def made_anew(self, partition: int) -> None:
        """The topic was deleted and made anew: read this partition of it, from its start. Any
        thread; returns at once.
        """
        self._place, self._from = (self._place[0], partition), 0
        self._anew.set()

    def stop(self) -> None:
        """End the thread soon; does not wait."""
        self._stop.set()
        self._begun.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        consumer = self._consumer
        try:
            self._begun.wait()
            if not self._stop.is_set():
                self._anew.clear()
                consumer.assign([TopicPartition(*self._place, self._beginning())])
            while not self._stop.is_set():
                if self._anew.is_set():
                    self._begin_anew()
                # consume(n, t) waits for all n or for t: wait for one, then take what else is
                # there.
                message = consumer.poll(_POLL_S)
                if message is None:
                    continue
                values = [
                    value
                    for value in map(self._value, [message, *consumer.consume(_AT_ONCE, 0)])
                    if value
                ]
                if values and not self._hand_over(values):
                    break
        except Exception:
            # Without this thread no call is ever answered: say so loudly; calls then end at their
            # deadlines.
            logger.exception("the reply reader of %s[%d] has died", *self._place)
        finally:
            consumer.close()

    def _begin_anew(self) -> None:
        self._anew.clear()
        logger.warning("replies of %s[%d] were deleted: what waits is asked again", *self._place)
        self._consumer.assign([TopicPartition(*self._place, OFFSET_BEGINNING)])
        self._call(partial(self._on_gap, None))

    def _beginning(self) -> int:
        """Where the partition ended when this client came, or, since nothing before the first
        request is ours, what is left after it.
        """
        try:
            found = self._consumer.get_watermark_offsets(
                TopicPartition(*self._place), timeout=_START_S
            )
        except KafkaException as error:
            logger.debug("start of replies %s[%d]: %s", *self._place, error)
            return self._from
        return max(self._from, found[0]) if found else self._from

    def _value(self, message: Message) -> bytes | None:
        error = message.error()
        if error is not None:
            self._on_error(error)
            return None
        value = message.value() if message.key() == self._key else None
        return value if value and self._readable(value) else None

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._AUTO_OFFSET_RESET:
            logger.debug("replies: %s", error)
            return
        # The process slept longer than replies are kept, or the topic was made anew: what was there
        # is lost, calls ask again.
        logger.warning("replies of %s[%d] were lost: %s", *self._place, error.str())
        while not self._stop.is_set() and not self._anew.is_set():
            try:
                topic, partition = self._place
                self._consumer.assign([TopicPartition(topic, partition, self._end(partition))])
                break
            except (KafkaException, OdradekError) as problem:
                logger.warning("replies: %s", problem)
                self._stop.wait(1.0)
        self._call(partial(self._on_gap, None))

    def _hand_over(self, values: list[bytes]) -> bool:
        with self._lock:
            wake = not self._inbox
            self._inbox += values
        return not wake or self._call(self._drain)

    def _drain(self) -> None:
        with self._lock:
            values, self._inbox = self._inbox, []
        self._on_values(values)

    def _call(self, function: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return False
        return True
