"""`python -m services.order_api --config FILE`: the HTTP order API (`port`, default 8000)."""

from __future__ import annotations

import uvicorn

from services.order_api.app import create_app
from services.orders.models import ORDER_TASK_QUEUE
from services.service_config import ProcessConfig, load


class ApiConfig(ProcessConfig):
    """Where the API listens."""

    host: str = "127.0.0.1"
    port: int = 8000


def main() -> None:
    config = load(ApiConfig, "The HTTP order API.")
    app = create_app(config.odradek.address, config.odradek.namespace, config.odradek.task_queue or ORDER_TASK_QUEUE)
    uvicorn.run(app, host=config.host, port=config.port, log_level="warning")


if __name__ == "__main__":
    main()
