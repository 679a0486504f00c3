"""Small parts of the processor: decoder, queue, slots, fault points, crash recorder, errors."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
)

from odradek.engine.activation import Activation
from odradek.exceptions import ConfigurationError
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.kafka.slots import group_identity, take_slot
from odradek.processor import faults
from odradek.processor.crash_recorder import CrashRecorder, RecordingActivator
from odradek.processor.decoder import BACKLOG, CLOCKS_APART_MS, DecodedBatch, Decoder
from odradek.processor.errors import PartitionReset, RecordRejected, classify
from odradek.processor.input_queue import BYTES_MAX, RECORDS_MAX, RECORDS_RESUME, InputQueue
from odradek.wire.codec import Codec, encode
from odradek.wire.events import (
    ActivityTaskCompleted,
    CancelWorkflow,
    DeleteWorkflow,
    QueryWorkflow,
    ReleaseWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from odradek.wire.headers import REDRIVEN_FROM
from odradek.wire.request_ids import is_made_once

# ---------------------------------------------------------------- sorting


class Raises(Codec):
    """A codec that meets what nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def decode(self, data: bytes) -> Any:
        if data == b"strange":
            raise self._error
        return super().decode(data)


def record(
    value: bytes,
    offset: int,
    written_ms: int = 1_000,
    kind: int = TIMESTAMP_CREATE_TIME,
    headers: Any = (),
) -> Any:
    """What a Decoder reads of a message."""
    timestamp = (kind, written_ms)
    return SimpleNamespace(
        value=lambda: value,
        key=lambda: b"w",
        headers=lambda: list(headers),
        offset=lambda: offset,
        timestamp=lambda: timestamp,
    )


def test_unforeseen_error_of_one_record_is_its_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound = encode(SignalWorkflow("w", "s"))
    messages = [record(sound, 5), record(b"strange", 6), record(sound, 7)]
    decoder = Decoder(
        Raises(RuntimeError("who would have thought")),
        topic="t",
        topic_id="id",
        partition=0,
        partitions=1,
    )
    found = decoder.decode(messages, 0)
    assert [each.offset for each in found.inputs] == [5, 7]
    (letter,) = found.letters
    assert (letter.reason, letter.message.offset()) == ("UNDECODABLE", 6)
    assert letter.text == "RuntimeError: who would have thought"
    (logged,) = caplog.records
    assert "t/0/6" in logged.getMessage() and logged.exc_info


@pytest.mark.parametrize(
    "error", [SchemaRegistryUnreachableError("http://registry", "refused"), MemoryError()]
)
def test_what_is_no_fault_of_the_record_passes(error: Exception) -> None:
    decoder = Decoder(Raises(error), topic="t", topic_id="id", partition=0, partitions=1)
    with pytest.raises(type(error)):
        decoder.decode([record(b"strange", 6)], 0)


@pytest.mark.parametrize(
    "event",
    [
        StartWorkflow("w", "t"),
        StartWorkflow("w", "t", signal_name="s"),
        SignalWorkflow("w", "s"),
        CancelWorkflow("w"),
        TerminateWorkflow("w"),
        ReleaseWorkflow("w"),
        DeleteWorkflow("w"),
    ],
)
def test_dead_letter_that_was_put_back_has_the_ids_of_its_first_place(event: Any) -> None:
    """Wherever, however often and over however many letters: one request."""

    def ids(value: bytes, offset: int, *marks: bytes) -> tuple[str, str, bool]:
        (found,) = sorted_by(
            [
                record(
                    value, offset, headers=[("x", None), *((REDRIVEN_FROM, mark) for mark in marks)]
                )
            ]
        ).inputs
        made: Any = found.event
        return made.request_id, made.run_id, found.redriven

    value = encode(event)
    first = ids(value, 5, b"letters/0/3")
    assert (
        first[2] and is_made_once(first[0]) and bool(first[1]) == isinstance(event, StartWorkflow)
    )
    assert ids(value, 6, b"letters/0/3") == ids(value, 7, b"letters/0/3", b"letters/0/9") == first
    assert ids(value, 8, b"letters/0/4")[0] != first[0]
    assert ids(value, 5) == ("", "", False)
    event.identity = "another letter, of a topic that was made anew"
    assert ids(encode(event), 5, b"letters/0/3")[0] != first[0]


def test_dead_letter_that_was_put_back_keeps_the_ids_that_it_has() -> None:
    mark = [(REDRIVEN_FROM, b"letters/0/3")]
    start, report = (
        StartWorkflow("w", "t", request_id="mine", run_id="own"),
        ActivityTaskCompleted("w", "r", 5, "a", 1),
    )
    found = sorted_by(
        [record(encode(start), 5, headers=mark), record(encode(report), 6, headers=mark)]
    )
    assert [each.event for each in found.inputs] == [start, report]


NOW_MS = 1_700_000_000_000


def query(written_ms: int, patience_ms: int, **more: Any) -> Any:
    """A query whose writer waits for so long by his own clock, which says `written_ms`."""
    return record(
        encode(
            QueryWorkflow(
                "w", "s", request_id="r", reply_to="me", deadline_ms=written_ms + patience_ms
            )
        ),
        0,
        written_ms,
        **more,
    )


def sorted_by(messages: list[Any]) -> DecodedBatch:
    return Decoder(Codec(), topic="t", topic_id="id", partition=0, partitions=1).decode(
        messages, NOW_MS
    )


@pytest.mark.parametrize("behind_ms", [0, 15_000, 70_000])
def test_read_of_a_client_whose_clock_is_behind_is_answered(behind_ms: int) -> None:
    found = sorted_by([query(NOW_MS - behind_ms, 10_000)])
    assert found.expired == 0
    (event,) = [each.event for each in found.inputs]
    assert (
        isinstance(event, QueryWorkflow) and event.deadline_ms == NOW_MS + 10_000
    )  # by the engine's clock now


@pytest.mark.parametrize(
    ("what", "messages"),
    [
        ("by its own clock", [query(NOW_MS, -1)]),
        ("by any clock", [query(NOW_MS - CLOCKS_APART_MS - 10_001, 10_000)]),
        ("one of a backlog", [query(NOW_MS - 15_000, 10_000)] * BACKLOG),
        (
            "by the broker's clock, which ours is close to",
            [query(NOW_MS - 15_000, 0, kind=TIMESTAMP_LOG_APPEND_TIME)],
        ),
    ],
)
def test_expired_read(what: str, messages: list[Any]) -> None:
    found = sorted_by(messages)
    assert (found.expired, found.inputs) == (len(messages), []), what


def test_read_in_a_backlog_is_as_young_as_what_came_before_it() -> None:
    """Records before it were written before it: by their clocks it cannot have lain there for
    long.
    """
    young = record(encode(SignalWorkflow("w", "s")), 0, NOW_MS - 1_000)
    late = query(NOW_MS - 70_000, 10_000)
    found = sorted_by([late] + [young] * BACKLOG + [late])
    assert (found.expired, len(found.inputs)) == (1, BACKLOG + 1)


# ---------------------------------------------------------------- queue


def test_queue_keeps_order_and_limits() -> None:
    queue: Any = InputQueue()
    epoch = queue.new_epoch()
    queue.put(epoch, [b"1", b"2", b"3"])
    queue.put(epoch, [b"4", b"5"])
    assert queue.take(4, 0) == [b"1", b"2", b"3", b"4"]
    assert queue.take(9, 0) == [b"5"]
    assert queue.take(9, 0) == []
    assert len(queue) == 0


def test_queue_drops_what_was_dispatched_before_a_seek() -> None:
    queue: Any = InputQueue()
    old = queue.new_epoch()
    queue.put(old, [b"1"])
    new = queue.new_epoch()
    assert queue.take(9, 0) == []
    queue.put(old, [b"2"])
    queue.put_position(old, 50)
    assert queue.take(9, 0) == []
    assert queue.passed_position() == -1
    queue.put(new, [b"3"])
    queue.put_position(new, 4)
    assert queue.passed_position() == -1  # 3 is still queued before it
    assert queue.take(9, 0) == [b"3"]
    assert queue.passed_position() == 4


def test_full_queue_asks_for_a_pause() -> None:
    queue: Any = InputQueue()
    epoch = queue.new_epoch()
    assert not queue.put(epoch, [b""] * (RECORDS_MAX - 1))
    assert queue.put(epoch, [b""])
    assert not queue.drained()
    while len(queue) > RECORDS_RESUME:
        queue.take(100, 0)
    assert queue.drained()


def test_full_queue_by_bytes() -> None:
    """The `len` of a message is that of its value."""
    queue: Any = InputQueue()
    epoch = queue.new_epoch()
    half = bytes(BYTES_MAX // 2)
    assert not queue.put(epoch, [half])
    assert queue.put(epoch, [half, b"x", bytes(BYTES_MAX + 1), b"y"])
    assert not queue.drained()
    sizes = [[len(message) for message in queue.take(9, 0)] for _ in range(2)]
    assert sizes == [[BYTES_MAX // 2, BYTES_MAX // 2], [1]]
    assert not queue.drained()
    assert [len(message) for message in queue.take(9, 0)] == [BYTES_MAX + 1]  # one at least
    assert queue.drained()
    assert queue._bytes == 1
    queue.new_epoch()
    assert queue._bytes == 0


def test_wake_ends_a_wait() -> None:
    queue = InputQueue()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (queue.take(1, 60), done.set()))
    thread.start()
    queue.wake()
    assert done.wait(10)
    thread.join()


# ---------------------------------------------------------------- slots


def test_lowest_free_slot(tmp_path: Path) -> None:
    slots = [take_slot(tmp_path / "q") for _ in range(3)]
    assert [slot.number for slot in slots] == [0, 1, 2]
    slots[1].release()
    slots[1].release()
    assert take_slot(tmp_path / "q").number == 1
    assert take_slot(tmp_path / "another").number == 0
    assert len({slot.instance_id for slot in [*slots, take_slot(tmp_path / "another")]}) == 4


def test_group_identity_is_stable(tmp_path: Path) -> None:
    made = group_identity(tmp_path / "a")
    assert group_identity(tmp_path / "a") == made
    assert group_identity(tmp_path / "b") != made


# ---------------------------------------------------------------- faults


def test_no_fault_is_no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    assert faults.fault_hook() is None


@pytest.mark.parametrize(
    "text", ["nowhere:kill", "after-init", "after-init:explode", "after-init:kill:x"]
)
def test_wrong_fault_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, text)
    with pytest.raises(ConfigurationError):
        faults.fault_hook()


def test_fault_counts_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setenv(faults.VARIABLE, "after-commit:kill:2")
    monkeypatch.setattr(faults.os, "kill", lambda pid, number: killed.append(number))
    hook = faults.fault_hook()
    assert hook is not None
    for point in (faults.AFTER_INIT, faults.AFTER_COMMIT, faults.AFTER_FLUSH):
        hook(point)
    assert killed == []
    hook(faults.AFTER_COMMIT)
    hook(faults.AFTER_COMMIT)
    assert len(killed) == 1


# ---------------------------------------------------------------- crashes


def test_a_crash_inside_is_told_until_it_is_counted(tmp_path: Path) -> None:
    """The file is read by the next process, here the next recorder."""
    first = CrashRecorder(tmp_path / "q" / "executing", 4)
    first.enter(2, b"run-2")
    first.enter(3, b"run-3")
    first.leave(3)
    first.close()
    second = CrashRecorder(tmp_path / "q" / "executing", 4)
    assert [second.crashed(partition) for partition in range(4)] == [[], [], ["run-2"], []]
    second.close()
    third = CrashRecorder(tmp_path / "q" / "executing", 4)
    assert third.crashed(2) == ["run-2"], "it was not counted"
    third.counted(2)
    third.close()
    fourth = CrashRecorder(tmp_path / "q" / "executing", 4)
    assert fourth.crashed(2) == []
    fourth.close()
    assert CrashRecorder(tmp_path / "q" / "executing", 8).crashed(2) == []


def test_code_is_recorded_while_it_executes(tmp_path: Path) -> None:
    path = tmp_path / "executing"

    def inside() -> list[str]:
        return CrashRecorder(path, 1).crashed(0)

    class Instance:
        def activate(self, activation: Activation) -> Any:
            return inside()

        def close(self) -> None:
            closed.extend(inside())

    class Inner:
        def create(self, **_: str) -> Any:
            created.extend(inside())
            return Instance()

    created: list[str] = []
    closed: list[str] = []
    recorder = CrashRecorder(path, 1)
    activator = RecordingActivator(Inner(), recorder, 0)
    instance = activator.create(workflow_id="w", run_id="r", workflow_type="T")
    assert created == ["r"] and inside() == []
    assert instance.activate(Activation("r", 0, False, 1, 0, False, [])) == ["r"]
    instance.close()
    assert closed == ["r"] and inside() == []


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "kind", "fenced"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordRejected, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, PartitionReset, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, PartitionReset, False),
        (KafkaError._UNKNOWN_PARTITION, RecordRejected, False),
        (KafkaError._FENCED, PartitionReset, True),
        # abortable to librdkafka, and deadly: a zombie comes back by an abort
        (KafkaError.INVALID_PRODUCER_ID_MAPPING, PartitionReset, True),
        (KafkaError.UNKNOWN_PRODUCER_ID, PartitionReset, True),
        (KafkaError._TIMED_OUT, PartitionReset, False),  # outcome unknown
        (KafkaError._TRANSPORT, PartitionReset, False),
        (KafkaError._MSG_TIMED_OUT, PartitionReset, False),
    ],
)
def test_what_an_error_means(code: int, kind: type, fenced: bool) -> None:
    found = classify(KafkaError(code))
    assert type(found) is kind
    assert getattr(found, "fenced", False) is fenced
    if isinstance(found, RecordRejected):
        assert found.in_transaction
