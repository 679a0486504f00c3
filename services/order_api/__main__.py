"""`python -m services.order_api --config FILE`: the HTTP order API (`port`, default 8000)."""

from __future__ import annotations

import asyncio

import uvicorn

from odradek.client import Client
from odradek.config import Settings
from odradek.exceptions import OdradekError
from services.config import ServiceConfig
from services.order_api.app import create_app
from services.worker_process import load_all


class ApiConfig(ServiceConfig):
    """Where the API listens."""

    host: str = "127.0.0.1"
    port: int = 8000


def main() -> None:
    config, settings = load_all(ApiConfig, "The HTTP order API.")
    try:
        asyncio.run(_serve(config, settings))
    except OdradekError as error:
        raise SystemExit(f"order API: {error}") from None


async def _serve(config: ApiConfig, settings: Settings) -> None:
    """Until a signal: what is being answered is answered, then the process ends."""
    async with await Client.connect(settings=settings) as client:
        options = uvicorn.Config(
            create_app(client), host=config.host, port=config.port, log_level="warning"
        )
        await uvicorn.Server(options).serve()


if __name__ == "__main__":
    main()
