"""`python -m services.reporting --config FILE`: the reporting service."""

from __future__ import annotations

import faust

from services.config import load
from services.reporting.service import Reporting, ReportingConfig


def main() -> None:
    config = load(ReportingConfig, "The reporting service.")
    reporting = Reporting(config)
    print(f"report: http://{config.host}:{config.port}/report", flush=True)
    faust.Worker(
        reporting.app, loglevel="WARN", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
