"""The application: routes, gate, life. Pages of the UI are handed in as routes; they find the
server in `request.app.state.server`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.service import RPCStatusCode
from odradek.web.api.operation import refused
from odradek.web.api.routes import api_routes
from odradek.web.context import ServerContext, server_version
from odradek.web.errors import ApiError, api_error, not_found
from odradek.web.health import health_routes
from odradek.web.metrics import CountRequests, metrics_routes
from odradek.web.open_requests import CutAtTheEnd
from odradek.web.paths import EncodedSlashes
from odradek.web.request_limit import EndAtTheLimit
from odradek.web.security.gate import Gate
from odradek.web.security.login import login_routes
from odradek.web.temporal.routes import temporal_routes
from odradek.web.ui.bare import login_page, problem_page, wants_page

#: Opens what the server stands on, fills the context in; left at the end.
Opening = Callable[[ServerContext], AbstractAsyncContextManager[None]]


def create_app(
    server: ServerContext, *, pages: Sequence[BaseRoute] = (), opening: Opening | None = None
) -> Starlette:
    """The application of one server.

    pages: routes of the UI, before all others but the APIs. opening: runs with the application's
    life; it may fill `server` in.
    """
    routes: list[BaseRoute] = [
        *health_routes(),
        *metrics_routes(),
        *api_routes(),
        *temporal_routes(),
        *pages,
        *login_routes(server.options, login_page, _problem),
    ]
    routes.append(Route("/", _no_pages, methods=["GET"]))

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        server.hub.open()
        async with opening(server) if opening is not None else contextlib.nullcontext():
            yield
            server.hub.close()
            await server.batches.close(server.options.shutdown_timeout_s)

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(EncodedSlashes),
            Middleware(CountRequests),
            Middleware(Gate, options=server.options, problem=_problem),
            Middleware(EndAtTheLimit, problem=_problem),
            Middleware(CutAtTheEnd, open_requests=server.open_requests, problem=_problem),
        ],
        exception_handlers={HTTPException: _http_error, ApiError: _defect, Exception: _defect},
        lifespan=life,
    )
    app.state.server = server
    return app


async def _no_pages(request: Request) -> Response:
    return PlainTextResponse(
        f"Odradek {server_version()}: no UI here. HTTP API: /api/v1 and"
        " /api/odradek/v1/openapi.json\n"
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says. grpc-gateway has no 405: a wrong method is UNIMPLEMENTED there, and
    so it is here below `/api/v1`.
    """
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _problem(
            request,
            ApiError(
                RPCStatusCode.UNIMPLEMENTED, "Method Not Allowed", headers=dict(error.headers or {})
            ),
        )
    if error.status_code == 404:
        return _problem(
            request,
            not_found("There is nothing at this address" if wants_page(request) else "Not Found"),
        )
    return PlainTextResponse(
        str(error.detail), error.status_code, headers=dict(error.headers or {})
    )


def _problem(connection: HTTPConnection, error: ApiError) -> Response:
    """An error for whoever asked: a page for a person, gRPC's status as JSON for a program."""
    return problem_page(connection, error) if wants_page(connection) else refused(error)


async def _defect(request: Request, error: Exception) -> Response:
    return _problem(request, api_error(error))
