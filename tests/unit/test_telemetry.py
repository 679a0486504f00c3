"""Counters, probes, log lines: the parts of telemetry on their own."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from odradek.activation import Watchdog, WatchedActivator
from odradek.activities.statistics import ActivityStatistics, ActivityTally
from odradek.config import Settings
from odradek.engine.activation import Activation
from odradek.engine.ports import EXECUTIONS, HISTORY, RESULTS, Input, Output, RowChange, StepResult
from odradek.exceptions import ConfigurationError
from odradek.kafka.client_config import logger as kafka_logger
from odradek.kafka.log_filter import MomentaryLines, RepeatedLines
from odradek.kafka.producer import ProducerStatistics
from odradek.log_fields import set_log_fields
from odradek.processor.decoder import DecodedBatch, Letter
from odradek.processor.statistics import (
    LaneStatistics,
    ProcessorStatistics,
    Totals,
    partition_totals,
)
from odradek.processor.tally import Tallies, Tally
from odradek.statistics import NAMES_MAX, OTHER, UNKNOWN, Counts, Histogram, Histograms
from odradek.telemetry.collector import MeterCollector
from odradek.telemetry.endpoint import Endpoint, process_endpoint
from odradek.telemetry.health import Health, health_of_activities, health_of_processor
from odradek.telemetry.logs import IDS, JsonFormatter, configure_logging
from odradek.telemetry.meter import Families, PrometheusMeter
from odradek.wire.events import SignalWorkflow
from odradek.wire.history import HistoryEvent, TimerFired, WorkflowTask
from odradek.wire.outcomes import COMPLETED, RUNNING, ExecutionSummary, WorkflowResult
from odradek.wire.state import HistoryRow
from odradek.wire.tasks import ActivityTask
from odradek.worker._hosts import _report_stuck

# --- counters


def test_values_fall_into_the_bucket_whose_bound_they_do_not_exceed() -> None:
    histogram = Histogram((1.0, 5.0))
    for value in (0.5, 1.0, 1.1, 5.0, 9.0):
        histogram.observe(value)
    found = histogram.snapshot()
    assert (found.counts, found.count, found.sum) == ((2, 2, 1), 5, pytest.approx(16.6))
    assert (found + found).counts == (4, 4, 2)


def test_names_from_outside_are_bounded() -> None:
    counts, histograms = Counts(OTHER), Histograms(OTHER)
    for number in range(NAMES_MAX + 50):
        counts.add(f"T{number}")
        histograms.of(f"T{number}").observe(1)
    assert len(counts) == NAMES_MAX + 1 and counts[OTHER] == 50
    assert len(histograms.snapshot()) == NAMES_MAX + 1 and histograms.snapshot()[OTHER].count == 50
    counts.add("T3")
    assert counts["T3"] == 2


def effects(status: str, transitions: int, *, gone: bool = False) -> StepResult:
    summary = ExecutionSummary(
        "default", "q", "w", "r", "T", status, state_transition_count=transitions
    )
    outputs = [Output(EXECUTIONS, "", "w/r", summary, gone)]
    if status == COMPLETED and not gone:
        result = WorkflowResult(
            "default", "q", "w", "r", "T", status, start_time_ms=1_000, close_time_ms=3_500
        )
        outputs.append(Output(RESULTS, "", "w", result))
    events = [HistoryEvent(5, 1, TimerFired("1", 4)), HistoryEvent(6, 1, WorkflowTask(1))]
    return StepResult(
        rows=[RowChange(HISTORY, "r/5", HistoryRow(events)), RowChange(HISTORY, "r/1", None)],
        outputs=outputs,
    )


def work(**fields: Any) -> tuple[list[Any], DecodedBatch, list[Any]]:
    message = cast(Any, None)
    inputs = [
        Input(SignalWorkflow("w", "s"), 3, "x/0/3", 10_000),
        Input(SignalWorkflow("w", "s"), 4, "x/0/4", 11_900),
    ]
    return [message, message], DecodedBatch(inputs=inputs, **fields), []


def test_a_run_counts_one_start_and_one_close_however_often_its_summary_is_written() -> None:
    tally = Tally(["T"])
    tally.committed(*work(), effects(RUNNING, 1), 12_000)
    tally.committed(*work(), effects(RUNNING, 2), 12_000)
    tally.committed(
        *work(letters=[Letter(cast(Any, None), "undecodable", "")]), effects(COMPLETED, 3), 12_000
    )
    tally.committed([], DecodedBatch(), [], effects(COMPLETED, 3, gone=True), 12_000)  # retention
    found = partition_totals(tally, None)
    assert (found.starts, found.closes) == ({"T": 1}, {("T", COMPLETED): 1})
    tasks = {"WorkflowTaskScheduled": 4, "WorkflowTaskStarted": 4, "WorkflowTaskCompleted": 4}
    assert found.run_seconds["T"].sum == 2.5 and found.events == {"TimerFired": 4} | tasks
    assert found.dead_letters == {"undecodable": 1} and found.totals.dead_letters == 1
    assert (
        found.input_age_seconds.sum == pytest.approx(6.0) and found.batch_inputs.count == 3
    )  # 2 s each: the oldest input's
    assert found.totals.inputs == 6


def test_one_that_closes_in_its_first_step_counts_both() -> None:
    tally = Tally(["T"])
    tally.committed(*work(), effects(COMPLETED, 1), 12_000)
    assert (dict(tally.starts), dict(tally.closes)) == ({"T": 1}, {("T", COMPLETED): 1})


def test_workflow_types_that_nobody_registered_are_counted_under_one_name() -> None:
    """Whoever may start a workflow names its type: each would be 27 series for the life of the
    process.
    """
    tally = Tallies(["Registered", "T"]).of(0)
    for kind in ("T", *(f"U{number}" for number in range(NAMES_MAX + 50))):
        found = effects(COMPLETED, 1)
        for output in found.outputs:
            output.record.workflow_type = kind  # type: ignore[union-attr]
        found.task_seconds = [(kind, 0.001)]
        tally.committed(*work(), found, 12_000)
    total = partition_totals(tally, None)
    expected = {"T": 1, UNKNOWN: NAMES_MAX + 50}
    assert total.starts == expected and total.closes == {
        (kind, COMPLETED): count for kind, count in expected.items()
    }
    assert {kind: one.count for kind, one in total.run_seconds.items()} == expected
    assert {kind: one.count for kind, one in total.task_seconds.items()} == expected


def test_activity_types_that_nobody_registered_are_counted_under_one_name() -> None:
    tally = ActivityTally(["A"])
    for kind in ("A", "B", "C"):
        tally.started(
            ActivityTask(
                "default",
                "q",
                "w",
                "r",
                "T",
                "a",
                "1",
                kind,
                5,
                current_attempt_scheduled_time_ms=1_000,
            ),
            2_000,
        )
        tally.ended(kind, "failed", 0.5)
    expected = {"A": 1, UNKNOWN: 2}
    assert tally.starts == expected and tally.outcomes == {
        (kind, "failed"): count for kind, count in expected.items()
    }
    assert {kind: one.count for kind, one in tally.run_seconds.snapshot().items()} == expected
    assert {
        kind: one.count for kind, one in tally.schedule_to_start_seconds.snapshot().items()
    } == expected


def test_a_partition_that_comes_back_goes_on_counting_and_old_engines_are_remembered() -> None:
    tallies = Tallies(["T"])
    first = tallies.of(3)
    first.engine_gone({"cache_hits": 5, "cache_misses": 2, "evictions": 1})
    assert tallies.of(3) is first and set(tallies.all()) == {3}
    engine = SimpleNamespace(statistics=lambda: {"cached_runs": 7, "cache_hits": 1})
    cache = partition_totals(first, cast(Any, SimpleNamespace(engine=engine))).cache
    assert (cache.size, cache.hits, cache.misses, cache.evictions) == (7, 6, 2, 1)


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
    registry.register(MeterCollector(found))
    text = generate_latest(registry).decode()
    assert 'orders_placed_total{namespace="default"} 2.0' in text
    assert 'orders_placed_total{namespace="default",vip="true"} 2.0' in text
    assert (
        'stock{namespace="default"} 3.0' in text
        and 'weight_bucket{le="1.0",namespace="default"} 1.0' in text
    )
    with pytest.raises(ValueError, match="negative"):
        counter.add(-1)
    with pytest.raises(ValueError, match="is a counter already"):
        meter.create_gauge("orders.placed")
    with pytest.raises(TypeError, match="attribute who"):
        counter.add(1, {"who": cast(str, object())})


# --- probes

LANE = LaneStatistics(0, "RUNNING", True, 5, 0, 0, 0, 0, 0, 0.0, 0, 0, 0.1, True, "")
PROCESSOR = ProcessorStatistics(
    "default",
    "q",
    0,
    True,
    {0: LANE},
    {},
    Totals(),
    0,
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


# --- log lines


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root, stream = logging.getLogger(), io.StringIO()
    level, handlers = root.level, list(root.handlers)
    from odradek.activation.logs import logger as workflow_logger
    from odradek.activities.log import logger as activity_logger

    configure_logging("json", "info", stream)
    yield stream
    root.setLevel(level)
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
    workflow_logger.workflow_info_on_message = activity_logger.activity_info_on_message = True


def said_by(lines: io.StringIO, *loggers: str) -> list[dict[str, Any]]:
    """Their lines: threads that other tests left may speak meanwhile."""
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [line for line in found if line["logger"] in loggers]


def test_lines_of_text_steer_no_terminal() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    level = root.level
    configure_logging("text", "info", stream)
    try:
        try:
            raise ValueError("a\nb\u2066")
        except ValueError:
            logging.getLogger("x").exception("no run gnp\u202etxt\x1b[2J, Zoë, שלום")
    finally:
        for handler in [one for one in root.handlers if getattr(one, "_odradek", False)]:
            root.removeHandler(handler)
        root.setLevel(level)
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("no run gnp\\u202etxt\\x1b[2J, Zoë, שלום") and rest[-2:] == [
        "ValueError: a",
        "b\\u2066",
    ]


def test_a_line_is_one_object_with_what_was_given(lines: io.StringIO) -> None:
    set_log_fields(namespace="default", task_queue="q", partition=3)
    try:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("x").exception("it %s", "broke", extra={"order": 7, "what": object()})
        details = {
            "workflow_id": "w",
            "workflow_run_id": "r",
            "activity_id": "1",
            "activity_type": "A",
            "attempt": 2,
            "task_queue": "far",
        }
        logging.getLogger("y").info("ran", extra={"temporal_activity": details})
    finally:
        set_log_fields()
    logging.getLogger("y").debug("below the level")
    broke, ran = said_by(lines, "x", "y")
    assert (
        broke.items()
        >= {
            "level": "error",
            "logger": "x",
            "message": "it broke",
            "partition": 3,
            "order": 7,
        }.items()
    )
    assert (
        "two\nlines" in broke["exception"]
        and broke["what"].startswith("<object")
        and broke["time"].endswith("Z")
    )
    assert {name: ran[name] for name in ("run_id", "workflow_id", "activity_id", "attempt", "task_queue", "partition")} == {
        "run_id": "r", "workflow_id": "w", "activity_id": "1", "attempt": 2, "task_queue": "far", "partition": 3,
    }  # fmt: skip
    assert "temporal_activity" not in ran and "workflow_run_id" not in ran


class Instance:
    """Workflow code that does what it is told to, and nothing else."""

    def __init__(self, does: Callable[[], None]) -> None:
        self.does = does

    def activate(self, activation: Any) -> Any:
        self.does()

    def close(self) -> None:
        self.does()


def spin() -> None:
    while True:
        pass


def said_by_the_watchdog(
    does: Callable[[], None], *, close: bool = False, on_stuck: Callable[[Any], None] | None = None
) -> None:
    """An activation (or the end) of a run on a lane's thread that does this."""
    watchdog = Watchdog(0.1, on_stuck=on_stuck)

    def lane() -> None:
        set_log_fields(namespace="default", task_queue="q", partition=3)
        activator: Any = SimpleNamespace(create=lambda **names: Instance(does))
        watched = WatchedActivator(activator, watchdog).create(
            workflow_id="order-1", run_id="run-1", workflow_type="OrderSaga"
        )
        if close:
            watched.close()
            return
        watched.activate(Activation("run-1", 0, False, 0, 0, False, []))

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join(20)
    watchdog.stop()
    assert not thread.is_alive()


@pytest.mark.parametrize("close", [False, True])
def test_what_the_watchdog_says_of_a_run_has_its_ids(lines: io.StringIO, close: bool) -> None:
    said_by_the_watchdog(spin, close=close)
    (line,) = said_by(lines, "odradek.watchdog")
    assert "order-1" in line["message"]
    assert ids_in(line) == ALL_IDS


def test_what_it_says_of_a_thread_that_it_cannot_interrupt_too(lines: io.StringIO) -> None:
    """The watcher's thread speaks, and the worker's after it: of another thread's lane and run."""
    release = threading.Event()

    def stuck(found: Any) -> None:
        _report_stuck(found)
        release.set()

    said_by_the_watchdog(release.wait, on_stuck=stuck)  # type: ignore[arg-type] # a call that returns when it likes
    watcher, worker, *_ = said_by(lines, "odradek.watchdog", "odradek.worker")
    assert "cannot be interrupted" in watcher["message"] and ids_in(watcher) == ALL_IDS
    assert worker["level"] == "critical"
    assert (
        ids_in(worker).items()
        >= {
            "workflow_id": "order-1",
            "run_id": "run-1",
            "workflow_type": "OrderSaga",
        }.items()
    )


ALL_IDS = {
    "namespace": "default", "task_queue": "q", "partition": 3, "workflow_id": "order-1", "run_id": "run-1", "workflow_type": "OrderSaga",
}  # fmt: skip


def ids_in(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in IDS if name in line}


def test_ids_given_with_a_line_win_and_empty_ones_are_left_out(lines: io.StringIO) -> None:
    set_log_fields(namespace="default", task_queue="q", partition=3)
    try:
        logging.getLogger("x").error(
            "refused", extra={"workflow_id": "w", "run_id": "", "partition": 5}
        )
    finally:
        set_log_fields()
    (line,) = said_by(lines, "x")
    assert ids_in(line) == {
        "namespace": "default",
        "task_queue": "q",
        "partition": 5,
        "workflow_id": "w",
    }


def test_a_line_inside_of_a_span_has_its_ids() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello", (), None)
    assert "trace_id" not in json.loads(JsonFormatter().format(record))
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        line = json.loads(JsonFormatter().format(record))
    assert (
        line["trace_id"] == f"{span.get_span_context().trace_id:032x}"
        and len(line["span_id"]) == 16
    )


def test_repeated_lines_of_librdkafka_come_once_a_minute_with_their_number() -> None:
    now = [0.0]
    repeated = RepeatedLines(clock=lambda: now[0])

    def passes(text: str, level: int = logging.ERROR) -> str:
        record = logging.LogRecord("odradek.kafka", level, "f", 1, text, (), None)
        return record.getMessage() if repeated.filter(record) else ""

    where = "127.0.0.1:9092"
    line = (
        f"FAIL [odradek#consumer-{{0}}] [thrd:{where}/1]: {where}/1: Connect to ipv4#{where}"
        " failed: {1} (after {0}ms in state CONNECT)"
    )
    assert passes(line.format(1, "Connection refused"))
    assert [passes(line.format(number, "Connection refused")) for number in range(2, 6)] == [""] * 4
    assert not passes(
        line.format(5, "Connection refused").replace(
            "CONNECT)", "CONNECT, 1 identical error(s) suppressed)"
        )
    )
    for name in (
        "GroupCoordinator",
        f"TxnCoordinator: {where}",
        f"{where}/bootstrap",
        "broker-7.example:9092/12",
    ):
        told = passes(line.format(5, "Connection refused").replace(f"{where}/1:", f"{name}:"))
        assert told == "", "one broker by another of its names"
    assert passes(line.format(6, "Permission denied")), "another reason is news"
    assert passes(line.format(7, "Connection refused"), logging.WARNING), "another level too"
    now[0] = 61.0
    assert passes(line.format(8, "Connection refused")).endswith("(and 9 more like this in 61 s)")
    assert passes("x", logging.DEBUG) and passes("x", logging.DEBUG)


def test_what_a_new_broker_is_asked_again_for_is_told_only_if_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first program on a new broker had this line on its stderr."""
    now = [0.0]
    momentary = MomentaryLines(clock=lambda: now[0])
    line = (
        "GETPID [odradek#producer-{}] [thrd:main]: Failed to acquire transactional PID from broker"
        " TxnCoordinator/1: Broker: {}: retrying"
    )

    def passes(number: int, reason: str = "Coordinator load in progress") -> bool:
        record = logging.LogRecord(
            "odradek.kafka", logging.WARNING, "f", 1, line.format(number, reason), (), None
        )
        return momentary.filter(record)

    for now[0] in (0.0, 0.5, 9.5):
        assert not passes(1) and not passes(2)
    now[0] = 10.0
    assert passes(1), "it goes on"
    now[0] = 100.0
    assert not passes(1), "another moment"
    assert passes(1, "Transactional Id authorization failed") and passes(1, "Request timed out"), (
        "what is no matter of time"
    )
    with caplog.at_level(logging.DEBUG, kafka_logger.name):
        assert passes(1)
    assert any(isinstance(one, MomentaryLines) for one in kafka_logger.filters)


@pytest.mark.parametrize(
    "text", ["a-", "a/1:", "[thrd:", "[#", "(after ", "GroupCoordinator: x:1:"]
)
def test_long_text_without_an_end_is_no_work_for_the_filter_of_repeated_lines(text: str) -> None:
    """What a broker says may be long; the thread that logs it holds up its client."""
    began = time.process_time()
    assert RepeatedLines().filter(
        logging.LogRecord(
            "odradek.kafka", logging.ERROR, "f", 1, text * (48_000 // len(text)), (), None
        )
    )
    assert time.process_time() - began < 3.0


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
