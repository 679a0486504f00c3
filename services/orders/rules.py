"""What an order must be. The order API refuses others at its door; what comes past it, from a
raw producer, the saga's services refuse.
"""

from __future__ import annotations

import re

from odradek.exceptions import ApplicationError
from services.orders.models import Order

# It is a part of a path: RFC 3986's unreserved characters, which no client, proxy or server
# rewrites; and never `.` or `..`, which clients take out of a path before they send it.
ORDER_NO = r"^[A-Za-z0-9][A-Za-z0-9._~-]*$"
ORDER_NO_WORDS = (
    "letters and digits of ASCII, `-`, `.`, `_` and `~`, beginning with a letter or digit; at"
    " most 100"
)
ORDER_NO_MAX = 100
NAME_MAX = 200
ITEMS_MAX = 1_000
QUANTITY_MAX = 1_000_000
AMOUNT_MAX = 2**53 - 1  # what a JSON number is in every language

_ORDER_NO = re.compile(ORDER_NO)


def refuse_if_invalid(order: Order) -> None:
    """Raises ApplicationError `InvalidOrder`, non-retryable. Not for compensations: what was
    done must be undone.
    """
    problem = problem_of(order)
    if problem:
        raise ApplicationError(problem, type="InvalidOrder", non_retryable=True)


def problem_of(order: Order) -> str:
    """Why it cannot be processed, for a person; "" if it can."""
    if not _ORDER_NO.fullmatch(order.order_no) or len(order.order_no) > ORDER_NO_MAX:
        return f"order_no: {ORDER_NO_WORDS}"
    if not _is_name(order.user_id):
        return f"user_id: 1 to {NAME_MAX} characters"
    if not 1 <= len(order.items) <= ITEMS_MAX:
        return f"items: 1 to {ITEMS_MAX}, not {len(order.items)}"
    for number, item in enumerate(order.items):
        if not _is_name(item.product):
            return f"items[{number}].product: 1 to {NAME_MAX} characters"
        if not _is_within(item.quantity, 1, QUANTITY_MAX):
            return f"items[{number}].quantity: 1 to {QUANTITY_MAX}, not {item.quantity}"
    if not _is_within(order.amount, 0, AMOUNT_MAX):
        return f"amount: 0 to {AMOUNT_MAX} cents, not {order.amount}"
    return ""


def _is_name(text: str) -> bool:
    return 1 <= len(text) <= NAME_MAX and not any(
        "\ud800" <= character <= "\udfff" for character in text
    )


def _is_within(number: int, low: int, high: int) -> bool:
    return type(number) is int and low <= number <= high
