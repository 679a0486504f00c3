"""The login page of the shared token: a form, and the session cookie that it makes. A template of the UI may take the form's place."""

from __future__ import annotations

import html
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.web.options import ServerOptions
from odradek.web.security.authentication import SESSION_COOKIE, SESSION_S, TokenAuthenticator

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Odradek</title></head><body><main><h1>Odradek</h1>{problem}
<form method="post" action="/login"><input type="hidden" name="next" value="{target}">
<label>Token <input type="password" name="token" autocomplete="current-password" autofocus required></label>
<button>Log in</button></form></main></body></html>"""


def login_routes(options: ServerOptions) -> list[BaseRoute]:
    """Routes of the login; none unless the authenticator makes sessions of tokens."""
    authenticator = options.authenticator
    if not isinstance(authenticator, TokenAuthenticator):
        return []

    async def show(request: Request) -> Response:
        return HTMLResponse(_page(safe_target(request.query_params.get("next", "/")), ""))

    async def login(request: Request) -> Response:
        form = parse_qs((await request.body())[:8192].decode("utf-8", "replace"))
        target = safe_target(form.get("next", ["/"])[0])
        session = authenticator.new_session(form.get("token", [""])[0].strip())
        if session is None:
            return HTMLResponse(_page(target, "<p role=alert>That token is not known here.</p>"), status_code=401)
        response = RedirectResponse(target, status_code=303)
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION_COOKIE, session, max_age=SESSION_S, httponly=True, samesite="strict", secure=secure)
        return response

    async def logout(request: Request) -> Response:
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    return [
        Route("/login", show, methods=["GET"]),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
    ]


def safe_target(target: str) -> str:
    """A path of this server, whatever was asked for: a login must not send people elsewhere."""
    parts = urlsplit(target)
    local = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if local and "\n" not in target and "\r" not in target else "/"


def _page(target: str, problem: str) -> str:
    return _PAGE.format(target=html.escape(target, quote=True), problem=problem)
