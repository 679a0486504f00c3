"""Response headers: a strict content security policy and its companions, on every answer.

Pages load scripts, styles and images from this server only; no inline script or style runs but
one with the request's nonce (`request.state.csp_nonce`); nobody frames them. Style *attributes*
are refused too: draw with SVG attributes or classes.
"""

from __future__ import annotations

import secrets


def new_nonce() -> str:
    """A nonce for one response."""
    return secrets.token_urlsafe(16)


def security_headers(nonce: str) -> list[tuple[bytes, bytes]]:
    """Headers of every response."""
    policy = (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; "
        "img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    ]
