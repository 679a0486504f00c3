"""`python -m services.order_api --config FILE`: the HTTP order API (`port`, default 8000)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from services.ending import ends_at_once, on_signals

if TYPE_CHECKING:
    from odradek.config import Settings
    from services.order_api.config import ApiConfig


def main() -> None:
    ends_at_once("order API")
    from odradek.exceptions import OdradekError  # takes a second, and may be interrupted too
    from services.order_api.config import ApiConfig
    from services.worker_process import load_all

    config, settings = load_all(ApiConfig, "The HTTP order API.")
    try:
        asyncio.run(_serve(config, settings))
    except OdradekError as error:
        raise SystemExit(f"order API: {error}") from None


async def _serve(config: ApiConfig, settings: Settings) -> None:
    """Until a signal: what is being answered is answered, then the process ends."""
    import uvicorn

    from odradek.client import Client
    from services.order_api.app import create_app

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # ours, as every service has them: uvicorn raises the signal again once it has ended
            yield

    async with await Client.connect(settings=settings) as client:
        server = Server(
            uvicorn.Config(
                create_app(client), host=config.host, port=config.port, log_level="warning"
            )
        )

        def end() -> None:
            server.should_exit = True

        on_signals(end)
        await server.serve()


if __name__ == "__main__":
    main()
