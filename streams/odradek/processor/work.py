"""Small parts of a lane: what one transaction is about, its counters, and helpers over records."""

from __future__ import annotations

import time
import typing
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, Message

from odradek.engine.keys import timer_key
from odradek.exceptions import BrokerUnreachableError
from odradek.processor.errors import Dropped, dropped_over, kafka_error
from odradek.processor.inputs import Sorted, Sorter
from odradek.wire.headers import parse_headers
from odradek.wire.state import TimerRow

# Of the cluster, not of us: they pass.
CLUSTER_ERRORS = (KafkaException, BrokerUnreachableError)


@dataclass(slots=True)
class Work:
    """What one transaction is about: records of `events`, sorted, and released timers."""

    messages: list[Message]
    sorted: Sorted
    timers: list[TimerRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.messages) + len(self.timers)

    def halves(self, sorter: Sorter) -> list[Work]:
        """The same in two parts, in order; inputs before timers."""
        messages, timers, time_ms = self.messages, self.timers, now_ms()
        if messages and timers:
            return [Work(messages, sorter.sort(messages, time_ms)), Work([], Sorted(), timers)]
        if messages:
            middle = len(messages) // 2
            return [
                Work(part, sorter.sort(part, time_ms))
                for part in (messages[:middle], messages[middle:])
            ]
        middle = len(timers) // 2
        return [Work([], Sorted(), timers[:middle]), Work([], Sorted(), timers[middle:])]

    def whose(self) -> tuple[str, str]:
        """Workflow id and run id ("" when the record does not say) of a single input or timer."""
        if self.sorted.inputs:
            event = self.sorted.inputs[0].event
            return event.workflow_id, event.run_id
        if self.timers:
            return self.timers[0].workflow_id, self.timers[0].run_id
        return "", ""

    def name(self) -> str:
        """What the position row's `processing` says of a single input or timer."""
        if self.messages:
            return f"input/{offset_of(self.messages[0])}/{self.whose()[0]}"
        return f"timer/{timer_row_key(self.timers[0])}"

    def offsets(self) -> str:
        """For logs."""
        if not self.messages:
            return "no input"
        first, last = offset_of(self.messages[0]), offset_of(self.messages[-1])
        return str(first) if first == last else f"{first}-{last}"

    def next_offset(self, position: int) -> int:
        """The position behind this work."""
        return offset_of(self.messages[-1]) + 1 if self.messages else position


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def dropped(error: KafkaException | BrokerUnreachableError) -> Dropped:
    """An error of the cluster outside the transaction's records always drops the lane."""
    return (
        dropped_over(kafka_error(error))
        if isinstance(error, KafkaException)
        else Dropped(str(error), blameless=True)
    )


def offset_of(message: Message) -> int:
    return typing.cast(int, message.offset())


def value_of(message: Message) -> bytes | None:
    return message.value()


def key_of(message: Message) -> bytes | None:
    return message.key()


def headers_of(message: Message) -> list[tuple[str, bytes | str | None]]:
    return typing.cast("list[tuple[str, bytes | str | None]]", message.headers() or [])


def log_ids(message: Message) -> dict[str, str]:
    """Ids that a log line about a record carries: what its headers name (anybody may have left
    them out), else its key.
    """
    routing = parse_headers(headers_of(message))
    workflow_id = routing.workflow_id or (key_of(message) or b"").decode("utf-8", "replace")
    return {
        "workflow_id": workflow_id,
        "run_id": routing.run_id,
        "activity_id": routing.activity_id,
    }


def timer_row_key(timer: TimerRow) -> str:
    return timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id)
