"""Probes: `/health/live` says that the process serves, `/health/ready` that it can answer: Kafka
and its topics there, read side caught up.

Open to everybody, so they name no more than what is missing: texts of errors, which may hold
anything, are in logs, statistics and pages.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.web.context import server_of


def health_routes() -> list[BaseRoute]:
    """Both probes."""
    return [
        Route("/health/live", _live, methods=["GET"]),
        Route("/health/ready", _ready, methods=["GET"]),
    ]


async def _live(request: Request) -> Response:
    return JSONResponse({"status": "live"})


async def _ready(request: Request) -> Response:
    missing = {
        name: found for name, check in server_of(request).readiness.items() if (found := check())
    }
    if missing:
        return JSONResponse({"status": "not ready", "missing": missing}, status_code=503)
    return JSONResponse({"status": "ready"})
