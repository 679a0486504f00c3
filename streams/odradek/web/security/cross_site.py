"""Requests that another site makes a browser send: refused when they would change something.

By what browsers say of themselves, without tokens in forms: `Sec-Fetch-Site`, else `Origin`
against `Host`. Programs that are no browsers send neither and carry no ambient rights (no
cookie) to abuse. The session cookie is SameSite=Strict besides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_SHOWN_MAX = 200
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_cross_site(
    method: str, headers: Mapping[str, str], trusted_origins: Collection[str]
) -> bool:
    """Whether a request is one that a browser sends for another site and that may change
    something. Header names in lower case.
    """
    if method in SAFE_METHODS:
        return False
    origin = headers.get("origin", "")
    if origin and origin in trusted_origins:
        return False
    site = headers.get("sec-fetch-site", "")
    if site:
        return site not in ("same-origin", "none")
    if not origin:
        return False
    return origin == "null" or urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def refused_origin(headers: Mapping[str, str]) -> str:
    """What to say of such a request."""
    origin = headers.get("origin", "")[:_SHOWN_MAX]
    if not origin or origin == "null":
        return "cross-site request refused: its browser names no origin that could be trusted"
    return (
        f"cross-site request refused: if {origin!r} is yours, start the server with"
        f" --trusted-origin {origin} (`trusted_origins`)"
    )
