"""The slots of a service with real user code and without Kafka: what is said, when, and what it
acknowledges.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity
from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import Attempt, OwnedPartition
from odradek.activities.barred import Barred
from odradek.activities.context import ActivityCancellationDetails, CompositeEvent, Info
from odradek.activities.definition import ActivityRegistry
from odradek.activities.interceptor import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
)
from odradek.activities.ownership import StartGate
from odradek.activities.rate import RateLimit
from odradek.activities.runner import ActivityRunner
from odradek.activities.service import GATE_AGAIN_S, Service, TimerKind
from odradek.common import MetricMeter, RawValue
from odradek.converter import DataConverter, DefaultPayloadConverter, PayloadCodec
from odradek.exceptions import ApplicationError, ApplicationErrorCategory
from odradek.telemetry import metrics
from odradek.telemetry.meter import Families, PrometheusMeter
from odradek.wire.codec import encode
from odradek.wire.events import ActivityTaskCanceled, ActivityTaskCompleted, ActivityTaskFailed
from odradek.wire.headers import headers_for
from odradek.wire.payload import Payload
from odradek.wire.record_size import record_size
from odradek.wire.tasks import ActivityTask, CancelActivityTask
from odradek.wire.topics import Topics
from tests.support.metrics import series

IDENTITY = "me"
POOL = ThreadPoolExecutor(8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeAnswers:
    """Takes what the service says; `deliver` makes it durable."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self._undelivered: list[Callable[[], None]] = []
        self.too_large: list[Any] = []

    def report(
        self,
        topic: str,
        record: Any,
        on_durable: Callable[[], None] | None = None,
        on_too_large: Any = None,
    ) -> None:
        self.said.append((topic, record))
        self.too_large.append(on_too_large)
        if on_durable is not None:
            self._undelivered.append(on_durable)

    def deliver(self) -> None:
        reports, self._undelivered = self._undelivered, []
        for report in reports:
            report()

    @property
    def records(self) -> list[Any]:
        return [record for _, record in self.said]

    @property
    def kinds(self) -> list[str]:
        return [type(record).__name__.removeprefix("ActivityTask") for record in self.records]


class Bench:
    """A service on the running loop."""

    def __init__(
        self,
        activities: Sequence[Callable[..., Any]],
        *,
        slots: int = 10,
        converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Any] = (),
        rate: float | None = None,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        self.clock = Clock()
        self.gate = StartGate(3.0, self.clock)
        self.answers = FakeAnswers()
        self.shutdown = CompositeEvent(has_async=True)
        self.broken: list[BaseException] = []
        self.runner = ActivityRunner(
            ActivityRegistry(activities, POOL),
            executor=POOL,
            data_converter=converter,
            interceptors=interceptors,
            identity=IDENTITY,
            client="the client",
            worker_shutdown=self.shutdown,
            metric_meter=meter,
            on_broken_executor=self.broken.append,
        )
        self.service = Service(
            self.runner,
            self.answers,  # type: ignore[arg-type]
            topics=Topics("ns"),
            task_queue="q",
            slots_total=slots,
            identity=IDENTITY,
            data_converter=converter,
            gate=self.gate,
            clock=self.clock,
            max_heartbeat_interval=60.0,
            default_heartbeat_interval=30.0,
            rate=RateLimit(rate, self.clock) if rate else None,
        )
        self.owner = OwnedPartition(0, start=0, end_at_assignment=0)
        self._offset = 0

    def task(self, activity_type: str, *arguments: Any, **changes: Any) -> ActivityTask:
        self._offset += 1
        fields = {
            "input": DataConverter.default.payload_converter.to_payloads(arguments),
            "start_to_close_timeout_ms": 60_000,
            **changes,
        }
        return ActivityTask(
            "ns",
            "wq",
            "wf",
            "run",
            "T",
            "q",
            str(self._offset),
            activity_type,
            self._offset,
            **fields,
        )

    def give(
        self, task: ActivityTask, *, redelivery: bool = False, owner: OwnedPartition | None = None
    ) -> Attempt:
        owner = owner or self.owner
        record: Any = None
        attempt = Attempt(
            task, record, owner, Cell(self._offset), self.clock(), handed_on=redelivery
        )
        self.service.waiting.append(attempt)
        return attempt

    async def run(self, activity_type: str, *arguments: Any, **changes: Any) -> Any:
        """Run one to its end; its outcome."""
        self.give(self.task(activity_type, *arguments, **changes))
        self.service.pump()
        await asyncio.wait_for(self.service.idle.wait(), 30)
        return self.answers.records[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)


def value_of(outcome: Any) -> Any:
    assert isinstance(outcome, ActivityTaskCompleted), outcome
    return DataConverter.default.payload_converter.from_payloads(outcome.result)[0]


def request(task: ActivityTask, reason: str = "") -> CancelActivityTask:
    return CancelActivityTask(
        task.workflow_id,
        task.run_id,
        task.scheduled_event_id,
        task.activity_id,
        task.attempt,
        reason,
    )


# --- activities of these tests


@activity.defn
async def add(a: int, b: int) -> int:
    return a + b


@activity.defn
def add_in_thread(a: int, b: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return a + b


@activity.defn
async def forever(beats: int = 0) -> str:
    for beat in range(beats):
        activity.heartbeat(beat)
    await asyncio.Event().wait()
    return "never"


@activity.defn
def forever_in_thread() -> str:
    activity.heartbeat("alive")
    while True:
        time.sleep(0.001)


@activity.defn
async def fail(kind: str) -> None:
    match kind:
        case "plain":
            raise ValueError("bad")
        case "benign":
            raise ApplicationError("expected", category=ApplicationErrorCategory.BENIGN)
        case "cancelled without request":
            raise asyncio.CancelledError
        case "heartbeat":
            activity.heartbeat("first")
            activity.heartbeat("second")
            raise ApplicationError("later", type="Mine", non_retryable=True)
        case "exit":
            raise SystemExit(3)
        case "generator exit":
            raise GeneratorExit


ALL = [add, add_in_thread, forever, forever_in_thread, fail]


# --- starting and telling


async def test_short_activity_says_one_thing_and_is_acknowledged_when_it_is_durable() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 2, 3))
    bench.service.pump()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Completed"] and value_of(bench.answers.records[0]) == 5
    topic, outcome = bench.answers.said[0]
    assert (
        topic == "odradek.ns.wq.events"
        and outcome.identity == IDENTITY
        and outcome.started_time_ms > 0
    )
    assert not attempt.cell.acknowledged
    bench.answers.deliver()
    assert attempt.cell.acknowledged


async def test_sync_activity_runs_in_the_executor() -> None:
    assert value_of(await Bench(ALL).run("add_in_thread", 2, 3)) == 5


async def test_started_timer_acknowledges_what_runs_on() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever"))
    bench.service.pump()
    due, kind, _ = bench.service.timer_requests.popleft()
    assert (due, kind) == (pytest.approx(100.2), TimerKind.STARTED)
    following = bench.service.timer_due(kind, attempt)
    assert bench.answers.kinds == ["Started"] and not attempt.cell.acknowledged
    bench.answers.deliver()
    assert attempt.cell.acknowledged
    assert (
        following is not None
        and following[1] is TimerKind.DEADLINE
        and following[0] == pytest.approx(165.0)
    )
    assert bench.service.timer_due(
        TimerKind.STARTED, attempt
    ) is not None and bench.answers.kinds == ["Started"]  # once
    bench.service.cancel_all()
    await bench.service.idle.wait()


async def test_possible_redelivery_runs_only_once_its_started_is_durable() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    await asyncio.sleep(0.02)
    assert bench.answers.kinds == ["Started"] and not attempt.entered
    bench.answers.deliver()
    assert attempt.cell.acknowledged and not attempt.entered, (
        "one that kills the process at once is not delivered again"
    )
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started", "Completed"]


async def test_one_that_others_took_while_its_started_was_on_its_way_is_left_to_them() -> None:
    """They have its command: what is not begun is not acknowledged. It also begins neither
    beside them nor later.
    """
    bench = Bench(ALL, slots=1)
    theirs = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    theirs.owner.owned = False
    bench.answers.deliver()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started"] and not theirs.entered
    assert (
        not theirs.cell.acknowledged
        and theirs.cell.returned
        and bench.service.counts["dropped"] == 1
    )
    assert not bench.service.running and bench.service.timer_due(TimerKind.STARTED, theirs) is None
    bench.owner = OwnedPartition(0, start=0, end_at_assignment=100)
    again = bench.give(theirs.task)  # they went away too
    bench.service.pump()
    bench.answers.deliver()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started", "Started", "Completed"] and again.cell.acknowledged


@pytest.mark.parametrize("committed", [False, True])
async def test_one_whose_partition_goes_before_it_can_begin_begins_if_nobody_else_gets_it(
    committed: bool,
) -> None:
    """The loop was busy with other code meanwhile. Others would never see what is committed: it
    would stay started until its timeout.
    """
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    bench.answers.deliver()
    if committed:
        attempt.owner.prefix.committed(attempt.cell.offset + 1)
        bench.clock.now += 30  # nor need it be known whose the partition is
    attempt.owner.owned = False
    await bench.service.idle.wait()
    assert bench.answers.kinds == (["Started", "Completed"] if committed else ["Started"])


async def test_one_that_is_left_makes_room_for_what_waits() -> None:
    bench = Bench(ALL, slots=1)
    theirs = bench.give(
        bench.task("add", 1, 1),
        redelivery=True,
        owner=OwnedPartition(1, start=0, end_at_assignment=0),
    )
    bench.give(bench.task("add", 2, 2))
    bench.service.pump()
    theirs.owner.owned = False
    bench.answers.deliver()
    await bench.until(lambda: bench.answers.kinds == ["Started", "Completed"])
    assert value_of(bench.answers.records[-1]) == 4


@pytest.mark.promise("paused-service")
@pytest.mark.parametrize("taken", [False, True])
async def test_after_a_pause_one_whose_started_is_durable_waits_until_ownership_is_known(
    taken: bool,
) -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    bench.clock.now += 30  # stopped, while its Started was on its way
    bench.answers.deliver()
    await asyncio.sleep(2.5 * GATE_AGAIN_S)
    assert not bench.gate.polled()
    assert not attempt.entered and not attempt.cell.acknowledged and bench.service.running
    attempt.owner.owned = not taken
    bench.gate.prove()
    await bench.service.idle.wait()
    assert attempt.cell.acknowledged is not taken
    assert bench.answers.kinds == (["Started"] if taken else ["Started", "Completed"])


async def test_one_that_was_lost_and_read_again_while_its_started_was_on_its_way_begins_once() -> (
    None
):
    bench = Bench(ALL)
    task = bench.task("add", 1, 1)
    first = bench.give(task, redelivery=True)
    bench.service.pump()
    first.owner.owned = False
    second = bench.give(
        task, redelivery=True, owner=OwnedPartition(0, start=0, end_at_assignment=100)
    )
    bench.service.pump()
    bench.answers.deliver()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started", "Completed"] and bench.service.counts["dropped"] == 0
    assert first.entered and second.cell.acknowledged


async def test_the_time_of_one_whose_started_waits_for_a_broker_begins_with_it() -> None:
    """It was cancelled by its own deadline before it began, and failed for good with a
    cancellation that nobody had requested.
    """
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    due, kind, _ = bench.service.timer_requests.popleft()
    assert kind is TimerKind.STARTED
    bench.clock.now = due
    assert bench.service.timer_due(kind, attempt) is None and not bench.service.timer_requests
    bench.clock.now += 3_600
    bench.gate.polled()
    bench.gate.prove()
    bench.answers.deliver()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started", "Completed"]
    ((due, kind, _),) = bench.service.timer_requests
    assert kind is TimerKind.DEADLINE and due == bench.clock.now + 60 + 5
    assert bench.service.timer_due(kind, attempt) is None, "it has reported"


async def test_one_that_is_given_up_while_its_started_waits_does_not_begin() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("add", 1, 1), redelivery=True)
    bench.service.pump()
    bench.service.abandon_unstarted()
    bench.answers.deliver()
    await asyncio.sleep(0.02)
    assert bench.answers.kinds == ["Started"] and attempt.task_handle is None


async def test_commands_below_the_end_seen_at_assignment_are_possible_redeliveries() -> None:
    owner = OwnedPartition(0, start=3, end_at_assignment=5)
    made = [Attempt(Bench(ALL).task("add"), None, owner, Cell(offset), 0.0) for offset in (3, 4, 5)]  # type: ignore[arg-type]
    assert [attempt.redelivery for attempt in made] == [True, True, False]


async def test_slots_bound_what_runs() -> None:
    bench = Bench(ALL, slots=2)
    for _ in range(5):
        bench.give(bench.task("forever"))
    bench.service.pump()
    assert len(bench.service.running) == 2 and len(bench.service.waiting) == 3
    first = next(iter(bench.service.running.values()))
    await asyncio.sleep(0)
    bench.service._cancel(first, ActivityCancellationDetails(cancel_requested=True))
    await bench.until(lambda: len(bench.service.waiting) == 2)
    bench.service.draining = True
    bench.service.cancel_all()
    await bench.service.idle.wait()


async def test_nothing_starts_while_ownership_is_unknown_and_the_lost_is_dropped() -> None:
    bench = Bench(ALL)
    gone = OwnedPartition(1, start=0, end_at_assignment=0)
    lost, kept = (
        bench.give(bench.task("add", 1, 1), owner=gone),
        bench.give(bench.task("add", 2, 2)),
    )
    bench.clock.now += 30
    bench.service.pump()
    assert not bench.service.running and len(bench.service.waiting) == 2
    bench.gate.polled()
    bench.service.pump()
    assert not bench.service.running
    gone.owned = False
    bench.gate.prove()
    bench.service.pump()
    await bench.service.idle.wait()
    assert [value_of(record) for record in bench.answers.records] == [4]
    assert not lost.entered and kept.entered and bench.service.counts["dropped"] == 1


async def test_the_same_attempt_read_twice_runs_once() -> None:
    bench = Bench(ALL)
    task = bench.task("forever")
    first, second = bench.give(task), bench.give(task)
    bench.service.pump()
    assert len(bench.service.running) == 1 and bench.service.counts["twins"] == 1
    bench.service.say_started(first)
    bench.answers.deliver()
    assert first.cell.acknowledged and second.cell.acknowledged
    bench.service.cancel_all()
    await bench.service.idle.wait()


async def test_rate_limit_spreads_starts() -> None:
    bench = Bench(ALL, rate=2.0)
    for _ in range(3):
        bench.give(bench.task("add", 1, 1))
    bench.service.pump()
    await bench.service.idle.wait()
    assert len(bench.answers.records) == 2 and len(bench.service.waiting) == 1
    bench.clock.now += 0.5
    await bench.until(lambda: len(bench.answers.records) == 3)


# --- outcomes


async def test_unregistered_type_fails_retryably_with_the_list() -> None:
    outcome = await Bench([add, fail]).run("nobody")
    assert isinstance(outcome, ActivityTaskFailed)
    assert outcome.failure.type == "NotFoundError" and not outcome.failure.non_retryable
    assert (
        outcome.failure.message
        == "Activity function nobody for workflow wf is not registered on this worker, available"
        " activities: add, fail"
    )


async def test_undecodable_arguments_fail_with_the_reason() -> None:
    outcome = await Bench(ALL).run(
        "add",
        input=[
            Payload({"encoding": b"json/plain"}, b"{"),
            Payload({"encoding": b"json/plain"}, b"1"),
        ],
    )
    assert (
        outcome.failure.message == "Failed decoding arguments" and not outcome.failure.non_retryable
    )
    assert outcome.failure.cause is not None and "index 0" in outcome.failure.cause.message


async def test_undecodable_heartbeat_details_are_not_retried() -> None:
    outcome = await Bench(ALL).run(
        "add", 1, 1, heartbeat_details=[Payload({"encoding": b"who"}, b"")]
    )
    assert (
        outcome.failure.message == "Failed decoding heartbeat details"
        and outcome.failure.non_retryable
    )


async def test_exceptions_become_failures_and_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ALL)
    outcome = await bench.run("fail", "plain")
    assert (outcome.failure.type, outcome.failure.message) == (
        "ValueError",
        "bad",
    ) and "test_activity_service" in outcome.failure.stack_trace
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    with caplog.at_level("INFO"):
        assert (await bench.run("fail", "benign")).failure.category == "BENIGN"
    assert not caplog.records
    assert (await bench.run("fail", "exit")).failure.type == "SystemExit"
    assert (await bench.run("fail", "generator exit")).failure.type == "GeneratorExit"
    assert (await bench.run("fail", "cancelled without request")).failure.type == "CancelledError"


async def test_generator_exit_in_a_thread_fails_too() -> None:
    @activity.defn
    def leave() -> None:
        raise GeneratorExit

    @activity.defn
    async def leave_deeper() -> None:
        await asyncio.to_thread(leave)

    assert (await Bench([leave]).run("leave")).failure.type == "GeneratorExit"
    assert (await Bench([leave_deeper]).run("leave_deeper")).failure.type == "GeneratorExit"


async def test_an_attempt_that_is_closed_from_outside_ends() -> None:
    """By whoever ends its loop: it looks much the same, and must not await any more."""
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever"))
    bench.service.pump()
    await asyncio.sleep(0)
    task = attempt.task_handle
    coroutine: Any = task.get_coro() if task is not None else None
    coroutine.close()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED and bench.answers.kinds == []
    assert task is not None
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.exception()


async def test_failure_carries_the_newest_heartbeat_details_also_held_back_ones() -> None:
    bench = Bench(ALL)
    outcome = await bench.run("fail", "heartbeat", heartbeat_timeout_ms=10_000)
    assert outcome.failure.type == "Mine" and outcome.failure.non_retryable
    assert DataConverter.default.payload_converter.from_payloads(
        outcome.last_heartbeat_details
    ) == ["second"]
    assert bench.answers.kinds == ["Started", "Heartbeat", "Failed"]


async def test_unconvertible_result_fails() -> None:
    @activity.defn
    async def strange() -> object:
        return object()

    outcome = await Bench([strange]).run("strange")
    assert isinstance(outcome, ActivityTaskFailed) and not outcome.failure.non_retryable


async def test_result_too_large_fails_with_size_limit_and_setting() -> None:
    bench = Bench(ALL)
    await bench.run("add", 1, 1)
    failure = bench.answers.too_large[-1](2_000_000, 1_048_588).failure
    assert failure.non_retryable
    for part in ("2000000 bytes", "1048588 bytes", "max.message.bytes", "odradek.ns.wq.events"):
        assert part in failure.message


@pytest.mark.parametrize("limit", [1_048_588, 20_000, 1_500, 0])  # 0: nobody knows
async def test_failure_too_large_is_cut_and_stays_what_it_was(
    limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    @activity.defn
    def breaks() -> None:
        activity.heartbeat("h" * 300_000)
        try:
            raise ValueError("the cause")
        except ValueError as cause:
            later = timedelta(seconds=7)
            raise ApplicationError(
                "begin " + "ä" * 1_500_000, "d" * 300_000, type="Mine", next_retry_delay=later
            ) from cause

    bench = Bench([breaks])
    whole = await bench.run("breaks", heartbeat_timeout_ms=10_000)
    caplog.clear()
    cut = bench.answers.too_large[-1](3_500_000, limit)
    failure = cut.failure
    assert (failure.type, failure.non_retryable, failure.next_retry_delay_ms) == (
        "Mine",
        False,
        7_000,
    )
    assert failure.message.startswith("begin ää") and "of 1500006 characters" in failure.message
    assert "max.message.bytes" in failure.message and "odradek.ns.wq.events" in failure.message
    assert not failure.details and not cut.last_heartbeat_details
    if limit:
        assert record_size(b"wf", encode(cut), headers_for(cut)) <= limit
    if limit != 1_500:
        assert failure.cause is not None and (failure.cause.type, failure.cause.message) == (
            "ValueError",
            "the cause",
        )
    assert len(whole.failure.message) == 1_500_006, (
        "the record of the attempt itself is nobody's to change"
    )
    (said,) = caplog.records
    assert said.levelname == "WARNING" and "max.message.bytes" in said.getMessage()


async def test_failure_beside_details_too_large_goes_without_them() -> None:
    bench = Bench(ALL)
    whole = await bench.run("fail", "heartbeat", heartbeat_timeout_ms=10_000)
    whole.last_heartbeat_details = [Payload({}, b"h" * 1_500_000)]
    cut = bench.answers.too_large[-1](1_500_500, 1_048_588)
    assert cut.last_heartbeat_details == [] and cut.failure == whole.failure


async def test_a_chain_too_large_keeps_its_first_links(caplog: pytest.LogCaptureFixture) -> None:
    @activity.defn
    def breaks() -> None:
        error: BaseException = ValueError("last")
        for number in range(100):
            outer = ApplicationError(f"{number} " + "x" * 20_000, type=f"T{number}")
            outer.__cause__ = error
            error = outer
        raise error

    bench = Bench([breaks])
    await bench.run("breaks")
    for limit, links in ((1_048_588, 101), (50_000, 10), (1_500, 3)):
        cut = bench.answers.too_large[-1](2_100_000, limit)
        found, link = 0, cut.failure
        while link is not None:
            found, link = found + 1, link.cause
        assert (
            found == links
            and cut.failure.message.startswith("99 xx")
            and record_size(b"wf", encode(cut), headers_for(cut)) <= limit
        )


async def test_every_answer_says_where_its_command_stood() -> None:
    @activity.defn
    def quick() -> None: ...

    @activity.defn
    def broken() -> None:
        raise ApplicationError("no")

    bench = Bench([quick, broken])
    bench.owner = OwnedPartition(4, start=0, end_at_assignment=0)
    for name in ("quick", "broken"):
        bench.give(bench.task(name), redelivery=True)  # so Started is said too
    bench.service.pump()
    await bench.until(lambda: bench.answers.kinds == ["Started", "Started"])
    bench.answers.deliver()
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    places = {
        (type(one).__name__, one.activity_id, one.command_partition, one.command_offset)
        for one in bench.answers.records
    }
    assert places == {
        ("ActivityTaskStarted", "1", 4, 1),
        ("ActivityTaskCompleted", "1", 4, 1),
        ("ActivityTaskStarted", "2", 4, 2),
        ("ActivityTaskFailed", "2", 4, 2),
    }


async def test_dynamic_activity_gets_raw_values() -> None:
    @activity.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> str:
        converter = activity.payload_converter()
        return f"{activity.info().activity_type}:{[converter.from_payload(arg.payload, int) for arg in args]}"

    assert value_of(await Bench([anything]).run("unheard", 1, 2)) == "unheard:[1, 2]"
    assert value_of(await Bench([anything]).run("unheard")) == "unheard:[]"


async def test_types_that_are_not_registered_are_no_labels() -> None:
    """Neither those of a dynamic activity, in what it records itself too, nor those that are
    refused.
    """

    @activity.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> None:
        activity.metric_meter().create_counter("seen").add(1)

    @activity.defn
    async def known() -> None:
        activity.metric_meter().create_counter("seen").add(1)

    recorded = Families()
    bench = Bench([anything, known], meter=PrometheusMeter(recorded))
    for kind in ("made-up", "known", "other"):
        await bench.run(kind)
    (family,) = recorded.collect()
    assert {(*sample.labels.items(),): sample.value for sample in family.samples} == {
        (("activity_type", "known"),): 1,
        (("activity_type", "(unknown)"),): 2,
    }, "namespace and queue are the host's own, not what a command names"
    started = series(metrics.ACTIVITY_STARTS, "namespace", "activity_type")
    assert started["ns", "(unknown)"] >= 2 and started["ns", "known"] >= 1
    assert ("ns", "made-up") not in started
    refusing = Bench([known])
    await refusing.run("made-up")
    ended = series(metrics.ACTIVITY_OUTCOMES, "activity_type", "outcome")
    assert ended["(unknown)", "failed"] >= 1


async def test_completing_from_outside_says_started_and_nothing_else() -> None:
    tokens: list[bytes] = []

    @activity.defn
    async def later() -> None:
        tokens.append(activity.info().task_token)
        activity.raise_complete_async()

    bench = Bench([later])
    attempt = bench.give(bench.task("later", attempt=2))
    bench.service.pump()
    await bench.service.idle.wait()
    assert bench.answers.kinds == ["Started"]
    bench.answers.deliver()
    assert attempt.cell.acknowledged
    assert tokens == [
        b'{"namespace":"ns","queue":"wq","workflow_id":"wf","run_id":"run","scheduled_event_id":1,"activity_id":"1","attempt":2}'
    ]


async def test_info_and_client() -> None:
    seen: list[Info] = []

    @activity.defn
    async def look() -> bool:
        seen.append(activity.info())
        return activity.client() == "the client"  # type: ignore[comparison-overlap]

    details = DataConverter.default.payload_converter.to_payloads(["so far"])
    task: dict[str, Any] = {
        "attempt": 3,
        "heartbeat_details": details,
        "heartbeat_timeout_ms": 5_000,
        "scheduled_time_ms": 1_000,
    }
    assert value_of(await Bench([look]).run("look", **task))
    (info,) = seen
    assert (info.attempt, info.heartbeat_details, info.workflow_id, info.task_queue) == (
        3,
        ["so far"],
        "wf",
        "q",
    )
    assert (
        info.heartbeat_timeout is not None
        and info.heartbeat_timeout.total_seconds() == 5
        and info.schedule_to_close_timeout is None
    )
    assert info.scheduled_time.timestamp() == 1.0 and info.started_time.timestamp() > 1e9
    assert info.idempotency_key == f"run/1/{info.scheduled_event_id}" and info.in_workflow


# --- cancellation


async def test_request_cancels_an_async_activity_that_heartbeats() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever", 1))
    bench.service.pump()
    await bench.until(lambda: "Heartbeat" in bench.answers.kinds)
    bench.service.cancel_requested(request(attempt.task))
    await bench.service.idle.wait()
    assert isinstance(bench.answers.records[-1], ActivityTaskCanceled)


async def test_request_interrupts_a_threaded_activity() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever_in_thread"))
    bench.service.pump()
    await bench.until(lambda: "Heartbeat" in bench.answers.kinds)
    bench.service.cancel_requested(request(attempt.task))
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert isinstance(bench.answers.records[-1], ActivityTaskCanceled)


async def test_activity_that_never_heartbeats_is_left_alone() -> None:
    go = asyncio.Event()

    @activity.defn
    async def deaf() -> str:
        await go.wait()
        return "done"

    bench = Bench([deaf])
    attempt = bench.give(bench.task("deaf"))
    bench.service.pump()
    await bench.until(lambda: attempt.entered)
    bench.service.cancel_requested(request(attempt.task))
    await asyncio.sleep(0.01)
    go.set()
    await bench.service.idle.wait()
    assert value_of(bench.answers.records[-1]) == "done"


async def test_request_reaches_it_with_the_first_heartbeat() -> None:
    go = asyncio.Event()

    @activity.defn
    async def hears_late() -> str:
        await go.wait()
        activity.heartbeat()
        await asyncio.Event().wait()
        return "never"

    bench = Bench([hears_late])
    attempt = bench.give(bench.task("hears_late"))
    bench.service.pump()
    await bench.until(lambda: attempt.entered)
    bench.service.cancel_requested(request(attempt.task))
    go.set()
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert isinstance(bench.answers.records[-1], ActivityTaskCanceled)


async def test_cancelled_before_it_began_never_runs() -> None:
    bench = Bench(ALL, slots=1)
    blocker, waiting = bench.give(bench.task("forever", 1)), bench.give(bench.task("add", 1, 1))
    bench.service.pump()
    await bench.until(lambda: "Heartbeat" in bench.answers.kinds)
    bench.service.cancel_requested(request(waiting.task))
    bench.service.cancel_requested(request(blocker.task))
    await bench.service.idle.wait()
    assert bench.answers.kinds[-2:] == ["Canceled", "Canceled"] and not any(
        k == "Completed" for k in bench.answers.kinds
    )


@pytest.mark.parametrize("reason", ["cancel requested", "workflow execution closed", "timed out"])
async def test_cancelled_before_its_command_came_never_runs(reason: str) -> None:
    """As after a time without any service: `control` is read from its start."""
    bench = Bench(ALL)
    task, other = bench.task("add", 1, 1), bench.task("add", 1, 2)
    bench.service.cancel_requested(request(task, reason))
    first, second = bench.give(task), bench.give(other)
    bench.service.pump()
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert bench.answers.kinds == (
        ["Canceled", "Completed"] if reason == "cancel requested" else ["Completed"]
    )
    assert value_of(bench.answers.records[-1]) == 3 and second.entered
    assert first.cell.acknowledged or reason == "cancel requested"


@pytest.mark.parametrize("limit", ["schedule_to_start_timeout_ms", "schedule_to_close_timeout_ms"])
@pytest.mark.parametrize(
    "ahead_ms", [0, 3_600_000, -3_600_000], ids=["right", "an hour ahead", "an hour behind"]
)
async def test_its_own_clock_ends_no_attempt(limit: str, ahead_ms: int) -> None:
    """The engine's timers do, and `control` names what they ended: a service whose clock is
    ahead would refuse all that it is given.
    """
    bench = Bench(ALL)
    now_ms = int(time.time() * 1_000) - ahead_ms
    bench.give(
        bench.task(
            "add",
            1,
            1,
            scheduled_time_ms=now_ms,
            current_attempt_scheduled_time_ms=now_ms,
            **{limit: 5_000},
        )
    )
    bench.service.pump()
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert bench.answers.kinds == ["Completed"] and bench.service.counts["dropped"] == 0


@pytest.mark.parametrize("limit", ["schedule_to_start_timeout_ms", "schedule_to_close_timeout_ms"])
async def test_what_has_been_over_for_half_a_day_does_not_begin(limit: str) -> None:
    """`control`, which named it, forgets after a day; and no clock is wrong by so much."""
    bench = Bench(ALL)
    now_ms = int(time.time() * 1_000) - 13 * 3_600_000
    bench.give(
        bench.task(
            "add",
            1,
            1,
            scheduled_time_ms=now_ms,
            current_attempt_scheduled_time_ms=now_ms,
            **{limit: 5_000},
        )
    )
    bench.service.pump()
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert bench.answers.kinds == [] and bench.service.counts["dropped"] == 1


def test_barred_forgets_the_oldest() -> None:
    barred: Barred[int, str] = Barred(limit=2)
    for number in range(3):
        barred.note(number, "why")
    assert [barred.why(number) for number in range(3)] == [None, "why", "why"] and len(barred) == 2


async def test_returning_after_a_cancellation_completes() -> None:
    @activity.defn
    async def stubborn() -> str:
        activity.heartbeat()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            details = activity.cancellation_details()
            return f"{error} {details is not None and details.cancel_requested}"
        raise AssertionError

    bench = Bench([stubborn])
    attempt = bench.give(bench.task("stubborn"))
    bench.service.pump()
    await bench.until(lambda: attempt.heartbeats is not None)
    bench.service.cancel_requested(request(attempt.task))
    bench.service.cancel_requested(request(attempt.task))  # once
    await bench.service.idle.wait()
    assert value_of(bench.answers.records[-1]) == "Activity cancelled True"


@pytest.mark.parametrize(
    ("reason", "beats", "details"),
    [
        (
            "timed out",
            0,
            ActivityCancellationDetails(not_found=True, timed_out=True),
        ),  # also without heartbeats: gives the slot back
        ("no longer awaited", 1, ActivityCancellationDetails(not_found=True)),
        ("workflow execution closed", 1, ActivityCancellationDetails(not_found=True)),
        ("cancel requested", 1, ActivityCancellationDetails(cancel_requested=True)),
    ],
)
async def test_reason_tells_the_activity_why(
    reason: str, beats: int, details: ActivityCancellationDetails
) -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever", beats))
    bench.service.pump()
    await bench.until(lambda: attempt.entered)
    await asyncio.sleep(0)
    bench.service.cancel_requested(request(attempt.task, reason))
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    assert attempt.cancel_details == details
    assert isinstance(
        bench.answers.records[-1],
        ActivityTaskCanceled if details.cancel_requested else ActivityTaskFailed,
    )


async def test_request_for_another_attempt_changes_nothing() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever", 1, attempt=2))
    bench.service.pump()
    await bench.until(lambda: "Heartbeat" in bench.answers.kinds)
    other = request(attempt.task)
    other.attempt = 1
    bench.service.cancel_requested(other)
    assert attempt.cancel_details is None
    bench.service.cancel_all()
    await bench.service.idle.wait()


async def test_shutdown_cancels_and_the_attempt_is_retried_elsewhere() -> None:
    @activity.defn
    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            details = activity.cancellation_details()
            assert details is not None and details.worker_shutdown

    bench = Bench([careful])
    attempt = bench.give(bench.task("careful"))
    bench.service.pump()
    await bench.until(lambda: attempt.entered)
    bench.service.draining = True
    bench.service.cancel_all()
    await bench.service.idle.wait()
    outcome = bench.answers.records[-1]
    assert (
        isinstance(outcome, ActivityTaskFailed)
        and outcome.failure.type == "WorkerShutdown"
        and not outcome.failure.non_retryable
    )


@pytest.mark.parametrize("threaded", [False, True])
async def test_deadline_gives_the_slot_back(threaded: bool) -> None:
    """Said as the engine would: that one may have been away, and hear of it with Started. A
    cancellation would be final.
    """

    running = threading.Event()

    @activity.defn
    def threaded_forever() -> None:
        running.set()
        while True:
            time.sleep(0.01)

    bench = Bench([*ALL, threaded_forever])
    attempt = bench.give(bench.task("threaded_forever" if threaded else "forever"))
    bench.service.pump()
    await bench.until(lambda: running.is_set() if threaded else attempt.entered)
    assert bench.service.timer_due(TimerKind.DEADLINE, attempt) is None
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    outcome = bench.answers.records[-1]
    assert (
        isinstance(outcome, ActivityTaskFailed) and outcome.failure.timeout_type == "START_TO_CLOSE"
    )
    assert (
        outcome.failure.message == "activity StartToClose timeout"
        and not outcome.failure.non_retryable
    )


# --- heartbeats


async def test_heartbeats_are_throttled_and_the_newest_is_sent_when_the_interval_is_over() -> None:
    bench = Bench(ALL)
    attempt = bench.give(bench.task("forever", 3, heartbeat_timeout_ms=10_000))
    bench.service.pump()
    await bench.until(
        lambda: any(kind is TimerKind.HEARTBEAT for _, kind, _ in bench.service.timer_requests)
    )
    due = next(due for due, kind, _ in bench.service.timer_requests if kind is TimerKind.HEARTBEAT)
    assert due == pytest.approx(108.0)
    bench.clock.now = due
    bench.service.timer_due(TimerKind.HEARTBEAT, attempt)
    beats = [
        record.details
        for record in bench.answers.records
        if type(record).__name__ == "ActivityTaskHeartbeat"
    ]
    assert [DataConverter.default.payload_converter.from_payloads(found) for found in beats] == [
        [0],
        [2],
    ]
    assert bench.answers.kinds == ["Started", "Heartbeat", "Heartbeat"]
    bench.service.cancel_all()
    await bench.service.idle.wait()


@pytest.mark.parametrize("threaded", [False, True])
async def test_unconvertible_details_cancel_the_activity_and_fail_it(threaded: bool) -> None:
    @activity.defn(name="strange")
    async def strange() -> None:
        activity.heartbeat(object())
        await asyncio.Event().wait()

    @activity.defn(name="strange")
    def strange_in_thread() -> None:
        activity.heartbeat(object())
        while True:
            time.sleep(0.001)

    outcome = await Bench([strange_in_thread if threaded else strange]).run("strange")
    assert isinstance(outcome, ActivityTaskFailed) and outcome.failure.type == "TypeError"


class Reverse(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [
            Payload(
                {"encoding": b"reversed", "of": payload.metadata["encoding"]}, payload.data[::-1]
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [
            Payload({"encoding": payload.metadata["of"]}, payload.data[::-1])
            for payload in payloads
        ]


@pytest.mark.parametrize("name", ["fails", "fails_in_thread"])
async def test_codec_is_applied_to_arguments_results_heartbeats_and_failures(name: str) -> None:
    @activity.defn
    async def fails(text: str) -> None:
        activity.heartbeat(1)
        activity.heartbeat(text)
        raise ApplicationError("no", "detail")

    @activity.defn
    def fails_in_thread(text: str) -> None:
        activity.heartbeat(1)
        activity.heartbeat(text)
        raise ApplicationError("no", "detail")

    converter = dataclasses.replace(DataConverter.default, payload_codec=Reverse())
    outcome = await Bench([fails, fails_in_thread], converter=converter).run(
        name, input=await converter.encode(["abc"])
    )
    assert await converter.decode(outcome.last_heartbeat_details) == ["abc"]
    assert outcome.failure.details[0].data == b'"detail"'[::-1]


# --- interceptors


async def test_interceptors_wrap_in_order_and_see_headers_info_and_heartbeats() -> None:
    log: list[str] = []

    class Outbound(ActivityOutboundInterceptor):
        def heartbeat(self, *details: Any) -> None:
            log.append(
                f"heartbeat {details} on loop {asyncio.get_running_loop() is not None} in"
                f" {activity.info().activity_type}"
            )
            super().heartbeat(*details)

    class Inbound(ActivityInboundInterceptor):
        def __init__(self, next: ActivityInboundInterceptor, name: str) -> None:
            super().__init__(next)
            self._name = name

        def init(self, outbound: ActivityOutboundInterceptor) -> None:
            super().init(Outbound(outbound) if self._name == "outer" else outbound)

        async def execute_activity(self, input: ExecuteActivityInput) -> Any:
            log.append(f"{self._name} {input.headers['who'].data.decode()}")
            input.args = [input.args[0] + 1]
            return await super().execute_activity(input) * 10

    class Both:
        def __init__(self, name: str) -> None:
            self._name = name

        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            return Inbound(next, self._name)

    @activity.defn
    def work(value: int) -> int:
        activity.heartbeat("x")
        return value

    bench = Bench([work], interceptors=[Both("outer"), Both("inner")])
    assert value_of(await bench.run("work", 1, headers={"who": Payload({}, b"me")})) == 300
    assert log == ["outer me", "inner me", "heartbeat ('x',) on loop True in work"]
    assert bench.answers.kinds == ["Started", "Heartbeat", "Completed"]


async def test_error_in_an_interceptor_fails_the_attempt() -> None:
    class Broken:
        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            raise RuntimeError("interceptor")

    outcome = await Bench(ALL, interceptors=[Broken()]).run("add", 1, 1)
    assert outcome.failure.message == "interceptor"


async def test_broken_executor_is_fatal_to_the_service() -> None:
    @activity.defn
    async def breaks() -> None:
        raise BrokenExecutor("gone")

    bench = Bench([breaks])
    assert (await bench.run("breaks")).failure.type == "BrokenExecutor" and len(bench.broken) == 1


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    before = set(threading.enumerate())  # the server's pools of other tests stay
    yield
    assert not [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith("odradek")
    ]


# --- outcomes and heartbeats that are no records


class _Unwritable(DefaultPayloadConverter):
    """Gives for some values what looks like a payload and cannot be written."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        if "unwritable" in values:
            return [Payload({"encoding": "no bytes"}, b"")]  # type: ignore[dict-item]
        return super().to_payloads(values)


@activity.defn
async def unwritable(how: str) -> str:
    if how == "error":
        raise ApplicationError("cannot read bad-\udcff", type="bad-\udcff")
    if how == "heartbeat":
        activity.heartbeat("unwritable")
        await asyncio.Event().wait()
    if how == "late heartbeat":
        activity.heartbeat("fine")
        activity.heartbeat("unwritable")
        await asyncio.Event().wait()
    return "unwritable"


@pytest.mark.parametrize("how", ["result", "error", "heartbeat", "late heartbeat"])
async def test_what_cannot_be_written_fails_the_attempt(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the attempt is lost, nor the thread that sends held back heartbeats."""
    caplog.set_level(
        logging.CRITICAL, logger="odradek"
    )  # xdist cannot carry such texts in what a test logged
    bench = Bench([unwritable, add], converter=DataConverter(payload_converter_class=_Unwritable))
    report = bench.answers.report

    def encoding(topic: str, record: Any, *arguments: Any) -> None:  # as `Answers` does
        encode(record)
        report(topic, record, *arguments)

    bench.answers.report = encoding  # type: ignore[method-assign]
    attempt = bench.give(bench.task("unwritable", how, heartbeat_timeout_ms=60_000))
    bench.service.pump()
    if how == "late heartbeat":
        await bench.until(
            lambda: (
                attempt.heartbeats is not None
                and attempt.heartbeats.last is not None
                and len(bench.service.timer_requests) > 1
            )
        )
        bench.clock.now += 60.0
        await asyncio.to_thread(bench.service.timer_due, TimerKind.HEARTBEAT, attempt)
    await asyncio.wait_for(bench.service.idle.wait(), 30)
    outcome = bench.answers.records[-1]
    assert isinstance(outcome, ActivityTaskFailed)
    if how == "error":
        assert (outcome.failure.message, outcome.failure.type) == (
            "cannot read bad-\\udcff",
            "bad-\\udcff",
        )
    else:
        assert "cannot be written" in outcome.failure.message
    assert attempt.reported and not bench.service.running
