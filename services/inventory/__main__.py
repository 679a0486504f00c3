"""`python -m services.inventory --config FILE`: the inventory service, an Odradek worker with
activities only.
"""

from __future__ import annotations

from services.ending import ends_at_once


def main() -> None:
    ends_at_once("inventory")
    from services.inventory.activities import (
        STOCK_SCHEMA,
        InventoryActivities,
        fill_stock,
    )  # takes a second, and may be interrupted too
    from services.inventory.config import InventoryConfig
    from services.ledger import Ledger
    from services.worker_process import load_all, run

    config, settings = load_all(InventoryConfig, "The inventory service.")
    ledger = Ledger(config.database, STOCK_SCHEMA)
    ledger.run(lambda db: fill_stock(db, config.stock))
    activities = InventoryActivities(ledger, config.slow_products)
    run(settings, activities=[activities.reserve_inventory, activities.release_inventory])


if __name__ == "__main__":
    main()
