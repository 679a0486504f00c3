"""A workflow whose values JSON alone does not take, for `odradek worker --data-converter`."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from odradek import activity, workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel


class Line(BaseModel):
    """One of an order."""

    product: UUID
    price: Decimal


@activity.defn
async def total(lines: list[Line]) -> Decimal:
    """What they cost."""
    return sum((line.price for line in lines), Decimal())


@workflow.defn
class Priced:
    """Adds up."""

    @workflow.run
    async def run(self, lines: list[Line]) -> Decimal:
        """The total, as the activity has it."""
        return await workflow.execute_activity(
            total, lines, start_to_close_timeout=timedelta(seconds=30)
        )


WORKFLOWS = [Priced]
