"""The thirty orders of the demo: who wants what, and what goes wrong on purpose."""

from __future__ import annotations

from dataclasses import dataclass

CLIENT = "client"
RAW = "raw Kafka producer"


@dataclass(frozen=True)
class PlannedOrder:
    """`via`: how it is placed. `story`: what is meant to happen to it, for the table only; the
    audit does not look at it.
    """

    order_no: str
    user_id: str
    product: str
    quantity: int
    amount: int
    via: str = CLIENT
    story: str = ""


def plan() -> list[PlannedOrder]:
    """Thirty orders: the special ones first, so that what takes longest begins first."""
    special = [
        PlannedOrder(
            "1001", "user-1", "engraved-mug", 1, 1900, story="processor killed with kill -9 midway"
        ),
        PlannedOrder("1002", "user-2", "engraved-mug", 1, 1900, story="cancelled by signal midway"),
        PlannedOrder("1003", "user-declined", "tea", 2, 900, story="card declined"),
        PlannedOrder("1004", "user-declined", "teapot", 1, 3900, via=RAW, story="card declined"),
        PlannedOrder("1005", "user-3", "samovar", 10, 99000, story="stock short"),
        PlannedOrder("1006", "user-4", "samovar", 7, 69000, via=RAW, story="stock short"),
        PlannedOrder("1007", "user-flaky", "tea", 1, 450, story="flaky payment, retried"),
    ]
    ordinary = [
        PlannedOrder(
            str(number),
            f"user-{number % 9}",
            "tea",
            quantity,
            450 * quantity,
            via=RAW if number % 4 == 0 else CLIENT,
        )
        for number, quantity in ((number, 1 + number % 3) for number in range(1008, 1031))
    ]
    return special + ordinary
