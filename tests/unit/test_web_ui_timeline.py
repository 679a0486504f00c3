"""The timeline of a run: bars of attempts as far as they are known, time to come, parts of the
time. No time is made up.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.web.api.runs import PendingActivityView
from odradek.web.ui.event_groups import Group, groups_of
from odradek.web.ui.histories import History
from odradek.web.ui.history_view import Choice, HistoryView
from odradek.web.ui.timeline import PART_LEAST_MS, Scale, row_of, scale_of, task_marks
from odradek.wire.history import (
    ActivityTaskCompletedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
)
from tests.unit.test_web_ui_models import HISTORY, NOW, views
from tests.unit.web_server import START_MS


def pending(**fields: Any) -> PendingActivityView:
    given: dict[str, Any] = dict.fromkeys(PendingActivityView.__dataclass_fields__, 0)
    texts = {
        "activity_id": "b",
        "activity_type": "refund",
        "task_queue": "orders",
        "state": "SCHEDULED",
        "waiting_reason": "",
    }
    nothing: dict[str, Any] = {"heartbeat_details": [], "last_failure": None, "command": None}
    return PendingActivityView(
        **{
            **given,
            **texts,
            **nothing,
            "scheduled_time_ms": START_MS + 10_000,
            "scheduled_event_id": 12,
            **fields,
        }
    )


def drawn(groups: list[Group], scale: Scale) -> list[list[tuple[str, float, float]]]:
    return [
        [(bar.kind, bar.x, round(bar.x + bar.width, 3)) for bar in row_of(group, scale).bars]
        for group in groups
    ]


def test_rows_stay_on_the_scale() -> None:
    scale = scale_of(HISTORY, NOW, open_run=True)
    assert (scale.start_ms, scale.end_ms) == (START_MS, NOW)
    rows = [row_of(group, scale) for group in groups_of(HISTORY)]
    for row in rows:
        assert all(bar.x >= 0 and bar.x + bar.width <= 100.3 and bar.width > 0 for bar in row.bars)
    assert rows[3].point == 7.0 and rows[5].label == "1 m 30 s …"
    assert task_marks(HISTORY, scale) == [(0.0, False), (9.0, True)]


def test_attempts_of_a_closed_activity() -> None:
    """Known are when it was scheduled, when the third attempt began, and its end: the first two
    have no place of their own.
    """
    scale = scale_of(HISTORY, NOW, open_run=True)
    row = row_of(groups_of(HISTORY)[1], scale)
    assert [(bar.kind, bar.x) for bar in row.bars] == [("tries", 0.01), ("work", 5.0)]
    # Each opens the event that tells most of it: Started has the failure before it, the last one
    # the outcome.
    assert [bar.event_id for bar in row.bars] == [6, 7]
    assert (
        row.bars[0].says
        == "Attempts 1 to 2 and the waits behind them: 4.99 s together; the history does not keep"
        " their times"
    )
    assert row.bars[1].says == "Attempt 3: 1 s"
    assert row.attempt is not None and (row.attempt.text, row.attempt.place, row.attempt.x) == (
        "attempt 3",
        "after",
        6.0,
    )
    assert (
        row.says
        == "charge, failed, attempt 3, 5.99 s, CardError: declined, after 2 failed attempts, last:"
        " slow"
    )


def test_a_first_attempt_has_its_wait_before_it() -> None:
    events = views(
        HistoryEvent(1, START_MS, ActivityTaskScheduled("a", "charge", "q")),
        HistoryEvent(2, START_MS + 300, ActivityTaskStartedEvent(1)),
        HistoryEvent(3, START_MS + 1_000, ActivityTaskCompletedEvent(1, 2)),
    )
    row = row_of(groups_of(events)[0], scale_of(events, NOW, open_run=False))
    assert [(bar.kind, bar.x, bar.says) for bar in row.bars] == [
        ("wait", 0, "Scheduled, not begun: 300 ms"),
        ("work", 30, "Attempt 1: 700 ms"),
    ]
    assert row.attempt is None


@pytest.mark.parametrize(
    ("told", "bars", "label"),
    [
        (pending(attempt=1), [("wait", 8.0, 80.0)], None),
        (
            pending(attempt=1, state="STARTED", last_started_time_ms=START_MS + 50_000),
            [("wait", 8.0, 40.0), ("work", 40.0, 80.0)],
            None,
        ),
        (
            pending(attempt=4, state="STARTED", last_started_time_ms=START_MS + 50_000),
            [("tries", 8.0, 40.0), ("work", 40.0, 80.0)],
            ("attempt 4", "before", 0),
        ),
        # In the back-off: nobody keeps when the third attempt ended, only when the fourth is due.
        (
            pending(attempt=4, next_attempt_time_ms=NOW + 12_500),
            [("tries", 8.0, 80.0), ("backoff", 80.0, 90.0)],
            ("attempt 4", "on tries", NOW + 12_500),
        ),
        # Its command is sent, and no service has taken it yet.
        (pending(attempt=2), [("tries", 8.0, 80.0)], ("attempt 2", "on tries", 0)),
    ],
)
def test_what_is_pending(
    told: PendingActivityView, bars: list[Any], label: tuple[str, str, int] | None
) -> None:
    group = groups_of(HISTORY, [told])[5]
    scale = Scale(START_MS, START_MS + 125_000, START_MS, NOW)
    assert drawn([group], scale) == [bars]
    found = row_of(group, scale).attempt
    assert (None if found is None else (found.text, found.place, found.due_ms)) == label


def test_time_to_come_is_shown_as_far_as_it_is_near() -> None:
    near = scale_of(HISTORY, NOW, open_run=True, due_ms=[NOW + 5_000, NOW - 9_000])
    assert (near.end_ms, near.now_ms, near.open_ms) == (
        NOW + 5_000,
        NOW,
        NOW,
    ) and near.now == pytest.approx(95.238, abs=0.001)
    far = scale_of(HISTORY, NOW, open_run=True, due_ms=[NOW + 10**9])
    assert far.end_ms == NOW + 25_000 and far.now == 80.0
    assert (
        scale_of(HISTORY, NOW, open_run=False, due_ms=[NOW + 10**9]).end_ms
        == HISTORY[-1].event_time_ms
    )
    assert scale_of(HISTORY, NOW, open_run=True).now is None  # nothing to come: no line


def test_a_timer_goes_on_until_it_is_due() -> None:
    events = HISTORY[
        : next(index for index, event in enumerate(HISTORY) if event.event_type == "TimerCanceled")
    ]
    scale = scale_of(events, START_MS + 20_100, open_run=True, due_ms=[START_MS + 66_100])
    timer = next(group for group in groups_of(events) if group.category == "timer")
    [[rest, ahead]] = drawn([timer], scale)
    assert (
        (rest[0], ahead[0]) == ("rest", "ahead")
        and rest[2] == ahead[1] == scale.now
        and ahead[2] == 100.0
    )


# ---------------------------------------------------------------- parts of the time


def view(**choice: Any) -> HistoryView:
    return HistoryView(History("w", "r", "orders", events=HISTORY), Choice(**choice), NOW, "/h", [])


def links(of: HistoryView) -> dict[str, tuple[int, int] | None]:
    """Where each way leads: part of the time by key, None for all of it."""
    found: dict[str, tuple[int, int] | None] = {}
    for key, _, _, href in of.zooms:
        if href:
            asked = parse_qs(urlsplit(href).query)
            found[key] = (
                (int(asked["since"][0]), int(asked["until"][0])) if "since" in asked else None
            )
    return found


def test_a_part_shows_what_happened_in_it() -> None:
    part = view(part=(4_000, 6_500))
    assert [group.name for group in part.items] == ["charge", "Timer"]
    scale = part.scale
    assert (scale.start_ms, scale.end_ms) == (START_MS + 4_000, START_MS + 6_500)
    assert drawn(list(part.items), scale) == [
        [("tries", 0, 40.0), ("work", 40.0, 80.0)],
        [("rest", 84.0, 100.0)],
    ]
    assert [text for _, text in scale.ticks()] == ["4 s", "4.50 s", "5 s", "5.50 s", "6 s"]
    assert part.span == "2.50 s of 1 m 40 s" and view().span == "1 m 40 s"
    assert (
        len(dataclasses.replace(part, choice=Choice("compact", part=(4_000, 6_500))).items) == 6
    )  # parts are of the timeline alone


def test_nearer_and_further() -> None:
    whole = links(view())
    assert whole == {"+": (25_000, 75_000)}
    assert links(view(part=(25_000, 75_000))) == {
        "-": None,
        "+": (37_500, 62_500),
        "ArrowLeft": (0, 50_000),
        "ArrowRight": (50_000, 100_000),
        "0": None,
    }
    assert links(view(part=(90_000, 100_000))) == {
        "-": (80_000, 100_000),
        "+": (92_500, 97_500),
        "ArrowLeft": (85_000, 95_000),
        "0": None,
    }


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.lists(st.sampled_from(["-", "+", "ArrowLeft", "ArrowRight", "0"]), max_size=12),
)
def test_no_way_leads_out_of_the_run(since: int, length: int, ways: list[str]) -> None:
    part: tuple[int, int] | None = (since, since + length)
    for way in ways:
        now = view(part=part)
        start, end = now.scale.start_ms - START_MS, now.scale.end_ms - START_MS
        assert start >= 0 and end <= 100_000 and end - start >= PART_LEAST_MS
        part = links(now).get(way, part)


def test_ticks_of_a_long_run_say_where_they_are() -> None:
    day = 86_400_000
    scale = Scale(START_MS, START_MS + 3 * day, START_MS).part(day + 3_600_000, day + 3_630_000)
    assert [text for _, text in scale.ticks()] == [
        "25:00:00",
        "25:00:05",
        "25:00:10",
        "25:00:15",
        "25:00:20",
        "25:00:25",
    ]
    assert [text for _, text in Scale(START_MS, START_MS + 600_000, START_MS).ticks()] == [
        "0",
        "2 m",
        "4 m",
        "6 m",
        "8 m",
    ]
    assert [text for _, text in Scale(START_MS, START_MS + 4 * day, START_MS).ticks()] == [
        "0",
        "1 d",
        "2 d",
        "3 d",
    ]
    fine = Scale(START_MS, START_MS + 3 * day, START_MS).part(65_000, 65_400)
    assert [text for _, text in fine.ticks()] == ["1:05.000", "1:05.100", "1:05.200", "1:05.300"]


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_ticks_are_few_and_in_order(start: int, span: int) -> None:
    ticks = Scale(start, start + span).ticks()
    assert 1 <= len(ticks) <= 7
    assert [place for place, _ in ticks] == sorted({place for place, _ in ticks}) and all(
        0 <= place <= 100 for place, _ in ticks
    )
