"""Where commands come from, as the consumer's thread sees it: a member of a classic group
(`commands.py`) or members of a share group (`share_commands.py`). Called on the consumer's
thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import Message

from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import OwnedPartition


class CommandSource(Protocol):
    """Delivers commands until each is acknowledged (`Cell.acknowledged`) or returned unrun
    (`Cell.returned`).
    """

    #: Assignments seen: 0 while the group has not let this process in.
    assignments: int
    #: Commands behind what was read; None while nobody can say.
    lag: int | None
    #: Seconds that a command may be held before it is acknowledged or returned; after them it may
    #: be somebody else's too.
    hold_max_s: float

    @property
    def partitions_owned(self) -> int:
        """Partitions that are this process's alone."""
        ...

    def subscribe(self) -> None:
        """Join the group."""
        ...

    def poll(self, timeout: float, maximum: int) -> list[Message]:
        """Commands that are there, about `maximum` at most; waits up to `timeout` seconds for
        the first. Serves the group.
        """
        ...

    def take(self, message: Message) -> tuple[OwnedPartition, Cell] | None:
        """Begin to be responsible for a command that `poll` gave; None if it has become somebody
        else's.
        """
        ...

    def worn_out(self, message: Message) -> bool:
        """Whether the group will give a command up soon: delivered too often. It is then handed
        on as a new record.
        """
        ...

    def pause(self, paused: bool) -> None:
        """Stop or go on reading without leaving the group."""
        ...

    def drain(self) -> None:
        """Read nothing any more. Called every turn of a shutdown; what is held stays held."""
        ...

    def give_back(self, cell: Cell) -> bool:
        """Let another member have a command that was not begun; False where the group cannot, so
        that it is handed on instead.
        """
        ...

    def hand_on_to(self) -> Sequence[int]:
        """Partitions whose commands others read; a command that waits too long here is written
        to one of them.
        """
        ...

    def tick(self) -> None:
        """Say what is acknowledged, and purge, when it is time."""
        ...

    def commit_finally(self) -> None:
        """Say what is acknowledged and wait for it."""
        ...

    def close(self) -> None:
        """Leave."""
        ...
