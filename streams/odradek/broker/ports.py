"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from pathlib import Path

#: Clients and brokers talk over IPv4 loopback: `localhost` may mean ::1 first, where the broker
#: does not listen.
HOST = "127.0.0.1"

_LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")  # Linux
_IANA_DYNAMIC = 49_152  # RFC 6335, section 6: what others give away
_TRIES, _LEAST = 50, 1_000
_random = random.SystemRandom()  # forked processes and seeded tests must not choose alike


def free_ports(count: int) -> list[int]:
    """`count` different ports that were free just now.

    Below those that the system gives to outgoing connections (and to whoever binds port 0): a
    broker binds its port seconds later, and one that was killed comes back to it, while
    thousands of connections come and go. Another program that asks for this very port can still
    be quicker; who starts a broker on it tries again with others.
    """
    found: list[int] = []
    first, last = _unassigned()
    for _ in range(_TRIES * count if last - first >= _LEAST else 0):
        port = _random.randrange(first, last)
        if port not in found and is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    return _assigned(count)


def _unassigned() -> tuple[int, int]:
    """First port that no privilege is needed for and little known software listens on, and the
    first that the system gives away itself.
    """
    try:
        low = int(_LOCAL_PORTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        low = _IANA_DYNAMIC
    return 15_000, low


def _assigned(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the broker does it: connections of a predecessor in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts_connections(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
