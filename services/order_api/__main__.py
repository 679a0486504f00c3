"""`python -m services.order_api --config FILE`: the HTTP order API (`port`, default 8000)."""

from __future__ import annotations

import uvicorn

from services.order_api.app import create_app
from services.service_config import AnySetting, ProcessConfig
from services.worker_process import load_all


class ApiConfig(ProcessConfig):
    """Where the API listens."""

    odradek: AnySetting
    host: str = "127.0.0.1"
    port: int = 8000


def main() -> None:
    config, settings = load_all(ApiConfig, "The HTTP order API.")
    app = create_app(settings)
    uvicorn.run(app, host=config.host, port=config.port, log_level="warning")


if __name__ == "__main__":
    main()
