"""The small rules of an activity service, each with an injected clock: acknowledged prefix,
Started, pauses, throttle, rate.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.activities.acknowledgement import AckPrefix
from odradek.activities.heartbeat import HeartbeatThrottle
from odradek.activities.ownership import StartGate
from odradek.activities.rate import RateLimit
from odradek.activities.timers import TimerHeap, heartbeat_interval, started_delay
from odradek.activities.token import TaskToken
from odradek.wire.payload import Payload
from odradek.wire.tasks import ActivityTask


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def task(**changes: int) -> ActivityTask:
    fields = {
        "scheduled_time_ms": 1_000_000,
        "current_attempt_scheduled_time_ms": 1_000_000,
        **changes,
    }
    return ActivityTask("ns", "wq", "wf", "run", "T", "q", "1", "a", 5, **fields)  # type: ignore[arg-type]


# --- acknowledged prefix


def test_prefix_ends_at_the_first_command_that_is_not_acknowledged() -> None:
    prefix = AckPrefix(10)
    first, second, third = prefix.add(10), prefix.add(11), prefix.add(14)
    assert prefix.to_commit is None
    second.acknowledged = True
    assert prefix.end == 10 and prefix.to_commit is None
    first.acknowledged = True
    assert prefix.to_commit == 14  # 12 and 13 were markers or aborted records
    prefix.committed(14)
    assert prefix.to_commit is None
    third.acknowledged = True
    assert prefix.to_commit == 15 and prefix.outstanding == 0


def test_gap_before_the_first_command_counts_as_acknowledged() -> None:
    prefix = AckPrefix(0)
    prefix.add(7)
    assert prefix.to_commit == 7


@given(st.lists(st.integers(1, 3), max_size=30), st.randoms(use_true_random=False))
def test_prefix_never_passes_an_unacknowledged_command(gaps: list[int], random: object) -> None:
    prefix, cells, offset = AckPrefix(0), [], 0
    for gap in gaps:
        offset += gap
        cells.append(prefix.add(offset))
    order = list(cells)
    random.shuffle(order)  # type: ignore[attr-defined]
    for cell in order:
        cell.acknowledged = True
        waiting = [other.offset for other in cells if not other.acknowledged]
        assert prefix.end == (min(waiting) if waiting else offset + 1)


# --- Started


@pytest.mark.parametrize(
    ("changes", "delay"),
    [
        ({}, 0.2),
        ({"start_to_close_timeout_ms": 60_000}, 0.2),
        ({"start_to_close_timeout_ms": 300}, 0.15),
        ({"start_to_close_timeout_ms": 300, "heartbeat_timeout_ms": 100}, 0.05),
        ({"schedule_to_start_timeout_ms": 350}, 0.025),  # 300 ms of it are over
        ({"schedule_to_close_timeout_ms": 400}, 0.05),
        ({"schedule_to_start_timeout_ms": 100}, 0.0),  # over: at once
    ],
)
def test_started_comes_after_half_of_the_shortest_timeout_that_runs(
    changes: dict[str, int], delay: float
) -> None:
    assert started_delay(task(**changes), now_ms=1_000_300) == pytest.approx(delay)


def test_schedule_to_start_counts_from_the_attempt_schedule_to_close_from_the_activity() -> None:
    second = task(
        current_attempt_scheduled_time_ms=1_000_300,
        schedule_to_start_timeout_ms=350,
        schedule_to_close_timeout_ms=10_000,
    )
    assert started_delay(second, now_ms=1_000_300) == pytest.approx(0.175)


def test_timers_come_out_in_order_once() -> None:
    clock = Clock()
    heap: TimerHeap[str] = TimerHeap(clock)
    heap.push(100.2, "b")
    heap.push(100.1, "a")
    assert list(heap.due()) == [] and heap.delay(5) == pytest.approx(0.1)
    clock.now = 100.3
    assert list(heap.due()) == ["a", "b"] and list(heap.due()) == [] and heap.delay(5) == 5


# --- pauses


def test_nothing_starts_after_a_pause_until_the_group_accepted_us() -> None:
    clock = Clock()
    gate = StartGate(3.0, clock)
    assert gate.polled() and gate.is_open
    clock.now += 20  # SIGSTOP, SIGCONT: whoever looks first sees a closed gate
    assert not gate.is_open
    assert not gate.polled()
    assert not gate.is_open  # polled, but nobody said that we are still a member
    assert not gate.polled()
    gate.prove()
    assert gate.is_open and gate.pauses == 1


def test_ordinary_gaps_between_polls_are_no_pause() -> None:
    clock = Clock()
    gate = StartGate(3.0, clock)
    for _ in range(10):
        clock.now += 2.9
        assert gate.is_open and gate.polled()


# --- heartbeats


def details(text: str) -> list[Payload]:
    return [Payload({}, text.encode())]


def test_first_heartbeat_goes_out_then_the_newest_once_an_interval() -> None:
    throttle = HeartbeatThrottle(8.0)
    assert throttle.record(details("1"), 100.0) == (details("1"), None)
    assert throttle.record(details("2"), 101.0) == (None, 108.0)
    assert throttle.record(details("3"), 102.0) == (None, None)  # the flush is arranged already
    assert throttle.last == details("3")
    assert throttle.flush(108.0) == details("3")
    assert throttle.record(details("4"), 109.0) == (None, 116.0)
    assert throttle.flush(116.0) == details("4")
    assert throttle.flush(124.0) is None
    assert throttle.record(details("5"), 130.0) == (details("5"), None)


def test_interval_is_80_percent_of_the_timeout_within_bounds() -> None:
    assert heartbeat_interval(10_000) == pytest.approx(8.0)
    assert heartbeat_interval(0) == 30.0
    assert heartbeat_interval(600_000) == 60.0
    assert heartbeat_interval(600_000, maximum=5.0) == 5.0


# --- rate


def test_rate_allows_a_burst_of_a_second_then_its_pace() -> None:
    clock = Clock()
    limit = RateLimit(2.0, clock)
    for _ in range(2):
        assert limit.delay() == 0.0
        limit.take()
    assert limit.delay() == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.delay() == 0.0
    with pytest.raises(ValueError, match="must be positive"):
        RateLimit(0, clock)


# --- token


def test_task_token_bytes_are_stable() -> None:
    token = TaskToken("ns", "orders", "wf-1", "run-1", 5, "7", 2)
    assert token.encode() == (
        b'{"namespace":"ns","queue":"orders","workflow_id":"wf-1","run_id":"run-1","scheduled_event_id":5,"activity_id":"7","attempt":2}'
    )
    assert TaskToken.decode(token.encode()) == token
    for strange in (b"x", b'{"namespace": "\xff', b'{"else": ' + b"[" * 5_000):
        with pytest.raises(ValueError, match="not a task token"):
            TaskToken.decode(strange)
