"""Activities of the orders service. Idempotent by the activity's key."""

from __future__ import annotations

import sqlite3
from typing import Any

from odradek import activity
from odradek.exceptions import ApplicationError
from services.ledger import BarredError, Ledger
from services.orders.models import Order, StepResult
from services.orders.rules import refuse_if_invalid


class OrderActivities:
    """CreateOrder, its compensation CancelOrder, and the payment reminder."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @activity.defn(name="CreateOrder")
    def create_order(self, order: Order) -> StepResult:
        """Write the order down. Answers the order id. InvalidOrder (non-retryable) if it makes
        no sense: no step follows.
        """
        refuse_if_invalid(order)

        def work(_: sqlite3.Connection) -> dict[str, Any]:
            return {"id": f"O-{order.order_no}", "user_id": order.user_id, "amount": order.amount}

        return self._once("CreateOrder", order, work)

    @activity.defn(name="CancelOrder")
    def cancel_order(self, order: Order) -> StepResult:
        """Compensation of CreateOrder; a no-op for an order that was never made."""

        def work(_: sqlite3.Connection) -> dict[str, Any]:
            return {"id": f"X-{order.order_no}"}

        key = activity.info().idempotency_key
        return StepResult(
            self._ledger.undo(key, "CancelOrder", "CreateOrder", order.order_no, work).data["id"]
        )

    @activity.defn(name="RemindPayment")
    def remind_payment(self, order: Order) -> StepResult:
        """Tell the customer that the payment is still open."""

        def work(_: sqlite3.Connection) -> dict[str, Any]:
            return {"id": f"M-{order.order_no}"}

        return self._once("RemindPayment", order, work)

    def _once(self, kind: str, order: Order, work: Any) -> StepResult:
        try:
            effect = self._ledger.once(activity.info().idempotency_key, kind, order.order_no, work)
        except BarredError as error:
            raise ApplicationError(str(error), type="Barred", non_retryable=True) from error
        return StepResult(effect.data["id"])
