"""The thread that asks the cluster for ends on behalf of due timers.

An end is always the *uncommitted* one: a plain record behind an open transaction is there, although no read_committed reader sees it yet.
An answer is never cached: it stands for the moment of its question.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from odradek.kafka.admin import ClusterAdmin

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0


class EndOffsets(threading.Thread):
    """Asks for uncommitted ends off the lanes' threads: one request for all partitions whose timers fell due meanwhile."""

    def __init__(self, admin: ClusterAdmin, topic: str) -> None:
        super().__init__(name="odradek-ends", daemon=True)
        self._admin = admin
        self._topic = topic
        self._condition = threading.Condition()
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._stopped = False
        self.requests = 0

    def ask(self, partition: int, answer: Callable[[int], None]) -> None:
        """Have `answer(end)` called from this thread; -1 when the cluster does not tell. The request leaves after this call."""
        with self._condition:
            self._waiting[partition] = answer
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopped:
                    self._condition.wait()
                if self._stopped:
                    return
                asked, self._waiting = self._waiting, {}
            self.requests += 1
            try:
                ends = self._admin.end_offsets(self._topic, list(asked), committed=False)
            except Exception as error:  # whatever it is, the lanes ask again; their timers wait
                logger.warning("the end of %s cannot be had, due timers wait: %s", self._topic, error)
                ends = {}
                with self._condition:
                    self._condition.wait(_AGAIN_SECONDS)
            for partition, answer in asked.items():
                answer(ends.get(partition, -1))
