"""`/metrics`, `/health/live` and `/health/ready` of a service that knows nothing of Odradek: a small HTTP server over prometheus_client.

Live: the service's loop goes round (`beat`). Ready: it has partitions to read (`assigned`). Whether a broker answers, it does not say.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest

SILENT_SECONDS = 60.0

RECORDS = Counter("foreign_records_total", "Records read.", ["service"])
OUTCOMES = Counter("foreign_outcomes_total", "What became of them, by kind of work and outcome.", ["service", "kind", "outcome"])
SECONDS = Histogram("foreign_work_seconds", "Time that the work took.", ["service", "kind"])


class Telemetry:
    """Of one process. `address`: `host:port`; "" serves nothing, and everything else goes on as if it did."""

    def __init__(self, service: str, address: str) -> None:
        self.service = service
        self.assigned = False
        self._beaten_at = time.monotonic()
        if address:
            host, _, port = address.rpartition(":")
            server = ThreadingHTTPServer((host, int(port)), _handler(self))
            threading.Thread(target=server.serve_forever, name="telemetry", daemon=True).start()

    def beat(self) -> None:
        """The loop has gone round."""
        self._beaten_at = time.monotonic()

    def read(self, count: int = 1) -> None:
        """Records were read."""
        RECORDS.labels(self.service).inc(count)

    def worked(self, kind: str, outcome: str, seconds: float) -> None:
        """A piece of work is over."""
        OUTCOMES.labels(self.service, kind, outcome).inc()
        SECONDS.labels(self.service, kind).observe(seconds)

    def reasons(self, path: str) -> list[str]:
        """Why a probe says no."""
        silent = time.monotonic() - self._beaten_at
        reasons = [f"{self.service}: its loop has been silent for {silent:.0f} s"] if silent > SILENT_SECONDS else []
        if path == "/health/ready" and not self.assigned:
            reasons.append(f"{self.service}: the group has not assigned partitions yet")
        return reasons


def _handler(telemetry: Telemetry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif self.path in ("/health/live", "/health/ready"):
                reasons = telemetry.reasons(self.path)
                what = self.path.rpartition("/")[2]
                body = {"status": f"not {what}", "reasons": reasons} if reasons else {"status": what}
                self._answer(503 if reasons else 200, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"there are /metrics, /health/live, /health/ready\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
