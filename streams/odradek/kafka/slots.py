"""Slots: which of the identities of this host a member of a group takes, so that a restart comes
back under the same name.

A slot is the lowest number whose file lock nobody holds. Static group identity = host, state
directory and slot: a process restarted within the session timeout keeps its partitions without a
rebalance, and finds the local stores of that slot. The lock dies with its process, so a number
is never held by the dead. The setting `identity` has no part in it: it is a label, which all
pods may share.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from pathlib import Path

from odradek.exceptions import StateStoreError

SLOTS_MAX = (
    1_024  # members of one group on one host: far beyond sense, so a loop that never ends shows
)


class Slot:
    """One held slot. `directory` is this process's own until `release`; `instance_id` is its
    static identity in the group, unique among living processes, also of other hosts and state
    directories.
    """

    def __init__(self, number: int, directory: Path, descriptor: int, instance_id: str) -> None:
        self.number = number
        self.directory = directory
        self.instance_id = instance_id
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the slot back. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def take_slot(base: Path) -> Slot:
    """The lowest free slot below `base` (the directory of one group).

    Raises StateStoreError when the directory cannot be used, or all slots are taken.
    """
    try:
        base.mkdir(parents=True, exist_ok=True)
        for number in range(SLOTS_MAX):
            directory = base / f"slot-{number}"
            directory.mkdir(exist_ok=True)
            descriptor = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            return Slot(number, directory, descriptor, f"{group_identity(base)}-{number}")
    except OSError as error:
        raise StateStoreError(str(base), str(error)) from error
    raise StateStoreError(str(base), f"all {SLOTS_MAX} slots are taken")


def group_identity(base: Path) -> str:
    """The process's part of its static group identity, to which the slot is added: host and
    state directory, the same after a restart.

    Two deployments on one host do not fence each other, nor do machines that are named alike, if
    their state lies elsewhere.
    """
    return (
        f"{host_name()}-{hashlib.blake2b(str(base.resolve()).encode(), digest_size=3).hexdigest()}"
    )


def host_name() -> str:
    """This host, as it stands in identities."""
    return socket.gethostname() or "localhost"
