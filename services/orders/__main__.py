"""`python -m services.orders --config FILE`: the orders service, an Odradek worker with activities only."""

from __future__ import annotations

import asyncio

from services.ledger import Ledger
from services.orders.activities import OrderActivities
from services.service_config import ServiceConfig
from services.worker_process import load_all, serve


def main() -> None:
    config, settings = load_all(ServiceConfig, "The orders service.")
    activities = OrderActivities(Ledger(config.database))
    asyncio.run(serve(settings, activities=[activities.create_order, activities.cancel_order, activities.remind_payment]))


if __name__ == "__main__":
    main()
