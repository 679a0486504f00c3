"""`python -m services.inventory --config FILE`: the inventory service, an Odradek worker with
activities only.
"""

from __future__ import annotations

from pydantic import Field

from services.inventory.activities import STOCK_SCHEMA, InventoryActivities, fill_stock
from services.ledger import Ledger
from services.worker_process import WorkerConfig, load_all, run


class InventoryConfig(WorkerConfig):
    """`stock`: what is on the shelves at the first start. `slow_products`: seconds that picking
    one takes.
    """

    stock: dict[str, int] = Field(default_factory=dict)
    slow_products: dict[str, float] = Field(default_factory=dict)


def main() -> None:
    config, settings = load_all(InventoryConfig, "The inventory service.")
    ledger = Ledger(config.database, STOCK_SCHEMA)
    ledger.run(lambda db: fill_stock(db, config.stock))
    activities = InventoryActivities(ledger, config.slow_products)
    run(settings, activities=[activities.reserve_inventory, activities.release_inventory])


if __name__ == "__main__":
    main()
