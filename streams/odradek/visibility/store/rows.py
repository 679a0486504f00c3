"""A record of `executions` as a row of the store, and back.

A row is found by `tie`, the hash of its run id, and, as hashes may meet, by its key, `{workflow
id}/{run id}`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec

from odradek.common import SearchAttributeKey
from odradek.converter import DataConverter
from odradek.visibility.query.columns import STATUS_NAMES, ValueType
from odradek.visibility.query.literals import words
from odradek.wire.outcomes import RUNNING, ExecutionSummary
from odradek.wire.payload import Payload
from odradek.wire.search_attributes import SYSTEM, indexable_values

logger = logging.getLogger("odradek.visibility")

Row: TypeAlias = tuple[Any, ...]

_WIRE_STATUSES = {name: wire for wire, name in STATUS_NAMES.items()}


class Change(NamedTuple):
    """What a record says: the run of this key now stands so; None: it is gone. Offset, partition
    and time are the record's; time 0: not known.
    """

    partition: int
    offset: int
    key: bytes
    summary: ExecutionSummary | None
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Extra:
    """What stands in no column of its own."""

    memo: dict[str, Payload]
    search_attributes: dict[str, Payload]


class _StoredExtra(msgspec.Struct, array_like=True):
    memo: dict[str, tuple[dict[str, bytes], bytes]]
    search_attributes: dict[str, tuple[dict[str, bytes], bytes]]


_encode_extra = msgspec.msgpack.Encoder().encode
_decode_extra = msgspec.msgpack.Decoder(_StoredExtra).decode


def key_of(workflow_id: str, run_id: str) -> bytes:
    """The record key of a run."""
    return f"{workflow_id}/{run_id}".encode()


def row_of(change: Change, tie: int) -> Row:
    """A row in the order of ROW_COLUMNS."""
    summary = change.summary
    assert summary is not None
    close_ms = summary.close_time_ms or None
    execution_ms = summary.execution_time_ms or None
    begun_ms = summary.execution_time_ms or summary.start_time_ms
    return (
        tie, summary.workflow_id, summary.run_id, summary.workflow_type, summary.task_queue,
        STATUS_NAMES.get(summary.status, summary.status), summary.start_time_ms, execution_ms, close_ms,
        None if close_ms is None else close_ms - begun_ms,
        summary.history_length, summary.history_size_bytes, summary.state_transition_count, summary.first_execution_run_id or None,
        summary.parent_workflow_id or None, summary.parent_run_id or None, summary.root_workflow_id or None,
        summary.root_run_id or None, summary.quarantine_reason or None, _list_of(summary.reported_problems), _extra_of(summary),
        change.partition, change.offset,
    )  # fmt: skip


def _list_of(values: list[str]) -> str | None:
    return msgspec.json.encode(values).decode() if values else None


def _extra_of(summary: ExecutionSummary) -> bytes | None:
    if not summary.memo and not summary.search_attributes:
        return None
    return _encode_extra(_StoredExtra(_plain(summary.memo), _plain(summary.search_attributes)))


def _plain(payloads: dict[str, Payload]) -> dict[str, tuple[dict[str, bytes], bytes]]:
    return {name: (payload.metadata, payload.data) for name, payload in payloads.items()}


def summary_of(namespace: str, row: Sequence[Any]) -> ExecutionSummary:
    """The record that a row (in the order of ROW_COLUMNS) was made from."""
    memo: dict[str, Payload] = {}
    attributes: dict[str, Payload] = {}
    if row[20] is not None:
        extra = _decode_extra(row[20])
        memo = {name: Payload(*parts) for name, parts in extra.memo.items()}
        attributes = {name: Payload(*parts) for name, parts in extra.search_attributes.items()}
    return ExecutionSummary(
        namespace=namespace,
        task_queue=row[4],
        workflow_id=row[1],
        run_id=row[2],
        workflow_type=row[3],
        status=_WIRE_STATUSES.get(row[5], row[5]),
        start_time_ms=row[6],
        execution_time_ms=row[7] or 0,
        close_time_ms=row[8] or 0,
        history_length=row[10],
        history_size_bytes=row[11],
        state_transition_count=row[12],
        first_execution_run_id=row[13] or "",
        parent_workflow_id=row[14] or "",
        parent_run_id=row[15] or "",
        root_workflow_id=row[16] or "",
        root_run_id=row[17] or "",
        quarantine_reason=row[18] or "",
        reported_problems=(
            msgspec.json.decode(row[19], type=list[str]) if row[19] is not None else []
        ),
        memo=memo,
        search_attributes=attributes,
    )


def is_open(status: str) -> bool:
    """Whether a stored status is that of a run that goes on."""
    return status == STATUS_NAMES[RUNNING]


# --- search attributes


class IndexedValue(NamedTuple):
    """A search attribute of a run as it is looked up: several values for a list, the words of a
    Text apart.
    """

    name: str
    value_type: ValueType
    values: tuple[Any, ...]
    words: tuple[str, ...] = ()


def indexed_values(attributes: dict[str, Payload]) -> tuple[list[IndexedValue], list[str]]:
    """What to index of a run's search attributes, and the names of those that cannot be:
    damaged, of no known type, the system's.
    """
    found: list[IndexedValue] = []
    refused: list[str] = []
    for name, payload in attributes.items():
        if (
            name in SYSTEM
            # of a run started before such names were refused: the column of that name is meant
            # wherever it is written
        ):
            refused.append(name)
            continue
        try:
            indexed = _indexed(name, payload)
        # whatever bytes of users make the converter raise: one bad value must not stop the ingest
        except Exception as error:
            logger.debug("search attribute %s cannot be indexed: %r", name, error)
            refused.append(name)
            continue
        if indexed is not None:
            found.append(indexed)
    return found, refused


def _indexed(name: str, payload: Payload) -> IndexedValue | None:
    value: Any = DataConverter.default.payload_converter.from_payload(payload)
    if value is None or value == []:
        return None
    key = SearchAttributeKey._from_metadata_type(name, payload.metadata.get("type", b"").decode())
    if key is None:
        key = SearchAttributeKey._guess_from_untyped_values(
            name, value if isinstance(value, list) else [value]
        )
    if key is None:
        raise ValueError("it has no type, and none can be guessed")
    value_type = ValueType(key._metadata_type)
    stored = indexable_values(value_type.value, value)
    return IndexedValue(
        name, value_type, stored, tuple(words(stored[0])) if value_type is ValueType.TEXT else ()
    )
