"""Estimates of how many bytes records take: for history limits, row splitting and paging. Cheap,
not exact; never below half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from odradek.wire.history import (
    ActivityTaskCanceledEvent,
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    ActivityTaskTimedOutEvent,
    HistoryEvent,
    MarkerRecorded,
    OtherEvent,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowPropertiesModified,
    WorkflowTaskFailed,
)
from odradek.wire.payload import Failure, Payload

# Ids, times, names and framing of one event.
EVENT_BYTES = 64


def payload_bytes(payload: Payload) -> int:
    """Bytes of one payload with its metadata."""
    size = len(payload.data) + 8
    for key, value in payload.metadata.items():
        size += len(key) + len(value) + 4
    return size


def payloads_bytes(payloads: Iterable[Payload]) -> int:
    """Bytes of several payloads."""
    size = 0
    for payload in payloads:
        size += payload_bytes(payload)
    return size


def map_bytes(payloads: Mapping[str, Payload]) -> int:
    """Bytes of named payloads: headers, memo, search attributes."""
    return (
        sum(len(key) + payload_bytes(payload) for key, payload in payloads.items())
        if payloads
        else 0
    )


def failure_bytes(failure: Failure | None) -> int:
    """Bytes of a failure chain."""
    size = 0
    while failure is not None:
        size += (
            48 + len(failure.message) + len(failure.stack_trace) + payloads_bytes(failure.details)
        )
        if failure.encoded_attributes is not None:
            size += payload_bytes(failure.encoded_attributes)
        failure = failure.cause
    return size


def _started(a: WorkflowExecutionStarted) -> int:
    return (
        payloads_bytes(a.input)
        + map_bytes(a.headers)
        + map_bytes(a.memo)
        + map_bytes(a.search_attributes)
        + failure_bytes(a.continued_failure)
        + payloads_bytes(a.last_completion_result)
        + 256
    )


def _continued(a: WorkflowExecutionContinuedAsNew) -> int:
    maps = map_bytes(a.headers) + map_bytes(a.memo) + map_bytes(a.search_attributes)
    return payloads_bytes(a.input) + maps + failure_bytes(a.failure) + 128


def _marker(a: MarkerRecorded) -> int:
    return sum(
        len(key) + payloads_bytes(value) for key, value in a.details.items()
    ) + failure_bytes(a.failure)


_SIZES: dict[type, Any] = {
    WorkflowExecutionStarted: _started,
    WorkflowExecutionContinuedAsNew: _continued,
    MarkerRecorded: _marker,
    ActivityTaskScheduled: lambda a: payloads_bytes(a.input) + map_bytes(a.headers) + 64,
    ActivityTaskStartedEvent: lambda a: failure_bytes(a.last_failure),
    ActivityTaskCompletedEvent: lambda a: payloads_bytes(a.result),
    ActivityTaskFailedEvent: lambda a: failure_bytes(a.failure),
    ActivityTaskTimedOutEvent: lambda a: failure_bytes(a.failure),
    ActivityTaskCanceledEvent: lambda a: payloads_bytes(a.details),
    WorkflowExecutionSignaled: lambda a: payloads_bytes(a.input) + map_bytes(a.headers),
    WorkflowExecutionCompleted: lambda a: payloads_bytes(a.result),
    WorkflowExecutionFailed: lambda a: failure_bytes(a.failure),
    WorkflowExecutionCanceled: lambda a: payloads_bytes(a.details),
    WorkflowExecutionTerminated: lambda a: payloads_bytes(a.details) + len(a.reason),
    WorkflowTaskFailed: lambda a: failure_bytes(a.failure),
    UpsertWorkflowSearchAttributes: lambda a: map_bytes(a.search_attributes),
    WorkflowPropertiesModified: lambda a: map_bytes(a.upserted_memo),
    OtherEvent: lambda a: len(a.json),
}


def attributes_bytes(attributes: Any) -> int:
    """Bytes of an event with these attributes."""
    size = _SIZES.get(type(attributes))
    return EVENT_BYTES if size is None else EVENT_BYTES + size(attributes)


def event_bytes(event: HistoryEvent) -> int:
    """Bytes of one event."""
    return attributes_bytes(event.attributes)
