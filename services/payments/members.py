"""What this service says of itself on `members` (docs/wire.md, "Tell who you are"): who it is,
how many of its slots are in use.

Every few seconds, outside transactions, and a tombstone at a clean end. A report that the broker
acknowledges also tells that it answers; one that it does not may be for the topic's sake alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from services.avro_wire import Schemas
from services.payments.wire_names import QueueNames

EVERY_SECONDS = 3.0
ACKNOWLEDGED_WITHIN_SECONDS = 10.0

#: Topic, key, value, headers; returns once the broker has it.
Produce = Callable[[str, bytes, bytes | None, dict[str, bytes]], Awaitable[None]]


class MemberReports:
    """Sends by `produce` until `leave`. `instance`: tells this one from others on the same host,
    the same after a restart, so that the last word of one that was killed is overwritten when it
    comes back. `contact`: called when the broker has acknowledged a report. `lacks`: told why it
    does not, "" once it does.
    """

    def __init__(
        self,
        schemas: Schemas,
        names: QueueNames,
        produce: Produce,
        *,
        identity: str,
        instance: str,
        activity_types: list[str],
        slots_total: int,
        slots_used: Callable[[], int],
        contact: Callable[[], None],
        lacks: Callable[[str], None],
    ) -> None:
        self._schemas = schemas
        self._produce = produce
        self._slots_used = slots_used
        self._contact = contact
        self._lacks = lacks
        self._topic = names.members
        self._leaving = False
        self._status: dict[str, Any] = {
            "member_id": f"activities/{names.task_queue}/{socket.gethostname()}/{instance}",
            "kind": "ACTIVITIES",
            "namespace": names.namespace,
            "task_queue": names.task_queue,
            "identity": identity,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "activity_types": activity_types,
            "slots_total": slots_total,
        }

    async def run(self) -> None:
        """Report until `leave`, or until cancelled."""
        while not self._leaving:
            now = {"time_ms": time.time_ns() // 1_000_000, "slots_used": self._slots_used()}
            await self._send(self._schemas.encode("MemberStatus", {**self._status, **now}))
            await asyncio.sleep(EVERY_SECONDS)

    async def leave(self) -> None:
        """The tombstone. A report that is on its way comes before it: one producer keeps the
        order within a partition.
        """
        self._leaving = True
        await self._send(None)

    async def _send(self, value: bytes | None) -> None:
        names = {
            "kind": "MemberStatus",
            "namespace": self._status["namespace"],
            "task-queue": self._status["task_queue"],
        }
        headers = {f"odradek-{name}": text.encode() for name, text in names.items()}
        try:
            sent = self._produce(self._topic, self._status["member_id"].encode(), value, headers)
            await asyncio.wait_for(sent, ACKNOWLEDGED_WITHIN_SECONDS)
        except Exception as error:  # the next one tells it; commands do not wait for reports
            print(f"{self._topic}: not told who we are: {error!r}", flush=True)
            self._lacks(
                f"topic {self._topic} takes no reports of it ({error!r}): is it there? Any Odradek"
                " worker or server makes it"
            )
        else:
            self._contact()
            self._lacks("")
