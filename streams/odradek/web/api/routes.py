"""The routes of `/api/odradek/v1`, its OpenAPI document, and 404 for the rest."""

from __future__ import annotations

import functools

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from odradek.web.api.batches import BATCH_OPERATIONS
from odradek.web.api.kafka import KAFKA_OPERATIONS
from odradek.web.api.lists import LIST_OPERATIONS
from odradek.web.api.openapi import document
from odradek.web.api.operation import PREFIX, Operation, refused
from odradek.web.api.overview import OVERVIEW_OPERATIONS
from odradek.web.api.runs import RUN_OPERATIONS
from odradek.web.errors import not_found

OPERATIONS: list[Operation] = [
    *OVERVIEW_OPERATIONS,
    *LIST_OPERATIONS,
    *RUN_OPERATIONS,
    *BATCH_OPERATIONS,
    *KAFKA_OPERATIONS,
]


@functools.cache
def _described() -> bytes:
    return msgspec.json.encode(document(OPERATIONS))


def api_routes() -> list[BaseRoute]:
    """All of them, the last one catching the rest."""
    described = _described()

    async def openapi(request: Request) -> Response:
        return Response(described, media_type="application/json")

    async def unknown(request: Request) -> Response:
        return refused(not_found("Not Found"))

    routes: list[BaseRoute] = [operation.route() for operation in OPERATIONS]
    routes.append(Route(f"{PREFIX}/openapi.json", openapi, methods=["GET"]))
    routes.append(
        Route(f"{PREFIX}/{{rest:path}}", unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    )
    return routes
