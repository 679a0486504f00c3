"""`/metrics` of the server: its requests, its read side, its client connection, and every queue
as brokers and members see it.

Under the same authentication as everything else (Prometheus sends a bearer token); with the
setting `telemetry_port` also served there, with the probes, for networks where only Prometheus
reaches it. What it says of queues is asked for at most every ten seconds and left out while no
broker answers: a scrape never hangs on Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from odradek.log_fields import log_fields, set_log_fields
from odradek.telemetry import metrics
from odradek.telemetry.endpoint import Health, process_endpoint, render, set_disk_gauges
from odradek.web.context import ServerContext, server_of
from odradek.web.kafka.facts import QueueDetail
from odradek.web.threads import in_kafka_thread, in_thread

if TYPE_CHECKING:
    from odradek.web.kafka.cluster import QueueReader

_QUEUES_EVERY_S = 10.0
_QUEUES_TIMEOUT_S = 4.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE = "(none)"
_PATH_MAX = 1_000


class CountRequests:
    """ASGI middleware: counts by the pattern of the route, never by what stands in the path;
    lines of the log name the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, seen = time.perf_counter(), [0, 0.0]

        async def send_and_see(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen[:] = message["status"], time.perf_counter() - began
            await send(message)

        # Of the request's own task; the query may hold what somebody looks for, and codes of a
        # login.
        set_log_fields(
            **{**log_fields(), "request": f"{scope['method']} {scope['path'][:_PATH_MAX]}"}
        )
        try:
            await self._app(scope, receive, send_and_see)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "(other)"
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            took = seen[1] or time.perf_counter() - began
            metrics.HTTP_REQUESTS.labels(method, route, str(seen[0] or 500)).inc()
            metrics.HTTP_SECONDS.labels(method, route).observe(took)


def metrics_routes() -> list[BaseRoute]:
    """The route of `/metrics`."""
    return [Route("/metrics", _metrics, methods=["GET"])]


async def _metrics(request: Request) -> Response:
    server = server_of(request)
    await refresh_queues(server)
    text = render([lambda: set_server_gauges(server)])
    return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)


async def refresh_queues(server: ServerContext) -> None:
    """Ask read side, brokers and members, unless that was done just now. No answer in time:
    nothing is known of queues.
    """
    known, reader = server.known_queues, server.queues
    if reader is None or time.monotonic() - known.read_at < _QUEUES_EVERY_S:
        return
    known.read_at = time.monotonic()
    asked = in_kafka_thread(_read_queues, reader), in_thread(_open_runs, server)
    # An error: no broker, no read side yet, or not in time. Said by /health/ready, and by the
    # metrics that are missing.
    queues, runs = await asyncio.gather(
        *(asyncio.wait_for(one, _QUEUES_TIMEOUT_S) for one in asked), return_exceptions=True
    )
    known.queues = queues if isinstance(queues, list) else []
    known.open_runs = runs if isinstance(runs, dict) else None


def _open_runs(server: ServerContext) -> dict[str, int] | None:
    found = server.need_visibility().count(
        "ExecutionStatus = 'Running' GROUP BY TaskQueue", timeout_s=_QUEUES_TIMEOUT_S
    )
    return {group.values[0]: group.count for group in found.groups} if found.complete else None


def _read_queues(reader: QueueReader) -> list[QueueDetail]:
    return [reader.queue(name) for name in reader.kinds()]


def set_server_gauges(server: ServerContext) -> None:
    """Everything that the server knows, without asking anybody."""
    namespace, known = server.settings.namespace, server.known_queues
    metrics.HTTP_STREAMS.set(server.hub.statistics()["streams"])
    if (kept := server.statistics.get("histories")) is not None:
        histories = kept()
        metrics.KEPT_HISTORIES.set(histories["histories"])
        metrics.KEPT_BYTES.set(histories["bytes"])
    if (requests := server.statistics.get("requests")) is not None:
        found = requests()
        metrics.CLIENT_WAITING.labels(namespace).set(found["waiting"])
        metrics.CLIENT_RESPONSE.labels(namespace).set(found["response_ms"] / 1000)
    if (read_side := server.statistics.get("read side")) is not None:
        _set_read_side(server, read_side())
    for queue in known.queues:
        _set_queue((namespace, queue.name), queue)
        if known.open_runs is not None:
            count = known.open_runs.get(queue.name, 0)
            metrics.QUEUE_OPEN_RUNS.labels(namespace, queue.name).set(count)
    set_disk_gauges(server.settings.state_dir)


def _set_read_side(server: ServerContext, found: dict[str, Any]) -> None:
    from odradek.visibility.reader import store_path

    namespace = server.settings.namespace
    metrics.VISIBILITY_RUNNING.labels(namespace).set(found["state"] == "RUNNING")
    if found["lag"] is not None:
        metrics.VISIBILITY_LAG.labels(namespace).set(found["lag"])
    path = store_path(server.settings)
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    size = sum(file.stat().st_size for file in files if file.exists())
    metrics.VISIBILITY_STORE_BYTES.labels(namespace).set(size)


def _set_queue(where: tuple[str, str], queue: QueueDetail) -> None:
    unowned = sum(1 for partition in queue.partitions if not partition.owner)
    written = sum(partition.end_offset for partition in queue.activity_partitions)
    for gauge, value in (
        (metrics.QUEUE_LAG, queue.lag),
        (metrics.QUEUE_COMMANDS, written),
        (metrics.QUEUE_COMMANDS_LAG, queue.activity_lag),
        (metrics.QUEUE_UNOWNED, unowned),
        (metrics.QUEUE_PROCESSORS, queue.processors),
        (metrics.QUEUE_SERVICES, queue.services),
        (metrics.QUEUE_DEAD_LETTERS, queue.dead_letters),
    ):
        if value is not None:
            gauge.labels(*where).set(value)


@asynccontextmanager
async def server_telemetry(server: ServerContext) -> AsyncIterator[None]:
    """Serve metrics and probes at `telemetry_port` too, if it is set, for as long as the block
    runs.
    """
    settings = server.settings
    if settings.telemetry_port is None:
        yield
        return
    loop = asyncio.get_running_loop()
    beaten = [time.monotonic()]
    liveness_s = settings.liveness_timeout.total_seconds()

    def health() -> Health:
        silent_s = time.monotonic() - beaten[0]
        dead = (
            (f"the server's event loop has been blocked for {silent_s:.0f} s",)
            if silent_s > liveness_s
            else ()
        )
        missing = [
            f"{name}: {found}" for name, check in server.readiness.items() if (found := check())
        ]
        return Health(dead, tuple(missing))

    def set_gauges() -> None:
        asked = asyncio.run_coroutine_threadsafe(refresh_queues(server), loop)
        try:
            asked.result(_QUEUES_TIMEOUT_S + 1)
        except TimeoutError:  # the event loop is busy: what it knew last
            asked.cancel()
        set_server_gauges(server)

    async def beat() -> None:
        while True:
            beaten[0] = time.monotonic()
            await asyncio.sleep(1)

    beating = loop.create_task(beat())
    with process_endpoint(settings.telemetry_host, settings.telemetry_port) as endpoint:
        endpoint.gauges.append(set_gauges)
        endpoint.checks.append(health)
        try:
            yield
        finally:
            endpoint.gauges.remove(set_gauges)
            endpoint.checks.remove(health)
            beating.cancel()
