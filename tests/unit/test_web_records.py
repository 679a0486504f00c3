"""Records as they are shown: decoded Avro, plain JSON events, and what neither is."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest
from confluent_kafka import Message

from odradek.web.kafka.facts import RecordView
from odradek.web.kafka.reading import record_view
from odradek.wire.codec import Codec, encode
from odradek.wire.events import SignalWorkflow
from odradek.wire.payload import Payload
from odradek.wire.topics import Topics

TOPICS = Topics("default")


class Record:
    """What a consumer gives."""

    def __init__(
        self, value: bytes | None, topic: str = "", key: bytes | None = b"order-1"
    ) -> None:
        self._value, self._topic, self._key = value, topic or TOPICS.events("orders"), key

    def value(self) -> bytes | None:
        return self._value

    def topic(self) -> str:
        return self._topic

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> list[Any]:
        return []

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_790_000_000_000


def view(*given: Any) -> RecordView:
    return record_view(cast(Message, Record(*given)), TOPICS, Codec())


def test_avro_and_plain_json_are_decoded() -> None:
    for value in (
        encode(SignalWorkflow("order-1", "approve")),
        b'{"kind": "SignalWorkflow", "signal_name": "approve"}',
    ):
        found = view(value)
        shown = found.kind, found.error, found.value["signal_name"], found.value["workflow_id"]
        assert shown == ("SignalWorkflow", "", "approve", "order-1")


def test_json_that_is_no_event_is_shown_as_it_is() -> None:
    """With what is wrong with it, not with what Avro would say of it; on dead letters too."""
    for topic in (TOPICS.events("orders"), TOPICS.dead_letters("orders")):
        wrong = view(b'{"kind": "SignalWorkflow", "nope": 1}', topic)
        assert (
            wrong.value == {"kind": "SignalWorkflow", "nope": 1}
            and "JSON event" in wrong.error
            and "Avro" not in wrong.error
        )
        cut = view(b'{"kind": "StartWorkflow", "input": [', topic)
        assert cut.value == '{"kind": "StartWorkflow", "input": [' and "JSON event" in cut.error


@pytest.mark.parametrize("depth", [101, 500, 900, 5_000])
def test_json_nested_deeply_is_shown_as_bytes(depth: int) -> None:
    """Whatever Python makes of it on this stack: what pages and answers are given can be written."""
    nested = b"[" * depth + b"]" * depth
    event = view(
        encode(
            SignalWorkflow(
                "order-1", "approve", input=[Payload({"encoding": b"json/plain"}, nested)]
            )
        )
    )
    assert event.value["input"][0]["data"] == base64.b64encode(nested).decode()
    assert "nested more than 100 levels deep" in event.value["input"][0]["unreadable"]
    plain = view(b'{"kind": "SignalWorkflow", "nope": ' + nested + b"}")
    assert isinstance(plain.value, str) and plain.error
    flat = view(
        encode(
            SignalWorkflow(
                "order-1",
                "approve",
                input=[Payload({"encoding": b"json/plain"}, b"[" + b"[[]]," * 200 + b"1]")],
            )
        )
    )
    assert flat.value["input"][0]["value"][-1] == 1


def test_other_bytes_are_shown_in_base64() -> None:
    found = view(b"not a record at all")
    assert found.value == "bm90IGEgcmVjb3JkIGF0IGFsbA==" and found.error
    assert view(b'{"kind": "x"}', TOPICS.results).error  # JSON is for `events` alone
    assert view(None).kind == "tombstone"
