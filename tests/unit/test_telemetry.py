"""Counting and probes."""

from __future__ import annotations

import dataclasses
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from odradek.activities.statistics import ActivityCounters, ActivityStatistics
from odradek.config import Settings
from odradek.engine.ports import EXECUTIONS, HISTORY, RESULTS, Effects, Input, Output, RowChange
from odradek.exceptions import ConfigurationError
from odradek.kafka.producer import ProducerStatistics
from odradek.processor.counters import PartitionCounters
from odradek.processor.inputs import Letter, Sorted
from odradek.processor.measured import MeasuringActivator
from odradek.processor.statistics import LaneStatistics, ProcessorStatistics
from odradek.processor.work import Work
from odradek.telemetry import metrics
from odradek.telemetry.endpoint import Endpoint, Health, process_endpoint, render
from odradek.telemetry.meter import Families, PrometheusMeter
from odradek.wire.dead_letters import INPUT_REASONS, SERVICE_REASONS
from odradek.wire.events import SignalWorkflow
from odradek.wire.history import HistoryEvent, TimerFired, WorkflowTask
from odradek.wire.outcomes import CLOSED, COMPLETED, RUNNING, ExecutionSummary, WorkflowResult
from odradek.wire.state import HistoryRow
from odradek.wire.tasks import ActivityTask
from odradek.worker._health import health_of_activities, health_of_processor
from tests.support.metrics import counted, series

# --- counters


def effects(status: str, transitions: int, *, gone: bool = False) -> Effects:
    summary = ExecutionSummary(
        "default", "q", "w", "r", "T", status, state_transition_count=transitions
    )
    outputs = [Output(EXECUTIONS, "", "w/r", summary, None if gone else b"x")]
    if status == COMPLETED and not gone:
        result = WorkflowResult(
            "default", "q", "w", "r", "T", status, start_time_ms=1_000, close_time_ms=3_500
        )
        outputs.append(Output(RESULTS, "", "w", result, b"x"))
    events = [HistoryEvent(5, 1, TimerFired("1", 4)), HistoryEvent(6, 1, WorkflowTask(1))]
    return Effects(
        rows=[RowChange(HISTORY, "r/5", HistoryRow(events)), RowChange(HISTORY, "r/1", None)],
        outputs=outputs,
    )


def work(**fields: Any) -> Work:
    message = cast(Any, None)
    inputs = [
        Input(SignalWorkflow("w", "s"), 3, "x/0/3", 10_000),
        Input(SignalWorkflow("w", "s"), 4, "x/0/4", 11_900),
    ]
    return Work([message, message], Sorted(inputs=inputs, **fields))


@pytest.mark.promise("telemetry")
def test_a_run_counts_one_start_and_one_close_however_often_its_summary_is_written(
    request: pytest.FixtureRequest,
) -> None:
    queue = {"namespace": request.node.name, "task_queue": "q"}
    counters = PartitionCounters(*queue.values(), 3, ["T"])
    assert counted(metrics.WORKFLOW_STARTS, **queue) == 0, "there from 0, for `increase`"
    closes = series(metrics.WORKFLOW_CLOSES, "namespace", "status")
    assert all(closes[queue["namespace"], status] == 0 for status in CLOSED)
    counters.committed(work(), effects(RUNNING, 1), 12_000)
    counters.committed(work(), effects(RUNNING, 2), 12_000)
    letter = Letter(cast(Any, None), INPUT_REASONS[0], "")
    counters.committed(work(letters=[letter]), effects(COMPLETED, 3), 12_000)
    counters.committed(Work([], Sorted()), effects(COMPLETED, 3, gone=True), 12_000)  # retention
    for metric, expected in (
        (metrics.WORKFLOW_STARTS, 1),
        (metrics.WORKFLOW_CLOSES, 1),
        (metrics.WORKFLOW_SECONDS, 1),
        (metrics.DEAD_LETTERS, 1),
        (metrics.PARTITION_INPUTS, 6),
        (metrics.PARTITION_INPUT_AGE, 3),
        (metrics.PARTITION_TRANSACTIONS, 4),
    ):
        assert counted(metric, **queue) == expected, metric
    for event in ("TimerFired", "WorkflowTaskScheduled", "WorkflowTaskCompleted"):
        assert counted(metrics.HISTORY_EVENTS, event_type=event, **queue) == 4


@pytest.mark.promise("telemetry")
def test_types_that_nobody_registered_are_counted_under_one_name() -> None:
    """Whoever may start a workflow names its type: each would be series for the life of the
    process.
    """
    partition = PartitionCounters("unknown", "q", 0, [])
    partition.committed(work(), effects(COMPLETED, 1), 12_000)
    service = ActivityCounters("unknown", "q", ["A"])
    for kind in ("A", "made-up", "other"):
        service.started(
            cast(
                ActivityTask,
                SimpleNamespace(activity_type=kind, current_attempt_scheduled_time_ms=1),
            ),
            5,
        )
        service.ended(kind, "completed", 0.1)
    for metric, label, expected in (
        (metrics.WORKFLOW_STARTS, "workflow_type", {"(unknown)": 1}),
        (metrics.ACTIVITY_STARTS, "activity_type", {"A": 1, "(unknown)": 2}),
    ):
        found = series(metric, "namespace", label)
        assert {kind: n for (where, kind), n in found.items() if where == "unknown"} == expected
    letters = series(metrics.DEAD_LETTERS, "namespace", "kind", "reason")
    assert all(letters["unknown", "activities", reason] == 0 for reason in SERVICE_REASONS)


def test_the_cache_counts_on_over_engines() -> None:
    counters = PartitionCounters("cache", "q", 0, [])
    for hits in (5, 8):
        counters.cache({"cache_hits": hits, "cache_misses": 2, "evictions": 1})
    counters.engine_made()
    counters.cache({"cache_hits": 1, "cache_misses": 1, "evictions": 0})
    assert counted(metrics.CACHE_HITS, namespace="cache") == 9
    assert counted(metrics.CACHE_MISSES, namespace="cache") == 3


def test_replayed_activations_are_one_replay_and_no_task() -> None:
    counters = PartitionCounters("replays", "q", 0, ["T"])
    inner = SimpleNamespace(activate=lambda _: "done", close=lambda: None)
    activator = MeasuringActivator(cast(Any, SimpleNamespace(create=lambda **_: inner)), counters)
    instance = activator.create(workflow_id="w", run_id="r", workflow_type="T")
    for replaying in (True, True, False, False):
        assert instance.activate(cast(Any, SimpleNamespace(is_replaying=replaying))) == "done"
    assert counted(metrics.REPLAY_ACTIVATIONS, namespace="replays") == 2
    assert counted(metrics.REPLAY_SECONDS, namespace="replays") == 1
    assert counted(metrics.TASK_SECONDS, namespace="replays") == 2


def test_metrics_of_user_code_are_families_of_their_own() -> None:
    found = Families()
    meter = PrometheusMeter(found).with_additional_attributes({"namespace": "default"})
    counter = meter.create_counter("orders.placed", "Orders.", "orders")
    counter.add(2)
    counter.with_additional_attributes({"vip": True}).add(1)
    counter.add(1, {"vip": True})
    meter.create_gauge("stock").set(5)
    meter.create_gauge("stock").set(3)
    meter.create_histogram_float("weight").record(0.7)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(found)
    text = generate_latest(registry).decode()
    assert 'orders_placed_total{namespace="default"} 2.0' in text
    assert 'orders_placed_total{namespace="default",vip="true"} 2.0' in text
    assert (
        'stock{namespace="default"} 3.0' in text
        and 'weight_bucket{le="1.0",namespace="default"} 1.0' in text
    )
    with pytest.raises(ValueError, match="negative"):
        counter.add(-1)
    with pytest.raises(ValueError, match="is a counter and cannot be a gauge"):
        meter.create_gauge("orders.placed")
    with pytest.raises(TypeError, match="attribute who"):
        counter.add(1, {"who": cast(str, object())})


def test_gauges_are_of_now_and_a_broken_part_hides_no_other() -> None:
    where = ("gone", "q", "0")
    text = render([lambda: metrics.PARTITION_LAG.labels(*where).set(4), lambda: cast(None, 1 / 0)])
    assert b'odradek_partition_lag{namespace="gone",partition="0",task_queue="q"} 4.0' in text
    assert b"odradek_partition_lag{" not in render([])


# --- probes

LANE = LaneStatistics(0, "RUNNING", True, 5, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0.1, True, "")
PROCESSOR = ProcessorStatistics(
    "default",
    "q",
    0,
    True,
    {0: LANE},
    0,
    0.1,
    True,
    ProducerStatistics(),
    1.0,
    "",
    "",
    False,
)


def processor(lane: dict[str, Any] | None = None, **changes: Any) -> Health:
    lanes = {0: dataclasses.replace(LANE, **(lane or {}))}
    return health_of_processor(dataclasses.replace(PROCESSOR, lanes=lanes, **changes), 60.0)


def test_a_processor_that_works_is_live_and_ready() -> None:
    assert processor() == Health() and processor().live and processor().ready


@pytest.mark.parametrize(
    ("found", "live", "reason"),
    [
        (
            processor({"silent_seconds": 61.0}),
            False,
            "partition 0: the lane's thread has been silent for 61 s",
        ),
        (processor({"alive": False}), False, "partition 0: the lane's thread has ended"),
        (
            processor(group_silent_seconds=61.0),
            False,
            "the group's thread has been silent for 61 s",
        ),
        (processor(group_alive=False), False, "the group's thread"),
        # What a restart would not mend.
        (
            processor(
                {
                    "state": "RESTORING",
                    "running": False,
                    "restore_remaining": 9,
                    "silent_seconds": 999.0,
                }
            ),
            True,
            "RESTORING, 9 records",
        ),
        (
            processor({"state": "FAILED", "running": False, "alive": False, "error": "disk full"}),
            True,
            "partition 0: FAILED: disk full",
        ),
        (processor(assigned=False), True, "has not assigned partitions yet"),
        (
            processor(contact_seconds=11.0, contact_error="refused"),
            True,
            "no broker has answered for 11 s: refused",
        ),
        (processor(contact_seconds=None), True, "no broker has answered yet"),
        (
            processor(contact_seconds=30.0, missing_topic="topic m does not exist"),
            True,
            "processor of q: topic m does not exist",
        ),
        (
            processor(fatal="another one has our identity", group_alive=False),
            True,
            "another one has our identity",
        ),
        (
            processor(stopping=True, group_alive=False, group_silent_seconds=99.0),
            True,
            "shutting down",
        ),
    ],
)
def test_why_a_processor_is_not_live_or_not_ready(found: Health, live: bool, reason: str) -> None:
    assert found.live is live and not found.ready
    assert any(reason in text for text in found.not_live + found.not_ready), found


@pytest.mark.parametrize(
    ("changes", "live", "reason"),
    [
        ({}, True, ""),
        ({"thread_silent_seconds": 61.0}, False, "consumer's thread"),
        ({"loop_silent_seconds": 61.0}, False, "event loop has been blocked"),
        ({"assigned": False}, True, "not assigned"),
        ({"contact_seconds": 30.0, "contact_error": "refused"}, True, "for 30 s: refused"),
        ({"draining": True, "thread_silent_seconds": 99.0}, True, "shutting down"),
    ],
)
def test_why_a_service_is_not_live_or_not_ready(
    changes: dict[str, Any], live: bool, reason: str
) -> None:
    serving = ActivityStatistics(
        "default", "q", True, contact_seconds=1.0, thread_alive=True, thread_silent_seconds=0.1
    )
    found = health_of_activities(dataclasses.replace(serving, **changes), 60.0)
    assert found.live is live and found.ready is (reason == "")
    assert not reason or any(reason in text for text in found.not_live + found.not_ready), found


def ask(endpoint: Endpoint, path: str) -> tuple[int, str]:
    host, port = endpoint.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_endpoint_answers_for_all_that_runs_and_goes_with_the_last_user() -> None:
    with process_endpoint("127.0.0.1", 0) as first:
        assert ask(first, "/health/ready")[0] == 503 and ask(first, "/health/live")[0] == 200
        first.checks += [Health, lambda: Health(not_ready=("b restores",))]
        assert ask(first, "/health/live") == (200, '{"status": "live"}')
        assert ask(first, "/health/ready") == (
            503,
            '{"status": "not ready", "reasons": ["b restores"]}',
        )
        first.checks[1] = lambda: Health(not_live=("b hangs",))
        assert ask(first, "/health/live")[0] == 503 and "b hangs" in ask(first, "/health/ready")[1]
        assert ask(first, "/metrics")[0] == 200 and ask(first, "/else")[0] == 404
        with process_endpoint("127.0.0.1", 0) as second:
            assert second is first
        first.checks[:] = [lambda: cast(Health, 1 / 0)]
        assert ask(first, "/health/live")[0] == 500
        with pytest.raises(ConfigurationError, match="telemetry_port"):
            Endpoint(*first.address)
    with pytest.raises(urllib.error.URLError):
        ask(first, "/health/live")


def test_settings_of_telemetry_are_checked() -> None:
    assert Settings().telemetry_port is None
    for wrong in (
        {"telemetry_port": 70_000},
        {"log_format": "xml"},
        {"log_level": "loud"},
        {"liveness_timeout": 0},
    ):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            Settings(**wrong)
