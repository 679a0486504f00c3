"""Activities of the inventory service. Idempotent by the activity's key; stock and effect change
in one SQLite transaction.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from odradek import activity
from odradek.exceptions import ApplicationError
from services.ledger import BarredError, Ledger, RefusedError, happened_in_run
from services.orders.models import Order, StepResult
from services.orders.rules import refuse_if_invalid

STOCK_SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (product TEXT PRIMARY KEY, available INTEGER NOT NULL CHECK (available >= 0));
"""


def fill_stock(ledger_db: sqlite3.Connection, stock: dict[str, int]) -> None:
    """Put the configured stock in, for products not there yet."""
    ledger_db.executemany("INSERT OR IGNORE INTO stock VALUES (?, ?)", stock.items())


class StockShort(RefusedError):
    """Not enough of a product on the shelves."""


class InventoryActivities:
    """ReserveInventory and its compensation ReleaseInventory. `slow_products`: seconds that
    picking takes, for products that take time.
    """

    def __init__(self, ledger: Ledger, slow_products: dict[str, float]) -> None:
        self._ledger = ledger
        self._slow_products = slow_products

    @activity.defn(name="ReserveInventory")
    def reserve_inventory(self, order: Order) -> StepResult:
        """Take the items out of stock, all or none. StockShort (non-retryable) if one is
        missing, InvalidOrder if it makes no sense.
        """
        refuse_if_invalid(order)
        self._pick(order)

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            for item in order.items:
                take = (
                    "UPDATE stock SET available = available - ? WHERE product = ? AND available"
                    " >= ?"
                )
                taken = db.execute(take, (item.quantity, item.product, item.quantity))
                if taken.rowcount == 0:
                    raise StockShort(f"not enough {item.product} in stock for {item.quantity}")
            return {"id": f"R-{order.order_no}"}

        try:
            effect = self._ledger.once(
                activity.info().idempotency_key, "ReserveInventory", order.order_no, work
            )
        except StockShort as error:
            raise ApplicationError(str(error), type="StockShort", non_retryable=True) from error
        except BarredError as error:
            raise ApplicationError(str(error), type="Barred", non_retryable=True) from error
        return StepResult(effect.data["id"])

    @activity.defn(name="ReleaseInventory")
    def release_inventory(self, order: Order) -> StepResult:
        """Put the items back if they were taken."""
        key = activity.info().idempotency_key

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            reserved = happened_in_run(db, key, "ReserveInventory", order.order_no)
            # The saga asks for a compensation anew, under another key, when its answer was lost for
            # good.
            reserved = reserved and not happened_in_run(db, key, "ReleaseInventory", order.order_no)
            if reserved:
                for item in order.items:
                    db.execute(
                        "UPDATE stock SET available = available + ? WHERE product = ?",
                        (item.quantity, item.product),
                    )
            return {"id": f"L-{order.order_no}", "released": reserved}

        return StepResult(
            self._ledger.undo(
                key, "ReleaseInventory", "ReserveInventory", order.order_no, work
            ).data["id"]
        )

    def _pick(self, order: Order) -> None:
        # Real time that real work takes; it makes the orders that demo and tests want to meet
        # "midway".
        seconds = max(
            (self._slow_products.get(item.product, 0.0) for item in order.items), default=0.0
        )
        if seconds:
            time.sleep(seconds)
