"""`python -m services.payments --config FILE`: the payments service."""

from __future__ import annotations

import faust

from services.config import load, serve_metrics
from services.payments.service import Payments, PaymentsConfig


def main() -> None:
    config = load(PaymentsConfig, "The payments service.")
    payments = Payments(config)
    payments.create_topics()
    serve_metrics(config.telemetry)
    print(f"serving {config.odradek.task_queue}", flush=True)
    faust.Worker(
        payments.app, loglevel="WARN", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
