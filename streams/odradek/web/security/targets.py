"""Where a login may send people afterwards."""

from __future__ import annotations

from urllib.parse import urlsplit


def safe_target(target: str) -> str:
    """A path of this server, whatever was asked for: a login must not send people elsewhere."""
    parts = urlsplit(target)
    local = (
        target.startswith("/")
        and not target.startswith(("//", "/\\"))
        and not parts.scheme
        and not parts.netloc
    )
    return target if local and "\n" not in target and "\r" not in target else "/"
