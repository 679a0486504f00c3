"""`python -m services.orders --config FILE`: the orders service, an Odradek worker with
activities only.
"""

from __future__ import annotations

from services.ledger import Ledger
from services.orders.activities import OrderActivities
from services.worker_process import WorkerConfig, load_all, run


def main() -> None:
    config, settings = load_all(WorkerConfig, "The orders service.")
    activities = OrderActivities(Ledger(config.database))
    run(
        settings,
        activities=[activities.create_order, activities.cancel_order, activities.remind_payment],
    )


if __name__ == "__main__":
    main()
