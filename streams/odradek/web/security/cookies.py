"""Whether a session cookie is `Secure`, so that a browser sends it over HTTPS alone.

The server itself speaks plain HTTP; TLS ends at a proxy before it. `auto` believes the browser:
the `Origin` that it sends with a login's form is the address in its bar, scheme included, and no
site can set it. Forwarded headers are believed by nobody: they need not come from the proxy.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from odradek.web.options import ServerOptions


def is_secure(connection: HTTPConnection, options: ServerOptions, *, public_url: str = "") -> bool:
    """Whether cookies of this answer are `Secure`. public_url: where browsers find the server,
    if that is known.
    """
    if options.cookie_secure != "auto":
        return options.cookie_secure == "always"
    if public_url:
        return public_url.lower().startswith("https://")
    return connection.url.scheme == "https" or connection.headers.get(
        "origin", ""
    ).lower().startswith("https://")
