"""Static identity of a service in its group: host, directory and the lowest number whose file lock nobody holds.

A service restarted within the session timeout comes back under the same identity and keeps its partitions without a rebalance.
The lock dies with its process, so a number is never held by the dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from pathlib import Path

SLOTS_MAX = 1_024  # services of one queue on one host: far beyond sense, so that a loop without end shows


class MemberSlot:
    """One held number. `instance_id` is unique among living processes, also of other hosts and state directories."""

    def __init__(self, directory: Path) -> None:
        """Take the lowest free number below `directory`. `OSError` when it cannot be used, or all are taken."""
        directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = -1
        for number in range(SLOTS_MAX):
            descriptor = os.open(directory / f"slot-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            self._descriptor = descriptor
            # Two state directories may stand on one host, both with their number 0.
            where = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]
            self.instance_id = f"{socket.gethostname() or 'localhost'}-{where}-{number}"
            return
        raise OSError(f"all {SLOTS_MAX} slots of {directory} are taken")

    def release(self) -> None:
        """Give the number back. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
