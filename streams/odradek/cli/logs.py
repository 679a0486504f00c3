"""Log lines as text, or as JSON with ids: one object a line, so that a log store can follow a
workflow over all processes.

    {"time": "2026-01-31T12:00:00.123Z", "level": "info", "logger": "odradek.workflow",
    "message": "order placed", "namespace": "default",
     "task_queue": "orders", "partition": 3, "workflow_id": "order-1", "run_id": "...",
     "workflow_type": "OrderSaga", "attempt": 1, "trace_id": "..."}

Where ids come from: `workflow.logger` and `activity.logger` put theirs on each record; any other
logger used inside an activity or a workflow gets them too; the hosts' own lines carry namespace,
queue and partition, and those about one run (interrupted by the watchdog, a refused input, a
dead letter) its ids, given with `extra=`. Lines of `odradek server` have its namespace, and
while it answers a request `request`, its method and path without the query. `trace_id` and
`span_id` are those of the current OpenTelemetry span.

Never at replay: `workflow.logger` is silent then, so a line of a committed workflow task appears
once, however often the run is brought back. A task that died before its commit is done anew, and
says it again.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS, BaseJsonFormatter

from odradek.config import Settings
from odradek.log_fields import log_fields
from odradek.visible_text import visible_lines
from odradek.wire.clean import clean_text

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
#: In this order, behind what every line has.
IDS = (
    "namespace",
    "task_queue",
    "partition",
    "workflow_id",
    "run_id",
    "workflow_type",
    "activity_id",
    "activity_type",
    "attempt",
    "update_id",
    "update_name",
    "request",
)
_RENAMED = {"workflow_run_id": "run_id", "workflow_namespace": "namespace"}
_OURS = frozenset(
    {
        "temporal_workflow",
        "temporal_activity",
        "workflow_info",
        "activity_info",
        "__temporal_error_identifier",
    }
)


class TextFormatter(logging.Formatter):
    """Lines for people. Ids and messages of others steer no terminal and turn no line around."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by logging."""
        return visible_lines(super().format(record))


class JsonFormatter(BaseJsonFormatter):
    """One JSON object a line. `extra=` of a call comes along under its own names, as text if
    JSON has no form for it. fields: ids of the process, for lines that know none themselves.
    """

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__(reserved_attrs=[*RESERVED_ATTRS, *_OURS])
        self._fields = fields or {}

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Called by the library."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        ids = {**self._fields, **ids_of(record)}
        log_data.update(
            time=time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            level=record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
        )
        log_data.update((name, ids[name]) for name in IDS if ids.get(name) not in (None, ""))
        log_data.update(_span())
        more: dict[str, Any] = {}
        super().add_fields(more, record, message_dict)
        names = {"exc_info": "exception", "stack_info": "stack"}
        for name, value in more.items():
            if name not in IDS:
                log_data.setdefault(names.get(name, name), value)

    def serialize_log_record(self, log_data: dict[str, Any]) -> str:
        """A line must never be lost over what was given with it, nor be what JSON is not."""
        try:
            text = _json(log_data)
        except Exception:  # NaN, a key that is no text, a circle, what has no text
            text = _json({name: _plain(value) for name, value in log_data.items()})
        return clean_text(text)  # a lone surrogate becomes JSON's own escape of it


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    """The value, or else its text."""
    try:
        _json(value)
        return value
    except Exception:
        try:
            return str(value)
        except Exception:
            return f"a {type(value).__name__} that cannot be shown"


def ids_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record knows of who speaks."""
    found = dict(log_fields())
    speaker: Mapping[str, Any] | None = getattr(record, "temporal_workflow", None) or getattr(
        record, "temporal_activity", None
    )
    for name, value in (speaker if isinstance(speaker, Mapping) else _speaker()).items():
        found[_RENAMED.get(name, name)] = value
    found.update((name, vars(record)[name]) for name in IDS if name in vars(record))
    return found


def _speaker() -> Mapping[str, Any]:
    """The activity or workflow whose code logs through a logger of its own. Looked for only
    where its room was ever loaded.
    """
    activities = sys.modules.get("odradek.activities.context")
    if activities is not None and (context := activities.current.get(None)) is not None:
        return context.logger_details  # type: ignore[no-any-return]
    activation = sys.modules.get("odradek.activation.info")
    if activation is not None and (run := activation.maybe_current()) is not None:
        return run.logger_details()  # type: ignore[no-any-return]
    return {}


def _span() -> dict[str, str]:
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    return (
        {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        if context.is_valid
        else {}
    )


def configure_logging(
    log_format: str,
    level: str,
    stream: TextIO | None = None,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Log to `stream` (stderr) in this format from this level on, in place of what this function
    set up before.

    fields: ids of the process, for lines of JSON that know none. With `json`, messages of
    `workflow.logger` and `activity.logger` no longer end with their ids as text: they stand in
    fields.
    """
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "_odradek", False)]:
        root.removeHandler(old)
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler._odradek = True  # type: ignore[attr-defined]
    handler.setFormatter(
        JsonFormatter(fields) if log_format == "json" else TextFormatter(TEXT_FORMAT)
    )
    root.addHandler(handler)
    root.setLevel(level.upper())
    if log_format == "json":
        from odradek.activation.logs import logger as workflow_logger
        from odradek.activities.log import logger as activity_logger

        workflow_logger.workflow_info_on_message = False
        activity_logger.activity_info_on_message = False


def log_as_set(settings: Settings, level: str | None) -> None:
    """For processes that stay: log as their settings say; `level` wins. librdkafka's lines show
    too, the repeated ones once a minute.
    """
    configure_logging(
        settings.log_format, level or settings.log_level, fields={"namespace": settings.namespace}
    )
    logging.getLogger("odradek.kafka").setLevel(logging.NOTSET)
