"""Records of `executions` to changes of the store. A record that nobody can read is counted,
logged and stepped over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from odradek.visibility.store.rows import Change
from odradek.wire import nothing
from odradek.wire.codec import Codec
from odradek.wire.errors import UndecodableRecord, UnknownSchemaError
from odradek.wire.headers import STATUS, header
from odradek.wire.outcomes import ExecutionSummary

logger = logging.getLogger("odradek.visibility")

#: Waits for a schema to be published; returns whether it was.
WaitForSchema = Callable[[str], bool]


class SummaryDecoder:
    """One thread at a time.

    wait_for_schema: called with the id of a schema that is not known; may block.
    """

    def __init__(self, codec: Codec, wait_for_schema: WaitForSchema | None = None) -> None:
        self._codec = codec
        self._wait_for_schema = wait_for_schema
        self.undecodable = 0

    def changes(self, partition: int, records: Iterable[Any]) -> list[Change]:
        """Changes of records that have `key`, `value`, `offset` and `timestamp` (ms, below 0 for
        none). A tombstone may have `headers`.
        """
        decode = self._codec.decode
        changes = []
        for record in records:
            key, value = record.key, record.value
            if value is None and key == nothing.KEY:
                continue
            try:
                summary = None if value is None else decode(value)
                if key is None or (summary is not None and type(summary) is not ExecutionSummary):
                    raise UndecodableRecord(
                        f"{type(summary).__name__} under the key {key!r} is no summary of a run"
                    )
            except UndecodableRecord as error:
                summary = self._again(partition, record, error)
                if summary is None:
                    continue
            status = header(getattr(record, "headers", None), STATUS) if value is None else ""
            changes.append(
                Change(partition, record.offset, key, summary, max(0, record.timestamp), status)
            )
        return changes

    def _came(self, error: UnknownSchemaError) -> bool:
        return (
            error.may_come
            and self._wait_for_schema is not None
            and self._wait_for_schema(error.schema_id)
        )

    def _again(
        self, partition: int, record: Any, error: UndecodableRecord
    ) -> ExecutionSummary | None:
        if isinstance(error, UnknownSchemaError) and self._came(error):
            try:
                found = self._codec.decode(record.value)
                if isinstance(found, ExecutionSummary) and record.key is not None:
                    return found
            except UndecodableRecord as second:
                error = second
        self.undecodable += 1
        logger.error(
            "executions/%d/%d cannot be read and is left out of lists: %s",
            partition,
            record.offset,
            error,
        )
        return None
