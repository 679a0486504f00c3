"""The application: routes, gate, life. Pages of the UI are handed in as routes; they find the
server in `request.app.state.server`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.service import RPCStatusCode
from odradek.web.api import batches, history, kafka, lists, overview, runs, trail
from odradek.web.api.router import PREFIX, refused
from odradek.web.context import ServerContext, server_version
from odradek.web.errors import ApiError, api_error, not_found
from odradek.web.health import health_routes
from odradek.web.metrics import CountRequests, metrics_routes
from odradek.web.paths import EncodedSlashes
from odradek.web.security.gate import Gate
from odradek.web.security.login import login_routes
from odradek.web.temporal.routes import temporal_routes
from odradek.web.ui.bare import login_page, problem_page, wants_page

#: Opens what the server stands on, fills the context in; left at the end.
Opening = Callable[[ServerContext], AbstractAsyncContextManager[None]]

#: The largest body that any page takes, an imported history; the APIs take less.
BODY_MAX = 64 * 1024 * 1024

_ROUTERS = (
    overview.router,
    lists.router,
    runs.router,
    history.router,
    batches.router,
    kafka.queues,
    kafka.records,
    trail.router,
    kafka.letters,
)
_DESCRIPTION = (
    "What only Odradek has: runs and the Kafka beneath them. Workflows are started and steered by"
    " Temporal's HTTP API under `/api/v1`. Times are epoch milliseconds. Ids in paths are"
    " percent-encoded; the ids `.` and `..` are written `~.` and `~..` there, `~.` is `~~.`."
)


def create_app(
    server: ServerContext, *, pages: Sequence[BaseRoute] = (), opening: Opening | None = None
) -> FastAPI:
    """The application of one server.

    pages: routes of the UI, before all others but the APIs. opening: runs with the application's
    life; it may fill `server` in.
    """

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        server.hub.open()
        async with opening(server) if opening is not None else contextlib.nullcontext():
            yield
            server.hub.close()
            await server.batches.close(server.options.shutdown_timeout_s)

    app = FastAPI(
        title="Odradek",
        version=server_version(),
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=BODY_MAX,
        middleware=[
            Middleware(EncodedSlashes),
            Middleware(CountRequests),
            Middleware(Gate, options=server.options, problem=_problem),
        ],
        exception_handlers={HTTPException: _http_error, ApiError: _defect, Exception: _defect},
        lifespan=life,
    )
    app.state.server = server
    for router in _ROUTERS:
        app.include_router(router)
    app.router.routes += [
        *health_routes(),
        *metrics_routes(),
        *temporal_routes(),
        *pages,
        *login_routes(server.options, login_page, _problem),
        Route("/", _no_pages, methods=["GET"]),
    ]
    return app


async def _no_pages(request: Request) -> Response:
    return PlainTextResponse(
        f"Odradek {server_version()}: no UI here. HTTP API: /api/v1 and {PREFIX}/openapi.json\n"
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says. grpc-gateway has no 405: a wrong method is UNIMPLEMENTED there, and
    so it is here below `/api/v1`.
    """
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        wrong = ApiError(RPCStatusCode.UNIMPLEMENTED, "Method Not Allowed", headers=headers)
        return _problem(request, wrong)
    if error.status_code == 404:
        words = "There is nothing at this address" if wants_page(request) else "Not Found"
        return _problem(request, not_found(words))
    return PlainTextResponse(str(error.detail), error.status_code, headers=headers)


def _problem(connection: HTTPConnection, error: ApiError) -> Response:
    """An error for whoever asked: a page for a person, gRPC's status as JSON for a program."""
    return problem_page(connection, error) if wants_page(connection) else refused(error)


async def _defect(request: Request, error: Exception) -> Response:
    return _problem(request, api_error(error))
