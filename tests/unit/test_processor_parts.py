"""Small parts of the processor: states, inbox, slots, fault points, held runs, reading of errors."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from odradek.engine.activation import Activation, Commands, TaskFailed
from odradek.engine.ports import Effects
from odradek.exceptions import ConfigurationError
from odradek.kafka.member import FILE_NAME, RebalanceMark
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.kafka.slots import group_identity, take_slot
from odradek.processor import faults, restore
from odradek.processor.errors import Dropped, Refused, Stopping, classify
from odradek.processor.group import Group
from odradek.processor.held import HoldingActivator, held_reason, why_held
from odradek.processor.inbox import ALL_BYTES_MAX, BYTES_MAX, RECORDS_MAX, RECORDS_RESUME, Inbox
from odradek.processor.inputs import BACKLOG, CLOCKS_APART_MS, Sorted, Sorter
from odradek.processor.lane_state import TRANSITIONS, LaneState, check_transition
from odradek.processor.outputs import output_records
from odradek.processor.restore import Places, Restorer
from odradek.wire.codec import Codec, encode
from odradek.wire.events import (
    ActivityTaskCompleted,
    CancelWorkflow,
    DeleteWorkflow,
    QueryWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UnparkWorkflow,
)
from odradek.wire.headers import FORWARDED_FROM, REDRIVEN_FROM
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
    """What a Sorter reads of a message."""
    timestamp = (kind, written_ms)
    return SimpleNamespace(
        value=lambda: value,
        key=lambda: b"w",
        headers=lambda: list(headers),
        offset=lambda: offset,
        timestamp=lambda: timestamp,
    )


def test_a_sender_that_counts_other_partitions_is_a_warning_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services: Any = SimpleNamespace(events_topic="forwarded-events")
    caplog.set_level(logging.DEBUG)
    for offset, workflow_id in enumerate(["alpha", "beta", "gamma"]):
        for partition in (0, 2):  # 2: one too many, whose lane says so
            work: Any = SimpleNamespace(
                sorted=SimpleNamespace(forwards=[(record(b"x", offset), workflow_id)], letters=[])
            )
            (made,) = output_records(services, work, Effects(), partition, 2)
            assert made.headers == [
                (FORWARDED_FROM, f"forwarded-events/{partition}/{offset}".encode())
            ]
    said = [(found.levelname, found.workflow_id) for found in caplog.records]  # type: ignore[attr-defined]
    assert [id for level, id in said if level == "WARNING"] == ["alpha"]
    assert [id for level, id in said if level == "DEBUG"] == ["alpha"] * 2 + ["beta"] * 2 + [
        "gamma"
    ] * 2


def test_unforeseen_error_of_one_record_is_its_dead_letter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sound = encode(SignalWorkflow("w", "s"))
    messages = [record(sound, 5), record(b"strange", 6), record(sound, 7)]
    sorter = Sorter(
        Raises(RuntimeError("who would have thought")),
        topic="t",
        topic_id="id",
        partition=0,
        partitions=1,
    )
    found = sorter.sort(messages, 0)
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
    sorter = Sorter(Raises(error), topic="t", topic_id="id", partition=0, partitions=1)
    with pytest.raises(type(error)):
        sorter.sort([record(b"strange", 6)], 0)


@pytest.mark.promise("requests")
@pytest.mark.parametrize(
    "event",
    [
        StartWorkflow("w", "t"),
        StartWorkflow("w", "t", signal_name="s"),
        SignalWorkflow("w", "s"),
        CancelWorkflow("w"),
        TerminateWorkflow("w"),
        UnparkWorkflow("w"),
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


def sorted_by(messages: list[Any]) -> Sorted:
    return Sorter(Codec(), topic="t", topic_id="id", partition=0, partitions=1).sort(
        messages, NOW_MS
    )


@pytest.mark.promise("reads")
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


# ---------------------------------------------------------------- states


def test_every_state_ends_closed() -> None:
    for state in LaneState:
        reached, new = {state}, {state}
        while new:
            new = {n for s in new for n in TRANSITIONS[s]} - reached
            reached |= new
        assert LaneState.CLOSED in reached


def test_illegal_moves_raise() -> None:
    check_transition(LaneState.RUNNING, LaneState.DROPPED)
    for old, new in [
        (LaneState.DROPPED, LaneState.RUNNING),
        (LaneState.ASSIGNED, LaneState.RUNNING),
        (LaneState.CLOSED, LaneState.FENCING),
    ]:
        with pytest.raises(AssertionError):
            check_transition(old, new)


# ---------------------------------------------------------------- inbox


def test_inbox_keeps_order_and_limits() -> None:
    inbox: Any = Inbox()
    epoch = inbox.new_epoch()
    inbox.put(epoch, [b"1", b"2", b"3"])
    inbox.put(epoch, [b"4", b"5"])
    assert inbox.take(4, 0) == [b"1", b"2", b"3"]
    assert inbox.take(1, 0) == [b"4"]
    assert inbox.take(9, 0) == [b"5"]
    assert inbox.take(9, 0) == []
    assert len(inbox) == 0


def test_inbox_drops_what_was_dispatched_before_a_seek() -> None:
    inbox: Any = Inbox()
    old = inbox.new_epoch()
    inbox.put(old, [b"1"])
    new = inbox.new_epoch()
    assert inbox.take(9, 0) == []
    inbox.put(old, [b"2"])
    inbox.put_position(old, 50)
    assert inbox.take(9, 0) == []
    assert inbox.settled_position() == -1
    inbox.put(new, [b"3"])
    inbox.put_position(new, 4)
    assert inbox.settled_position() == -1  # 3 is still queued before it
    assert inbox.take(9, 0) == [b"3"]
    assert inbox.settled_position() == 4


def test_a_seek_left_over_from_a_lane_of_before_moves_nothing() -> None:
    """The group's thread takes requests of lanes in turn: a lane may have ended and have a
    successor when its seek comes up.
    """
    seats = [SimpleNamespace(inbox=Inbox(), epoch=0) for _ in range(2)]
    for lane in seats:
        lane.epoch = lane.inbox.new_epoch()
    old, new = seats
    seeks: list[int] = []
    consumer: Any = SimpleNamespace(
        seek=lambda place: seeks.append(place.offset), resume=lambda places: None
    )
    rest: Any = {"mark": RebalanceMark(None, 3.0), "partitions": 1}
    group = Group(lambda: consumer, "t", "me", lambda *_: old, lambda _: {}, lambda _: None, **rest)  # type: ignore[arg-type, return-value]
    group._consumer = consumer
    group.lanes = {0: new}  # type: ignore[dict-item]
    group.seek(0, 100, old.epoch)
    group.seek(0, 200, new.epoch)
    group._drain_requests(run=True)
    assert seeks == [200]


@pytest.mark.parametrize(("taken", "left"), [([], "[0, 1]"), ([1], '"rebalancing"')])
def test_a_processor_that_leaves_marks_no_move_but_one_that_was_under_way(
    tmp_path: Path, taken: list[int], left: str
) -> None:
    """Closing gives everything back, by the callback that the group's moves come by."""
    places = [TopicPartition("t", number) for number in (0, 1)]
    turns = iter(["joins", "ends"])
    rests: Any = {
        "has_row": False,
        "intake": SimpleNamespace(awaited_end=-1),
        "state": LaneState.RUNNING,
    }

    def lane(partition: int, _: object) -> Any:
        return SimpleNamespace(
            partition=partition,
            start=lambda: None,
            stop=lambda: None,
            is_alive=lambda: False,
            **rests,
        )

    def subscribe(_: object, *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        consumer.on_assign, consumer.on_revoke = on_assign, on_revoke

    def poll(_: float) -> None:
        if next(turns) == "joins":
            consumer.on_assign(consumer, places)
            return
        if taken:
            consumer.on_revoke(consumer, [places[number] for number in taken])
        group.stop()

    consumer: Any = SimpleNamespace(
        subscribe=subscribe,
        poll=poll,
        incremental_assign=lambda _: None,
        incremental_unassign=lambda _: None,
        pause=lambda _: None,
        position=lambda _: [],
        close=lambda: consumer.on_revoke(consumer, [places[number] for number in group.lanes]),
    )
    rest: Any = {"mark": RebalanceMark(tmp_path, 0.0), "partitions": 2}
    group = Group(lambda: consumer, "t", "me", lane, lambda _: {}, lambda _: None, **rest)
    group.run()
    assert not group.lanes and (tmp_path / FILE_NAME).read_text() == left


def test_place_is_given_back_once_and_by_its_holder_alone() -> None:
    places, moves = Places(1), queue.Queue[str]()

    def restore() -> None:
        with places:
            moves.put("in")
            places.give_back()
            places.give_back()
            while not places.take(0.01):
                moves.put("waits")
            moves.put("in again")

    other = threading.Thread(target=restore)
    with places:
        other.start()
        with pytest.raises(queue.Empty):
            moves.get(timeout=0.1)
    assert moves.get(timeout=10) == "in"
    other.join(10)
    with places:
        assert places.held
        assert not places.acquire(blocking=False)  # there is no second one
        other = threading.Thread(target=places.give_back)  # a thread without one
        other.start()
        other.join(10)
        assert not places.acquire(blocking=False)
    assert not places.held


def test_restore_that_waited_goes_on_with_a_place_and_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restore, "_STUCK_SECONDS", 0.02)
    monkeypatch.setattr(restore, "_PLACE_SECONDS", 0.01)
    at, places, stuck, stopping = [0], Places(1), threading.Event(), threading.Event()

    def poll(timeout: float) -> None:
        stuck.wait(timeout)

    consumer: Any = SimpleNamespace(
        assign=lambda _: None,
        poll=poll,
        position=lambda _: [SimpleNamespace(offset=at[0])],
        close=lambda: None,
    )
    store: Any = SimpleNamespace(
        apply=lambda *_: pytest.fail("without a place"), changelog_offset=0
    )

    def progress(remaining: int) -> None:
        if stopping.is_set():
            raise Stopping

    def run() -> None:
        with places, pytest.raises(Stopping):
            Restorer("state", lambda: consumer, places).restore(
                store, 0, 0, 5, progress, lambda _: stuck.set()
            )

    lane = threading.Thread(target=run)
    lane.start()
    assert stuck.wait(10)
    assert places.take(10)  # given back while it waits
    at[0] = 5  # the transaction was decided
    lane.join(0.1)
    assert lane.is_alive()  # for its place
    stopping.set()
    lane.join(10)
    assert not lane.is_alive()
    places.give_back()
    assert places.acquire(blocking=False) and not places.acquire(blocking=False)


def test_full_inbox_asks_for_a_pause() -> None:
    inbox: Any = Inbox()
    epoch = inbox.new_epoch()
    assert not inbox.put(epoch, [b""] * (RECORDS_MAX - 1))
    assert inbox.put(epoch, [b""])
    assert not inbox.drained()
    while len(inbox) > RECORDS_RESUME:
        inbox.take(100, 0)
    assert inbox.drained()


def test_full_inbox_by_bytes() -> None:
    """The `len` of a message is that of its value."""
    inbox: Any = Inbox()
    epoch = inbox.new_epoch()
    half = bytes(BYTES_MAX // 2)
    assert not inbox.put(epoch, [half])
    assert inbox.put(epoch, [half, b"x", bytes(BYTES_MAX + 1), b"y"])
    assert not inbox.drained()
    sizes = [[len(message) for message in inbox.take(9, 0)] for _ in range(2)]
    assert sizes == [[BYTES_MAX // 2, BYTES_MAX // 2], [1]]
    assert not inbox.drained()
    assert [len(message) for message in inbox.take(9, 0)] == [BYTES_MAX + 1]  # one at least
    assert inbox.drained()
    assert inbox.size == 1
    inbox.new_epoch()
    assert inbox.size == 0


class Fetched(bytes):
    """A record as the consumer gives it; its `len` is that of its value."""

    where: int

    def partition(self) -> int:
        return self.where

    def error(self) -> None:
        return None


class Fed:
    """A group over lanes without threads, and a consumer that only notes what is paused."""

    def __init__(self, lanes: int) -> None:
        self.paused: set[int] = set()
        consumer: Any = SimpleNamespace(
            pause=lambda places: self.paused.update(place.partition for place in places),
            resume=lambda places: self.paused.difference_update(
                place.partition for place in places
            ),
        )
        self.consumer = consumer
        self.group = Group(
            lambda: consumer,
            "t",
            "me",
            lambda *_: None,
            lambda _: {},
            lambda _: None,
            mark=RebalanceMark(None, 3.0),
            partitions=1,
        )  # type: ignore[arg-type, return-value]
        self.group._consumer = consumer
        for partition in range(lanes):
            lane: Any = SimpleNamespace(inbox=Inbox())
            self.group.lanes[partition] = lane
            self.group._epochs[partition] = lane.inbox.new_epoch()

    def feed(self, partition: int, size: int) -> None:
        record = Fetched(size)
        record.where = partition
        if partition not in self.paused:
            self.group._dispatch([record])  # type: ignore[list-item]

    def inbox(self, partition: int) -> Inbox:
        return self.group.lanes[partition].inbox

    @property
    def held(self) -> int:
        return sum(lane.inbox.size for lane in self.group.lanes.values())


def test_inboxes_of_many_lanes_share_one_bound() -> None:
    """64 lanes with a backlog would hold 512 MiB. None of them is starved: each takes at least a
    record, whatever the others hold.
    """
    fed, record = Fed(64), 512 * 1024
    for _ in range(BYTES_MAX // record + 1):
        for partition in range(63):
            fed.feed(partition, record)
    assert fed.held <= ALL_BYTES_MAX * 3 // 2 and len(fed.paused) == 63
    fed.feed(63, record)
    assert fed.inbox(63).size == record and 63 in fed.paused, "its share of half the bound"
    for _ in range(64):  # the lanes go on
        for partition in range(64):
            fed.inbox(partition).take(1, 0)
        fed.group._resume_drained(fed.consumer)
    assert fed.paused == set() and fed.held == 0


def test_a_lane_that_is_empty_goes_on_while_others_are_full() -> None:
    fed = Fed(64)
    for partition in range(10):
        while partition not in fed.paused:
            fed.feed(partition, 1024 * 1024)
    assert fed.held >= ALL_BYTES_MAX
    for _ in range(5):
        for partition in range(10, 64):
            fed.feed(partition, 2 * 1024 * 1024)
            assert fed.inbox(partition).take(1, 0)
        fed.group._resume_drained(fed.consumer)
        assert fed.paused == set(range(10)), (
            "those that hold nothing go on, those that hold much wait"
        )


def test_few_lanes_have_what_they_had() -> None:
    fed = Fed(8)
    for partition in range(8):
        while partition not in fed.paused:
            fed.feed(partition, 1024 * 1024)
    assert [fed.inbox(partition).size for partition in range(8)] == [BYTES_MAX] * 8


def test_wake_ends_a_wait() -> None:
    inbox = Inbox()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (inbox.take(1, 60), done.set()))
    thread.start()
    inbox.wake()
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


# ---------------------------------------------------------------- held runs


class _Inner:
    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> Any:
        class Instance:
            def activate(self, activation: Activation) -> Commands:
                return Commands([])

        return Instance()


def test_held_run_runs_nothing() -> None:
    held = {"r1": "owners died"}
    activator = HoldingActivator(_Inner(), lambda workflow_id, run_id: held.get(run_id, ""))
    activation = Activation("r1", 0, False, 1, 0, False, [])
    failed = activator.create(workflow_id="w", run_id="r1", workflow_type="T").activate(activation)
    assert isinstance(failed, TaskFailed)
    assert failed.park
    # The engine writes cause and message into the row; what was held stays held.
    assert why_held(f"{failed.cause}: {failed.failure.message}") == "owners died"
    assert isinstance(
        activator.create(workflow_id="w", run_id="r2", workflow_type="T").activate(activation),
        Commands,
    )


def test_held_reason_is_one_bounded_line() -> None:
    reason = held_reason("x" * 5_000 + "\nsecond line")
    assert len(reason) < 1_100
    assert "\n" not in reason
    told = held_reason("x" * 5_000, "events/0/7")
    assert len(told) < 1_100 and "events/0/7 was not applied" in told
    assert held_reason(why_held(told)) == told, "the engine says it again at each task"
    assert why_held("") == why_held("parked for another reason") == ""


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "kind", "fenced"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Refused, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Dropped, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Dropped, False),
        (KafkaError._UNKNOWN_PARTITION, Refused, False),
        (KafkaError._FENCED, Dropped, True),
        (
            KafkaError.INVALID_PRODUCER_ID_MAPPING,
            Dropped,
            True,
        ),  # abortable to librdkafka, and deadly: a zombie comes back by an abort
        (KafkaError.UNKNOWN_PRODUCER_ID, Dropped, True),
        (KafkaError._TIMED_OUT, Dropped, False),  # outcome unknown
        (KafkaError._TRANSPORT, Dropped, False),
        (KafkaError._MSG_TIMED_OUT, Dropped, False),
    ],
)
def test_what_an_error_means(code: int, kind: type, fenced: bool) -> None:
    found = classify(KafkaException(KafkaError(code)))
    assert type(found) is kind
    assert getattr(found, "fenced", False) is fenced
    if isinstance(found, Refused):
        assert found.in_transaction
