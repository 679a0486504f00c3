"""What the order API takes and gives, with limits (`services/orders/rules.py`).

What passes here every service can store and every HTTP client can ask for.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field

from services.orders.models import Item, Order
from services.orders.rules import (
    AMOUNT_MAX,
    ITEMS_MAX,
    NAME_MAX,
    ORDER_NO,
    ORDER_NO_MAX,
    ORDER_NO_WORDS,
    QUANTITY_MAX,
)

# An order travels in one Kafka record to each service (1 MiB, of which headers and the rest of the
# record take some).
ORDER_MAX_BYTES = 900_000


class Body(BaseModel):
    """Nothing is guessed: a field that does not exist is refused, and so is text or a truth
    value where a number belongs.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


class ItemIn(Body):
    """A line of an order."""

    product: str = Field(min_length=1, max_length=NAME_MAX)
    quantity: int = Field(gt=0, le=QUANTITY_MAX)


class OrderIn(Body):
    """What a shop hands in. `amount` in cents. As JSON of ASCII alone, at most 900,000 bytes
    (413).
    """

    order_no: str = Field(
        min_length=1, max_length=ORDER_NO_MAX, pattern=ORDER_NO, description=ORDER_NO_WORDS
    )
    user_id: str = Field(min_length=1, max_length=NAME_MAX)
    items: list[ItemIn] = Field(min_length=1, max_length=ITEMS_MAX)
    amount: int = Field(ge=0, le=AMOUNT_MAX)

    def order(self) -> Order:
        """For the saga. HTTPException 413 when it has more bytes than are taken."""
        items = [Item(item.product, item.quantity) for item in self.items]
        order = Order(self.order_no, self.user_id, items, self.amount)
        size = len(json.dumps(asdict(order)))
        if size > ORDER_MAX_BYTES:
            raise too_large(self.order_no, size, ORDER_MAX_BYTES)
        return order


class CancelIn(Body):
    """Why the customer changed their mind."""

    reason: str = Field(default="cancelled by the customer", max_length=1000)


class OrderOut(BaseModel):
    """How an order stands."""

    order_no: str
    status: str
    order_id: str | None = None
    reservation_id: str | None = None
    freeze_id: str | None = None
    reason: str | None = None


def too_large(order_no: str, size: int, limit: int) -> HTTPException:
    """413, in bytes."""
    return HTTPException(
        413,
        f"order {order_no} has {size} bytes, at most {limit} are taken: fewer items, or shorter"
        " names of products",
    )
