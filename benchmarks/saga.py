"""The benchmark's saga: three activities in a row, no database. Each answers at once, so that
what is measured is Odradek and Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from odradek import activity, workflow

WORKFLOW_QUEUE = "bench"
ACTIVITY_QUEUE = "bench-activities"


@dataclass
class Order:
    """What each step is given."""

    order_no: str
    user_id: str
    amount: int


@activity.defn
async def create_order(order: Order) -> str:
    """First step."""
    return f"O-{order.order_no}"


@activity.defn
async def reserve_inventory(order: Order) -> str:
    """Second step."""
    return f"R-{order.order_no}"


@activity.defn
async def freeze_payment(order: Order) -> str:
    """Third step."""
    return f"F-{order.order_no}"


@workflow.defn
class BenchSaga:
    """CreateOrder → ReserveInventory → FreezePayment."""

    @workflow.run
    async def run(self, order: Order) -> list[str]:
        ids = []
        for step in (create_order, reserve_inventory, freeze_payment):
            ids.append(
                await workflow.execute_activity(
                    step,
                    order,
                    task_queue=ACTIVITY_QUEUE,
                    start_to_close_timeout=timedelta(minutes=1),
                )
            )
        return ids


WORKFLOWS = [BenchSaga]
ACTIVITIES = [create_order, reserve_inventory, freeze_payment]
