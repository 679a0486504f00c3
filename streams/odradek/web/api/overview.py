"""The server itself, statistics over time, and what changes, as it changes."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Annotated, Any

from fastapi import Query, Request

from odradek.service import RPCStatusCode
from odradek.web.api.router import Server, TimeMs, new_router
from odradek.web.context import server_version
from odradek.web.errors import ApiError, invalid
from odradek.web.hub import TOPICS, EventStream, TooManyStreamsError, hub_stream
from odradek.web.security.gate import may_write
from odradek.web.threads import in_thread

HOUR_MS = 3_600_000
STEPS_MAX = 2_000
StartMs = Annotated[TimeMs | None, Query(description="An hour before the end when left out.")]
EndMs = Annotated[TimeMs | None, Query(description="Now when left out.")]
StepMs = Annotated[int, Query(ge=60_000, le=366 * 24 * HOUR_MS, description="Whole minutes.")]

router = new_router("server")


@dataclass
class Info:
    """The server, and who asks."""

    version: str
    namespace: str
    address: str
    cluster_id: str
    read_only: bool
    user: str
    may_write: bool
    time_ms: int


@router.get("/info", summary="The server, and who asks.")
async def info(server: Server, request: Request) -> Info:
    principal = request.state.principal
    return Info(
        version=server_version(),
        namespace=server.namespace,
        address=server.settings.address,
        cluster_id=server.cluster_id,
        read_only=server.options.read_only,
        user=principal.name if principal is not None else "",
        may_write=may_write(request, server.options),
        time_ms=int(time.time() * 1000),
    )


@dataclass
class WindowView:
    """One window. `open_runs`: open at its end; `deleted`: runs that were deleted while they
    were open. Latencies are of completed runs, null without any.
    """

    start_ms: int
    step_ms: int
    workflow_type: str
    started: int
    completed: int
    failed: int
    timed_out: int
    canceled: int
    terminated: int
    continued_as_new: int
    deleted: int
    open_runs: int
    latency_mean_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None


@dataclass
class Statistics:
    """Windows in order of time, then workflow type. `complete_since_ms`: those before it may
    lack runs that closed and were deleted before this server's read side could count them; other
    servers may have more of them.
    """

    windows: list[WindowView]
    complete_since_ms: int


def time_range(start_ms: int | None, end_ms: int | None, step_ms: int) -> tuple[int, int]:
    """Start and end of what is asked for. INVALID_ARGUMENT for more than STEPS_MAX steps."""
    end = int(time.time() * 1000) if end_ms is None else end_ms
    start = max(0, end - HOUR_MS) if start_ms is None else start_ms
    if end < start:
        raise invalid("end_ms lies before start_ms")
    if (end - start) // step_ms > STEPS_MAX:
        raise invalid(f"more than {STEPS_MAX:,} steps: take a larger step_ms")
    return start, end


@router.get("/statistics", summary="Rates and latencies over time.")
async def statistics(
    server: Server,
    start_ms: StartMs = None,
    end_ms: EndMs = None,
    step_ms: StepMs = 60_000,
    workflow_type: Annotated[str, Query(max_length=1_000, description="Of this type only.")] = "",
    together: Annotated[bool, Query(description="Of all types together.")] = False,
) -> Statistics:
    start, end = time_range(start_ms, end_ms, step_ms)
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s

    def read() -> Statistics:  # percentiles of many windows are work, too
        windows = store.windows(
            start,
            end,
            step_ms=step_ms,
            workflow_types=[workflow_type] if workflow_type else None,
            together=together,
            timeout_s=timeout_s,
        )
        return Statistics([_view(window) for window in windows], store.windows_complete_since_ms)

    return await in_thread(read)


def _view(window: Any) -> WindowView:
    names = [one.name for one in fields(WindowView) if not one.name.startswith("latency_")]
    return WindowView(
        **{name: getattr(window, name) for name in names},
        latency_mean_ms=window.latency_mean_ms,
        latency_p50_ms=window.latency_ms(0.50),
        latency_p95_ms=window.latency_ms(0.95),
        latency_p99_ms=window.latency_ms(0.99),
    )


@dataclass
class Parts:
    """Statistics of the server's parts: queues, caches, ingest."""

    parts: dict[str, dict[str, Any]]


@router.get("/server-statistics", summary="Statistics of its parts.")
async def server_statistics(server: Server) -> Parts:
    found = {name: read() for name, read in server.statistics.items()}
    return Parts({"events": dict(server.hub.statistics()), **found})


@router.get(
    "/changes",
    summary="What changes, as it changes (server-sent).",
    response_class=EventStream,
    status_code=200,
)
async def changes(
    server: Server,
    topics: Annotated[
        str,
        Query(max_length=100, description="`runs`, `members`, or both with a comma; else all."),
    ] = "",
) -> EventStream:
    wanted = [name for name in topics.split(",") if name] or list(TOPICS)
    if unknown := [name for name in wanted if name not in TOPICS]:
        raise invalid(f"topics: {unknown[0]!r} is none of {', '.join(TOPICS)}")
    try:
        listener = server.hub.listen(wanted)
    except TooManyStreamsError as error:
        raise ApiError(RPCStatusCode.RESOURCE_EXHAUSTED, str(error)) from error
    return EventStream(hub_stream(listener, server.options.keep_alive_s))
