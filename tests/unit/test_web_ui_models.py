"""View models of the UI on their own: queries of chips, arguments, groups of events, timelines,
plots, texts.
"""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from odradek.visibility.errors import QueryError
from odradek.visibility.query import parse
from odradek.web.api.lists import run_view
from odradek.web.api.history import CommandPlaces, EventView, event_views
from odradek.web.errors import ApiError
from odradek.web.kafka.facts import Place
from odradek.web.ui import event_groups, text
from odradek.web.ui.arguments import payload_of, payloads_of
from odradek.web.ui.columns import DEFAULT, FIXED, chosen, columns_of
from odradek.web.ui.event_groups import groups_of
from odradek.web.ui.event_text import Names, category, line, title, tone
from odradek.web.ui.run_chain import numbers_of
from odradek.web.ui.run_filter import RunFilter, quoted, split_order
from odradek.web.ui.stacks import stacks_of
from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTask,
    WorkflowTaskFailed,
)
from odradek.wire.payload import Failure, Payload
from odradek.wire.topics import Topics
from tests.unit.web_server import START_MS, plain, summary

NOW = START_MS + 100_000


def views(*events: HistoryEvent) -> list[EventView]:
    return event_views(list(events), Place("events", 0, -1))


HISTORY = views(
    HistoryEvent(
        1, START_MS, WorkflowExecutionStarted("w", "r", "OrderSaga", "orders", [plain(7)])
    ),
    HistoryEvent(2, START_MS, WorkflowTask(START_MS + 1)),
    HistoryEvent(
        5, START_MS + 10, ActivityTaskScheduled("a", "charge", "orders", [plain("x"), plain(2)])
    ),
    HistoryEvent(6, START_MS + 5_000, ActivityTaskStartedEvent(5, 3, "service", Failure("slow"))),
    HistoryEvent(
        7,
        START_MS + 6_000,
        ActivityTaskFailedEvent(
            5, 6, Failure("outer", cause=Failure("declined", type="CardError"))
        ),
    ),
    HistoryEvent(8, START_MS + 6_100, TimerStarted("t", 60_000)),
    HistoryEvent(
        9,
        START_MS + 7_000,
        WorkflowExecutionSignaled("go", [Payload({"encoding": b"binary/encrypted"}, b"123")]),
    ),
    HistoryEvent(10, START_MS + 8_000, TimerCanceled("t", 8)),
    HistoryEvent(
        11, START_MS + 9_000, WorkflowTaskFailed(0, 0, "NON_DETERMINISTIC_ERROR", Failure("bug"))
    ),
    HistoryEvent(12, START_MS + 10_000, ActivityTaskScheduled("b", "refund", "orders")),
)


# ---------------------------------------------------------------- commands


def test_events_of_an_activity_name_its_command() -> None:
    scheduled = views(HistoryEvent(5, START_MS, ActivityTaskScheduled("a", "charge", "pay.ments")))
    rest = views(
        HistoryEvent(6, START_MS, ActivityTaskStartedEvent(5, 1, "service", None, 3, 17)),
        HistoryEvent(7, START_MS, ActivityTaskFailedEvent(5, 6, Failure("outer"))),
    )
    places = CommandPlaces(Topics("default"))
    places.note(rest)
    assert places.missing == {5} and [event.command for event in rest] == [None, None]
    places.note(scheduled)
    places.note(rest)
    command = Place("odradek.default.pay_2ements.commands", 3, 17)
    assert [event.command for event in scheduled + rest] == [command] * 3


def test_a_service_that_does_not_tell_where_the_command_stood() -> None:
    events = views(
        *[
            HistoryEvent(5, START_MS, ActivityTaskScheduled("a", "charge", "q")),
            HistoryEvent(6, START_MS, ActivityTaskStartedEvent(5)),
        ]
    )
    CommandPlaces(Topics("default")).note(events)
    assert [event.command for event in events] == [None, None]


# ---------------------------------------------------------------- queries


def test_chips_and_box_become_one_query() -> None:
    choice = RunFilter.of(
        [
            ("query", "WorkflowId = 'a' OR WorkflowId = 'b' ORDER BY CloseTime"),
            ("status", "Failed"),
            ("range", "1h"),
        ],
        NOW,
    )
    assert choice.query() == (
        "(WorkflowId = 'a' OR WorkflowId = 'b') AND ExecutionStatus IN ('Failed') "
        "AND StartTime >= '2026-09-21T13:15:00Z' ORDER BY CloseTime"
    )
    assert choice.filter(statuses=False).endswith("'b') AND StartTime >= '2026-09-21T13:15:00Z'")
    assert RunFilter.of([], NOW).query() == ""
    assert RunFilter.of([("sort", "-StartTime")], NOW).query() == "ORDER BY `StartTime` DESC"
    assert RunFilter.of([("sort", "a` DESC, `b")], NOW).query() == ""


def test_a_range_of_closes() -> None:
    choice = RunFilter.of([("closed", "6h"), ("range", "1h"), ("status", "Failed")], NOW)
    assert (
        choice.filter().endswith(
            "StartTime >= '2026-09-21T13:15:00Z' AND CloseTime >= '2026-09-21T08:15:00Z'"
        )
        and choice.chosen
    )
    assert (
        choice.link() == "/runs?range=1h&closed=6h&status=Failed"
        and not RunFilter.of([("closed", "1w")], NOW).chosen
    )


def test_links_toggle() -> None:
    choice = RunFilter.of([("status", "Failed"), ("type", "A&B")], NOW)
    assert choice.toggled("statuses", "Failed") == "/runs?type=A%26B"
    assert choice.toggled("types", "C") == "/runs?status=Failed&type=A%26B&type=C"
    assert "sort=-CloseTime" in choice.sorted_by("CloseTime")
    # The latest start comes first without being asked for: a click on it turns the list round.
    assert choice.order == "-StartTime" and "sort=StartTime" in choice.sorted_by("StartTime")
    assert "sort=-StartTime" in RunFilter.of([("sort", "StartTime")], NOW).sorted_by("StartTime")
    assert RunFilter.of([("query", "ORDER BY CloseTime")], NOW).order == ""


@given(st.text(max_size=30), st.text(max_size=30))
def test_values_of_chips_cannot_leave_their_quotes(one: str, other: str) -> None:
    choice = RunFilter(types=(one, other), at_ms=NOW)
    parsed: Any = parse(choice.query())
    assert [value.value for value in parsed.filter.values] == [one, other]
    assert quoted(one)[0] == quoted(one)[-1] == "'"


@pytest.mark.parametrize(
    "box",
    [
        "WorkflowType = 'a') OR (WorkflowType = 'b'",
        "WorkflowType = 'a') OR (RunId = 'b' ORDER BY StartTime",
    ],
)
def test_a_box_cannot_leave_its_brackets(box: str) -> None:
    choice = RunFilter.of([("query", box), ("status", "Running")], NOW)
    with pytest.raises(QueryError) as caught:
        choice.query()
    assert caught.value.column == box.index(")") + 1, "where it stands in the box"
    with pytest.raises(QueryError):
        choice.filter()


def test_order_inside_a_string_is_no_order() -> None:
    assert split_order("WorkflowId = 'ORDER BY x' order by StartTime") == (
        "WorkflowId = 'ORDER BY x'",
        "order by StartTime",
    )
    assert split_order("WorkflowId = 'open") == ("WorkflowId = 'open", "")


# ---------------------------------------------------------------- arguments


@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_arguments_are_values_one_after_the_other(values: list[Any]) -> None:
    typed = "\n".join(json.dumps(value) for value in values)
    assert payloads_of(typed) == [payload_of(value) for value in values]


@pytest.mark.parametrize("typed", ["{", "tru", "'a'", '"a" nope'])
def test_arguments_that_are_no_json_say_where(typed: str) -> None:
    with pytest.raises(ApiError, match="line 1, column"):
        payloads_of(typed)


# ---------------------------------------------------------------- groups and lines


def test_groups() -> None:
    groups = groups_of(HISTORY)
    assert [(group.name, group.state, group.attempt) for group in groups] == [
        ("OrderSaga", event_groups.POINT, 0),
        ("charge", event_groups.FAILED, 3),
        ("Timer", event_groups.CANCELED, 0),
        ("Signal go", event_groups.POINT, 0),
        ("Workflow task failed", event_groups.POINT, 0),
        ("refund", event_groups.WAITING, 0),
    ]
    charge = groups[1]
    assert (
        charge.failure == "CardError: declined"
        and charge.taken_ms(NOW) == 5_990
        and [event.event_id for event in charge.events] == [5, 6, 7]
    )
    assert groups[5].taken_ms(NOW) == 90_000 and charge.before == '["x", 2]'


@pytest.mark.parametrize(
    ("end", "state", "failure", "after"),
    [
        (ActivityTaskCompletedEvent(1, 2, [plain("fine")]), event_groups.COMPLETED, "", '"fine"'),
        (ActivityTaskCanceledEvent(1, 2), event_groups.CANCELED, "", ""),
        (
            ActivityTaskFailedEvent(1, 2, Failure("declined", type="CardError")),
            event_groups.FAILED,
            "CardError: declined",
            "",
        ),
    ],
)
def test_earlier_attempts_are_no_outcome(end: Any, state: str, failure: str, after: str) -> None:
    """What succeeds in its third attempt has not failed: why the second one did is said apart."""
    events = (
        HistoryEvent(1, START_MS, ActivityTaskScheduled("a", "flaky", "q")),
        HistoryEvent(
            2,
            START_MS + 500,
            ActivityTaskStartedEvent(1, 3, "service", Failure("not yet", type="ValueError")),
        ),
        HistoryEvent(3, START_MS + 700, end),
    )
    (group,) = groups_of(views(*events))
    assert (group.state, group.failure, group.after) == (state, failure, after)
    assert group.retried == "after 2 failed attempts, last: ValueError: not yet"
    assert group.tone == ("bad" if failure else "warn" if state == event_groups.CANCELED else "")


def test_one_earlier_attempt_and_none() -> None:
    for attempt, said in ((1, ""), (2, "after 1 failed attempt: slow")):
        failure = Failure("slow") if attempt > 1 else None
        events = (
            HistoryEvent(1, START_MS, ActivityTaskScheduled("a", "flaky", "q")),
            HistoryEvent(
                2, START_MS + 500, ActivityTaskStartedEvent(1, attempt, "service", failure)
            ),
            HistoryEvent(3, START_MS + 700, ActivityTaskCompletedEvent(1, 2)),
        )
        (group,) = groups_of(views(*events))
        assert group.retried == said


def test_an_activity_has_its_summary() -> None:
    scheduled = ActivityTaskScheduled(
        "a", "charge", "q", [plain(1)], summary=plain("the first card")
    )
    events = views(
        HistoryEvent(1, START_MS, scheduled),
        HistoryEvent(2, START_MS, ActivityTaskScheduled("b", "charge", "q")),
    )
    assert [(group.name, group.summary) for group in groups_of(events)] == [
        ("charge", "the first card"),
        ("charge", ""),
    ]
    assert [line(event, Names(events)) for event in events] == [
        "charge · the first card · 1",
        "charge",
    ]
    assert event_groups.summaries_of(events) == {1: "the first card"}


def test_lines_say_what_they_are_about() -> None:
    names = Names(HISTORY)
    said = {event.event_id: line(event, names) for event in HISTORY}
    assert said[6] == "charge · attempt 3 · service"
    assert said[7] == "charge · CardError: declined"
    assert said[8] == "timer t · 1 m 00 s" and said[10] == "timer t"
    assert "unreadable" not in said[9] and "binary/encrypted" in said[9]
    assert [category(event.event_type) for event in HISTORY[4:8]] == [
        "activity",
        "activity",
        "activity",
        "timer",
    ]
    assert title("ActivityTaskTimedOut") == "Activity task timed out"
    assert (
        tone("ActivityTaskFailed"),
        tone("WorkflowExecutionCompleted"),
        tone("TimerCanceled"),
        tone("TimerFired"),
    ) == (
        "bad",
        "good",
        "warn",
        "",
    )


def test_unknown_events_of_other_versions_have_a_category() -> None:
    assert category("EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED") == "other"
    assert title("EVENT_TYPE_NEXUS_OPERATION_SCHEDULED") == "Nexus operation scheduled"


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_234, "1.23 s"),
        (59_900, "59.9 s"),
        (60_000, "1 m 00 s"),
        (3_723_000, "1 h 02 m"),
        (100_000_000, "1 d 3 h"),
    ],
)
def test_durations(ms: int, said: str) -> None:
    assert text.duration(ms) == said


def test_payloads_are_shown_as_what_they_hold() -> None:
    readable = {"encoding": "json/plain", "metadata": {}, "size": 3, "value": {"a": 1}}
    closed = {
        "encoding": "binary/encrypted",
        "metadata": {},
        "size": 900,
        "unreadable": "written by a codec",
        "data": "…",
    }
    assert text.shown({"input": [readable, closed], "empty": [], "none": None, "false": False}) == {
        "input": [{"a": 1}, "⟨written by a codec⟩"]
    }
    assert text.brief_payloads([closed]) == text.brief(closed) == "⟨written by a codec⟩", (
        "no text, so without quotes"
    )
    assert (
        text.brief_payloads([readable, closed]) == '[{"a": 1}, ⟨written by a codec⟩]'
        and text.brief_payloads(["a"]) == '"a"'
    )
    assert (
        text.failure_line(
            {"message": "a", "type": "A", "cause": {"message": "b", "type": "B", "cause": None}}
        )
        == "B: b"
    )


@given(
    st.recursive(
        st.text(max_size=8),
        lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )
)
def test_pretty_json_is_escaped_and_loses_nothing(value: Any) -> None:
    html = text.pretty(value)
    assert isinstance(html, Markup) and "<script" not in html
    assert json.loads(Markup(str(html).replace("<b>", "").replace("</b>", "")).unescape()) == value
    assert len(text.pretty("x" * 200_000)) < 110_000


# ---------------------------------------------------------------- stacks


def test_stacks_of_a_run() -> None:
    """As `__stack_trace` writes them: Python's own format, a block a task."""
    here = [
        traceback.FrameSummary("/app/saga.py", 41, "run", line="receipt = await charge("),
        traceback.FrameSummary(
            "/venv/odradek/workflow/conditions.py", 12, "wait_condition", line="await future"
        ),
    ]
    text_of = "Stack for main (most recent call last):\n" + "\n".join(traceback.format_list(here))
    new = "Stack for Task-2 (most recent call last):\n"
    found = stacks_of(f"{text_of}\n\n{new}")
    assert found is not None and [stack.task for stack in found] == ["main", "Task-2"]
    run, waits = found[0].frames
    assert (run.function, run.place, run.code, run.library) == (
        "run",
        "app/saga.py:41",
        "receipt = await charge(",
        False,
    )
    assert (
        waits.library
        and waits.path == "/venv/odradek/workflow/conditions.py"
        and found[1].frames == []
    )


@pytest.mark.parametrize(
    "other",
    [
        "at OrderSaga.run (saga.ts:4)",
        "Stack for main:\n  somewhere else",
        "\n\n",
        '  File "a", line 1, in b',
    ],
)
def test_a_stack_of_another_format_is_shown_as_it_came(other: str) -> None:
    assert stacks_of(other) is None


def test_a_search_attribute_takes_no_fixed_columns_place() -> None:
    available = columns_of(["ExecutionStatus", "WorkflowId", "Zone"])
    assert chosen(DEFAULT, available) == [column for column in FIXED if column.name in DEFAULT]
    assert [column.kind for column in chosen(["WorkflowId", "Zone"], available)] == [
        "workflow",
        "attribute",
    ]
    assert len({column.name for column in available}) == len(available) == len(FIXED) + 1


def test_search_attributes_are_plain_text() -> None:
    def attribute(value: Any) -> dict[str, Any]:
        return {"encoding": "json/plain", "metadata": {}, "size": 3, "value": value}

    found = [
        text.plain(attribute(value))
        for value in ('north "1"', ["a", "b"], 7, 1.5, True, [], [1, 2])
    ]
    due = {**attribute("2026-01-02T03:04:05.678901+01:00"), "metadata": {"type": "Datetime"}}
    assert (
        str(text.plain(due)).endswith("2026-01-02 02:04:05.679</time>")
        and text.plain({**due, "value": "soon"}) == "soon"
    )
    assert found == ['north "1"', "a, b", "7", "1.5", "true", "", "[1, 2]"]


def test_a_failure_by_both_its_ends() -> None:
    """What was raised, as the command line says it, and what stands deepest."""
    root = {"type": "GatewayError", "message": "timeout", "cause": None}
    middle = {"type": "", "message": "no answer", "cause": root}
    assert (
        text.failure_ends({"type": "CardError", "message": "declined", "cause": middle})
        == "CardError: declined, caused by GatewayError: timeout"
    )
    assert text.failure_ends(root) == "GatewayError: timeout" and text.failure_ends(None) == ""
    assert text.failure_line(middle) == "GatewayError: timeout"


def test_runs_of_a_chain_are_numbered_from_its_first() -> None:
    runs = [
        run_view(summary("w", name, first_execution_run_id=first))
        for name, first in (("e", "c"), ("d", "c"), ("c", "c"), ("b", "a"))
    ]
    assert numbers_of(runs) == {"c": 1, "d": 2, "e": 3}, (
        "the first run of the older chain is not there"
    )
