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
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from odradek.exceptions import ConfigurationError
from odradek.telemetry import metrics

logger = logging.getLogger("odradek.telemetry")


@dataclass(frozen=True)
class Health:
    """Reasons against being live, and against being ready; none: it is."""

    not_live: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether threads go on."""
        return not self.not_live

    @property
    def ready(self) -> bool:
        """Whether it does its work."""
        return not self.not_ready and not self.not_live

    def __add__(self, other: Health) -> Health:
        return Health(self.not_live + other.not_live, self.not_ready + other.not_ready)


HealthCheck = Callable[[], Health]
#: Sets gauges to what they are now. Called for each scrape.
SetGauges = Callable[[], None]

PATHS = ("/metrics", "/health/live", "/health/ready")
REQUEST_TIMEOUT_S = 10.0


class Endpoint:
    """Serves until `close`. `gauges` and `checks` may be added to and taken from at any time."""

    def __init__(self, host: str, port: int) -> None:
        """port 0: any that is free, see `address`. `ConfigurationError` when it is taken."""
        self.gauges: list[SetGauges] = []
        self.checks: list[HealthCheck] = []
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
            return 200, CONTENT_TYPE_LATEST, render(self.gauges)
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


_rendering = threading.Lock()


def render(gauges: Sequence[SetGauges]) -> bytes:
    """The text of `/metrics`. What cannot be read is logged and missing: one part that is being
    closed must not hide all others.
    """
    with _rendering:
        for gauge in metrics.GAUGES:
            gauge.clear()
        for set_gauges in list(gauges):
            try:
                set_gauges()
            except Exception:
                logger.exception("some gauges cannot be read and are left out")
        return generate_latest(REGISTRY)


def set_disk_gauges(state_dir: Path) -> None:
    """Of the file system that the state directory lies on, or will."""
    folder = state_dir
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    metrics.DISK_FREE.labels(str(state_dir)).set(usage.free)
    metrics.DISK_SIZE.labels(str(state_dir)).set(usage.total)


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
