"""The dashboard's view models: plots with axes that people read, percentiles of a whole range,
backlog as it was sampled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.visibility import WindowStatistics
from odradek.visibility.store.histogram import bucket_of
from odradek.web.kafka import backlog as sampling
from odradek.web.kafka.backlog import KEPT_MINUTES, MINUTE_MS, Backlog
from odradek.web.ui import plots
from odradek.web.ui.dashboard import RANGES, backlog_plots, plots_of, type_row
from odradek.web.ui.plots import COUNT, DURATION, RATE, Series, axis_of

START_MS = 1_790_000_040_000 // 3_600_000 * 3_600_000  # a whole hour


def draw(*series: Series, **options: Any) -> plots.Plot:
    starts = [START_MS + step * MINUTE_MS for step in range(len(series[0].values))]
    return plots.plot("k", "t", "", starts, MINUTE_MS, series, **{"kind": COUNT, **options})


# ---------------------------------------------------------------- plots


def test_plot_leaves_gaps_and_stacks() -> None:
    gaps = draw(Series("a", "ink", [1.0, None, 3.0]))
    assert gaps.shapes[0].path.count("M") == 2 and gaps.shapes[0].latest == "3" and not gaps.empty
    assert gaps.slots[1].says.endswith("a: —")
    stacked = draw(Series("a", "ink", [1.0, 2.0]), Series("b", "bad", [3.0, 8.0]), stacked=True)
    assert stacked.y_ticks[-1][1] == "10" and [shape.latest for shape in stacked.shapes] == [
        "8",
        "2",
    ]
    assert draw(Series("a", "ink", []), stacked=True).empty


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("1h", "minute"),
        ("6h", "5 minutes"),
        ("24h", "15 minutes"),
        ("7d", "2 hours"),
        ("30d", "8 hours"),
    ],
)
def test_a_plot_says_what_its_latest_values_are_of(name: str, window: str) -> None:
    step_ms = RANGES[name][1]
    assert (
        plots.plot("k", "t", "", [0], step_ms, [Series("a", "ink", [1.0])], kind=COUNT).window
        == window
    )


def test_the_same_as_a_table_and_in_a_sentence() -> None:
    drawn = draw(
        Series("p50", "ink", [900.0, None]),
        Series("p99", "bad", [61_000.0, 1_500.0]),
        kind=DURATION,
    )
    assert drawn.names == ("p50", "p99")
    assert drawn.rows == (
        (START_MS, ("900 ms", "1 m 01 s")),
        (START_MS + MINUTE_MS, ("—", "1.50 s")),
    )
    assert drawn.says == "t. p50: last 900 ms, highest 900 ms; p99: last 1.50 s, highest 1 m 01 s"


def test_no_backlog_is_a_line_at_nought_and_no_rate_is_nothing() -> None:
    assert not draw(Series("orders", "ink", [0.0, 0.0])).empty
    assert draw(Series("started", "ink", [0.0, 0.0]), kind=RATE).empty


@pytest.mark.parametrize(
    ("most", "kind", "ticks"),
    [
        (0.0, COUNT, ["0", "1"]),
        (1.0, COUNT, ["0", "1"]),
        (3.0, COUNT, ["0", "1", "2", "3"]),
        (72.0, COUNT, ["0", "20", "40", "60", "80"]),
        (1_234.0, COUNT, ["0", "500", "1,000", "1,500"]),
        (45_000.0, COUNT, ["0", "20 k", "40 k", "60 k"]),
        (0.3, RATE, ["0", "0.1", "0.2", "0.3"]),
        (1.0, RATE, ["0", "1"]),  # runs are whole: halves only where the rate is below one
        (1.6, RATE, ["0", "1", "2"]),
        (17.0, RATE, ["0", "5", "10", "15", "20"]),
        (0.0, DURATION, ["0", "0.5 s", "1 s"]),
        (780.0, DURATION, ["0", "200 ms", "400 ms", "600 ms", "800 ms"]),
        (1_900.0, DURATION, ["0", "0.5 s", "1 s", "1.5 s", "2 s"]),
        (11_000.0, DURATION, ["0", "5 s", "10 s", "15 s"]),
        (95_000.0, DURATION, ["0", "30 s", "60 s", "90 s", "120 s"]),
        (7_200_000.0, DURATION, ["0", "30 m", "60 m", "90 m", "120 m"]),
        (3 * 86_400_000.0, DURATION, ["0", "1 d", "2 d", "3 d"]),
    ],
)
def test_ticks_are_round_and_in_one_unit(most: float, kind: str, ticks: list[str]) -> None:
    assert [text for _, text in axis_of(most, kind)] == ticks


@given(st.floats(0.001, 1e11), st.sampled_from([COUNT, RATE, DURATION]))
def test_axes_end_near_above_what_they_show(most: float, kind: str) -> None:
    values = [value for value, _ in axis_of(most, kind)]
    assert values[0] == 0 and values == sorted(set(values)) and 2 <= len(values) <= 6
    assert most <= values[-1] * 1.00001 and (values[-1] < most * 2.1 or values[-1] == 1)


@pytest.mark.parametrize(
    ("minutes", "step", "first", "ticks"),
    [
        (60, 1, 23, ["13:30", "13:40", "13:50", "14:00", "14:10", "14:20"]),
        (360, 5, 20, ["14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]),
        (1_440, 15, 30, ["16:00", "20:00", "00:00", "04:00", "08:00", "12:00"]),
    ],
)
def test_times_are_round(minutes: int, step: int, first: int, ticks: list[str]) -> None:
    begin = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 13 * 3_600_000 + first * MINUTE_MS
    starts = [begin + at * MINUTE_MS for at in range(0, minutes, step)]
    drawn = plots.plot(
        "k",
        "t",
        "",
        starts,
        step * MINUTE_MS,
        [Series("a", "ink", [1.0] * len(starts))],
        kind=COUNT,
    )
    assert [text for _, _, text in drawn.x_ticks] == ticks


def test_long_ranges_have_days() -> None:
    starts = [START_MS + at * 8 * 3_600_000 for at in range(90)]
    drawn = plots.plot(
        "k", "t", "", starts, 8 * 3_600_000, [Series("a", "ink", [1.0] * 90)], kind=COUNT
    )
    assert 4 <= len(drawn.x_ticks) <= 6 and all(
        re.fullmatch(r"[A-Z][a-z]{2} \d\d", text) for _, _, text in drawn.x_ticks
    )


# ---------------------------------------------------------------- windows


def window(minute: int, latencies_ms: Sequence[int] = (), **counts: int) -> WindowStatistics:
    buckets: dict[int, int] = {}
    for latency in latencies_ms:
        buckets[bucket_of(latency)] = buckets.get(bucket_of(latency), 0) + 1
    return WindowStatistics(
        START_MS + minute * MINUTE_MS,
        MINUTE_MS,
        "OrderSaga",
        latency_buckets=buckets,
        completed=len(latencies_ms),
        **counts,
    )


def test_percentiles_are_of_the_whole_range() -> None:
    """99 fast runs in one window, one slow in the next: the median of medians would be half of
    the slow one.
    """
    row = type_row(
        "OrderSaga", [window(0, [10] * 99, open_runs=7), window(1, [10_000], failed=1, open_runs=3)]
    )
    median, worst = row.whole.latency_ms(0.5), row.whole.latency_ms(0.995)
    assert median == pytest.approx(10, rel=0.1) and worst == pytest.approx(10_000, rel=0.1)
    assert (
        row.whole.open_runs == 3
        and row.whole.completed == 100
        and row.failed_share == pytest.approx(100 / 101)
    )


def test_a_window_that_fills_yet_is_no_fall() -> None:
    runs, lost = plots_of(
        [window(0, started=4, failed=2), window(1, started=1)],
        MINUTE_MS,
        START_MS + MINUTE_MS + 5_000,
    )[:2]
    assert [texts[0] for _, texts in runs.rows] == ["4", "—"] and [
        texts[0] for _, texts in lost.rows
    ] == ["2", "—"]
    assert all(
        shape.area.count("L") == 1 for shape in lost.shapes
    )  # one place above, one below: nothing is drawn to where nothing is known


def test_a_long_window_that_fills_yet_counts_over_what_has_passed() -> None:
    """A system of five minutes, looked at over a week: not empty, and not as slow as if two
    hours had passed.
    """
    hour = WindowStatistics(START_MS, 120 * MINUTE_MS, "OrderSaga", started=600)
    runs = plots_of([hour], 120 * MINUTE_MS, START_MS + 5 * MINUTE_MS)[0]
    assert (
        runs.rows == ((START_MS, ("120", "0")),)
        and not runs.empty
        and runs.shapes[0].path.endswith("h5")
    )


# ---------------------------------------------------------------- backlog


@dataclass
class Lags:
    name: str
    lag: int | None
    activity_lag: int | None = None


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_backlog_is_the_most_of_each_window(clock: Clock) -> None:
    backlog = Backlog(clock_ms=clock)
    assert (
        backlog.since_ms == 0 and backlog.windows(START_MS, START_MS + MINUTE_MS, MINUTE_MS) == []
    )
    for at_s, lag in ((0, 5), (15, 9), (30, 2), (60, 3), (200, 1)):
        clock.now_ms = START_MS + at_s * 1_000
        backlog.note([Lags("orders", lag, None if at_s < 60 else 40 + at_s)])
    found = backlog.windows(START_MS, START_MS + 5 * MINUTE_MS, MINUTE_MS)
    assert [one.lag for one in found] == [9, 3, None, 1, None]
    assert [one.activity_lag for one in found] == [None, 100, None, 240, None]
    assert [
        one.lag for one in backlog.windows(START_MS, START_MS + 6 * MINUTE_MS, 3 * MINUTE_MS)
    ] == [9, 1]
    assert backlog.since_ms == START_MS


def test_backlog_of_a_day_ago_is_forgotten(clock: Clock) -> None:
    backlog = Backlog(clock_ms=clock)
    backlog.note([Lags("orders", 7), Lags("gone", 1)])
    clock.now_ms += KEPT_MINUTES * MINUTE_MS
    backlog.note([Lags("orders", 8)])
    found = backlog.windows(START_MS, clock.now_ms + MINUTE_MS, MINUTE_MS)
    assert [(one.task_queue, one.lag) for one in found if one.lag is not None] == [("orders", 8)]
    assert backlog.since_ms == clock.now_ms - KEPT_MINUTES * MINUTE_MS


def test_the_queues_with_the_most_are_drawn(clock: Clock) -> None:
    backlog = Backlog(clock_ms=clock)
    backlog.note([Lags(f"q{number}", number * 10, None) for number in range(7)])
    inputs, commands = backlog_plots(
        backlog.windows(START_MS, START_MS + MINUTE_MS, MINUTE_MS), MINUTE_MS, backlog.since_ms
    )
    assert inputs.names == ("q6", "q5", "q4", "q3", "3 others") and inputs.rows == (
        (START_MS, ("60", "50", "40", "30", "30")),
    )
    assert commands.empty and commands.names == ()
    assert backlog_plots([], MINUTE_MS, 0) == []


async def test_a_broker_that_does_not_answer_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "EVERY_S", 0.01)
    backlog, looked = Backlog(), asyncio.Event()
    loop, answers = asyncio.get_running_loop(), iter([OSError("no broker"), [Lags("orders", 4)]])

    def look() -> Sequence[Lags]:
        answer = next(answers, None)
        if answer is None:
            loop.call_soon_threadsafe(looked.set)
            return []
        if isinstance(answer, Exception):
            raise answer
        return answer

    following = asyncio.create_task(backlog.follow(look))
    await asyncio.wait_for(looked.wait(), 10)
    following.cancel()
    now_ms = backlog.since_ms
    assert [one.lag for one in backlog.windows(now_ms, now_ms + 1, MINUTE_MS)] == [4]
