"""What this processor says of itself on `members`, every few seconds, outside transactions: for
operators and for locating workflows.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from odradek.kafka.producer import PlainProducer
from odradek.kafka.slots import host_name
from odradek.wire.codec import Codec
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import LaneStatus, MemberStatus

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3.0


class MemberReports(threading.Thread):
    """Publishes a MemberStatus under `member_id` until `stop`, then a tombstone: a member that
    left is not to be asked.
    """

    def __init__(
        self,
        producer: PlainProducer,
        codec: Codec,
        topic: str,
        *,
        member_id: str,
        namespace: str,
        task_queue: str,
        identity: str,
        workflow_types: list[str],
        lanes: Callable[[], list[LaneStatus]],
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        super().__init__(name="odradek-members", daemon=True)
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._lanes = lanes
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self.contact_at = 0.0  # monotonic; the broker last acknowledged a report
        self.contact_error = ""
        self._status = MemberStatus(
            member_id=member_id,
            kind="PROCESSOR",
            namespace=namespace,
            task_queue=task_queue,
            identity=identity,
            time_ms=0,
            host=host_name(),
            pid=os.getpid(),
            workflow_types=workflow_types,
        )

    def run(self) -> None:
        while not self._stopping.is_set():
            self._report()
            self._stopping.wait(self._every_seconds)
        self._send(lambda: None)

    def stop(self) -> None:
        self._stopping.set()

    def made_anew(self) -> None:
        """The topic had been deleted: that reports were not written before says nothing of the
        broker, which has answered just now.
        """
        self.contact_at, self.contact_error = time.monotonic(), ""

    def _report(self) -> None:
        self._send(self._value)

    def _value(self) -> bytes:
        self._status.time_ms = time.time_ns() // 1_000_000
        self._status.lanes = self._lanes()
        return self._codec.encode(self._status)

    def _send(self, value: Callable[[], bytes | None]) -> None:
        try:
            key, headers = self._status.member_id.encode(), headers_for(self._status)
            self._producer.produce(self._topic, key, value(), headers, on_delivery=self._delivered)
        # whatever it is: a member that says nothing any more counts as dead; the next one tells it
        except Exception as error:
            self.contact_error = str(error)
            logger.warning("member status not sent: %s: %s", type(error).__name__, error)

    def _delivered(self, error: BaseException | None) -> None:
        """Reports leave every few seconds whatever lanes do, so they tell whether a broker
        answers.
        """
        if error is None:
            self.contact_at, self.contact_error = time.monotonic(), ""
        else:
            self.contact_error = str(error)
