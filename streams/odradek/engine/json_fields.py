"""Field kinds of Temporal's JSON histories (protobuf's JSON mapping): how one attribute is
written and read.

int64 are strings, durations "1.500s", times RFC 3339, bytes base64, enum values carry their
prefix; what has its default is left out. Older dumps write enums in camel case ("StartToClose");
both are read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from odradek.wire import payload as p
from odradek.wire.payload import Failure, Payload, RetryPolicy

Json = dict[str, Any]


class Kind(NamedTuple):
    """How a value of a field is written and read. `write` gives None for a value that is left out."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


# ---------------------------------------------------------------- scalars


def write_duration(ms: int) -> str:
    """1500 -> "1.500s"."""
    seconds, rest = divmod(ms, 1_000)
    return f"{seconds}.{rest:03d}s" if rest else f"{seconds}s"


def read_duration(text: str) -> int:
    """ "1.5s" -> 1500; beyond milliseconds it is cut."""
    seconds, _, fraction = text.removesuffix("s").partition(".")
    return int(seconds) * 1_000 + int(fraction[:3].ljust(3, "0") if fraction else 0)


def write_time(ms: int) -> str:
    """Epoch ms -> "2026-01-02T03:04:05.678Z"."""
    at = datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{at}.{ms % 1_000:03d}Z" if ms % 1_000 else f"{at}Z"


def read_time(text: str) -> int:
    """RFC 3339 with any number of fractional digits -> epoch ms."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", text
    )
    if match is None:
        raise ValueError(f"'{text}' is not a time as RFC 3339 has it")
    at, fraction, zone = match.groups()
    seconds = int(datetime.fromisoformat(at + ("+00:00" if zone in "Zz" else zone)).timestamp())
    return seconds * 1_000 + int((fraction or "0")[:3].ljust(3, "0"))


def screaming(camel: str) -> str:
    """ "StartToClose" -> "START_TO_CLOSE"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", camel).upper()


def enum(prefix: str) -> Kind:
    """An enum whose values carry this prefix. "" is UNSPECIFIED, left out."""

    def read(text: str) -> str:
        name = text.removeprefix(prefix) if text.startswith(prefix) else screaming(text)
        return "" if name == "UNSPECIFIED" else name

    return Kind(lambda value: prefix + value if value else None, read)


STRING = Kind(lambda value: value or None, str)
INT64 = Kind(lambda value: str(value) if value else None, int)
INT32 = Kind(lambda value: value or None, int)
BOOL = Kind(lambda value: value or None, bool)
DURATION = Kind(lambda value: write_duration(value) if value else None, read_duration)
TIME = Kind(lambda value: write_time(value) if value else None, read_time)
NAME = Kind(
    lambda value: {"name": value} if value else None, lambda value: str(value.get("name", ""))
)
TASK_QUEUE = Kind(
    lambda value: {"name": value, "kind": "TASK_QUEUE_KIND_NORMAL"} if value else None,
    lambda value: str(value.get("name", "")),
)


# ---------------------------------------------------------------- payloads


def write_payload(payload: Payload) -> Json:
    """A payload, its bytes in base64."""
    out: Json = {}
    if payload.metadata:
        out["metadata"] = {
            key: base64.b64encode(value).decode() for key, value in payload.metadata.items()
        }
    if payload.data:
        out["data"] = base64.b64encode(payload.data).decode()
    return out


def read_payload(value: Json) -> Payload:
    """A payload. ValueError for the shorthand form of a command line tool, which has lost the
    metadata.
    """
    if not isinstance(value, dict) or not value.keys() <= {"metadata", "data", "externalPayloads"}:
        raise ValueError(
            "payloads are in a shorthand form; export the history without it"
            " (`--no-json-shorthand-payloads`)"
        )
    metadata = {key: base64.b64decode(text) for key, text in (value.get("metadata") or {}).items()}
    return Payload(metadata, base64.b64decode(value.get("data") or ""))


def _read_list(value: Any) -> list[Payload]:
    if isinstance(value, dict):
        value = value.get("payloads") or []
    return [read_payload(item) for item in value]


def _map_kind(member: str) -> Kind:
    def write(value: dict[str, Payload]) -> Json | None:
        return (
            {member: {key: write_payload(payload) for key, payload in value.items()}}
            if value
            else None
        )

    def read(value: Json) -> dict[str, Payload]:
        return {key: read_payload(payload) for key, payload in (value.get(member) or {}).items()}

    return Kind(write, read)


PAYLOAD = Kind(lambda value: write_payload(value) if value is not None else None, read_payload)
PAYLOADS = Kind(
    lambda value: {"payloads": [write_payload(item) for item in value]} if value else None,
    _read_list,
)
FIELDS = _map_kind("fields")
INDEXED_FIELDS = _map_kind("indexedFields")
DETAILS = Kind(
    lambda value: (
        {key: {"payloads": [write_payload(item) for item in items]} for key, items in value.items()}
        or None
    ),
    lambda value: {key: _read_list(items) for key, items in value.items()},
)


# ---------------------------------------------------------------- retry policy and failure


def _write_policy(policy: RetryPolicy | None) -> Json | None:
    if policy is None:
        return None
    return without_none(
        initialInterval=DURATION.write(policy.initial_interval_ms),
        backoffCoefficient=policy.backoff_coefficient or None,
        maximumInterval=DURATION.write(policy.maximum_interval_ms),
        maximumAttempts=policy.maximum_attempts or None,
        nonRetryableErrorTypes=policy.non_retryable_error_types or None,
    )


def _read_policy(value: Json) -> RetryPolicy:
    return RetryPolicy(
        initial_interval_ms=read_duration(value.get("initialInterval") or "0s"),
        backoff_coefficient=float(value.get("backoffCoefficient") or 0),
        maximum_interval_ms=read_duration(value.get("maximumInterval") or "0s"),
        maximum_attempts=int(value.get("maximumAttempts") or 0),
        non_retryable_error_types=list(value.get("nonRetryableErrorTypes") or []),
    )


RETRY_POLICY = Kind(_write_policy, _read_policy)
RETRY_STATE = enum("RETRY_STATE_")
TIMEOUT_TYPE = enum("TIMEOUT_TYPE_")
_CATEGORY = enum("APPLICATION_ERROR_CATEGORY_")


def without_none(**members: Any) -> Json:
    """Members that are there."""
    return {key: value for key, value in members.items() if value is not None}


def write_failure(failure: Failure | None) -> Json | None:
    """A failure chain."""
    if failure is None:
        return None
    out = without_none(
        message=failure.message or None,
        source=failure.source or None,
        stackTrace=failure.stack_trace or None,
        encodedAttributes=PAYLOAD.write(failure.encoded_attributes),
        cause=write_failure(failure.cause),
    )
    write = _WRITE_INFO.get(failure.kind)
    if write is not None:
        member, info = write(failure)
        out[member] = info
    return out


def read_failure(value: Json) -> Failure:
    """A failure chain. A failure without any info object has kind ""."""
    cause, attributes = value.get("cause"), value.get("encodedAttributes")
    failure = Failure(
        message=value.get("message") or "",
        kind="",
        source=value.get("source") or "",
        stack_trace=value.get("stackTrace") or "",
        encoded_attributes=read_payload(attributes) if attributes else None,
        cause=read_failure(cause) if cause else None,
    )
    for member, read in _READ_INFO.items():
        if value.get(member) is not None:
            read(failure, value[member])
            break
    return failure


FAILURE = Kind(write_failure, read_failure)


def _application(f: Failure) -> tuple[str, Json]:
    return "applicationFailureInfo", without_none(
        type=f.type or None,
        nonRetryable=f.non_retryable or None,
        details=PAYLOADS.write(f.details),
        nextRetryDelay=(
            write_duration(f.next_retry_delay_ms) if f.next_retry_delay_ms is not None else None
        ),
        category=_CATEGORY.write(f.category),
    )


def _read_application(f: Failure, info: Json) -> None:
    f.kind = p.APPLICATION
    f.type = info.get("type") or ""
    f.non_retryable = bool(info.get("nonRetryable"))
    f.details = _read_list(info.get("details") or [])
    delay = info.get("nextRetryDelay")
    f.next_retry_delay_ms = read_duration(delay) if delay is not None else None
    f.category = _CATEGORY.read(info.get("category") or "Unspecified")


def _timeout(f: Failure) -> tuple[str, Json]:
    return "timeoutFailureInfo", without_none(
        timeoutType=TIMEOUT_TYPE.write(f.timeout_type),
        lastHeartbeatDetails=PAYLOADS.write(f.details),
    )


def _read_timeout(f: Failure, info: Json) -> None:
    f.kind = p.TIMEOUT
    f.timeout_type = TIMEOUT_TYPE.read(info.get("timeoutType") or "Unspecified")
    f.details = _read_list(info.get("lastHeartbeatDetails") or [])


def _with_details(
    kind: str, member: str
) -> tuple[Callable[[Failure], tuple[str, Json]], Callable[[Failure, Json], None]]:
    def write(f: Failure) -> tuple[str, Json]:
        return member, without_none(details=PAYLOADS.write(f.details))

    def read(f: Failure, info: Json) -> None:
        f.kind = kind
        f.details = _read_list(info.get("details") or [])

    return write, read


_canceled, _read_canceled = _with_details(p.CANCELED, "canceledFailureInfo")
_terminated, _read_terminated = _with_details(p.TERMINATED, "terminatedFailureInfo")


def _server(f: Failure) -> tuple[str, Json]:
    return "serverFailureInfo", without_none(nonRetryable=f.non_retryable or None)


def _read_server(f: Failure, info: Json) -> None:
    f.kind = p.SERVER
    f.non_retryable = bool(info.get("nonRetryable"))


def _activity(f: Failure) -> tuple[str, Json]:
    return "activityFailureInfo", without_none(
        scheduledEventId=INT64.write(f.scheduled_event_id),
        startedEventId=INT64.write(f.started_event_id),
        identity=f.identity or None,
        activityType=NAME.write(f.activity_type),
        activityId=f.activity_id or None,
        retryState=RETRY_STATE.write(f.retry_state),
    )


def _read_activity(f: Failure, info: Json) -> None:
    f.kind = p.ACTIVITY
    f.scheduled_event_id = int(info.get("scheduledEventId") or 0)
    f.started_event_id = int(info.get("startedEventId") or 0)
    f.identity = info.get("identity") or ""
    f.activity_type = (info.get("activityType") or {}).get("name") or ""
    f.activity_id = info.get("activityId") or ""
    f.retry_state = RETRY_STATE.read(info.get("retryState") or "Unspecified")


def _child(f: Failure) -> tuple[str, Json]:
    return "childWorkflowExecutionFailureInfo", without_none(
        namespace=f.namespace or None,
        workflowExecution=without_none(workflowId=f.workflow_id or None, runId=f.run_id or None)
        or None,
        workflowType=NAME.write(f.workflow_type),
        initiatedEventId=INT64.write(f.initiated_event_id),
        startedEventId=INT64.write(f.started_event_id),
        retryState=RETRY_STATE.write(f.retry_state),
    )


def _read_child(f: Failure, info: Json) -> None:
    f.kind = p.CHILD_WORKFLOW
    f.namespace = info.get("namespace") or ""
    execution = info.get("workflowExecution") or {}
    f.workflow_id, f.run_id = execution.get("workflowId") or "", execution.get("runId") or ""
    f.workflow_type = (info.get("workflowType") or {}).get("name") or ""
    f.initiated_event_id = int(info.get("initiatedEventId") or 0)
    f.started_event_id = int(info.get("startedEventId") or 0)
    f.retry_state = RETRY_STATE.read(info.get("retryState") or "Unspecified")


_WRITE_INFO: dict[str, Callable[[Failure], tuple[str, Json]]] = {
    p.APPLICATION: _application,
    p.TIMEOUT: _timeout,
    p.CANCELED: _canceled,
    p.TERMINATED: _terminated,
    p.SERVER: _server,
    p.ACTIVITY: _activity,
    p.CHILD_WORKFLOW: _child,
}
_READ_INFO: dict[str, Callable[[Failure, Json], None]] = {
    "applicationFailureInfo": _read_application,
    "timeoutFailureInfo": _read_timeout,
    "canceledFailureInfo": _read_canceled,
    "terminatedFailureInfo": _read_terminated,
    "serverFailureInfo": _read_server,
    "activityFailureInfo": _read_activity,
    "childWorkflowExecutionFailureInfo": _read_child,
}
