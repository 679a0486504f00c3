"""Record headers: what routes a record stands here too.

So a record whose value nobody can decode still fails the right activity or request. Values are
UTF-8 text, numbers in decimal; a header that would be empty is left out. Headers are never
needed to decode a value, and never trusted over one that could be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from odradek.wire.tracing import trace_headers

Headers = list[tuple[str, bytes]]

KIND = "odradek-kind"  # the record's name: StartWorkflow, ActivityTaskCompleted, ...
NAMESPACE = "odradek-namespace"
TASK_QUEUE = "odradek-task-queue"
WORKFLOW_TASK_QUEUE = "odradek-workflow-task-queue"  # whose `events` takes the answer to a command
WORKFLOW_ID = "odradek-workflow-id"
RUN_ID = "odradek-run-id"
WORKFLOW_TYPE = "odradek-workflow-type"
ACTIVITY_ID = "odradek-activity-id"
ACTIVITY_TYPE = "odradek-activity-type"
SCHEDULED_EVENT_ID = "odradek-scheduled-event-id"
ATTEMPT = "odradek-attempt"
REQUEST_ID = "odradek-request-id"
REPLY_TO = "odradek-reply-to"
CLIENT_ID = "odradek-client-id"
STATUS = "odradek-status"
# Put on by whoever writes a record anew; the value is `{topic}/{partition}/{offset}` where it stood
# before.
FORWARDED_FROM = "odradek-forwarded-from"  # an event that lay on the wrong partition
HANDED_ON_FROM = "odradek-handed-on-from"  # a command that a full service gave to another partition
REDRIVEN_FROM = "odradek-redriven-from"  # a dead letter that somebody put back

#: Field of a record -> the header that repeats it.
_FIELD_HEADERS = {
    "namespace": NAMESPACE,
    "task_queue": TASK_QUEUE,
    "workflow_task_queue": WORKFLOW_TASK_QUEUE,
    "workflow_id": WORKFLOW_ID,
    "run_id": RUN_ID,
    "workflow_type": WORKFLOW_TYPE,
    "activity_id": ACTIVITY_ID,
    "activity_type": ACTIVITY_TYPE,
    "scheduled_event_id": SCHEDULED_EVENT_ID,
    "attempt": ATTEMPT,
    "request_id": REQUEST_ID,
    "reply_to": REPLY_TO,
    "client_id": CLIENT_ID,
    "status": STATUS,
}
_FIELD_OF = {header: field for field, header in _FIELD_HEADERS.items()}
_NUMBERS = frozenset({"scheduled_event_id", "attempt"})

_prepared: dict[type, tuple[tuple[str, bytes], list[tuple[str, str]], bool]] = {}


def headers_for(record: msgspec.Struct) -> Headers:
    """The headers of a record of `events`, `commands`, `control`, `results`, `executions`,
    or `replies`. A new list each time.
    """
    record_type = type(record)
    prepared = _prepared.get(record_type)
    if prepared is None:
        fields = [
            (name, _FIELD_HEADERS[name])
            for name in record_type.__struct_fields__
            if name in _FIELD_HEADERS
        ]
        traced = "headers" in record_type.__struct_fields__
        prepared = _prepared[record_type] = ((KIND, record_type.__name__.encode()), fields, traced)
    kind, fields, traced = prepared
    headers = [kind]
    for name, header in fields:
        value = getattr(record, name)
        if value:
            headers.append((header, str(value).encode()))
    if traced and record.headers:  # type: ignore[attr-defined]  # payload headers
        headers += trace_headers(record.headers)  # type: ignore[attr-defined]
    return headers


class Routing(msgspec.Struct, frozen=True):
    """What the headers of a record say; "" or 0 for what they do not."""

    kind: str = ""
    namespace: str = ""
    task_queue: str = ""
    workflow_task_queue: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    activity_id: str = ""
    activity_type: str = ""
    scheduled_event_id: int = 0
    attempt: int = 0
    request_id: str = ""
    reply_to: str = ""
    client_id: str = ""
    status: str = ""
    forwarded_from: str = ""
    handed_on_from: str = ""


_FIELD_OF |= {KIND: "kind", FORWARDED_FROM: "forwarded_from", HANDED_ON_FROM: "handed_on_from"}


def parse_headers(headers: Iterable[tuple[str, bytes | str | None]] | None) -> Routing:
    """Read what routes. Never raises: headers come from anybody, and a wrong one counts as
    missing. The last of two wins, as in Kafka.
    """
    found: dict[str, str | int] = {}
    for name, raw in headers or ():
        field = _FIELD_OF.get(name)
        if field is None or raw is None:
            continue
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        if field not in _NUMBERS:
            found[field] = text
        elif text.isascii() and text.isdigit() and len(text) < 19:
            found[field] = int(text)
    return Routing(**found)  # type: ignore[arg-type] # numbers and texts are told apart by _NUMBERS


def header(headers: Iterable[tuple[str, bytes | str | None]] | None, name: str) -> str:
    """One header as text, "" when it is missing; the last of several."""
    value = ""
    for key, raw in headers or ():
        if key == name and raw is not None:
            value = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    return value


def place(topic: str, partition: int, offset: int) -> bytes:
    """Value of FORWARDED_FROM, HANDED_ON_FROM and REDRIVEN_FROM."""
    return f"{topic}/{partition}/{offset}".encode()
