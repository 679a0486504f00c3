"""Purge: `events` has no time retention; its owner deletes records behind what is committed,
minus the audit window.

Only partitions that this process owns and runs, never past the committed position, never a
record younger than the window.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
_TIMEOUT_SECONDS = 10.0


class Purger(threading.Thread):
    """Runs until `stop`. `positions` gives the committed positions of the lanes that run here."""

    def __init__(
        self,
        admin: ClusterAdmin,
        consumer: Callable[[], Consumer],
        topic: str,
        *,
        audit_window_ms: int,
        positions: Callable[[], dict[int, int]],
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        super().__init__(name="odradek-purge", daemon=True)
        self._admin = admin
        self._new_consumer = consumer
        self._topic = topic
        self._audit_window_ms = audit_window_ms
        self._positions = positions
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._purged: dict[int, int] = {}

    def run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            try:
                self.purge()
            except (
                KafkaException,
                OdradekError,
            ) as error:  # nothing is lost by keeping records: next time
                logger.warning("records of %s were not purged: %s", self._topic, error)
            # a defect of ours must not end it for good: a topic that is never purged fills its
            # brokers
            except Exception:
                logger.exception("records of %s were not purged", self._topic)

    def stop(self) -> None:
        self._stopping.set()

    def purge(self) -> dict[int, int]:
        """Delete what may go now; the new start of each partition that was cut."""
        positions = {
            p: offset for p, offset in self._positions().items() if offset > self._purged.get(p, 0)
        }
        if not positions:
            return {}
        before = self._older_than_window(positions)
        cuts = {
            p: min(positions[p], before[p])
            for p in positions
            if min(positions[p], before[p]) > self._purged.get(p, 0)
        }
        if not cuts:
            return {}
        starts = self._admin.delete_records(
            {(self._topic, p): offset for p, offset in cuts.items()}
        )
        self._purged.update(cuts)
        return {partition: start for (_, partition), start in starts.items()}

    def _older_than_window(self, positions: dict[int, int]) -> dict[int, int]:
        """First offset inside the window; the position when all records are older."""
        if self._audit_window_ms <= 0:
            return positions
        time_ms = time.time_ns() // 1_000_000 - self._audit_window_ms
        consumer = self._new_consumer()
        try:
            asked = [TopicPartition(self._topic, partition, time_ms) for partition in positions]
            found = consumer.offsets_for_times(asked, timeout=_TIMEOUT_SECONDS)
        finally:
            consumer.close()
        return {
            place.partition: place.offset if place.offset >= 0 else positions[place.partition]
            for place in found
        }
