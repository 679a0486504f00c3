"""The dashboard: rates, failures, latencies and open runs over time, by workflow type; and the lag of queues as it is now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from odradek.web.api.overview import StatisticsParameters, WindowView, statistics
from odradek.web.ui.kafka_pages import queue_totals
from odradek.web.ui.plots import Plot, Series, plot, sparkline
from odradek.web.ui.text import duration, number
from odradek.web.ui.visit import Visit

MINUTE_MS = 60_000
#: Ranges: length and step.
RANGES = {
    "1h": (60 * MINUTE_MS, MINUTE_MS),
    "6h": (360 * MINUTE_MS, 5 * MINUTE_MS),
    "24h": (1_440 * MINUTE_MS, 15 * MINUTE_MS),
    "7d": (10_080 * MINUTE_MS, 120 * MINUTE_MS),
    "30d": (43_200 * MINUTE_MS, 480 * MINUTE_MS),
}


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A workflow type over the whole range."""

    name: str
    started: int
    completed: int
    failed: int
    open_runs: int
    p50_ms: float | None
    p99_ms: float | None
    spark: str

    @property
    def failed_share(self) -> float | None:
        """Share of closed runs that failed or timed out, in per cent."""
        closed = self.completed + self.failed
        return None if not closed else 100 * self.failed / closed


async def show(visit: Visit) -> Response:
    """The dashboard."""
    name = visit.text("range", "1h")
    name = name if name in RANGES else "1h"
    length_ms, step_ms = RANGES[name]
    end_ms = -(-visit.now_ms // step_ms) * step_ms
    chosen = visit.text("type")
    every = await statistics(visit.asked(StatisticsParameters(end_ms - length_ms, end_ms, step_ms)))
    drawn = await statistics(visit.asked(StatisticsParameters(end_ms - length_ms, end_ms, step_ms, chosen, True)))
    queues = await queue_totals(visit)
    return visit.render(
        "dashboard.html",
        part="parts/dashboard.html",
        ranges=list(RANGES),
        range=name,
        chosen=chosen,
        plots=plots_of(drawn.windows, step_ms, visit.now_ms),
        types=[row for row in type_rows(every.windows) if row.started or row.completed or row.failed or row.open_runs],
        totals=type_rows([_renamed(window) for window in drawn.windows])[:1],
        queues=queues,
    )


def plots_of(windows: Sequence[WindowView], step_ms: int, now_ms: int) -> list[Plot]:
    """The four plots of a stretch of time. A line of rates ends with the last whole window: one that fills yet would look like a fall."""
    starts = [window.start_ms for window in windows]
    minutes = step_ms / MINUTE_MS

    def rates(name: str, tone: str, count: Callable[[WindowView], int], *, whole: bool = False) -> Series:
        return Series(name, tone, [None if whole and window.start_ms + step_ms > now_ms else count(window) / minutes for window in windows])

    def values(name: str, tone: str, value: Callable[[WindowView], float | None]) -> Series:
        return Series(name, tone, [value(window) for window in windows])

    return [
        plot(
            "Runs",
            "a minute",
            starts,
            step_ms,
            [rates("started", "ink", lambda w: w.started, whole=True), rates("completed", "good", lambda w: w.completed, whole=True)],
            stacked=False,
            show=_rate,
        ),
        plot(
            "Not completed",
            "a minute",
            starts,
            step_ms,
            [
                rates("failed", "bad", lambda w: w.failed),
                rates("timed out", "warn", lambda w: w.timed_out),
                rates("canceled", "quiet", lambda w: w.canceled),
                rates("terminated", "ink", lambda w: w.terminated),
            ],
            stacked=True,
            show=_rate,
        ),
        plot(
            "Latency of completed runs",
            "",
            starts,
            step_ms,
            [
                values("p50", "ink", lambda w: w.latency_p50_ms),
                values("p95", "warn", lambda w: w.latency_p95_ms),
                values("p99", "bad", lambda w: w.latency_p99_ms),
            ],
            stacked=False,
            show=duration,
        ),
        plot("Open runs", "", starts, step_ms, [values("open", "ink", lambda w: float(w.open_runs))], stacked=True, show=number),
    ]


def type_rows(windows: Sequence[WindowView]) -> list[TypeRow]:
    """Windows summed up by workflow type. Percentiles are the median of the windows' own: a hint, not a percentile of the range."""
    by_type: dict[str, list[WindowView]] = {}
    for window in windows:
        by_type.setdefault(window.workflow_type, []).append(window)
    return [
        TypeRow(
            name,
            sum(w.started for w in found),
            sum(w.completed for w in found),
            sum(w.failed + w.timed_out for w in found),
            found[-1].open_runs,
            _middle([w.latency_p50_ms for w in found]),
            max((w.latency_p99_ms for w in found if w.latency_p99_ms is not None), default=None),
            sparkline([float(w.started) for w in found]),
        )
        for name, found in by_type.items()
    ]


def _middle(values: Sequence[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _renamed(window: WindowView) -> WindowView:
    changed: Any = {name: getattr(window, name) for name in WindowView.__struct_fields__}
    return WindowView(**{**changed, "workflow_type": ""})


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
