"""One small HTTP server a process: `/metrics`, `/health/live`, `/health/ready`. Threads of the
standard library, so that a probe is answered while the event loop is blocked or lanes restore; a
probe that is not answered at all says that the interpreter hangs.

Probes answer 200, or 503 with the reasons, as JSON. Only GET; nothing can be changed here, and
nothing of user data is shown. It has no authentication: listen where only Prometheus and the
platform reach it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from odradek.exceptions import ConfigurationError
from odradek.telemetry.health import Health
from odradek.telemetry.sources import Source

logger = logging.getLogger("odradek.telemetry")

HealthCheck = Callable[[], Health]

PATHS = ("/metrics", "/health/live", "/health/ready")
REQUEST_TIMEOUT_S = 10.0


class Endpoint:
    """Serves until `close`. `sources` and `checks` may be added to and taken from at any time."""

    def __init__(self, host: str, port: int) -> None:
        """port 0: any that is free, see `address`. `ConfigurationError` when it is taken."""
        self.sources: list[Source] = []
        self.checks: list[HealthCheck] = []
        self._render = renderer(self.sources)
        try:
            self._server = _Server((host, port), _Handler, self)
        except OSError as error:
            text = (
                f"cannot serve telemetry on {host}:{port}: {error.strerror or error}. Set"
                " `telemetry_port` to a free one, 0 for any"
            )
            raise ConfigurationError(text, key="telemetry_port") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="odradek-telemetry", daemon=True
        )
        self._thread.start()
        logger.info("telemetry: http://%s:%d/metrics", *self.address)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def health(self) -> Health:
        """Of everything in this process. Nothing to check yet: live, and not ready."""
        if not self.checks:
            return Health(not_ready=("nothing runs in this process yet",))
        return sum((check() for check in list(self.checks)), Health())

    def close(self) -> None:
        """Stop serving; idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        if path == "/metrics":
            return self._render()
        if path == "/health/live":
            return _probe("live", self.health().not_live)
        if path == "/health/ready":
            health = self.health()
            return _probe("ready", health.not_live + health.not_ready)
        return (
            404,
            "text/plain; charset=utf-8",
            ("not found; there are " + ", ".join(PATHS) + "\n").encode(),
        )


def _probe(what: str, reasons: tuple[str, ...]) -> tuple[int, str, bytes]:
    body = {"status": what} if not reasons else {"status": f"not {what}", "reasons": list(reasons)}
    return (
        (503 if reasons else 200),
        "application/json",
        json.dumps(body, ensure_ascii=False).encode(),
    )


def renderer(sources: list[Source]) -> Callable[[], tuple[int, str, bytes]]:
    """How `/metrics` is answered: 501 without prometheus-client, which probes do not need."""
    try:
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        from odradek.telemetry.collector import new_registry
    except ModuleNotFoundError as error:
        text = f"metrics need {error.name}: pip install 'odradek[telemetry]'\n".encode()
        return lambda: (501, "text/plain; charset=utf-8", text)
    registry = new_registry(sources)
    return lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], endpoint: Endpoint
    ) -> None:
        self.endpoint = endpoint
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a telemetry request from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version = "odradek"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            status, kind, body = self.server.endpoint.answer(self.path.partition("?")[0])
        except Exception as error:  # a defect here must show as one, not as a silent connection
            logger.exception("%s cannot be answered", self.path)
            status, kind, body = (
                500,
                "text/plain; charset=utf-8",
                f"{type(error).__name__}: {error}\n".encode(),
            )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("%s: %s", self.address_string(), format % args)


_lock = threading.Lock()
_open: dict[tuple[str, int], tuple[Endpoint, int]] = {}


@contextmanager
def process_endpoint(host: str, port: int) -> Iterator[Endpoint]:
    """The endpoint of this process at that address: opened by the first who asks, closed by the
    last who leaves.
    """
    key = (host, port)
    with _lock:
        endpoint, users = _open.get(key) or (Endpoint(host, port), 0)
        _open[key] = (endpoint, users + 1)
    try:
        yield endpoint
    finally:
        with _lock:
            endpoint, users = _open[key]
            if users > 1:
                _open[key] = (endpoint, users - 1)
            else:
                del _open[key]
        if users == 1:
            endpoint.close()
