"""Lines of the log: ids, JSON, and those of librdkafka that repeat."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from odradek.cli.logs import JsonFormatter, configure_logging
from odradek.kafka.client_config import logger as kafka_logger
from odradek.kafka.log_filter import MomentaryLines, RepeatedLines
from odradek.log_fields import set_log_fields


def ids_in(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in IDS if name in line}


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
