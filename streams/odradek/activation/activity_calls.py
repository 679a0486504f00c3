"""Activities as workflow code sees them: scheduling, the handle, cancellation.

The command goes out when the call is made. Cancelling a handle, or a task that awaits one, asks
the engine for cancellation and goes on waiting: how the activity ends is what the engine
resolves it with (`ActivityError` with a `CancelledError` as cause, or its own outcome under
WAIT_CANCELLATION_COMPLETED). As in Temporal, where the SDK shields the result the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

from odradek.activation.loop import WorkflowLoop, WorkflowTask
from odradek.common import RetryPolicy
from odradek.converter import PayloadConverter
from odradek.engine.activation import ResolveActivity, ScheduleActivity
from odradek.exceptions import ActivityError, CancelledError, RetryState
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext

T = TypeVar("T")

ACTIVITY_DEFINITION_ATTRIBUTE = "__temporal_activity_definition"
"""Where `@activity.defn` leaves an object with `name`, `arg_types` and `ret_type`."""


class ActivityCancellationType(IntEnum):
    """What cancelling an activity means for the workflow that awaits it."""

    TRY_CANCEL = 0
    """Ask the activity to stop, and go on at once with `ActivityError` (cause `CancelledError`)."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask the activity to stop, and wait for how it really ends."""
    ABANDON = 2
    """Go on at once; the activity is not told."""


class ActivityResult(asyncio.Future[Any]):
    """The outcome of one scheduled activity. `cancel` asks the engine instead of cancelling this
    future.
    """

    def __init__(
        self,
        context: WorkflowContext,
        seq: int,
        activity_type: str,
        activity_id: str,
        ret_type: Any,
        converter: PayloadConverter,
    ) -> None:
        super().__init__(loop=context.loop)
        self.converter = converter
        self.context = context
        self.seq = seq
        self.activity_type = activity_type
        self.activity_id = activity_id
        self.ret_type = ret_type
        self.scheduled_in = context.loop.activation
        self.awaited = False
        self.handle_number = 0
        self.cancel_requested = False

    def cancel(self, msg: Any | None = None) -> bool:
        """True: cancellation was asked for, now or before. False when already done."""
        if self.done():
            return False
        if self.context.closing:
            return super().cancel(msg)
        if not self.cancel_requested:
            will_be_answered = self.context.cancel_activity(self)
            self.cancel_requested = True
            if not will_be_answered:
                self.set_exception(self._cancelled_before_sent())
                self._log_traceback = False
        return True

    def _cancelled_before_sent(self) -> ActivityError:
        error = ActivityError(
            "Activity cancelled",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type=self.activity_type,
            activity_id=self.activity_id,
            retry_state=RetryState.CANCEL_REQUESTED,
        )
        error.__cause__ = CancelledError("Cancelled before scheduled")
        return error

    def resolve(self, job: ResolveActivity) -> None:
        """Set what the engine says."""
        context = self.context
        if job.status == "COMPLETED":
            value = None
            if job.result:
                hints = None if self.ret_type is None else [self.ret_type]
                value = self.converter.from_payloads(job.result, hints)[0]
            self.set_result(value)
            return
        if job.failure is None:
            raise RuntimeError(
                f"activity {self.activity_id} ended {job.status} without a failure; this is a"
                " defect of the engine"
            )
        self.set_exception(context.from_failure(job.failure))
        if not self.awaited:
            self._log_traceback = False


class ActivityHandle(WorkflowTask[T]):
    """What `start_activity` returns and `execute_activity` awaits: an `asyncio.Task` that ends
    as the activity does.
    """

    def __init__(self, result: ActivityResult) -> None:
        self._result_future = result
        loop = result.context.loop
        super().__init__(
            _outcome(result, loop), loop, f"activity: {result.activity_type}", forgotten=False
        )
        result.handle_number = self.number

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask for the activity's cancellation. See the module's docstring for what the handle
        then ends with.
        """
        result = self._result_future
        if self.done():
            return False
        # Resolved, but the handle has not seen it yet: the cancellation must not get lost in the
        # result.
        if result.context.closing or result.done():
            return super().cancel(msg)
        asked = result.cancel(msg)
        if result.awaited:
            return asked
        self.add_done_callback(result.context.loop.forget)  # its coroutine will not run
        return super().cancel(msg)


async def _outcome(result: ActivityResult, loop: WorkflowLoop) -> Any:
    result.awaited = True
    try:
        return await result
    finally:
        loop.tasks.pop(
            result.handle_number, None
        )  # cheaper than a done callback: this is the most frequent task


def milliseconds(duration: timedelta | None, name: str) -> int:
    """Whole milliseconds, rounded up, so that a tiny timeout is not "no timeout". 0 for None.
    `ValueError` when negative.
    """
    if duration is None:
        return 0
    if duration.days < 0:
        raise ValueError(f"{name} must not be negative")
    return (duration.days * 86_400 + duration.seconds) * 1000 + (
        duration.microseconds + 999
    ) // 1000


def resolve_activity_type(activity: Any, result_type: Any) -> tuple[str, list[Any] | None, Any]:
    """Name, argument types and result type of an activity given by name or by its decorated
    function, method or callable object.
    """
    if isinstance(activity, str):
        return activity, None, result_type
    if not callable(activity):
        raise TypeError("Activity must be a string or callable")
    definition = getattr(activity, ACTIVITY_DEFINITION_ATTRIBUTE, None)
    if definition is None:
        definition = getattr(
            getattr(activity, "__call__", None),  # noqa: B004
            ACTIVITY_DEFINITION_ATTRIBUTE,
            None,
        )
    if definition is None:
        name = getattr(activity, "__name__", repr(activity))
        raise TypeError(
            f"Activity {name} missing attributes, was it decorated with @activity.defn?"
        )
    if not definition.name:
        raise ValueError("Cannot invoke dynamic activity explicitly")
    return definition.name, definition.arg_types, definition.ret_type


def schedule_activity(
    context: WorkflowContext,
    activity_type: str,
    args: Sequence[Any],
    ret_type: Any,
    task_queue: str | None,
    schedule_to_close_timeout: timedelta | None,
    schedule_to_start_timeout: timedelta | None,
    start_to_close_timeout: timedelta | None,
    heartbeat_timeout: timedelta | None,
    retry_policy: RetryPolicy | None,
    cancellation_type: ActivityCancellationType,
    activity_id: str | None,
    summary: str | None,
    headers: Mapping[str, Payload] | None,
) -> ActivityResult:
    """Schedule an activity and return its coming result. `ValueError` unless it has a
    start-to-close or schedule-to-close timeout.
    """
    if context.closing or context.read_only:
        context.assert_writable("start activity")
    if not start_to_close_timeout and not schedule_to_close_timeout:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
    converter = context.activity_converter(activity_type, activity_id, task_queue)
    payloads = converter.to_payloads(args) if args else []
    policy = retry_policy.to_wire() if retry_policy else None
    summary_payload = converter.to_payload(summary) if summary else None
    context.activity_seq = seq = context.activity_seq + 1
    identifier = activity_id or str(seq)
    context.add(
        ScheduleActivity(
            seq=seq,
            activity_id=identifier,
            activity_type=activity_type,
            task_queue=task_queue or "",
            input=payloads,
            headers=dict(headers) if headers else {},
            schedule_to_close_timeout_ms=milliseconds(
                schedule_to_close_timeout, "schedule_to_close_timeout"
            ),
            schedule_to_start_timeout_ms=milliseconds(
                schedule_to_start_timeout, "schedule_to_start_timeout"
            ),
            start_to_close_timeout_ms=milliseconds(
                start_to_close_timeout, "start_to_close_timeout"
            ),
            heartbeat_timeout_ms=milliseconds(heartbeat_timeout, "heartbeat_timeout"),
            retry_policy=policy,
            cancellation_type=cancellation_type._name_,
            summary=summary_payload,
        )
    )
    result = context.activities[seq] = ActivityResult(
        context, seq, activity_type, identifier, ret_type, converter
    )
    return result
