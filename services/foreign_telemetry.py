"""`/metrics`, `/health/live` and `/health/ready` of a service that knows nothing of Odradek: a
small HTTP server over prometheus_client.

As docs/operate.md has it for Odradek's own processes. Live: the service's loop goes round
(`beat`). Ready: the group has assigned partitions (`assigned`), a broker answers (`contact`) and
has what the service writes to (`lacks`), and what waits there to be read is read (`stands`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SILENT_SECONDS = 60.0
#: Members report every 3 s; three reports without an acknowledgement are an outage.
CONTACT_SECONDS = 10.0
#: Records wait and none of them is taken: longer than a group needs for a rebalance.
STUCK_SECONDS = 30.0

# `x_created` beside each: nobody asks for it
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
RECORDS = Counter("foreign_records_total", "Records read.", ["service"], registry=REGISTRY)
OUTCOMES = Counter(
    "foreign_outcomes_total",
    "What became of them, by kind of work and outcome.",
    ["service", "kind", "outcome"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "foreign_work_seconds", "Time that the work took.", ["service", "kind"], registry=REGISTRY
)
#: Under the name and labels of Odradek's own (`make docs`), so that one alarm sees them all.
DEAD_LETTERS = Counter(
    "odradek_dead_letters_total",
    "Records written to dead-letters, by the reason in their headers.",
    ["namespace", "task_queue", "kind", "reason"],
    registry=REGISTRY,
)


class Telemetry:
    """Of one process. `address`: `host:port`; "" serves nothing, and everything else goes on as
    if it did.
    """

    def __init__(self, service: str, address: str) -> None:
        self.service = service
        self.assigned = False
        self.stopping = False
        self._beaten_at = time.monotonic()
        self._contact_at: float | None = None
        self._lacking = ""
        self._waiting = 0
        self._moved_at = time.monotonic()
        self._position: object = None
        if address:
            host, _, port = address.rpartition(":")
            server = ThreadingHTTPServer((host, int(port)), _handler(self))
            threading.Thread(target=server.serve_forever, name="telemetry", daemon=True).start()

    def beat(self) -> None:
        """The loop has gone round."""
        self._beaten_at = time.monotonic()

    def contact(self) -> None:
        """A broker has answered."""
        self._contact_at = time.monotonic()

    def lacks(self, what: str) -> None:
        """What keeps it from working although a broker answers, in words; "" once nothing does."""
        self._lacking = what

    def stands(self, position: object, waiting: int) -> None:
        """How far it has read, in any form that changes when it goes on, and how many records
        wait that it could read. Say it often.
        """
        if position != self._position or not waiting:
            self._position, self._moved_at = position, time.monotonic()
        self._waiting = waiting

    def read(self, count: int = 1) -> None:
        """Records were read."""
        RECORDS.labels(self.service).inc(count)

    def may_dead_letter(self, namespace: str, task_queue: str, reasons: Iterable[str]) -> None:
        """Show its dead letters from 0 on: a counter that is born at 1 shows no increase."""
        for reason in reasons:
            self.dead_lettered(namespace, task_queue, reason, 0)

    def dead_lettered(self, namespace: str, task_queue: str, reason: str, count: int = 1) -> None:
        """Records lie among the dead letters, durably."""
        DEAD_LETTERS.labels(namespace, task_queue, "activities", reason).inc(count)

    def worked(self, kind: str, outcome: str, seconds: float) -> None:
        """A piece of work is over."""
        OUTCOMES.labels(self.service, kind, outcome).inc()
        SECONDS.labels(self.service, kind).observe(seconds)

    def reasons(self, path: str) -> list[str]:
        """Why a probe says no."""
        now = time.monotonic()
        silent = now - self._beaten_at
        reasons = (
            [f"its loop has been silent for {silent:.0f} s"] if silent > SILENT_SECONDS else []
        )
        if path == "/health/ready":
            reasons += self._not_ready(now)
        return [f"{self.service}: {reason}" for reason in reasons]

    def _not_ready(self, now: float) -> list[str]:
        reasons = ["it is shutting down"] if self.stopping else []
        if not self.assigned:
            reasons.append("the group has not assigned partitions yet")
        if self._contact_at is None:
            reasons.append("no broker has answered yet")
        elif now - self._contact_at > CONTACT_SECONDS:
            reasons.append(f"no broker has answered for {now - self._contact_at:.0f} s")
        elif self._lacking:
            reasons.append(self._lacking)
        if self._waiting and now - self._moved_at > STUCK_SECONDS:
            reasons.append(
                f"{self._waiting} records wait, and none was taken for {now - self._moved_at:.0f} s"
            )
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
                body = (
                    {"status": f"not {what}", "reasons": reasons} if reasons else {"status": what}
                )
                self._answer(503 if reasons else 200, "application/json", json.dumps(body).encode())
            else:
                self._answer(
                    404, "text/plain", b"there are /metrics, /health/live, /health/ready\n"
                )

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
