"""The server itself, statistics over time, and what changes, as it changes."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec

from odradek.service import RPCStatusCode
from odradek.web.api.operation import Asked, Operation
from odradek.web.api.parameters import TimeMs
from odradek.web.context import server_version
from odradek.web.errors import ApiError, invalid
from odradek.web.hub import TOPICS, EventStream, TooManyStreamsError, hub_stream
from odradek.web.security.gate import may_write
from odradek.web.threads import in_thread

HOUR_MS = 3_600_000


class Info(msgspec.Struct):
    """The server, and who asks."""

    version: str
    namespace: str
    address: str
    cluster_id: str
    read_only: bool
    user: str
    may_write: bool
    time_ms: int


async def info(asked: Asked) -> Info:
    server = asked.server
    principal = asked.request.state.principal
    return Info(
        version=server_version(),
        namespace=server.namespace,
        address=server.settings.address,
        cluster_id=server.cluster_id,
        read_only=server.options.read_only,
        user=principal.name if principal is not None else "",
        may_write=may_write(asked.request, server.options),
        time_ms=int(time.time() * 1000),
    )


class WindowView(msgspec.Struct):
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


class Statistics(msgspec.Struct):
    """Windows in order of time, then workflow type. `complete_since_ms`: those before it may
    lack runs that closed and were deleted before this server's read side could count them; other
    servers may have more of them.
    """

    windows: list[WindowView]
    complete_since_ms: int


class StatisticsParameters(msgspec.Struct):
    start_ms: Annotated[TimeMs, msgspec.Meta(description="An hour ago when left out.")] | None = (
        None
    )
    end_ms: Annotated[TimeMs, msgspec.Meta(description="Now when left out.")] | None = None
    step_ms: Annotated[
        int, msgspec.Meta(ge=60_000, le=366 * 24 * HOUR_MS, description="Whole minutes.")
    ] = 60_000
    workflow_type: Annotated[
        str, msgspec.Meta(max_length=1_000, description="Of this type only.")
    ] = ""
    together: Annotated[bool, msgspec.Meta(description="Of all types together.")] = False


async def statistics(asked: Asked) -> Statistics:
    given: StatisticsParameters = asked.parameters
    now_ms = int(time.time() * 1000)
    end_ms = now_ms if given.end_ms is None else given.end_ms
    start_ms = end_ms - HOUR_MS if given.start_ms is None else given.start_ms
    start_ms = max(0, start_ms)
    if end_ms < start_ms:
        raise invalid("end_ms lies before start_ms")
    if (end_ms - start_ms) // given.step_ms > 2_000:
        raise invalid("more than 2,000 steps: take a larger step_ms")
    store, timeout_s = asked.server.need_visibility(), asked.server.options.request_timeout_s

    def read() -> Statistics:  # percentiles of many windows are work, too
        types = [given.workflow_type] if given.workflow_type else None
        windows = store.windows(
            start_ms,
            end_ms,
            step_ms=given.step_ms,
            workflow_types=types,
            together=given.together,
            timeout_s=timeout_s,
        )
        return Statistics([_view(window) for window in windows], store.windows_complete_since_ms)

    return await in_thread(read)


def _view(window: Any) -> WindowView:
    names = [name for name in WindowView.__struct_fields__ if not name.startswith("latency_")]
    return WindowView(
        **{name: getattr(window, name) for name in names},
        latency_mean_ms=window.latency_mean_ms,
        latency_p50_ms=window.latency_ms(0.50),
        latency_p95_ms=window.latency_ms(0.95),
        latency_p99_ms=window.latency_ms(0.99),
    )


class Parts(msgspec.Struct):
    """Statistics of the server's parts: queues, caches, intake."""

    parts: dict[str, dict[str, Any]]


async def parts(asked: Asked) -> Parts:
    found = {name: read() for name, read in asked.server.statistics.items()}
    return Parts({"events": dict(asked.server.hub.statistics()), **found})


class ChangesParameters(msgspec.Struct):
    topics: Annotated[
        str,
        msgspec.Meta(
            max_length=100,
            description="`runs`, `members`, or both with a comma; all when left out.",
        ),
    ] = ""


async def changes(asked: Asked) -> EventStream:
    given: ChangesParameters = asked.parameters
    wanted = [name for name in given.topics.split(",") if name] or list(TOPICS)
    unknown = [name for name in wanted if name not in TOPICS]
    if unknown:
        raise invalid(f"topics: {unknown[0]!r} is none of {', '.join(TOPICS)}")
    try:
        listener = asked.server.hub.listen(wanted)
    except TooManyStreamsError as error:
        raise ApiError(RPCStatusCode.RESOURCE_EXHAUSTED, str(error)) from error
    return EventStream(hub_stream(listener, asked.server.options.keep_alive_s))


OVERVIEW_OPERATIONS = [
    Operation("GET", "/info", "info", "The server, and who asks.", "server", info, Info),
    Operation(
        "GET",
        "/server-statistics",
        "server_statistics",
        "Statistics of its parts.",
        "server",
        parts,
        Parts,
    ),
    Operation(
        "GET",
        "/changes",
        "changes",
        "What changes, as it changes (server-sent).",
        "server",
        changes,
        None,
        ChangesParameters,
        streams=True,
    ),
    Operation(
        "GET",
        "/statistics",
        "statistics",
        "Rates and latencies over time.",
        "server",
        statistics,
        Statistics,
        StatisticsParameters,
    ),
]
