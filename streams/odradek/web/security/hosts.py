"""Which `Host` headers are answered. A server on a loopback address answers its own names only: else any web site could reach it
through a name of its own that resolves to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

from odradek.web.options import ServerOptions

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_allowed_host(host: str, options: ServerOptions) -> bool:
    """Whether a request with this `Host` header is answered. A port behind it does not count."""
    name = _without_port(host).lower()
    if options.allowed_hosts:
        return "*" in options.allowed_hosts or name in {allowed.lower() for allowed in options.allowed_hosts}
    return not options.loopback or name in LOOPBACK_NAMES


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rpartition(":")[0] if ":" in host else host
