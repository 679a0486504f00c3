"""Authenticators made of the environment, for `--authenticator
odradek.web.security.environment:oidc` (or `:headers`).

Variables are `ODRADEK_AUTH_…`; lists are separated by commas. They are no settings: they belong
to the server alone, and one is a secret.

| | |
|---|---|
| `ODRADEK_AUTH_ISSUER`, `…_AUDIENCE` | `iss` and `aud` of tokens; both needed for `oidc` |
| `…_JWKS_URI` | where its keys are, if not where discovery says |
| `…_HEADER` | where a proxy puts the token (`authorization`) |
| `…_USER_CLAIM`, `…_GROUPS_CLAIM` | `email`, `groups` |
| `…_CLIENT_ID`, `…_CLIENT_SECRET`, `…_PUBLIC_URL` | browsers log in at the provider |
| `…_PROXIES` | for `headers`: addresses or networks of the proxies that are believed; needed |
| `…_USER_HEADER`, `…_GROUPS_HEADER` | `x-forwarded-user`, `x-forwarded-groups` |
| `…_WRITE_GROUPS` | who may change things; without it everybody who is known |
"""

from __future__ import annotations

import os

from odradek.exceptions import ConfigurationError
from odradek.web.security.authentication import HeaderAuthenticator
from odradek.web.security.oidc import OidcAuthenticator

PREFIX = "ODRADEK_AUTH_"
_COMMON = ("WRITE_GROUPS",)
_OIDC = (
    "ISSUER",
    "AUDIENCE",
    "JWKS_URI",
    "HEADER",
    "USER_CLAIM",
    "GROUPS_CLAIM",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "PUBLIC_URL",
)
_HEADERS = ("PROXIES", "USER_HEADER", "GROUPS_HEADER")


def oidc() -> OidcAuthenticator:
    """Tokens of an identity provider. Raises ConfigurationError."""
    given = _given(_OIDC)
    return OidcAuthenticator(
        _needed(given, "ISSUER"),
        _list(_needed(given, "AUDIENCE")),
        write_groups=_list(given.get("WRITE_GROUPS", "")),
        # all of them are texts
        **{name.lower(): given[name] for name in _OIDC[2:] if name in given},  # type: ignore[arg-type]
    )


def headers() -> HeaderAuthenticator:
    """The headers of a proxy. Raises ConfigurationError."""
    given = _given(_HEADERS)
    return HeaderAuthenticator(
        proxies=_list(_needed(given, "PROXIES")),
        write_groups=_list(given.get("WRITE_GROUPS", "")),
        **{name.lower(): given[name] for name in _HEADERS[1:] if name in given},
    )


def _given(known: tuple[str, ...]) -> dict[str, str]:
    """What is set. A name that means nothing here would be a rule that is not kept, so it is an
    error.
    """
    given = {
        name.removeprefix(PREFIX): value.strip()
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and value.strip()
    }
    if unknown := sorted(given.keys() - set(known) - set(_COMMON)):
        names = ", ".join(PREFIX + name for name in (*known, *_COMMON))
        raise ConfigurationError(
            f"{PREFIX}{unknown[0]} means nothing to this authenticator; it knows {names}",
            key=PREFIX + unknown[0],
        )
    return given


def _needed(given: dict[str, str], name: str) -> str:
    if name not in given:
        raise ConfigurationError(f"this authenticator needs {PREFIX}{name}", key=PREFIX + name)
    return given[name]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
