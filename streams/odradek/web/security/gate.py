"""The gate that every request passes, in this order: host name, authentication, cross-site
requests, read-only mode; and the headers that every response gets.

Written as plain ASGI, so that event streams pass unbuffered. What it refuses is answered as JSON
in gRPC's form, or as a page to a person; a browser that asks for a page is sent to the login
where there is one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from odradek.service import RPCStatusCode
from odradek.web.errors import ApiError, api_error
from odradek.web.options import ServerOptions
from odradek.web.paths import path_problem
from odradek.web.security.authentication import Anonymous, Principal
from odradek.web.security.cross_site import SAFE_METHODS, is_cross_site, refused_origin
from odradek.web.security.headers import new_nonce, security_headers
from odradek.web.security.hosts import is_allowed_host, refused_host

logger = logging.getLogger(__name__)

# Answered without authentication: probes of the platform, the login itself, files that hold
# nothing.
_OPEN = re.compile(r"/health/(live|ready)|/login(/callback)?|/logout|/static/.*|/favicon\.ico")
# POST that changes nothing: allowed in read-only mode and to those who may only look.
_READING_POST = re.compile(
    r"(?:/api/v1)?/namespaces/[^/]+/workflows/[^/]+/query/[^/]+|/import|/login|/logout"
)


class Gate:
    """ASGI middleware. Puts `principal` and `csp_nonce` into `request.state`."""

    def __init__(
        self,
        app: ASGIApp,
        options: ServerOptions,
        problem: Callable[[HTTPConnection, ApiError], Response],
    ) -> None:
        """problem: shows an error to whoever asked."""
        self._app = app
        self._problem = problem
        self._options = options
        self._authenticator = options.authenticator or Anonymous()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                raise RuntimeError("this server has no websockets")
            await self._app(scope, receive, send)
            return
        nonce = new_nonce()
        scope.setdefault("state", {})["csp_nonce"] = nonce
        extra = security_headers(nonce)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message.get("headers", [])}
                added = [(name, value) for name, value in extra if name not in present]
                if b"cache-control" not in present and not scope["path"].startswith("/static/"):
                    added.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        refusal = await self._refuse(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refuse(self, scope: Scope) -> Response | None:
        """The answer of a request that goes no further; None lets it through."""
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        host = headers.get("host", "")
        if not is_allowed_host(host, self._options):
            return self._answer(
                scope, ApiError(RPCStatusCode.PERMISSION_DENIED, refused_host(host))
            )
        if problem := path_problem(scope):
            return self._answer(scope, ApiError(RPCStatusCode.INVALID_ARGUMENT, problem))
        if is_cross_site(method, headers, self._options.trusted_origins):
            return self._answer(
                scope, ApiError(RPCStatusCode.PERMISSION_DENIED, refused_origin(headers))
            )
        if _OPEN.fullmatch(path):
            scope["state"]["principal"] = None
            return None
        principal = await self._principal(scope)
        if principal is None:
            return self._unauthenticated(scope, headers)
        scope["state"]["principal"] = principal
        if method not in SAFE_METHODS and not _READING_POST.fullmatch(path):
            if self._options.read_only:
                return self._answer(
                    scope, ApiError(RPCStatusCode.PERMISSION_DENIED, "this server is read-only")
                )
            if not principal.may_write:
                return self._answer(
                    scope,
                    ApiError(
                        RPCStatusCode.PERMISSION_DENIED,
                        f"{principal.name} may look, but not change anything",
                    ),
                )
        return None

    async def _principal(self, scope: Scope) -> Principal | None:
        try:
            async with asyncio.timeout(self._options.request_timeout_s):
                return await self._authenticator.authenticate(HTTPConnection(scope))
        except Exception:
            # A hook that fails lets nobody in.
            logger.exception("the authenticator failed; the request is refused")
            return None

    def _unauthenticated(self, scope: Scope, headers: Headers) -> Response:
        wants_page = (
            scope["method"] == "GET"
            and "text/html" in headers.get("accept", "")
            and not scope["path"].startswith("/api/")
        )
        if wants_page and self._authenticator.login:
            query = scope.get("query_string", b"").decode("latin-1")
            # As it was asked for: the decoded path has lost which of its slashes, question marks
            # and percent signs belong to ids.
            path = (scope.get("raw_path") or b"/").partition(b"?")[0].decode("latin-1")
            target = path + (f"?{query}" if query else "")
            return RedirectResponse(f"/login?next={quote(target, safe='')}", status_code=303)
        error = ApiError(
            RPCStatusCode.UNAUTHENTICATED,
            "this server wants to know who asks",
            headers={"WWW-Authenticate": "Bearer"},
        )
        return self._answer(scope, error)

    def _answer(self, scope: Scope, error: ApiError) -> Response:
        return self._problem(HTTPConnection(scope), error)


def _answer(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body(), status_code=error.http_status, headers=error.headers)


def may_write(connection: HTTPConnection, options: ServerOptions) -> bool:
    """Whether whoever asks may change things here: what pages show buttons by."""
    principal: Principal | None = getattr(connection.state, "principal", None)
    return principal is not None and principal.may_write and not options.read_only


def refused(error: BaseException) -> JSONResponse:
    """Any error as an answer."""
    return _answer(api_error(error))
