"""Trace context in record headers: what is repeated, what is taken, what is left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from odradek.processor.decoder import Decoder
from odradek.wire import codec
from odradek.wire.codec import Codec
from odradek.wire.events import ActivityTaskCompleted, SignalWorkflow, StartWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.payload import Payload
from odradek.wire.tasks import ActivityTask
from odradek.wire.tracing import TRACER_DATA, trace_headers, tracer_data

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def carrier(**fields: Any) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(fields).encode())


def task(headers: dict[str, Payload]) -> ActivityTask:
    return ActivityTask("default", "q", "w", "r", "T", "q", "1", "A", 5, headers=headers)


def test_a_command_of_a_traced_workflow_has_w3c_headers() -> None:
    headers = dict(
        headers_for(
            task(
                {
                    TRACER_DATA: carrier(
                        traceparent=PARENT, tracestate="a=b", baggage="user=1", other="x"
                    )
                }
            )
        )
    )
    assert (headers["traceparent"], headers["tracestate"], headers["baggage"]) == (
        PARENT.encode(),
        b"a=b",
        b"user=1",
    )
    assert "other" not in headers


@pytest.mark.parametrize(
    "payload",
    [
        carrier(tracestate="a=b"),
        carrier(traceparent="00-" + "0" * 32 + "-b7ad6b7169203331-01"),
        carrier(traceparent=7),
        Payload({"encoding": b"json/plain"}, b"[]"),
        Payload({"encoding": b"json/plain"}, b"{"),
        Payload({"encoding": b"json/plain"}, b"[" * 100_000),
        Payload({"encoding": b"binary/encrypted"}, json.dumps({"traceparent": PARENT}).encode()),
    ],
)
def test_what_is_no_trace_is_left_out_and_fails_nothing(payload: Payload) -> None:
    assert trace_headers({TRACER_DATA: payload}) == []
    assert all(
        not name.startswith("trace") for name, _ in headers_for(task({TRACER_DATA: payload}))
    )


def test_there_and_back() -> None:
    found = tracer_data([("x", b"y"), ("traceparent", PARENT.encode()), ("tracestate", "a=b")])
    assert found is not None and json.loads(found.data) == {
        "traceparent": PARENT,
        "tracestate": "a=b",
    }
    assert trace_headers({TRACER_DATA: found}) == [
        ("traceparent", PARENT.encode()),
        ("tracestate", b"a=b"),
    ]
    assert tracer_data([("traceparent", b"nonsense")]) is None and tracer_data(None) is None


class Record:
    """What a Decoder reads of a confluent_kafka.Message."""

    def __init__(self, value: bytes, headers: list[tuple[str, bytes]], key: bytes = b"w") -> None:
        self._value, self._headers, self._key = value, headers, key

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return self._key

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def offset(self) -> int:
        return 3

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000


def sorted_event(value: bytes, headers: list[tuple[str, bytes]]) -> Any:
    decoder = Decoder(Codec(), topic="t", topic_id="id", partition=0, partitions=1)
    (found,) = decoder.decode([Record(value, headers)], 0).inputs  # type: ignore[list-item]
    return found.event


TRACED = [("traceparent", PARENT.encode())]


def test_a_producer_that_knows_record_headers_alone_is_part_of_the_trace() -> None:
    for value in (
        codec.encode(StartWorkflow("w", "T")),
        codec.encode(SignalWorkflow("w", "s")),
        b'{"kind": "StartWorkflow", "workflow_type": "T"}',
    ):
        event = sorted_event(value, TRACED)
        assert json.loads(event.headers[TRACER_DATA].data) == {"traceparent": PARENT}
    both = sorted_event(codec.encode(StartWorkflow("w", "T", signal_name="s")), TRACED)
    assert both.signal_headers == both.headers


def test_the_payload_header_counts_where_there_are_both() -> None:
    own = carrier(traceparent=PARENT.replace("b7", "c7"))
    event = sorted_event(codec.encode(StartWorkflow("w", "T", headers={TRACER_DATA: own})), TRACED)
    assert event.headers == {TRACER_DATA: own}


def test_without_a_trace_nothing_is_added() -> None:
    assert sorted_event(codec.encode(StartWorkflow("w", "T")), [("x", b"y")]).headers == {}
    report = ActivityTaskCompleted("w", "r", 5, "1", 1)
    assert not hasattr(sorted_event(codec.encode(report), TRACED), "headers")
