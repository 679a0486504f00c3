"""Temporal's JSON histories: every event type both ways, nothing lost of what Temporal wrote,
readable errors.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from odradek.engine.history_json import JsonHistoryError, expand, from_json, to_json, to_json_dict
from odradek.engine.json_events import TYPES
from odradek.engine.json_fields import read_duration, read_time, write_duration, write_time
from odradek.engine.keys import random_seed
from odradek.wire import history as h
from odradek.wire.events import ParentExecution
from odradek.wire.payload import Failure, Payload, RetryPolicy

P = [Payload({"encoding": b"json/plain"}, b'"x"'), Payload({"encoding": b"binary/null"}, b"")]
MAP = {"k": P[0]}
POLICY = RetryPolicy(1_500, 2.5, 60_000, 4, ["A", "B"])
T0 = 1_700_000_000_123


def chain() -> Failure:
    """One link of each kind."""
    failure: Failure | None = None
    for link in (
        Failure("plain", kind="", source="GoSDK"),
        Failure("s", kind="SERVER", non_retryable=True),
        Failure("t", kind="TERMINATED"),
        Failure("c", kind="CANCELED", details=P),
        Failure("o", kind="TIMEOUT", timeout_type="HEARTBEAT", details=P),
        Failure(
            "w",
            kind="CHILD_WORKFLOW",
            retry_state="TIMEOUT",
            namespace="n",
            workflow_id="c",
            run_id="r",
            workflow_type="T",
            initiated_event_id=3,
            started_event_id=4,
        ),
        Failure(
            "v",
            kind="ACTIVITY",
            retry_state="MAXIMUM_ATTEMPTS_REACHED",
            identity="i",
            activity_type="a",
            activity_id="1",
            scheduled_event_id=5,
            started_event_id=6,
        ),
        Failure(
            "a",
            kind="APPLICATION",
            stack_trace="at line 1",
            encoded_attributes=P[0],
            type="Boom",
            non_retryable=True,
            details=P,
            next_retry_delay_ms=0,
            category="BENIGN",
        ),
    ):
        link.cause = failure
        failure = link
    assert failure is not None
    return failure


FULL: list[Any] = [
    h.WorkflowExecutionStarted(
        "w",
        "run-1",
        "Order",
        "q",
        P,
        MAP,
        MAP,
        MAP,
        60_000,
        50_500,
        10_000,
        1_000,
        "* * * * *",
        POLICY,
        2,
        "me",
        "run-0",
        "run-0",
        chain(),
        P,
        "RETRY",
        ParentExecution("n", "pq", "p", "pr", 7, "TERMINATE"),
        "root",
        "root-run",
        T0 + 60_000,
        99,
    ),
    h.WorkflowExecutionCompleted(P, 4, "run-2"),
    h.WorkflowExecutionFailed(chain(), "IN_PROGRESS", 4, "run-2"),
    h.WorkflowExecutionTimedOut("TIMEOUT", "run-2"),
    h.WorkflowExecutionCanceled(P, 4),
    h.WorkflowExecutionTerminated("why", P, "me"),
    h.WorkflowExecutionContinuedAsNew(
        "run-2", "Order", "q", P, MAP, MAP, MAP, 1_000, 2_000, 3_000, "CRON_SCHEDULE", chain(), P, 4
    ),
    h.WorkflowExecutionCancelRequested("why", "me", "r"),
    h.WorkflowExecutionSignaled("s", P, MAP, "me", "r"),
    h.WorkflowTaskScheduled("q", 2, 10_000),
    h.WorkflowTaskStarted(2, "me", "r", 512, True),
    h.WorkflowTaskCompleted(2, 3, "me", [1, 3]),
    h.WorkflowTaskFailed(2, 3, "NON_DETERMINISTIC_ERROR", chain(), "me"),
    h.WorkflowTaskTimedOut(2, 3, "START_TO_CLOSE"),
    h.ActivityTaskScheduled("1", "a", "q", P, MAP, 1_000, 2_000, 3_000, 4_500, POLICY, 4, P[0]),
    h.ActivityTaskStartedEvent(5, 3, "me", chain(), 2, 71),
    h.ActivityTaskCompletedEvent(5, 6, P, "me"),
    h.ActivityTaskFailedEvent(5, 6, chain(), "NON_RETRYABLE_FAILURE", "me"),
    h.ActivityTaskTimedOutEvent(5, 6, chain(), "TIMEOUT"),
    h.ActivityTaskCancelRequested(5, 4),
    h.ActivityTaskCanceledEvent(5, 6, 7, P, "me"),
    h.TimerStarted("1", 86_400_000, 4, P[0]),
    h.TimerFired("1", 5),
    h.TimerCanceled("1", 5, 4),
    h.MarkerRecorded("core_patch", {"patch-data": P}, 4, chain()),
    h.UpsertWorkflowSearchAttributes(MAP, 4),
    h.WorkflowPropertiesModified(MAP, 4),
]
EMPTY_FAILURE = Failure(kind="", source="")
EMPTY: list[Any] = [
    h.WorkflowExecutionStarted("w", "run-1", "T", "q", random_seed=random_seed("run-1")),
    h.WorkflowExecutionCompleted(),
    h.WorkflowExecutionFailed(EMPTY_FAILURE, ""),
    h.WorkflowExecutionCanceled(),
    h.WorkflowExecutionTerminated(),
    h.WorkflowTaskScheduled(),
    h.WorkflowTaskStarted(),
    h.WorkflowTaskCompleted(),
    h.WorkflowTaskFailed(),
    h.ActivityTaskScheduled("1", "a", "q"),
    h.ActivityTaskStartedEvent(5),
    h.ActivityTaskFailedEvent(5, 0, EMPTY_FAILURE),
    h.TimerStarted("1", 0),
    h.MarkerRecorded("m"),
]


def numbered(attributes: list[Any]) -> list[h.HistoryEvent]:
    return [
        h.HistoryEvent(n, T0 + n, a, n * 10 if n % 2 else -1) for n, a in enumerate(attributes, 1)
    ]


def test_the_table_has_every_event_type() -> None:
    ours = set(h.Attributes.__args__) - {h.WorkflowTask, h.OtherEvent}  # type: ignore[attr-defined]
    assert {t.record for t in TYPES} == ours == {type(a) for a in FULL}
    for event_type in TYPES:  # no attribute is forgotten
        written = {field.name for field in event_type.fields}
        assert set(event_type.record.__struct_fields__) - written <= {
            "parent",
            "random_seed",
            "summary",
            "command_partition",
            "command_offset",
        } | ({"request_id"} if "request_id" not in written else set())


@pytest.mark.parametrize("attributes", FULL + EMPTY, ids=lambda a: type(a).__name__)
def test_ours_both_ways(attributes: Any) -> None:
    events = numbered([attributes])
    assert from_json(to_json(events)).events == events


def test_a_whole_history_both_ways() -> None:
    events = numbered(FULL)
    assert from_json(to_json(events, indent=2)).events == events


def test_shorthand_is_expanded() -> None:
    events = [
        h.HistoryEvent(1, T0, h.WorkflowExecutionStarted("w", "r", "T", "q"), 7),
        h.HistoryEvent(2, T0 + 5, h.WorkflowTask(T0 + 4, "me", 300, True, [2]), -1),
        h.HistoryEvent(5, T0 + 5, h.TimerStarted("1", 5, 4)),
    ]
    members = to_json_dict(events)["events"]
    assert [member["eventId"] for member in members] == ["1", "2", "3", "4", "5"]
    names = [
        member["eventType"].removeprefix("EVENT_TYPE_WORKFLOW_TASK_") for member in members[1:4]
    ]
    assert names == ["SCHEDULED", "STARTED", "COMPLETED"]
    assert members[2]["workflowTaskStartedEventAttributes"] == {
        "scheduledEventId": "2",
        "identity": "me",
        "suggestContinueAsNew": True,
        "historySizeBytes": "300",
    }
    assert members[3]["workflowTaskCompletedEventAttributes"]["sdkMetadata"] == {
        "langUsedFlags": [2]
    }
    assert from_json({"events": members}).events[1:] == expand(events)[1:]


TEMPORAL: dict[str, Any] = {
    "events": [
        {
            "eventId": "1",
            "eventTime": "2022-01-10T22:35:21.648104515Z",
            "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
            "taskId": "1050551",
            "workflowExecutionStartedEventAttributes": {
                "workflowType": {"name": "Greet"},
                "taskQueue": {"name": "q", "kind": "TASK_QUEUE_KIND_NORMAL"},
                "input": {
                    "payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "IngiCg=="}]
                },
                "workflowExecutionTimeout": "0s",
                "workflowTaskTimeout": "10s",
                "originalExecutionRunId": "9c0e4a0c-5a9c-4f0d-a6d5-1d1b0a1c7f51",
                "firstExecutionRunId": "9c0e4a0c-5a9c-4f0d-a6d5-1d1b0a1c7f51",
                "attempt": 1,
                "firstWorkflowTaskBackoff": "0s",
                "header": {},
                "retryPolicy": None,
                "prevAutoResetPoints": {"points": [{"buildId": "b"}]},
            },
            "links": [],
        },
        {
            "eventId": "2",
            "eventTime": "2022-01-10T22:35:21Z",
            "eventType": "EVENT_TYPE_WORKFLOW_TASK_COMPLETED",
            "workflowTaskCompletedEventAttributes": {
                "scheduledEventId": "2",
                "startedEventId": "3",
                "sdkMetadata": {
                    "coreUsedFlags": [1, 2],
                    "langUsedFlags": [4],
                    "sdkName": "temporal-python",
                },
            },
        },
        {
            "eventId": "3",
            "eventTime": "2022-01-10T23:35:21+01:00",
            "eventType": "EVENT_TYPE_NEXUS_OPERATION_SCHEDULED",
            "nexusOperationScheduledEventAttributes": {"endpoint": "e"},
        },
        {
            "eventId": "4",
            "eventTime": "2022-01-10T22:35:21.5Z",
            "eventType": "EVENT_TYPE_ACTIVITY_TASK_FAILED",
            "activityTaskFailedEventAttributes": {
                "failure": {
                    "message": "m",
                    "resetWorkflowFailureInfo": {"lastHeartbeatDetails": {"payloads": [{}]}},
                },
                "retryState": "RETRY_STATE_UNSPECIFIED",
            },
        },
    ]
}


def test_nothing_of_what_temporal_wrote_is_lost() -> None:
    read = from_json(json.dumps(TEMPORAL))
    assert to_json_dict(read) == TEMPORAL
    assert [event.event_time_ms % 1_000 for event in read.events] == [648, 0, 0, 500]
    started = read.events[0].attributes
    assert isinstance(started, h.WorkflowExecutionStarted)
    assert (started.run_id, started.task_timeout_ms, started.attempt) == (
        "9c0e4a0c-5a9c-4f0d-a6d5-1d1b0a1c7f51",
        10_000,
        1,
    )
    assert started.random_seed == random_seed(started.run_id)
    assert isinstance(read.events[2].attributes, h.OtherEvent)


def test_ids_that_an_older_history_does_not_hold() -> None:
    value = json.loads(json.dumps(TEMPORAL))
    del value["events"][0]["workflowExecutionStartedEventAttributes"]["originalExecutionRunId"]
    read = from_json(value, workflow_id="w", run_id="r")
    started = read.events[0].attributes
    assert isinstance(started, h.WorkflowExecutionStarted)
    assert (started.workflow_id, started.run_id, started.random_seed) == (
        "w",
        "r",
        random_seed("r"),
    )
    assert to_json_dict(read) == value


def test_names_of_older_dumps() -> None:
    value = {
        "events": [
            {
                "eventId": 1,
                "eventTime": "2022-01-10T22:35:21Z",
                "eventType": "WorkflowTaskTimedOut",
                "workflowTaskTimedOutEventAttributes": {
                    "scheduledEventId": "1",
                    "timeoutType": "ScheduleToStart",
                },
            }
        ]
    }
    read = from_json(value)
    assert read.events[0].attributes == h.WorkflowTaskTimedOut(1, 0, "SCHEDULE_TO_START")
    assert to_json_dict(read) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "list named 'events'"),
        ('{"events": [{}]}', "event 1"),
        (
            (
                '{"events": [{"eventId": "1", "eventType": "EVENT_TYPE_TIMER_FIRED", "eventTime":'
                ' "yesterday"}]}'
            ),
            "yesterday",
        ),
        (
            (
                '{"events": [{"eventId": "1", "eventType":'
                ' "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED",'
                ' "workflowExecutionSignaledEventAttributes": {"input": ["plain"]}}]}'
            ),
            "shorthand",
        ),
        ('{"events": ["x"]}', "event 1"),
    ],
)
def test_what_is_no_history_says_where(text: str, words: str) -> None:
    with pytest.raises(JsonHistoryError, match=words):
        from_json(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (10_000, "10s"), (1_500, "1.500s"), (86_400_000, "86400s"), (1, "0.001s")],
)
def test_durations(ms: int, text: str) -> None:
    assert write_duration(ms) == text and read_duration(text) == ms


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00Z"), (T0, "2023-11-14T22:13:20.123Z")]
)
def test_times(ms: int, text: str) -> None:
    assert write_time(ms) == text and read_time(text) == ms
