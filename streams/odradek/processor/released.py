"""A name that a lane wrote into its position row and takes back, where no transaction can: for
the next owner of the partition.

The row names what comes next before it is tried, and who owns the partition next counts one
death over it. An own that ends over the cluster leaves that row too, and so does a lane that is
stopped in the pause after it, or while a commit hangs: what takes the name out is a transaction,
which is what fails just then. So that very row is kept in a file beside the store, and its next
reader counts nothing.

It forgives this row alone. Every own writes another one before it names anything, so no later
death is meant, nor one of another process. It is written before the code of what is named runs,
or once that is over, never in between: who dies in there has left none.

A member without its disk counts one. So does one whose file cannot be written, or read: no lane
ends over it.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import msgspec

from odradek.processor.errors import Stopping
from odradek.wire.state import PositionRow

logger = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(PositionRow).decode


class Released:
    """Of one partition, over all owns of a lane. `leave` is called by any thread, the rest by
    the lane's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._row: PositionRow | None = (
            None  # the last that was sent with a name, until another stands
        )
        self._running = False  # code of what it names
        self._leaving = False
        self._kept: PositionRow | None = None  # what the file holds
        self._may_exist = True

    def sends(self, row: PositionRow, *, names: bool) -> None:
        """A transaction with this row is about to be sent: nothing of what the last one named
        runs any more.
        """
        with self._lock:
            self._running = False
            if names:
                self._row = row
            if self._leaving:  # the commit may hang for longer than this process lives
                self._keep()

    def stands(self, *, names: bool) -> None:
        """It is committed."""
        with self._lock:
            if not names:
                self._row = None
                self._remove()

    def begins(self) -> None:
        """Code of what comes next is about to run. Raises Stopping if it was named and has been
        released, as the lane has to stop.
        """
        with self._lock:
            if self._row is not None:
                if self._leaving:
                    raise Stopping
                self._running = True

    def ended(self, *, blameless: bool) -> bool:
        """The own is over. blameless: what it named counts for nothing; whether it had named
        anything.
        """
        with self._lock:
            self._running = False
            if blameless:
                self._keep()
            else:
                self._row = None
            return self._row is not None

    def leave(self) -> None:
        """The lane has to stop, which it may not come to before its process ends."""
        with self._lock:
            self._leaving = True
            if not self._running:
                self._keep()

    def forgives(self, row: PositionRow) -> bool:
        """Whether whoever wrote this row has released what it names."""
        try:
            return _decode(self._path.read_bytes()) == row
        except FileNotFoundError:
            return False
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            logger.info("%s is not read, and as none: %s", self._path, error)
            return False

    def _keep(self) -> None:
        if self._row is None or self._row is self._kept:
            return
        draft = self._path.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(self._row))
                file.flush()
                os.fsync(file.fileno())
            self._may_exist = True
            draft.replace(self._path)
            _sync(self._path.parent)
        except OSError as error:
            logger.info("%s is not written: %s", self._path, error)
        else:
            self._kept = self._row

    def _remove(self) -> None:
        if not self._may_exist:
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:  # its row is of the past
            logger.info("%s is not removed: %s", self._path, error)
        else:
            self._may_exist, self._kept = False, None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
