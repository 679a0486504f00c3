"""Helpers over Kafka's records and our rows."""

from __future__ import annotations

import typing

from confluent_kafka import Message

from odradek.engine.keys import timer_key
from odradek.wire.headers import parse_headers
from odradek.wire.state import TimerRow

RawHeaders = list[tuple[str, bytes | str | None]]


def offset_of(message: Message) -> int:
    return typing.cast(int, message.offset())


def value_of(message: Message) -> bytes | None:
    return message.value()


def key_of(message: Message) -> bytes | None:
    return message.key()


def headers_of(message: Message) -> RawHeaders:
    return typing.cast(RawHeaders, message.headers() or [])


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
