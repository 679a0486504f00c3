"""The slots of a service: which attempts wait, which run, what each of them has said. The part
that lives on the event loop.

Commands come in through `waiting`, filled by the consumer's thread; an attempt starts when a
slot is free and ownership is known. Its outcome goes out through `reports` and acknowledges the
command once it is durable. What has to happen at a time of its own (Started, held back
heartbeats, the deadline) is asked of the consumer's thread through `timer_requests`, so that a
loop which user code blocks still says Started. Polls nothing and commits nothing.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from odradek.activities.attempt import Attempt, AttemptKey
from odradek.activities.barred import Barred, is_long_over
from odradek.activities.context import ActivityCancellationDetails
from odradek.activities.heartbeat import HeartbeatThrottle
from odradek.activities.outcome import failed, too_large
from odradek.activities.ownership import StartGate
from odradek.activities.rate import RateLimit
from odradek.activities.reports import Reports
from odradek.activities.runner import ActivityRunner
from odradek.activities.statistics import LEFT_OPEN, ActivityCounters
from odradek.activities.timers import DEADLINE_GRACE, heartbeat_interval, started_delay
from odradek.converter import DataConverter
from odradek.exceptions import RecordTooLargeError
from odradek.wire.errors import UnencodableRecord
from odradek.wire.events import ActivityOutcome, ActivityTaskHeartbeat, ActivityTaskStarted
from odradek.wire.payload import Failure, Payload
from odradek.wire.tasks import CancelActivityTask
from odradek.wire.topics import Topics

logger = logging.getLogger("odradek.activities")

CANCEL_MESSAGE = "Activity cancelled"
#: How soon one whose Started is durable looks again, after a pause of the process, whether it may
#: begin.
GATE_AGAIN_S = 0.05
#: `CancelActivityTask.reason`, as the engine writes it -> details; any other reason is a request of
#: the workflow.
_REASONS = {
    "timed out": ActivityCancellationDetails(not_found=True, timed_out=True),
    "no longer awaited": ActivityCancellationDetails(not_found=True),
    "workflow execution closed": ActivityCancellationDetails(not_found=True),
}
_REQUESTED = ActivityCancellationDetails(cancel_requested=True)
_SHUTDOWN = ActivityCancellationDetails(worker_shutdown=True)
_DEADLINE = ActivityCancellationDetails(not_found=True, timed_out=True)


class TimerKind(Enum):
    """What a due timer of an attempt does."""

    STARTED = "started"
    HEARTBEAT = "heartbeat"
    DEADLINE = "deadline"


TimerRequest = tuple[float, TimerKind, Attempt]


class Service:
    """All attempts of one service. Methods run on the event loop's thread unless they say
    otherwise.
    """

    def __init__(
        self,
        runner: ActivityRunner,
        reports: Reports,
        *,
        topics: Topics,
        task_queue: str,
        slots_total: int,
        identity: str,
        data_converter: DataConverter,
        gate: StartGate,
        clock: Callable[[], float],
        max_heartbeat_interval: float,
        default_heartbeat_interval: float,
        rate: RateLimit | None = None,
    ) -> None:
        self.waiting: deque[Attempt] = deque()
        self.timer_requests: deque[TimerRequest] = deque()
        self.running: dict[AttemptKey, Attempt] = {}
        self._barred: Barred[AttemptKey, ActivityCancellationDetails] = Barred()
        self.slots_total = slots_total
        self.draining = False
        self.counts = {
            "started": 0,
            "completed": 0,
            "failed": 0,
            "canceled": 0,
            "dropped": 0,
            "twins": 0,
        }
        self.counters = ActivityCounters(topics.namespace, task_queue, runner.activity_types)
        self.idle = asyncio.Event()
        self.idle.set()
        self._runner = runner
        self._reports = reports
        self._topics = topics
        self._identity = identity
        self._converter = data_converter
        self._gate = gate
        self._clock = clock
        self._heartbeat_interval = functools.partial(
            heartbeat_interval, default=default_heartbeat_interval, maximum=max_heartbeat_interval
        )
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._said_lock = threading.Lock()
        self._pump_later: asyncio.TimerHandle | None = None

    # --- starting

    def pump(self) -> None:
        """Start what waits, as far as slots, ownership and the rate allow. Called whenever one
        of them may have changed.
        """
        waiting, running = self.waiting, self.running
        while (
            waiting and len(running) < self.slots_total and not self.draining and self._gate.is_open
        ):
            if self._rate is not None and (delay := self._rate.delay()) > 0:
                self._pump_after(delay)
                return
            try:
                attempt = waiting.popleft()  # the consumer's thread may take from it too
            except IndexError:
                return
            if attempt.owner.owned:
                self._begin(attempt)
            else:
                self.counts["dropped"] += 1
                attempt.cell.returned = True

    def _pump_after(self, delay: float) -> None:
        if self._pump_later is None:

            def again() -> None:
                self._pump_later = None
                self.pump()

            self._pump_later = self._loop.call_later(delay, again)

    def _begin(self, attempt: Attempt) -> None:
        twin = self.running.get(attempt.key)
        if twin is not None:
            self.counts["twins"] += 1
            twin.add_twin(attempt)
            return
        barred = self._barred.why(attempt.key)
        if (barred is not None and barred.not_found) or is_long_over(
            attempt.task, int(time.time() * 1_000)
        ):
            logger.info(
                "nobody waits for activity %s of workflow %s any more",
                attempt.task.activity_id,
                attempt.task.workflow_id,
            )
            self.counts["dropped"] += 1
            attempt.acknowledge()
            return
        attempt.cancel_details = attempt.cancel_details or barred
        if self._rate is not None:
            self._rate.take()
        self.running[attempt.key] = attempt
        self.idle.clear()
        self.counts["started"] += 1
        attempt.started_ms = now_ms = int(time.time() * 1_000)
        self.counters.started(attempt.task, now_ms)
        attempt.on_heartbeat = functools.partial(self._heartbeat, attempt)
        if attempt.redelivery:
            # If it kills this process, it has cost an attempt: the engine knows that it began.
            self.say_started(attempt, functools.partial(self._may_start, attempt))
        else:
            self._start(attempt)
        self.timer_requests.append(
            (self._clock() + started_delay(attempt.task, now_ms), TimerKind.STARTED, attempt)
        )

    def _start(self, attempt: Attempt) -> None:
        attempt.task_handle = self._loop.create_task(self._run(attempt))

    def _may_start(self, attempt: Attempt) -> None:
        """Its Started is durable. On the thread that is told what the group gives and takes.

        Acknowledged before it begins, or one that kills this process at once would come again
        and again; and not if others may have it.
        """
        if attempt.owned and self._gate.is_open and not attempt.reported:
            attempt.acknowledge()
        self._from_thread(self._start_late, attempt)

    def _start_late(self, attempt: Attempt) -> None:
        """Its Started is durable, which may have taken as long as no broker was there: its time
        begins now, as for the engine.

        Or others get its command by now: it is theirs to begin, and their Started changes
        nothing. If nobody gets it, it begins here.
        """
        if attempt.reported:  # given up meanwhile
            return
        owned = attempt.owned  # first: what is taken back is committed before
        if not attempt.committed:
            if not owned:
                logger.info(
                    "activity %s of workflow %s was taken before it began",
                    attempt.task.activity_id,
                    attempt.task.workflow_id,
                )
                self.counts["dropped"] += 1
                self._give_up(attempt)
                self.pump()
                return
            if not self._gate.is_open:
                self._loop.call_later(GATE_AGAIN_S, self._start_late, attempt)
                return
            attempt.acknowledge()
        attempt.started_ms = int(time.time() * 1_000)
        self._start(attempt)
        deadline = self._deadline(attempt)
        if deadline is not None:
            self.timer_requests.append(deadline)

    def _deadline(self, attempt: Attempt) -> TimerRequest | None:
        task = attempt.task
        ends = [
            time_ms / 1_000
            for time_ms in (task.start_to_close_timeout_ms, task.schedule_to_close_timeout_ms)
            if time_ms > 0
        ]
        return (
            (self._clock() + min(ends) + DEADLINE_GRACE, TimerKind.DEADLINE, attempt)
            if ends
            else None
        )

    async def _run(self, attempt: Attempt) -> None:
        try:
            try:
                outcome = await self._runner.run(attempt)
            except GeneratorExit as error:
                # Only here: what an awaited future raises of this kind closes all coroutines but
                # the outermost.
                if not _is_stepped(attempt.task_handle):
                    raise  # so it is this coroutine that is being closed
                outcome = await self._runner.raised(error, attempt)
            if outcome is None:
                self.counters.ended(
                    attempt.task.activity_type, LEFT_OPEN, time.time() - attempt.started_ms / 1_000
                )
                self.say_started(
                    attempt
                )  # from now on the engine's timers guard it, and its command is done
            else:
                self._report(attempt, outcome)
        finally:
            attempt.end()
            del self.running[attempt.key]
            if self.waiting:
                self.pump()
            if not self.running:
                self.idle.set()

    # --- saying

    def events_topic(self, attempt: Attempt) -> str:
        """Where the workflow of an attempt reads."""
        return self._topics.events(attempt.task.workflow_task_queue)

    def _report(self, attempt: Attempt, outcome: ActivityOutcome) -> None:
        attempt.reported = True
        topic = self.events_topic(attempt)

        def instead(size: int, limit: int) -> ActivityOutcome:
            return too_large(outcome, attempt, topic, size, limit, self._identity)

        try:
            self._reports.report(topic, outcome, attempt.acknowledge, instead)
        except (
            UnencodableRecord,
            UnicodeError,
        ) as error:  # a converter or codec of the user gave something that is no payload
            text = f"the outcome of the activity cannot be written: {error}"
            outcome = failed(
                attempt,
                Failure(message=text, type="UnencodableRecord", non_retryable=True),
                self._identity,
            )
            outcome.last_heartbeat_details = []
            self._reports.report(topic, outcome, attempt.acknowledge)
        counted = _COUNTED[type(outcome).__name__]
        self.counts[counted] += 1
        self.counters.ended(
            attempt.task.activity_type, counted, time.time() - attempt.started_ms / 1_000
        )

    def say_started(self, attempt: Attempt, on_durable: Callable[[], None] | None = None) -> None:
        """Send Started, once. Its durability acknowledges the command, or calls `on_durable`,
        which is to see to that. Any thread.
        """
        with self._said_lock:
            if attempt.started_said:
                return
            attempt.started_said = True
        task = attempt.task
        record = ActivityTaskStarted(
            task.workflow_id,
            task.run_id,
            task.scheduled_event_id,
            task.activity_id,
            task.attempt,
            attempt.started_ms,
            self._identity,
            attempt.owner.partition,
            attempt.cell.offset,
        )
        self._reports.report(self.events_topic(attempt), record, on_durable or attempt.acknowledge)

    def timer_due(self, kind: TimerKind, attempt: Attempt) -> TimerRequest | None:
        """A timer of an attempt is due. Returns the timer to set next, if any. Called on the
        consumer's thread.
        """
        if attempt.reported:
            return None
        if kind is TimerKind.STARTED:
            self.say_started(attempt)
            return self._deadline(attempt) if attempt.task_handle is not None else None
        if kind is TimerKind.HEARTBEAT:
            assert attempt.heartbeats is not None
            details = attempt.heartbeats.flush(self._clock())
            if details is not None:
                self._send_heartbeat(attempt, details)
        else:
            self._from_thread(self._cancel, attempt, _DEADLINE)
        return None

    # --- heartbeats

    def _heartbeat(self, attempt: Attempt, *details: Any) -> None:
        """`activity.heartbeat(...)`. Any thread."""
        context = attempt.context
        if attempt.done or context is None:
            return
        if self._converter.payload_codec is not None:
            if threading.get_ident() == self._loop_thread:
                self._encode_on_loop(attempt, details)
            else:
                self._from_thread(self._encode_on_loop, attempt, details)
            return
        try:
            payloads = context.payload_converter.to_payloads(details) if details else []
        except Exception as error:
            self._from_thread(self._heartbeat_failed, attempt, error)
            return
        self._record_heartbeat(attempt, payloads)

    def _encode_on_loop(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        if attempt.heartbeat_encoder is not None and not attempt.heartbeat_encoder.done():
            attempt.heartbeat_unencoded = details  # the newest wins
            return
        attempt.heartbeat_encoder = self._loop.create_task(self._encode(attempt, details))

    async def _encode(self, attempt: Attempt, details: tuple[Any, ...] | None) -> None:
        while details is not None and not attempt.reported:
            try:
                payloads = await self._converter.encode(details) if details else []
            except Exception as error:
                self._heartbeat_failed(attempt, error)
                return
            self._record_heartbeat(attempt, payloads)
            details, attempt.heartbeat_unencoded = attempt.heartbeat_unencoded, None

    def _record_heartbeat(self, attempt: Attempt, payloads: list[Payload]) -> None:
        throttle = attempt.heartbeats
        if throttle is None:
            with self._said_lock:
                throttle = attempt.heartbeats
                if throttle is None:
                    throttle = attempt.heartbeats = HeartbeatThrottle(
                        self._heartbeat_interval(attempt.task.heartbeat_timeout_ms)
                    )
        send, flush_at = throttle.record(payloads, self._clock())
        if send is not None:
            self._send_heartbeat(attempt, send)
        elif flush_at is not None:
            self.timer_requests.append((flush_at, TimerKind.HEARTBEAT, attempt))
        if attempt.cancel_details is not None and not attempt.heard_cancel:
            self._from_thread(self._cancel, attempt, attempt.cancel_details)

    def _send_heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        self.say_started(attempt)  # the engine counts heartbeats of started attempts
        self.counters.heartbeats.inc()
        task = attempt.task
        record = ActivityTaskHeartbeat(
            task.workflow_id,
            task.run_id,
            task.scheduled_event_id,
            task.activity_id,
            task.attempt,
            details,
            self._identity,
        )
        try:
            self._reports.report(
                self.events_topic(attempt),
                record,
                None,
                functools.partial(self._heartbeat_too_large, attempt),
            )
        except (
            UnencodableRecord,
            UnicodeError,
        ) as error:  # as when they do not convert; the consumer's thread must go on
            text = f"the heartbeat details of the activity cannot be written: {error}"
            self._from_thread(self._heartbeat_failed, attempt, ValueError(text))

    def _heartbeat_too_large(self, attempt: Attempt, size: int, limit: int) -> None:
        error = RecordTooLargeError(
            self.events_topic(attempt), size=size, limit=limit, what="a heartbeat of the activity"
        )
        self._from_thread(self._heartbeat_failed, attempt, ValueError(str(error)))

    def _heartbeat_failed(self, attempt: Attempt, error: Exception) -> None:
        """Details that cannot be converted: the activity is cancelled, and fails with this error."""
        attempt.heartbeat_error = error
        self._cancel(attempt, ActivityCancellationDetails())

    # --- cancelling

    def cancel_requested(self, request: CancelActivityTask) -> None:
        """A cancel request for an attempt, wherever it runs."""
        key: AttemptKey = (request.run_id, request.scheduled_event_id, request.attempt)
        attempt = self.running.get(key) or next(
            (found for found in list(self.waiting) if found.key == key), None
        )
        details = _REASONS.get(request.reason, _REQUESTED)
        if attempt is None:  # its command may be still to come
            self._barred.note(key, details)
            return
        if attempt.cancel_details is not None:
            return
        attempt.cancel_details = details
        # Temporal's rule: activities learn of a request through their heartbeats alone; what has
        # timed out is ended in any case.
        if attempt.hears_cancellation or attempt.cancel_details.timed_out:
            self._cancel(attempt, attempt.cancel_details)

    def _cancel(self, attempt: Attempt, details: ActivityCancellationDetails) -> None:
        """Interrupt user code, once. Before it has begun, its runner sees `cancel_details`."""
        if attempt.heard_cancel or attempt.done:
            return
        attempt.cancel_details = details
        if not attempt.entered or attempt.context is None:
            return
        attempt.heard_cancel = True
        self.counters.cancellations.inc()
        attempt.context.cancellation_details = details
        attempt.context.cancelled_event.set()
        if attempt.is_async and attempt.task_handle is not None:
            attempt.task_handle.cancel(CANCEL_MESSAGE)
        elif attempt.canceller is not None:
            attempt.canceller.cancel()

    def cancel_all(self) -> None:
        """The grace period of a shutdown is over."""
        for attempt in list(self.running.values()):
            self._cancel(attempt, _SHUTDOWN)

    def abandon_unstarted(self) -> None:
        """Forget attempts that wait for their Started to become durable: their commands are
        delivered again.
        """
        for attempt in list(self.running.values()):
            if attempt.task_handle is None:
                self._give_up(attempt)

    def _give_up(self, attempt: Attempt) -> None:
        """It does not begin here. In a share group its command goes to another member at once."""
        attempt.hand_back()
        attempt.end()
        del self.running[attempt.key]
        if not self.running:
            self.idle.set()

    def _from_thread(self, call: Callable[..., Any], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nothing runs any more that this could reach
            logger.debug("the event loop was closed before %s", call)


def _is_stepped(task: asyncio.Task[None] | None) -> bool:
    """Whether the task runs just now: what it raises is its code's own."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False


_COUNTED = {
    "ActivityTaskCompleted": "completed",
    "ActivityTaskFailed": "failed",
    "ActivityTaskCanceled": "canceled",
}
