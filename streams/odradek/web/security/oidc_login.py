"""Login of browsers at an identity provider: the authorization code flow with PKCE, state and nonce.

Cookies are SameSite=Lax: a browser that comes back from the provider comes from another site.
What changes something is guarded by `cross_site.py` besides.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from odradek.service import RPCStatusCode
from odradek.web.errors import ApiError, unavailable
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import SESSION_COOKIE, SESSION_S
from odradek.web.security.cookies import is_secure
from odradek.web.security.oidc import (
    OidcAuthenticator,
    ProviderError,
    ProviderRefusedError,
    fetch_json,
)
from odradek.web.security.signed import open_signed, sign
from odradek.web.security.targets import safe_target

logger = logging.getLogger(__name__)

FLOW_COOKIE = "odradek_login"
_FLOW_S = 600.0


class OidcLogin:
    """`/login` sends to the provider, `/login/callback` takes who comes back."""

    def __init__(
        self, authenticator: OidcAuthenticator, problem: Any, options: ServerOptions
    ) -> None:
        """problem: shows an ApiError to a request."""
        self._authenticator = authenticator
        self._problem = problem
        self._options = options

    def routes(self) -> list[BaseRoute]:
        """See above."""
        return [
            Route("/login", self._begin, methods=["GET"]),
            Route("/login/callback", self._end, methods=["GET"]),
            Route("/logout", self._logout, methods=["POST"]),
        ]

    @property
    def _redirect_uri(self) -> str:
        return f"{self._authenticator.public_url}/login/callback"

    async def _begin(self, request: Request) -> Response:
        flow = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(flow["verifier"].encode()).digest())
            .rstrip(b"=")
            .decode()
        )
        parameters = {
            "response_type": "code",
            "client_id": self._authenticator.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._authenticator.scopes,
            "state": flow["state"],
            "nonce": flow["nonce"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        try:
            address = await asyncio.to_thread(
                self._authenticator.provider.endpoint, "authorization_endpoint"
            )
        except ProviderError as error:
            return self._silent(request, error)
        response = RedirectResponse(
            f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}", 303
        )
        kept = sign(
            {**flow, "next": safe_target(request.query_params.get("next", "/"))},
            self._secret,
            "login",
            seconds=_FLOW_S,
        )
        self._set(request, response, FLOW_COOKIE, kept, _FLOW_S)
        return response

    async def _end(self, request: Request) -> Response:
        cookie = request.cookies.get(FLOW_COOKIE)
        flow = open_signed(cookie, self._secret, "login") if cookie is not None else None
        given = request.query_params
        if flow is None or not hmac.compare_digest(
            str(flow["state"]).encode(), given.get("state", "").encode()
        ):
            return self._refused(
                request, "this login was not begun here, or too long ago: try again"
            )
        if "code" not in given:
            return self._refused(
                request, "the identity provider let nobody in"
            )  # its text is of its address, so it is not shown
        try:
            claims = await asyncio.to_thread(self._exchange, given["code"], str(flow["verifier"]))
        except ProviderRefusedError as error:
            logger.warning("login: %s", error)
            return self._refused(request, "the identity provider does not know this login")
        except ProviderError as error:
            return self._silent(request, error)
        principal = (
            self._authenticator.principal(claims)
            if claims is not None and claims.get("nonce") == flow["nonce"]
            else None
        )
        if principal is None:
            return self._refused(request, "the identity provider's token is not to be believed")
        session = {"name": principal.name, "may_write": principal.may_write}
        response = RedirectResponse(str(flow["next"]), 303)
        response.delete_cookie(FLOW_COOKIE)
        self._set(
            request,
            response,
            SESSION_COOKIE,
            sign(session, self._secret, "session", seconds=SESSION_S),
            SESSION_S,
        )
        return response

    async def _logout(self, request: Request) -> Response:
        response = RedirectResponse("/", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    def _exchange(self, code: str, verifier: str) -> dict[str, Any] | None:
        """The claims of the id token that a code is good for. Blocking."""
        authenticator = self._authenticator
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        credentials = f"{quote(authenticator.client_id, safe='')}:{quote(authenticator.client_secret, safe='')}"
        headers = {
            "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        address = authenticator.provider.endpoint("token_endpoint")
        found = fetch_json(
            urllib.request.Request(address, urlencode(body).encode(), headers, method="POST")
        )
        token = found.get("id_token")
        return (
            authenticator.check(token, [authenticator.client_id])
            if isinstance(token, str)
            else None
        )

    @property
    def _secret(self) -> str:
        return self._authenticator.client_secret

    def _set(
        self, request: Request, response: Response, name: str, value: str, seconds: float
    ) -> None:
        secure = is_secure(request, self._options, public_url=self._authenticator.public_url)
        response.set_cookie(
            name, value, max_age=int(seconds), httponly=True, samesite="lax", secure=secure
        )

    def _refused(self, request: Request, why: str) -> Response:
        return self._problem(request, ApiError(RPCStatusCode.UNAUTHENTICATED, why))  # type: ignore[no-any-return]

    def _silent(self, request: Request, error: ProviderError) -> Response:
        logger.warning("login: %s", error)
        return self._problem(request, unavailable("the identity provider does not answer"))  # type: ignore[no-any-return]
