"""The order saga: CreateOrder → ReserveInventory → FreezePayment, compensated in reverse.

Plain workflow code. A step that succeeded pushes its compensation. So does one whose outcome
nobody knows: it timed out, it was cancelled under way, or its last attempt failed for a reason
that says nothing of the attempts before (a bank that did not answer may have frozen the money
all the same). Only a service that refuses for good (non-retryable: card declined, stock short)
vouches that nothing happened. Compensations are no-ops for what never happened, and bar an
attempt that comes late. They are retried until they work.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from services.orders.models import (
    INVENTORY_TASK_QUEUE,
    ORDER_TASK_QUEUE,
    PAYMENTS_TASK_QUEUE,
    Order,
    OrderResult,
    StepResult,
    Undone,
)

STEP_TIMEOUT = timedelta(minutes=1)
STEP_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=3,
)
COMPENSATION_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
)
COMPENSATION_AGAIN_AFTER = timedelta(minutes=1)
UNWRITTEN_RESULT = frozenset({"RecordTooLargeError", "UnencodableRecord"})
REASON_MAX_CHARACTERS = 1_000
PAYMENT_REMINDER_AFTER = timedelta(hours=24)


@workflow.defn
class OrderSaga:
    """One order. Workflow id `order-<order no>`, task queue `order-task-queue`."""

    def __init__(self) -> None:
        self._status = "accepted"
        self._cancel_reason: str | None = None
        self._step: asyncio.Task[Any] | None = None
        self._compensations: list[tuple[str, str]] = []  # activity, task queue; run from the end

    @workflow.run
    async def run(self, order: Order) -> OrderResult:
        try:
            order_id = await self._run_step(
                "creating-order", "CreateOrder", ORDER_TASK_QUEUE, "CancelOrder", order
            )
            reservation_id = await self._run_step(
                "reserving-inventory",
                "ReserveInventory",
                INVENTORY_TASK_QUEUE,
                "ReleaseInventory",
                order,
            )
            reminder = asyncio.create_task(self._remind(order))
            try:
                freeze_id = await self._run_step(
                    "freezing-payment",
                    "FreezePayment",
                    PAYMENTS_TASK_QUEUE,
                    "UnfreezePayment",
                    order,
                )
            finally:
                reminder.cancel()
            self._refuse_if_cancelled()
        except (ActivityError, ApplicationError, asyncio.CancelledError) as error:
            undone = Undone(order.amount, await self._compensate(order))
            if self._cancel_reason is not None:
                raise self._cancelled(undone) from error
            if isinstance(error, ActivityError) and not is_cancelled_exception(error):
                raise ApplicationError(
                    f"{error.cause or error}", undone, type="OrderFailed", non_retryable=True
                ) from error
            raise
        self._status = "completed"
        return OrderResult(order_id, reservation_id, freeze_id, order.amount)

    @workflow.signal(name="cancel-order")
    def cancel_order(self, *reason: Any) -> None:
        """Cancel the order, at any point: the step under way is told to stop, what was done is undone.

        reason: a text, or nothing. Whatever else comes cancels too: a handler that cannot be
        called as it was sent fails the task, again at each try, and the order could neither be
        cancelled nor undone any more.
        """
        if self._cancel_reason is None and self._status != "completed":
            texts = (
                text[:REASON_MAX_CHARACTERS] for text in reason if isinstance(text, str) and text
            )
            self._cancel_reason = next(texts, "cancelled by the customer")
            if self._step is not None:
                self._step.cancel()

    @workflow.query
    def status(self) -> str:
        """`creating-order`, `reserving-inventory`, `freezing-payment`, `compensating`,
        `compensated`, `cancelled` or `completed`.
        """
        return self._status

    async def _run_step(
        self, status: str, activity: str, task_queue: str, compensation: str, order: Order
    ) -> str:
        self._refuse_if_cancelled()
        self._status = status
        handle = workflow.start_activity(
            activity,
            order,
            task_queue=task_queue,
            result_type=StepResult,
            start_to_close_timeout=STEP_TIMEOUT,
            retry_policy=STEP_RETRY,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        self._step = handle
        try:
            result = await handle
        except ActivityError as error:
            if not _refused_for_good(error):
                self._compensations.append((compensation, task_queue))
            raise
        except asyncio.CancelledError:
            self._compensations.append((compensation, task_queue))
            raise
        finally:
            self._step = None
        self._compensations.append((compensation, task_queue))
        return result.id

    async def _compensate(self, order: Order) -> int:
        """How many steps were undone."""
        self._status = "compensating"
        count = len(self._compensations)
        while self._compensations:
            activity, task_queue = self._compensations.pop()
            await _uncancelled(asyncio.create_task(self._undo(activity, task_queue, order)))
        self._status = "compensated" if self._cancel_reason is None else "cancelled"
        return count

    async def _undo(self, activity: str, task_queue: str, order: Order) -> None:
        """Until it works. What fails is retried by the engine; what its service refuses for
        good, which is a defect there, by us.
        """
        while True:
            try:
                await workflow.execute_activity(
                    activity,
                    order,
                    task_queue=task_queue,
                    start_to_close_timeout=STEP_TIMEOUT,
                    retry_policy=COMPENSATION_RETRY,
                )
            except ActivityError as error:
                workflow.logger.warning(
                    "%s was refused (%s), asked again in %s",
                    activity,
                    error.cause,
                    COMPENSATION_AGAIN_AFTER,
                )
                await workflow.sleep(COMPENSATION_AGAIN_AFTER)
            else:
                return

    async def _remind(self, order: Order) -> None:
        await workflow.sleep(PAYMENT_REMINDER_AFTER)
        await workflow.execute_activity(
            "RemindPayment",
            order,
            task_queue=ORDER_TASK_QUEUE,
            start_to_close_timeout=STEP_TIMEOUT,
            retry_policy=STEP_RETRY,
        )

    def _refuse_if_cancelled(self) -> None:
        if self._cancel_reason is not None:
            raise self._cancelled()
        if (
            workflow.cancellation_reason() is not None
        ):  # `handle.cancel()`, while a step completed all the same
            raise asyncio.CancelledError

    def _cancelled(self, *details: Undone) -> ApplicationError:
        return ApplicationError(
            self._cancel_reason or "", *details, type="OrderCancelled", non_retryable=True
        )


def _refused_for_good(error: ActivityError) -> bool:
    """Whether the service itself says that the step had no effect and never will have. Not its
    host: a result that could not be written belongs to an effect.
    """
    cause = error.cause
    return (
        isinstance(cause, ApplicationError)
        and cause.non_retryable
        and cause.type not in UNWRITTEN_RESULT
    )


async def _uncancelled(task: asyncio.Task[None]) -> None:
    """Wait to the end, whatever cancellation comes meanwhile: a compensation is never skipped."""
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                break
    task.result()


WORKFLOWS = [OrderSaga]
