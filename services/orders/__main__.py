"""`python -m services.orders --config FILE`: the orders service, an Odradek worker with
activities only.
"""

from __future__ import annotations

from services.ending import ends_at_once


def main() -> None:
    ends_at_once("orders")
    from services.ledger import Ledger  # takes a second, and may be interrupted too
    from services.orders.activities import OrderActivities
    from services.service_config import ServiceConfig
    from services.worker_process import load_all, run

    config, settings = load_all(ServiceConfig, "The orders service.")
    activities = OrderActivities(Ledger(config.database))
    run(
        settings,
        activities=[activities.create_order, activities.cancel_order, activities.remind_payment],
    )


if __name__ == "__main__":
    main()
