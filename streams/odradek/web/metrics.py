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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from odradek.log_fields import log_fields, set_log_fields
from odradek.statistics import OTHER
from odradek.telemetry import catalog as m
from odradek.telemetry.health import Health
from odradek.telemetry.sources import Sample, client_samples, disk_samples
from odradek.web.context import ServerContext, server_of
from odradek.web.kafka.facts import QueueDetail
from odradek.web.request_tally import RequestTally
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

    def __init__(self, app: ASGIApp, tally: RequestTally) -> None:
        self._app = app
        self._tally = tally

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
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            self._tally.requests.add((method, route, str(seen[0] or 500)))
            self._tally.seconds.of((method, route)).observe(seen[1] or time.perf_counter() - began)


def metrics_routes() -> list[BaseRoute]:
    """The route of `/metrics`."""
    return [Route("/metrics", _metrics, methods=["GET"])]


async def _metrics(request: Request) -> Response:
    server = server_of(request)
    await refresh_queues(server)
    tally = server.requests
    if tally.rendering is None:  # at the first scrape, as it needs the extra `telemetry`
        from odradek.telemetry.endpoint import renderer

        tally.rendering = renderer([lambda: server_samples(server)])
    status, kind, body = tally.rendering()
    return PlainTextResponse(body, status, media_type=kind)


async def refresh_queues(server: ServerContext) -> None:
    """Ask read side, brokers and members, unless that was done just now. No answer in time:
    nothing is known of queues.
    """
    tally, reader = server.requests, server.queues
    if reader is None or time.monotonic() - tally.queues_at < _QUEUES_EVERY_S:
        return
    tally.queues_at = time.monotonic()
    asked = in_kafka_thread(_read_queues, reader), in_thread(_open_runs, server)
    # An error: no broker, no read side yet, or not in time. Said by /health/ready, and by the
    # metrics that are missing.
    queues, runs = await asyncio.gather(
        *(asyncio.wait_for(one, _QUEUES_TIMEOUT_S) for one in asked), return_exceptions=True
    )
    tally.queues = queues if isinstance(queues, list) else []
    tally.open_runs = runs if isinstance(runs, dict) else None


def _open_runs(server: ServerContext) -> dict[str, int] | None:
    found = server.need_visibility().count(
        "ExecutionStatus = 'Running' GROUP BY TaskQueue", timeout_s=_QUEUES_TIMEOUT_S
    )
    return {group.values[0]: group.count for group in found.groups} if found.complete else None


def _read_queues(reader: QueueReader) -> list[QueueDetail]:
    return [reader.queue(name) for name in reader.kinds()]


def server_samples(server: ServerContext) -> Iterator[Sample]:
    """Everything that the server knows, without asking anybody."""
    tally, namespace = server.requests, server.settings.namespace
    for (method, route, status), count in tally.requests.copy().items():
        yield Sample(m.HTTP_REQUESTS, (method, route, status), count)
    for asked, distribution in tally.seconds.snapshot().items():
        yield Sample(m.HTTP_SECONDS, asked, distribution)
    yield Sample(m.HTTP_STREAMS, (), server.hub.statistics()["streams"])
    if (kept := server.statistics.get("histories")) is not None:
        histories = kept()
        yield Sample(m.KEPT_HISTORIES, (), histories["histories"])
        yield Sample(m.KEPT_EVENTS, (), histories["events"])
        yield Sample(m.KEPT_BYTES, (), histories["bytes"])
        yield Sample(m.KEPT_LOOKUPS, ("hit",), histories["hits"])
        yield Sample(m.KEPT_LOOKUPS, ("miss",), histories["misses"])
        yield Sample(m.KEPT_DROPPED, (), histories["dropped"])
    if (requests := server.statistics.get("requests")) is not None:
        yield from client_samples(namespace, requests())
    if (read_side := server.statistics.get("read side")) is not None:
        yield from _read_side(server, read_side())
    for queue in tally.queues:
        yield from _queue(namespace, queue)
        if tally.open_runs is not None:
            yield Sample(
                m.QUEUE_OPEN_RUNS, (namespace, queue.name), tally.open_runs.get(queue.name, 0)
            )
    yield from disk_samples(server.settings.state_dir)


def _read_side(server: ServerContext, found: dict[str, Any]) -> Iterator[Sample]:
    from odradek.visibility.reader import store_path

    where = (server.settings.namespace,)
    yield Sample(m.VISIBILITY_RUNNING, where, found["state"] == "RUNNING")
    if found["lag"] is not None:
        yield Sample(m.VISIBILITY_LAG, where, found["lag"])
    yield Sample(m.VISIBILITY_RECORDS, where, found["records"])
    yield Sample(m.VISIBILITY_BATCHES, where, found["batches"])
    yield Sample(m.VISIBILITY_ROWS, (*where, "written"), found["rows_written"])
    yield Sample(m.VISIBILITY_ROWS, (*where, "deleted"), found["rows_deleted"])
    yield Sample(m.VISIBILITY_SKIPPED, where, found["records_skipped"])
    yield Sample(m.VISIBILITY_UNDECODABLE, where, found["undecodable"])
    yield Sample(m.VISIBILITY_RESTARTS, where, found["restarts"])
    path = store_path(server.settings)
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    yield Sample(
        m.VISIBILITY_STORE_BYTES, where, sum(file.stat().st_size for file in files if file.exists())
    )


def _queue(namespace: str, queue: QueueDetail) -> Iterator[Sample]:
    where = (namespace, queue.name)
    if queue.lag is not None:
        yield Sample(m.QUEUE_LAG, where, queue.lag)
    yield Sample(
        m.QUEUE_COMMANDS,
        where,
        sum(partition.end_offset for partition in queue.activity_partitions),
    )
    if queue.activity_lag is not None:
        yield Sample(m.QUEUE_COMMANDS_LAG, where, queue.activity_lag)
    yield Sample(
        m.QUEUE_UNOWNED, where, sum(1 for partition in queue.partitions if not partition.owner)
    )
    yield Sample(m.QUEUE_PROCESSORS, where, queue.processors)
    yield Sample(m.QUEUE_SERVICES, where, queue.services)
    yield Sample(m.QUEUE_DEAD_LETTERS, where, queue.dead_letters)


@asynccontextmanager
async def server_telemetry(server: ServerContext) -> AsyncIterator[None]:
    """Serve metrics and probes at `telemetry_port` too, if it is set, for as long as the block
    runs.
    """
    settings = server.settings
    if settings.telemetry_port is None:
        yield
        return
    from odradek.telemetry.endpoint import process_endpoint

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

    def samples() -> Iterator[Sample]:
        asked = asyncio.run_coroutine_threadsafe(refresh_queues(server), loop)
        try:
            asked.result(_QUEUES_TIMEOUT_S + 1)
        except TimeoutError:  # the event loop is busy: what it knew last
            asked.cancel()
        yield from server_samples(server)

    async def beat() -> None:
        while True:
            beaten[0] = time.monotonic()
            await asyncio.sleep(1)

    beating = loop.create_task(beat())
    with process_endpoint(settings.telemetry_host, settings.telemetry_port) as endpoint:
        endpoint.sources.append(samples)
        endpoint.checks.append(health)
        try:
            yield
        finally:
            endpoint.sources.remove(samples)
            endpoint.checks.remove(health)
            beating.cancel()
