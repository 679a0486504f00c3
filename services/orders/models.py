"""What the saga's steps say to each other. Plain dataclasses: JSON on the wire, readable by any
language.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ORDER_TASK_QUEUE = "order-task-queue"
INVENTORY_TASK_QUEUE = "inventory-task-queue"
PAYMENTS_TASK_QUEUE = "payments-task-queue"


@dataclass
class Item:
    """A line of an order."""

    product: str
    quantity: int


@dataclass
class Order:
    """What a shop hands in. `amount` in cents."""

    order_no: str
    user_id: str
    items: list[Item] = field(default_factory=list)
    amount: int = 0


@dataclass
class StepResult:
    """What a step answers: the id of what it made."""

    id: str


@dataclass
class OrderResult:
    """The saga's outcome when it completes. `amount` in cents."""

    order_id: str
    reservation_id: str
    freeze_id: str
    amount: int = 0


@dataclass
class Undone:
    """Details of the failure of a saga that undid its steps. `amount` in cents."""

    amount: int
    compensations: int


def workflow_id(order_no: str) -> str:
    """Workflow id of an order."""
    return f"order-{order_no}"
