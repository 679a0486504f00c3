"""`python -m services.payments --config FILE`: the payments service."""

from __future__ import annotations

import faust

from services.avro_wire import Schemas, schemas_folder
from services.payments.config import PaymentsConfig
from services.payments.service import Payments
from services.service_config import load


def main() -> None:
    config = load(PaymentsConfig, "The payments service.")
    payments = Payments(config, Schemas(schemas_folder()))
    payments.create_topics()
    print(f"serving {config.odradek.task_queue}", flush=True)
    faust.Worker(payments.app, loglevel="WARN", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
