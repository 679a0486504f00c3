"""Records that are no ordinary input: misplaced, unreadable, refused, late. Nothing is lost
silently, and neighbours do not notice.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from odradek.processor import Processor
from odradek.processor.input_queue import BYTES_MAX
from odradek.telemetry.logs import JsonFormatter
from odradek.wire import dead_letters
from odradek.wire.codec import SINGLE_OBJECT_MARKER, encode
from odradek.wire.dead_letters import parse_dead_letter
from odradek.wire.events import (
    ActivityTaskCompleted,
    ActivityTaskHeartbeat,
    QueryWorkflow,
    SignalWorkflow,
)
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import INTERNAL, INVALID_ARGUMENT
from odradek.wire.payload import Payload
from odradek.wire.state import TimerRow
from tests.kafka.lane_host import CountingEngine, make_processor
from tests.kafka.lane_records import Wire, key_for
from tests.support.records import QUEUE
from tests.support.until import until

PREFETCHED = 32 * 1024 * 1024  # the consumer's own queue (`queued.max.messages.kbytes`)
GARBAGE = b"\xff\xfe no record"


@pytest.fixture
def processor(wire: Wire) -> Any:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    yield processor
    processor.stop()


def _letters(wire: Wire, count: int) -> list[Any]:
    return until(lambda: len(found := wire.read(wire.dead_letters)) >= count and found)


@pytest.mark.promise("any-producer")
def test_wrong_partition_is_forwarded_once(wire: Wire, processor: Processor) -> None:
    """A foreign producer with another hash: applied where it belongs, never where it lies."""
    for number in range(20):
        workflow_id = key_for(wire, number % 2)
        wire.send(SignalWorkflow(workflow_id, f"s{number}"), partition=1 - number % 2)
    wire.flush()
    until(lambda: sum(map(len, wire.counts().values())) == 20)
    assert wire.counts() == {
        key_for(wire, 0): list(range(1, 11)),
        key_for(wire, 1): list(range(1, 11)),
    }
    until(lambda: processor.statistics().totals.forwarded == 20)
    assert len(wire.read(wire.events)) == 40


def test_large_records_wait_on_the_broker(wire: Wire, processor: Processor) -> None:
    """A partition that stands still over a backlog of large records holds some megabytes of it, not
    2,000 as of small ones.
    """
    CountingEngine.gate.clear()
    CountingEngine.at_gate.clear()
    victim, count = key_for(wire, 0), 120
    try:
        wire.send(SignalWorkflow(victim, "gate"))
        wire.flush()
        assert CountingEngine.at_gate.wait(30)
        for _ in range(count):
            wire.send(SignalWorkflow(victim, "count", input=[Payload(data=bytes(800_000))]))
        wire.flush()
        assert processor._group is not None
        queue = processor._group.threads[0].partition.queue
        until(lambda: 0 in processor._group._paused_full if processor._group else False)
        assert BYTES_MAX <= queue._bytes <= BYTES_MAX + PREFETCHED
        wire.send(SignalWorkflow(key_for(wire, 1), "count"))  # the other partition is not held up
        wire.flush()
        assert len(queue) < count
    finally:
        CountingEngine.gate.set()
    until(lambda: wire.counts().get(victim) == list(range(1, count + 2)))
    assert wire.counts()[key_for(wire, 1)] == [1]


def test_forwarded_and_still_wrong_is_a_dead_letter(wire: Wire, processor: Processor) -> None:
    signal = SignalWorkflow(key_for(wire, 0), "count")
    headers = [*headers_for(signal), ("odradek-forwarded-from", b"somewhere/1/2")]
    wire.send_raw(b"k", encode(signal), headers, partition=1)
    wire.flush()
    (letter,) = _letters(wire, 1)
    assert parse_dead_letter(letter.headers()).reason == dead_letters.WRONG_PARTITION
    assert wire.counts() == {}


def test_undecodable_goes_to_dead_letters_as_it_came(wire: Wire, processor: Processor) -> None:
    wire.send_raw(b"w1", GARBAGE, [("mine", b"kept")])
    wire.send_raw(b"w1", None)
    wire.send_raw(b"w1", b'{"kind": "StartWorkflow", "workflow_type": 7}')
    wire.send_raw(b"w1", encode(TimerRow(1, "w1", "r", "USER")))  # a sound record that is no event
    wire.send(SignalWorkflow("w1", "count"))
    wire.flush()
    letters = _letters(wire, 4)
    parsed = [parse_dead_letter(letter.headers()) for letter in letters]
    assert [letter.reason for letter in parsed] == [
        "UNDECODABLE",
        "UNDECODABLE",
        "INVALID_JSON",
        "UNEXPECTED_RECORD",
    ]
    assert (letters[0].key(), letters[0].value()) == (b"w1", GARBAGE)
    assert ("mine", b"kept") in letters[0].headers()
    assert parsed[0].topic == wire.events
    assert "workflow_type" in parsed[2].message
    until(lambda: wire.counts() == {"w1": [1]})


@pytest.mark.promise("bad-records")
def test_undecodable_result_fails_its_activity(wire: Wire, processor: Processor) -> None:
    """What routes stands in the headers: the run does not wait for ever on a record that nobody
    could read.
    """
    result = ActivityTaskCompleted("w1", "run", 5, "a", 2)
    wire.send_raw(b"w1", GARBAGE, headers_for(result))
    wire.send_raw(
        b"w1", GARBAGE, headers_for(ActivityTaskHeartbeat("w1", "run", 5, "a", 2))
    )  # speaks for nothing
    wire.flush()
    _letters(wire, 2)
    tasks = until(lambda: wire.records(wire.commands))
    assert [task.activity_type for task in tasks] == ["failed:UndecodableRecord"]


def test_undecodable_request_is_answered(wire: Wire, processor: Processor) -> None:
    signal = SignalWorkflow("w1", "count", request_id="r1", reply_to="me")
    wire.send_raw(b"w1", GARBAGE, headers_for(signal))
    wire.flush()
    (reply,) = until(lambda: wire.records(wire.topics.replies))
    assert (reply.client_id, reply.request_id, reply.status) == ("me", "r1", INVALID_ARGUMENT)
    assert "cannot be read" in reply.message
    _letters(wire, 1)


def test_unknown_schema_is_a_dead_letter(wire: Wire, processor: Processor) -> None:
    """What follows is applied, in order."""
    workflow_id = key_for(wire, 0)
    wire.send(SignalWorkflow(workflow_id, "before"))
    wire.send_raw(workflow_id.encode(), SINGLE_OBJECT_MARKER + b"12345678" + b"data")
    wire.send(SignalWorkflow(workflow_id, "after"))
    wire.flush()
    (letter,) = _letters(wire, 1)
    assert parse_dead_letter(letter.headers()).reason == dead_letters.UNKNOWN_SCHEMA
    until(lambda: wire.counts() == {workflow_id: [1, 2]})


@pytest.mark.promise("reads")
def test_query_of_a_client_whose_clock_is_behind_is_applied(
    wire: Wire, processor: Processor
) -> None:
    behind_ms = int(time.time() * 1000) - 70_000
    late = QueryWorkflow(
        "w1", "status", request_id="r", reply_to="me", deadline_ms=behind_ms + 10_000
    )
    wire._producer.produce(
        wire.events, encode(late), b"w1", headers=list(headers_for(late)), timestamp=behind_ms
    )
    wire.flush()
    until(lambda: processor.statistics().totals.inputs == 1)
    assert processor.statistics().totals.expired == 0


def test_expired_query_is_dropped(wire: Wire, processor: Processor) -> None:
    wire.send(
        QueryWorkflow(
            "w1",
            "status",
            request_id="r",
            reply_to="me",
            deadline_ms=int(time.time() * 1000) - 1_000,
        )
    )
    wire.flush()
    until(lambda: processor.statistics().totals.expired == 1)


@pytest.mark.parametrize("poison", ["defect", "huge-row", "refused-output"])
def test_one_bad_input_stops_nobody(
    poison: str, wire: Wire, processor: Processor, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect of the engine, a row too large for `state`, an output that the broker refuses:
    its input is a dead letter.
    """
    bad, good = key_for(wire, 0, "bad"), key_for(wire, 0, "good")
    wire.send(SignalWorkflow(bad, "first"))
    wire.flush()
    until(lambda: wire.counts().get(bad) == [1])
    for number in range(50):
        wire.send(SignalWorkflow(good, "count"))
        if number == 25:
            wire.send(SignalWorkflow(bad, poison, request_id="r", reply_to="me"))
    wire.flush()
    (letter,) = _letters(wire, 1)
    assert parse_dead_letter(letter.headers()).reason == dead_letters.NOT_APPLIED
    until(lambda: wire.counts().get(good) == list(range(1, 51)))
    assert wire.counts()[bad] == [1]
    (reply,) = until(lambda: wire.records(wire.topics.replies))
    assert (reply.request_id, reply.status) == ("r", INTERNAL)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    said = {
        start: line
        for line in lines
        for start in ("dead letter", "partition")
        if line["message"].startswith(start)
    }
    assert (
        "giving up on" in said["partition"]["message"]
        and said["partition"]["workflow_id"] == said["dead letter"]["workflow_id"] == bad
    )
    totals = processor.statistics().totals
    # An abort right after a commit may meet a transaction that the coordinator has not begun yet
    # (INVALID_TXN_STATE): then owned anew.
    assert totals.dropped <= (
        3 if poison == "refused-output" else 0
    )  # ... with a producer that asks for reports first


def test_output_refused_once_the_metadata_is_there(wire: Wire) -> None:
    """A new producer knows nothing of the topic, so it takes the record, and its commit names no
    cause: the reports do, one own later.
    """
    bad, good = key_for(wire, 0, "bad"), key_for(wire, 0, "good")
    earlier = make_processor(wire.settings, QUEUE)
    earlier.start()
    try:
        wire.send(SignalWorkflow(bad, "first"))
        wire.flush()
        until(lambda: wire.counts().get(bad) == [1])
    finally:
        earlier.stop()
    for name in ("refused-output", "count"):
        wire.send(SignalWorkflow(bad if name == "refused-output" else good, name))
    wire.flush()
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        (letter,) = _letters(wire, 1)
        assert "Unknown partition" in parse_dead_letter(letter.headers()).message
        until(lambda: wire.counts().get(good) == [1])
        totals = processor.statistics().totals
        assert (
            totals.dropped <= 3
        )  # 0 when the new producer had the metadata in time; more than 1: see above
    finally:
        processor.stop()


def test_large_inputs_in_several_transactions(wire: Wire, processor: Processor) -> None:
    workflow_id = key_for(wire, 1)
    for _ in range(30):
        wire.send(SignalWorkflow(workflow_id, "count", identity=os.urandom(350_000).hex()))
        wire.flush()
    until(lambda: wire.counts().get(workflow_id) == list(range(1, 31)))
