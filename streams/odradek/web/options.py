"""Options of the server that are not settings of a deployment: where it listens, who may use it,
how long it waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from odradek.web.security.names import host_name, origin

if TYPE_CHECKING:
    from odradek.web.security.authentication import Authenticator

DEFAULT_PORT = 8088


@dataclass(frozen=True)
class ServerOptions:
    """How one server runs.

    host, port: where it listens; port 0 takes a free one.  read_only: refuse whatever changes
    something. authenticator: who may use it; None lets everybody in, which is only safe on a
    loopback address or behind a proxy. allowed_hosts: names in the `Host` header that are
    answered besides IP addresses, `localhost` and the machine's own name; `*` for any.
    trusted_origins: origins besides its own from which browsers may change things
    (`https://ops.example.com`). cookie_secure: whether session cookies are `Secure`: `always`,
    `never`, or `auto`, when the browser has reached the server by HTTPS.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    read_only: bool = False
    authenticator: Authenticator | None = None
    allowed_hosts: Sequence[str] = ()
    trusted_origins: Sequence[str] = ()
    cookie_secure: str = "auto"
    #: Longest wait for an owner's answer, seconds.
    request_timeout_s: float = 10.0
    #: Longest wait for a new event (`waitNewEvent`); Temporal's server gives 20 s.
    long_poll_s: float = 20.0
    #: How long one request to an owner waits for events of a run that an event stream follows: each
    #: is a record of `events`.
    stream_poll_s: float = 60.0
    #: Longest search through topics (trail, dead letters).
    search_timeout_s: float = 10.0
    #: Net over everything else: no request takes longer than this, event streams aside.
    request_limit_s: float = 60.0
    #: Largest request body, bytes; gRPC's default.
    body_max_bytes: int = 4 * 1024 * 1024
    #: A comment on each idle event stream this often, so that proxies keep it open.
    keep_alive_s: float = 15.0
    #: How long batches may take to end at SIGTERM.
    shutdown_timeout_s: float = 0.5
    loopback: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Raises ConfigurationError for a name or an origin that could never match."""
        object.__setattr__(
            self, "allowed_hosts", tuple(host_name(one) for one in self.allowed_hosts)
        )
        object.__setattr__(
            self, "trusted_origins", tuple(origin(one) for one in self.trusted_origins)
        )
        object.__setattr__(self, "loopback", self.host in ("127.0.0.1", "::1", "localhost"))
