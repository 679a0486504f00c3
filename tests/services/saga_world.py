"""The order saga in the real engine, in memory: a lane without Kafka, with three services played
by the test.

A service's attempt has its effect first and answers afterwards, so an answer can be lost with
the effect there. Effects are barred by their compensation and by a refusal for good, as the
services' ledgers do it.
"""

from __future__ import annotations

from typing import Any

from odradek.activation import PythonActivator
from odradek.wire.events import ActivityTaskFailed, QueryWorkflow
from odradek.wire.tasks import ActivityTask
from services.orders.models import ORDER_TASK_QUEUE
from services.orders.workflow import OrderSaga
from tests.engine.script import values
from tests.engine.world import World, canceled, completed, failed, started

MINUTE_MS = 60_000
STEPS = ("CreateOrder", "ReserveInventory", "FreezePayment")
UNDO_OF = {
    "CreateOrder": "CancelOrder",
    "ReserveInventory": "ReleaseInventory",
    "FreezePayment": "UnfreezePayment",
}
STEP_OF = {undo: step for step, undo in UNDO_OF.items()}
STATUS_OF = {
    "CreateOrder": "creating-order",
    "ReserveInventory": "reserving-inventory",
    "FreezePayment": "freezing-payment",
}
QUEUE_OF = {
    **dict.fromkeys(("CreateOrder", "CancelOrder", "RemindPayment"), "order-task-queue"),
    **dict.fromkeys(("ReserveInventory", "ReleaseInventory"), "inventory-task-queue"),
    **dict.fromkeys(("FreezePayment", "UnfreezePayment"), "payments-task-queue"),
}
ORDER = {
    "order_no": "7",
    "user_id": "u",
    "items": [{"product": "tea", "quantity": 2}],
    "amount": 900,
}
SAGA_ID = "order-7"


class SagaWorld(World):
    """One order. `effects_of`: what the services' databases would hold, in the order in which it
    happened.
    """

    def __init__(self, **options: Any) -> None:
        activator = PythonActivator([OrderSaga], namespace="default", task_queue=ORDER_TASK_QUEUE)
        super().__init__(activator, **options)  # type: ignore[arg-type]
        self.happened: list[str] = []
        self.barred: set[str] = set()
        self.answered: set[tuple[int, int]] = set()
        self._asked = 0

    def place(self, *with_it: Any) -> None:
        """Start the saga; `with_it` comes in the same batch."""
        self.step(self.start("OrderSaga", ORDER, workflow_id=SAGA_ID), *with_it)

    def cancel_order(self, reason: str = "no longer wanted") -> Any:
        """The signal."""
        return self.signal("cancel-order", reason, workflow_id=SAGA_ID)

    # ---------------------------------------------------------------- the services' side

    def waiting(self) -> list[ActivityTask]:
        """Commands without an answer so far."""
        return [
            task
            for task in self.tasks
            if (task.scheduled_event_id, task.attempt) not in self.answered
        ]

    def next_task(self, activity: str) -> ActivityTask:
        """The one command that waits, which must be this activity."""
        (task,) = self.waiting()
        assert (task.activity_type, task.task_queue) == (activity, QUEUE_OF[activity])
        return task

    def perform(self, task: ActivityTask) -> Any:
        """The attempt's effect, once a key, unless barred. Answers the record to send."""
        self.answered.add((task.scheduled_event_id, task.attempt))
        kind = task.activity_type
        if kind in self.barred and kind not in self.happened:
            return failed(task, "compensated before it ran", "Barred", non_retryable=True)
        if kind in STEP_OF:
            self.barred.add(STEP_OF[kind])
        if kind not in self.happened:
            self.happened.append(kind)
        return completed(task, {"id": f"{kind}-id"})

    def refuse(self, task: ActivityTask, **fields: Any) -> ActivityTaskFailed:
        """The attempt fails without an effect; for good, it bars those that come late, as the
        ledger does.
        """
        if fields.get("non_retryable"):
            self.barred.add(task.activity_type)
        self.answered.add((task.scheduled_event_id, task.attempt))
        return failed(task, f"{task.activity_type} said no", "SaidNo", **fields)

    def give_up(self, task: ActivityTask) -> Any:
        """The attempt heard the cancel request in time."""
        self.answered.add((task.scheduled_event_id, task.attempt))
        return canceled(task)

    def succeed(self, activity: str) -> None:
        self.step(self.perform(self.next_task(activity)))

    def time_out(self, activity: str) -> None:
        """An attempt starts and is never heard of again."""
        task = self.next_task(activity)
        self.answered.add((task.scheduled_event_id, task.attempt))
        self.step(started(task))
        self.advance(MINUTE_MS)

    # ---------------------------------------------------------------- looking

    def status(self) -> str:
        """Query `status`."""
        self._asked += 1
        self.step(
            QueryWorkflow(SAGA_ID, "status", request_id=f"status-{self._asked}", reply_to="client")
        )
        (status,) = values(self.replies[-1].payloads)
        return str(status)

    def outcome(self) -> tuple[str, str]:
        """`(status, failure type)` of the one result."""
        (result,) = self.results
        return result.status, result.failure.type if result.failure is not None else ""
