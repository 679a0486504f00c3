"""What to do about a row that cannot be read: wait, rebuild the store, or stop.

Of a schema that nobody published: during an upgrade it may be seen a moment late, so it is
waited for. Else the store may have been damaged where RocksDB does not see it, and is rebuilt,
once; a row that comes back from `state` as it was is no better for that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from odradek.exceptions import OdradekError
from odradek.processor.store import UnreadableRowError

if TYPE_CHECKING:
    from odradek.processor.services import LaneServices

SCHEMA_PATIENCE_SECONDS = 30.0

NEWER = "most likely a newer version wrote it. Run that version, or a newer one; nothing is lost"
DAMAGED = (
    "something else than Odradek wrote it, or changed it. See docs/operate.md, *A row that cannot"
    " be read*"
)


class UnreadableRows:
    """Of one partition, also over its owns: what was met last."""

    def __init__(self, services: LaneServices, partition: int) -> None:
        self._services, self._partition = services, partition
        self._reason, self._since, self._rebuilt = "", 0.0, False

    def rebuilds(self, error: UnreadableRowError) -> bool:
        """Whether the store is rebuilt now; else the row is read again. Raises OdradekError,
        which passes if the schema is published after all, for a row that came back.
        """
        if error.reason != self._reason:
            self._reason, self._since, self._rebuilt = error.reason, time.monotonic(), False
        if self._rebuilt:
            where = (
                f"{self._services.events_topic}[{self._partition}]: {error.reason}."
                f" `{self._services.state_topic}` itself has it so"
            )
            raise OdradekError(f"{where}: {NEWER if error.unknown_schema else DAMAGED}") from error
        self._rebuilt = not (
            error.unknown_schema and time.monotonic() - self._since < SCHEMA_PATIENCE_SECONDS
        )
        return self._rebuilt
