"""The dashboard: rates, failures, latencies and open runs over time, by workflow type; what
waits in queues, over time and now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from odradek.engine.json_fields import write_time
from odradek.visibility import WindowStatistics
from odradek.web.errors import ReadSideBuildingError, not_found
from odradek.web.kafka.backlog import BacklogWindow
from odradek.web.kafka.facts import MemberView
from odradek.web.ports import Window
from odradek.web.threads import in_thread
from odradek.web.ui.kafka_pages import queue_totals
from odradek.web.ui.plots import COUNT, DURATION, RATE, Plot, Series, plot, sparkline
from odradek.web.ui.visit import Visit

T = TypeVar("T")

MINUTE_MS = 60_000
#: Ranges: length and step.
RANGES = {
    "1h": (60 * MINUTE_MS, MINUTE_MS),
    "6h": (360 * MINUTE_MS, 5 * MINUTE_MS),
    "24h": (1_440 * MINUTE_MS, 15 * MINUTE_MS),
    "7d": (10_080 * MINUTE_MS, 120 * MINUTE_MS),
    "30d": (43_200 * MINUTE_MS, 480 * MINUTE_MS),
}
#: Types in the table, plots by type, and lines of queues: those with the most.
TYPES_LISTED, TYPES_DRAWN, QUEUES_DRAWN = 30, 6, 4
_COUNTS = (
    "started",
    "completed",
    "failed",
    "timed_out",
    "canceled",
    "terminated",
    "continued_as_new",
)


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A workflow type (or all of them) over the whole range."""

    name: str
    whole: WindowStatistics
    spark: str

    @property
    def failed(self) -> int:
        """Failed or timed out."""
        return self.whole.failed + self.whole.timed_out

    @property
    def failed_share(self) -> float | None:
        """Share of closed runs that failed or timed out, in per cent."""
        closed = self.whole.completed + self.failed
        return None if not closed else 100 * self.failed / closed


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the read side's windows say. `types_known`: how many types there are; those that are
    not in `types` have less. `complete_since_ms`: since when windows are whole, when that is not
    the whole range.
    """

    totals: TypeRow | None
    plots: list[Plot]
    by_type: list[Plot]
    types: list[TypeRow]
    types_known: int
    complete_since_ms: int | None


async def show(visit: Visit) -> Response:
    """The dashboard. While the read side's first copy is made: what does not come from there,
    and how far it is.
    """
    name, chosen = _range(visit), visit.text("type")
    drawn: Drawn | None = None
    building: ReadSideBuildingError | None = None
    members: list[MemberView] = []
    try:
        drawn = await _drawn(visit, name, chosen)
    except ReadSideBuildingError as error:
        building, members = error, visit.server.board.members()
    queues = await queue_totals(visit)
    return visit.render(
        "dashboard.html",
        part="parts/dashboard.html",
        ranges=list(RANGES),
        range=name,
        since=f"CloseTime >= '{write_time(_end_ms(visit, RANGES[name][1]) - RANGES[name][0])}'",
        chosen=chosen,
        drawn=drawn,
        building=building,
        members=members,
        gone=visit.server.board.gone(),
        backlog=_backlog(visit, name),
        queues=queues,
        backlog_since_ms=visit.server.backlog.since_ms,
    )


async def table(visit: Visit) -> Response:
    """One plot as a table, latest window first."""
    name, chosen, key = _range(visit), visit.text("type"), visit.text("plot")
    found = _named(_backlog(visit, name), key)
    if found is None:
        drawn = await _drawn(visit, name, chosen)
        found = _named([*drawn.plots, *drawn.by_type], key)
    if found is None:
        raise not_found(f"the dashboard has no plot {key!r}")
    return visit.render(
        "plot_table.html",
        part="parts/plot_table.html",
        plot=found,
        range=name,
        chosen=chosen,
        step_ms=RANGES[name][1],
    )


def _range(visit: Visit) -> str:
    name = visit.text("range", "1h")
    return name if name in RANGES else "1h"


def _named(plots: Iterable[Plot], key: str) -> Plot | None:
    return next((one for one in plots if one.key == key), None)


def _end_ms(visit: Visit, step_ms: int) -> int:
    return -(-visit.now_ms // step_ms) * step_ms


def _backlog(visit: Visit, name: str) -> list[Plot]:
    length_ms, step_ms = RANGES[name]
    end_ms, backlog = _end_ms(visit, step_ms), visit.server.backlog
    return backlog_plots(
        backlog.windows(end_ms - length_ms, end_ms, step_ms), step_ms, backlog.since_ms
    )


async def _drawn(visit: Visit, name: str, chosen: str) -> Drawn:
    store, timeout_s = visit.server.need_visibility(), visit.server.options.request_timeout_s
    length_ms, step_ms = RANGES[name]
    end_ms = _end_ms(visit, step_ms)
    start_ms = end_ms - length_ms

    def read() -> Drawn:
        busiest, types_known = store.busiest_types(
            start_ms, end_ms, limit=TYPES_LISTED, timeout_s=timeout_s
        )
        listed = {*busiest, chosen} if chosen else set(busiest)
        every = store.windows(
            start_ms, end_ms, step_ms=step_ms, workflow_types=sorted(listed), timeout_s=timeout_s
        )
        by_type = _by(every, lambda window: window.workflow_type)
        rows = [type_row(kind, windows) for kind, windows in by_type.items()]
        rows = [
            row
            for row in rows
            if any(getattr(row.whole, count) for count in (*_COUNTS, "open_runs"))
        ]
        if not chosen:
            together = store.windows(
                start_ms, end_ms, step_ms=step_ms, together=True, timeout_s=timeout_s
            )
        else:  # of a type that never ran there is nothing to plot
            together = by_type[chosen] if any(row.name == chosen for row in rows) else []
        drawn_types = sorted(
            (row for row in rows if row.whole.latency_buckets),
            key=lambda row: (-row.whole.completed, row.name),
        )
        return Drawn(
            totals=type_row(chosen, together) if together else None,
            plots=plots_of(together, step_ms, visit.now_ms),
            by_type=(
                []
                if chosen
                else [
                    _latency(row.name, by_type[row.name], step_ms)
                    for row in drawn_types[:TYPES_DRAWN]
                ]
            ),
            types=rows,
            types_known=types_known,
            complete_since_ms=(
                since_ms if (since_ms := store.windows_complete_since_ms) > start_ms else None
            ),
        )

    return await in_thread(read)


def plots_of(windows: Sequence[Window], step_ms: int, now_ms: int) -> list[Plot]:
    """The four plots of a stretch of time. In a window that fills yet, a rate is over the time
    that has passed, or it would look like a fall; in its first minute there is none.
    """
    starts = [window.start_ms for window in windows]

    def rate(window: Window, count: int) -> float | None:
        passed_ms = min(step_ms, now_ms - window.start_ms)
        return None if passed_ms < MINUTE_MS else count * MINUTE_MS / passed_ms

    def rates(name: str, tone: str, count: Callable[[Window], int]) -> Series:
        return Series(name, tone, [rate(window, count(window)) for window in windows])

    begun = [
        rates("started", "ink", lambda w: w.started),
        rates("completed", "good", lambda w: w.completed),
    ]
    lost = [
        rates("failed", "bad", lambda w: w.failed),
        rates("timed out", "warn", lambda w: w.timed_out),
        rates("canceled", "quiet", lambda w: w.canceled),
        rates("terminated", "ink", lambda w: w.terminated),
    ]
    open_runs = Series("open", "ink", [float(window.open_runs) for window in windows])
    return [
        plot("runs", "Runs", "a minute", starts, step_ms, begun, kind=RATE),
        plot("lost", "Not completed", "a minute", starts, step_ms, lost, kind=RATE, stacked=True),
        plot(
            "latency",
            "Latency of completed runs",
            "",
            starts,
            step_ms,
            _percentiles(windows),
            kind=DURATION,
        ),
        plot(
            "open",
            "Open runs",
            "at the end of each window",
            starts,
            step_ms,
            [open_runs],
            kind=COUNT,
            stacked=True,
        ),
    ]


def _latency(workflow_type: str, windows: Sequence[Window], step_ms: int) -> Plot:
    starts = [window.start_ms for window in windows]
    return plot(
        f"latency:{workflow_type}",
        workflow_type,
        "",
        starts,
        step_ms,
        _percentiles(windows),
        kind=DURATION,
    )


def _percentiles(windows: Sequence[Window]) -> list[Series]:
    shares = (("p50", "ink", 0.50), ("p95", "warn", 0.95), ("p99", "bad", 0.99))
    return [
        Series(name, tone, [window.latency_ms(share) for window in windows])
        for name, tone, share in shares
    ]


def backlog_plots(windows: Sequence[BacklogWindow], step_ms: int, since_ms: int) -> list[Plot]:
    """What waited in queues, the most of each window: for processors, and for services."""
    starts = sorted({window.start_ms for window in windows})
    by_queue = _by(windows, lambda window: window.task_queue)
    found = []
    for key, title, field in (
        ("backlog", "Inputs that wait for workflows", "lag"),
        ("activity-backlog", "Commands that wait for services", "activity_lag"),
    ):
        lags: dict[str, list[int | None]] = {
            name: [getattr(window, field) for window in queue] for name, queue in by_queue.items()
        }
        known = {
            name: max(lag for lag in lags[name] if lag is not None)
            for name in lags
            if any(lag is not None for lag in lags[name])
        }
        most = sorted(known, key=lambda name: (-known[name], name))
        series = [
            Series(name, f"line-{place + 1}", lags[name])
            for place, name in enumerate(most[:QUEUES_DRAWN])
        ]
        if others := most[QUEUES_DRAWN:]:
            rest = [_sum(lags[name][place] for name in others) for place in range(len(starts))]
            series.append(
                Series(f"{len(others)} other{'' if len(others) == 1 else 's'}", "quiet", rest)
            )
        found.append(plot(key, title, "most in each window", starts, step_ms, series, kind=COUNT))
    return found if since_ms else []


def type_row(name: str, windows: Sequence[Window]) -> TypeRow:
    """Windows of a type summed up: percentiles are of the whole range, open runs those of its end."""
    whole = merged(windows)
    whole.open_runs = windows[-1].open_runs
    return TypeRow(name, whole, sparkline([float(window.started) for window in windows]))


def merged(windows: Sequence[Window]) -> WindowStatistics:
    """Windows as one."""
    buckets: Counter[int] = Counter()
    for window in windows:
        buckets.update(window.latency_buckets)
    sums = {
        name: sum(getattr(window, name) for window in windows) for name in (*_COUNTS, "open_runs")
    }
    return WindowStatistics(
        windows[0].start_ms, windows[0].step_ms, "", **sums, latency_buckets=dict(buckets)
    )


def _by(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
