"""OpenID Connect: tokens of an identity provider, checked here: signature by the provider's
keys, issuer, audience, expiry, algorithm.

`OidcAuthenticator` believes a JWT in `Authorization: Bearer …`, or in the header that a proxy
puts it in. With a client id and secret browsers are sent to the provider (`oidc_login.py`) and
hold a signed session afterwards. Needs `pip install "odradek[oidc]"`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from odradek.exceptions import ConfigurationError
from odradek.web.security.authentication import SESSION_COOKIE, Principal
from odradek.web.security.signed import open_signed

if TYPE_CHECKING:
    from jwt import PyJWK

#: Signatures of key pairs alone: with a shared secret whoever may check a token could make one.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
_FETCH_TIMEOUT_S = 5.0
_DOCUMENT_MAX = 1024 * 1024
#: Keys are read again after this time, and for an unknown key id at most this often.
_KEYS_FRESH_S, _KEYS_AGAIN_S = 300.0, 10.0


class ProviderError(Exception):
    """The identity provider does not answer, or not as its specification says."""


class ProviderRefusedError(ProviderError):
    """The identity provider says that the request is wrong (HTTP 400 or 401)."""


class IdentityProvider:
    """What is known of an issuer: its endpoints and its keys, read when they are needed.
    Blocking; any thread.
    """

    def __init__(self, issuer: str, *, jwks_uri: str = "") -> None:
        if not issuer.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"the issuer of OpenID Connect is an address, not {issuer!r}", key="issuer"
            )
        self.issuer = issuer
        self._jwks_uri = jwks_uri
        self._document: dict[str, Any] = {}
        self._keys: dict[str, PyJWK] = {}
        self._read_s = float("-inf")
        self._lock = threading.Lock()

    def endpoint(self, name: str) -> str:
        """An address out of the issuer's discovery document."""
        if not self._document:
            document = _fetch_json(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if document.get("issuer") != self.issuer:
                raise ProviderError(
                    f"{self.issuer} says that it is {document.get('issuer')!r}: write the issuer as"
                    " it does"
                )
            self._document = document
        found = self._document.get(name)
        if not isinstance(found, str):
            raise ProviderError(f"{self.issuer} names no {name}")
        return found

    def key(self, key_id: str) -> PyJWK | None:
        """The key of an id; None when the issuer has none of that id."""
        with self._lock:
            age_s = time.monotonic() - self._read_s
            if age_s > _KEYS_FRESH_S or (key_id not in self._keys and age_s > _KEYS_AGAIN_S):
                self._read_s = (
                    time.monotonic()
                )  # a provider that is down is not asked by every request
                self._keys = self._read_keys()
            return self._keys.get(key_id)

    def _read_keys(self) -> dict[str, PyJWK]:
        from jwt import PyJWK
        from jwt.exceptions import PyJWKError, PyJWTError

        found = {}
        for value in _fetch_json(self._jwks_uri or self.endpoint("jwks_uri")).get("keys", []):
            if value.get("use", "sig") != "sig":
                continue
            try:
                key = PyJWK.from_dict(value)
            except (
                PyJWKError,
                PyJWTError,
            ):  # of a kind that this version does not know: tokens signed with it are refused
                continue
            found[str(value.get("kid", ""))] = key
        return found


class OidcAuthenticator:
    """See above.

    issuer, audience: what `iss` and `aud` must be (audience: usually the client id).  header:
    where the token stands; `authorization` is read as `Bearer …`.  user_claim: who it is.
    groups_claim, write_groups: who may change things; without `write_groups` everybody may.
    client_id, client_secret, public_url: browsers log in at the provider, which sends them back
    to `{public_url}/login/callback`.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        jwks_uri: str = "",
        header: str = "authorization",
        user_claim: str = "email",
        groups_claim: str = "groups",
        write_groups: Collection[str] = (),
        algorithms: Sequence[str] = ALGORITHMS,
        leeway_s: float = 30.0,
        client_id: str = "",
        client_secret: str = "",
        public_url: str = "",
        scopes: str = "openid email profile",
    ) -> None:
        try:
            import jwt  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                "OpenID Connect needs `pip install odradek[oidc]`", key="authenticator"
            ) from error
        self.audience = [audience] if isinstance(audience, str) else list(audience)
        if not all(self.audience) or not self.audience:
            raise ConfigurationError(
                "OpenID Connect needs an audience: a token made for somebody else must not be"
                " taken",
                key="audience",
            )
        if foreign := set(algorithms) - set(ALGORITHMS):
            raise ConfigurationError(
                f"no signature of a key pair: {', '.join(sorted(foreign))}", key="algorithms"
            )
        if client_id and (len(client_secret) < 16 or not public_url):
            raise ConfigurationError(
                "a login needs a client secret of 16 characters or more, and the server's"
                " public URL",
                key="client_id",
            )
        self.provider = IdentityProvider(issuer, jwks_uri=jwks_uri)
        self.client_id = client_id
        self.client_secret = client_secret
        self.public_url = public_url.rstrip("/")
        self.scopes = scopes
        self.login = bool(client_id)
        self._header = header.lower()
        self._user_claim = user_claim
        self._groups_claim = groups_claim
        self._write_groups = frozenset(write_groups)
        self._algorithms = list(algorithms)
        self._leeway_s = leeway_s

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        """By the token, else by the session of a login. Raises ProviderError when keys are
        needed and cannot be had.
        """
        token = connection.headers.get(self._header, "").strip()
        if self._header == "authorization":
            scheme, _, token = token.partition(" ")
            token = token.strip() if scheme.lower() == "bearer" else ""
        if token:
            claims = await asyncio.to_thread(self.check, token, self.audience)
            return None if claims is None else self.principal(claims)
        cookie = connection.cookies.get(SESSION_COOKIE) if self.login else None
        session = open_signed(cookie, self.client_secret, "session") if cookie is not None else None
        return (
            None
            if session is None
            else Principal(str(session["name"]), may_write=bool(session["may_write"]))
        )

    def check(self, token: str, audience: Sequence[str]) -> dict[str, Any] | None:
        """The claims of a token; None for one that is not to be believed. Blocking."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._algorithms:
                return None
            key = self.provider.key(str(header.get("kid", "")))
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=list(audience),
                issuer=self.provider.issuer,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (
            jwt.PyJWTError,
            RecursionError,
        ):  # it parses the JSON of a token before it knows who made it
            return None
        return claims

    def principal(self, claims: dict[str, Any]) -> Principal | None:
        """Who a token speaks of; None when it names nobody."""
        name = claims.get(self._user_claim) or claims.get("preferred_username") or claims.get("sub")
        if not isinstance(name, str) or not name:
            return None
        groups = claims.get(self._groups_claim, [])
        known = (
            set(groups.split())
            if isinstance(groups, str)
            else {str(group) for group in groups}
            if isinstance(groups, list)
            else set()
        )
        return Principal(name, may_write=not self._write_groups or bool(known & self._write_groups))


def _fetch_json(address: str) -> dict[str, Any]:
    return fetch_json(urllib.request.Request(address, headers={"Accept": "application/json"}))


def fetch_json(request: urllib.request.Request) -> dict[str, Any]:
    """A JSON object of the provider. Raises ProviderError."""
    try:
        with urllib.request.urlopen(request, timeout=_FETCH_TIMEOUT_S) as response:
            value = json.loads(response.read(_DOCUMENT_MAX))
    except urllib.error.HTTPError as error:
        kind = ProviderRefusedError if error.code in (400, 401) else ProviderError
        raise kind(f"{request.full_url.partition('?')[0]}: {error}") from error
    except (urllib.error.URLError, OSError, ValueError, RecursionError) as error:
        raise ProviderError(f"{request.full_url.partition('?')[0]}: {error}") from error
    if not isinstance(value, dict):
        raise ProviderError(f"{request.full_url.partition('?')[0]} answers no JSON object")
    return value
