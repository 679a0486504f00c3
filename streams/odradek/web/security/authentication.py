"""Who asks: the port for authentication, and the ways that need no other service.

An `Authenticator` looks at a request's headers and gives a `Principal`, or None for nobody.
Ready-made: everybody (`Anonymous`), a shared token (`TokenAuthenticator`), the headers of a
proxy that has authenticated the user (`HeaderAuthenticator`: oauth2-proxy, Pomerium, an
OIDC-aware ingress). Anything else is a class of the deployment, given by its import path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import ipaddress
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from starlette.requests import HTTPConnection

from odradek.exceptions import ConfigurationError

SESSION_COOKIE = "odradek_session"
SESSION_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `may_write`: may change something."""

    name: str
    may_write: bool = True


class Authenticator(Protocol):
    """Looks at a request's headers. `login`: browsers without a session are sent to the login
    page, where a token makes one.
    """

    login: bool

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        """Who asks; None for nobody, which is answered 401. May raise: then the request is
        refused too.
        """
        ...


class Anonymous:
    """Everybody, with every right."""

    login = False

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        """Always the same."""
        return Principal("anonymous")


class TokenAuthenticator:
    """Shared tokens: `Authorization: Bearer …`, or the session cookie that the login page makes
    of one.

    token: full rights.  read_token: may look only.
    """

    login = True

    def __init__(self, token: str, *, read_token: str = "") -> None:
        if len(token) < 16 or (read_token and len(read_token) < 16):
            raise ConfigurationError(
                "a token of the server has at least 16 characters: take `openssl rand -hex 32`",
                key="token",
            )
        self._tokens = [(token, Principal("token"))]
        if read_token:
            self._tokens.append((read_token, Principal("read-token", may_write=False)))

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        """By header, else by cookie."""
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.principal_of(given.strip())
        value = connection.cookies.get(SESSION_COOKIE)
        return None if value is None else self._principal_of_session(value)

    def principal_of(self, token: str) -> Principal | None:
        """Whose token it is. Compares all of them, in constant time."""
        found = None
        for known, principal in self._tokens:
            if hmac.compare_digest(known.encode(), token.encode()):
                found = principal
        return found

    def new_session(self, token: str, *, now_s: float | None = None) -> str | None:
        """A session cookie's value for a token, None for a wrong one. Holds its end and a
        signature, not the token.
        """
        if self.principal_of(token) is None:
            return None
        end = int((time.time() if now_s is None else now_s) + SESSION_S)
        return f"{end}.{_signature(token, end)}"

    def _principal_of_session(self, value: str) -> Principal | None:
        text, _, signature = value.partition(".")
        if not text.isdecimal() or len(text) > 12 or int(text) < time.time():
            return None
        found = None
        for token, principal in self._tokens:
            if hmac.compare_digest(_signature(token, int(text)).encode(), signature.encode()):
                found = principal
        return found


def _signature(token: str, end: int) -> str:
    digest = hmac.new(token.encode(), f"odradek session 1 {end}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class HeaderAuthenticator:
    """A proxy in front has authenticated the user and says who it is in a header; only requests
    from its addresses are believed.

    proxies: addresses or networks of the proxies.  groups_header, write_groups: who may change
    things; without `write_groups` everybody who is known may.
    """

    login = False

    def __init__(
        self,
        *,
        proxies: Sequence[str],
        user_header: str = "x-forwarded-user",
        groups_header: str = "x-forwarded-groups",
        write_groups: Collection[str] = (),
    ) -> None:
        if not proxies:
            raise ConfigurationError(
                "header authentication needs the addresses of the proxies that may send the header",
                key="proxies",
            )
        try:
            self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        except ValueError as error:
            raise ConfigurationError(
                f"`proxies` holds no address or network: {error}", key="proxies"
            ) from error
        self._user_header = user_header
        self._groups_header = groups_header
        self._write_groups = frozenset(write_groups)

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        """By the header, if it comes from a proxy. Nobody, if one of the two stands there twice:
        a client may have sent the other.
        """
        users, group_lists = (
            connection.headers.getlist(self._user_header),
            connection.headers.getlist(self._groups_header),
        )
        if (
            len(users) != 1
            or len(group_lists) > 1
            or connection.client is None
            or not self._trusted(connection.client.host)
        ):
            return None
        user = users[0].strip()
        if not user:
            return None
        groups = {group.strip() for listed in group_lists for group in listed.split(",")}
        return Principal(
            user, may_write=not self._write_groups or bool(groups & self._write_groups)
        )

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(
            parsed in network for network in self._proxies if network.version == parsed.version
        )


def load_authenticator(path: str) -> Authenticator:
    """An authenticator by import path, `package.module:name`: an instance, or something that
    makes one when called.
    """
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
        made = found if hasattr(found, "authenticate") and not isinstance(found, type) else found()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"no authenticator at {path!r}: {error}. Write it as `package.module:name`",
            key="authenticator",
        ) from error
    if not hasattr(made, "authenticate"):
        raise ConfigurationError(f"{path!r} has no method `authenticate`", key="authenticator")
    return cast(Authenticator, made)
