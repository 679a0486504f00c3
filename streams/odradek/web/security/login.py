"""Logging in and out: with the shared token, whose form makes a session cookie; or at an
identity provider (`oidc_login.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.web.errors import ApiError
from odradek.web.options import ServerOptions
from odradek.web.request_body import read_body
from odradek.web.security.authentication import SESSION_COOKIE, SESSION_S, TokenAuthenticator
from odradek.web.security.cookies import is_secure
from odradek.web.security.targets import safe_target

_FORM_MAX = 8192
#: (request, where to go afterwards, what was wrong) -> the form.
LoginPage = Callable[[Request, str, str], Response]
Problem = Callable[[Request, ApiError], Response]


def login_routes(options: ServerOptions, page: LoginPage, problem: Problem) -> list[BaseRoute]:
    """Routes of the login; none unless the authenticator has one."""
    authenticator = options.authenticator
    if isinstance(authenticator, TokenAuthenticator):
        return _token_routes(authenticator, page, options)
    if authenticator is not None and authenticator.login:
        from odradek.web.security.oidc import OidcAuthenticator
        from odradek.web.security.oidc_login import OidcLogin

        if isinstance(authenticator, OidcAuthenticator):
            return OidcLogin(authenticator, problem, options).routes()
    return []


def _token_routes(
    authenticator: TokenAuthenticator, page: LoginPage, options: ServerOptions
) -> list[BaseRoute]:
    async def show(request: Request) -> Response:
        return page(request, safe_target(request.query_params.get("next", "/")), "")

    async def login(request: Request) -> Response:
        form = parse_qs((await read_body(request, _FORM_MAX)).decode("utf-8", "replace"))
        target = safe_target(form.get("next", ["/"])[0])
        session = authenticator.new_session(form.get("token", [""])[0].strip())
        if session is None:
            response = page(request, target, "That token is not known here.")
            response.status_code = 401
            return response
        response = RedirectResponse(target, status_code=303)
        secure = is_secure(request, options)
        response.set_cookie(
            SESSION_COOKIE,
            session,
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=secure,
        )
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
