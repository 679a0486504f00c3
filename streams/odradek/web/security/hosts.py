"""Which `Host` headers are answered: names that no web site can have. Else any site could reach
this server through a name of its own that resolves to the server's address (DNS rebinding), and
would be the same origin to its visitor's browser.

Those are IP addresses, `localhost`, this machine's host name and the name that the server
listens on; and what `allowed_hosts` adds. On a loopback address the machine's name does not
count: nobody reaches it by that.
"""

from __future__ import annotations

import ipaddress
import socket

from odradek.web.options import ServerOptions
from odradek.web.security.names import ANY

_SHOWN_MAX = 100


def is_allowed_host(host: str, options: ServerOptions) -> bool:
    """Whether a request with this `Host` header is answered. A port behind it does not count."""
    if ANY in options.allowed_hosts:
        return True
    name = _without_port(host).lower()
    if not name:
        return False
    return (
        name == "localhost"
        or _is_address(name)
        or name in {*options.allowed_hosts, *(own.lower() for own in _own_names(options))}
    )


def refused_host(host: str) -> str:
    """What to say of a `Host` header that is not answered."""
    name = _without_port(host)[:_SHOWN_MAX]
    if not name:
        return "the request names no host: it has no `Host` header"
    return (
        f"this server is not known by the name {name!r}: if that is its name, start it with"
        " --allowed-host (`allowed_hosts`)"
    )


def _own_names(options: ServerOptions) -> tuple[str, ...]:
    return () if options.loopback else (options.host, socket.gethostname())


def _is_address(name: str) -> bool:
    bracketed = name.startswith("[") and name.endswith("]")
    try:
        return (ipaddress.ip_address(name[1:-1] if bracketed else name).version == 6) is bracketed
    except ValueError:
        return False


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rpartition(":")[0] if ":" in host else host
