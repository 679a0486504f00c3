"""What a partition is to others: its states, its side of the consumer, and what one transaction is
about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from confluent_kafka import Message

from odradek.processor.decoder import DecodedBatch
from odradek.processor.records import offset_of
from odradek.wire.state import TimerRow


class PartitionState(Enum):
    """Where a partition stands. `wire` is what `members` says of it."""

    ASSIGNED = "ASSIGNED"  # the group gave it to this process
    FENCING = "FENCING"  # init_transactions runs
    RESTORING = "RESTORING"  # the local store catches up with `state`
    RUNNING = "RUNNING"
    RESET = "RESET"  # it is acquired anew, after a pause
    FAILED = "FAILED"  # it needs a person; what a retry may mend is tried again, slowly
    CLOSED = "CLOSED"

    @property
    def wire(self) -> str:
        if self is PartitionState.RUNNING:
            return "RUNNING"
        ended = (PartitionState.FAILED, PartitionState.CLOSED)
        return "STOPPED" if self in ended else "RESTORING"


class PartitionControl(Protocol):
    """The consumer, as a partition sees it. Called from the partition's thread."""

    def hold(self, partition: int) -> None:
        """Deliver nothing until the next `seek`."""

    def seek(self, partition: int, offset: int, epoch: int) -> None:
        """Deliver from `offset` on, tagged with `epoch`."""

    def still_assigned(self, partition: int) -> bool | None:
        """Ask the coordinator (not our memory) whether this process still is a member that has
        the partition. None: it cannot tell now.
        """


@dataclass(slots=True)
class PartitionBatch:
    """What one transaction is about: records of `events`, decoded, and due timers.

    rejected, crashed, quarantined: see the engine's `Batch`.
    """

    messages: list[Message] = field(default_factory=list)
    decoded: DecodedBatch = field(default_factory=DecodedBatch)
    timers: list[TimerRow] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    crashed: list[str] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.messages) + len(self.timers)

    def workflow_id(self) -> str:
        """Of a single input or timer; "" when the record does not say."""
        if self.decoded.inputs:
            return self.decoded.inputs[0].event.workflow_id
        return self.timers[0].workflow_id if self.timers else ""

    def offsets(self) -> str:
        """For logs."""
        if not self.messages:
            return "no input"
        return f"{offset_of(self.messages[0])} to {offset_of(self.messages[-1])}"

    def halves(
        self, decode: Callable[[list[Message]], DecodedBatch]
    ) -> tuple[PartitionBatch, PartitionBatch]:
        """The same in two parts, in order; inputs before timers."""
        messages, timers = self.messages, self.timers
        if messages and timers:
            return PartitionBatch(messages, decode(messages)), PartitionBatch(timers=timers)
        middle = len(self) // 2
        if timers:
            first, second = timers[:middle], timers[middle:]
            return PartitionBatch(timers=first), PartitionBatch(timers=second)
        former, latter = messages[:middle], messages[middle:]
        return PartitionBatch(former, decode(former)), PartitionBatch(latter, decode(latter))
