"""Encodes what a step made, once, after the step: rows of `state` and records for topics.

What cannot be written is found here, before a transaction begins, and named with the workflow id
that it belongs to (`Rejected`). The host then steps again, and the engine fails the workflow task
that made it. A topic that every partition writes and that cannot be had is nobody's fault:
TopicUnavailableError.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from odradek.engine import ports
from odradek.engine.keys import timer_key
from odradek.engine.ports import Output, RowChange, StepResult
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.processor.errors import TopicUnavailableError
from odradek.processor.topic_limits import OVERHEAD_BYTES, Record, TopicLimits, header_bytes
from odradek.wire.codec import Codec
from odradek.wire.errors import TopicNameError, WireError
from odradek.wire.headers import Headers, headers_for
from odradek.wire.partitioner import partition_for
from odradek.wire.rows import state_key
from odradek.wire.state import Row, TimerRow
from odradek.wire.topics import Topics

logger = logging.getLogger(__name__)

# Errors of an encoder that speak of a value: a user's converter may have made anything.
_UNWRITABLE = (WireError, TopicNameError, ValueError, TypeError, AttributeError)

Rows = dict[bytes, bytes | None]


@dataclass
class Rejected(Exception):
    """What a step made cannot be written. `workflows`: workflow id -> why. `queues`: task queue
    -> why its `commands` cannot be had.
    """

    workflows: dict[str, str] = field(default_factory=dict)
    queues: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join([*self.workflows.values(), *self.queues.values()])


class Encoder:
    """Of one task queue, shared by the partitions of a process."""

    def __init__(self, codec: Codec, topics: Topics, limits: TopicLimits, task_queue: str) -> None:
        self._encode = codec.encode
        self._encode_row = codec.encode_row
        self._limits = limits
        self._task_queue = task_queue
        self._state = topics.state(task_queue)
        self._dead_letters = topics.dead_letters(task_queue)
        self._names: dict[tuple[str, str], str] = {}
        self._named: dict[str, Callable[[str], str]] = {
            ports.COMMANDS: topics.commands,
            ports.CONTROL: topics.control,
            ports.RESULTS: lambda _: topics.results,
            ports.EXECUTIONS: lambda _: topics.executions,
        }

    def encode(self, result: StepResult, consumed: Iterable[TimerRow]) -> tuple[Rows, list[Record]]:
        """Rows by key, each once, the last change of a key; and records in order. The rows of
        `consumed` timers go.

        Raises Rejected, TopicUnavailableError.
        """
        rejected = Rejected()
        rows = self._encode_rows(result.rows, consumed, rejected)
        records = []
        for output in result.outputs:
            try:
                record = self._record(output, rejected)
            except SchemaRegistryUnreachableError as error:
                raise TopicUnavailableError(str(error)) from error
            except _UNWRITABLE as error:
                rejected.workflows[output.record.workflow_id] = (
                    f"{type(output.record).__name__} cannot be encoded: {error}"
                )
            else:
                if record is not None:
                    records.append(record)
        if rejected.workflows or rejected.queues:
            raise rejected
        return rows, records

    def dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        """For this queue's `dead-letters`. A value that is too large for it is left out: where
        it stood is in the headers.

        Raises TopicUnavailableError.
        """
        topic = self._dead_letters
        size = len(value or b"") + len(key or b"") + header_bytes(headers)
        if size + OVERHEAD_BYTES > self._limits.require_limit(topic):
            logger.error(
                "a dead letter of %d bytes exceeds what %s takes: its value is left out",
                size,
                topic,
            )
            value = None
        return Record(topic, key, value, list(headers))

    def _encode_rows(
        self, changes: list[RowChange], consumed: Iterable[TimerRow], rejected: Rejected
    ) -> Rows:
        last: dict[bytes, tuple[Row | None, str]] = {}
        for timer in consumed:
            key = timer_key(timer.due_ms, timer.run_id, timer.kind, timer.id)
            last[state_key(ports.TIMER, key)] = None, ""
        for change in changes:
            last[state_key(change.table, change.key)] = change.row, change.workflow_id
        limit = self._limits.require_limit(self._state) - OVERHEAD_BYTES
        rows: Rows = {}
        for name, (row, workflow_id) in last.items():
            try:
                value = None if row is None else self._encode_row(row)
            except SchemaRegistryUnreachableError as error:
                raise TopicUnavailableError(str(error)) from error
            except _UNWRITABLE as error:
                rejected.workflows[workflow_id] = f"{type(row).__name__} cannot be encoded: {error}"
                continue
            if value is not None and len(value) > limit:
                rejected.workflows[workflow_id] = (
                    f"state row {name.decode()} of {len(value)} bytes exceeds the {limit} bytes"
                    f" that topic {self._state} takes (`max.message.bytes`)"
                )
            rows[name] = value
        return rows

    def _record(self, output: Output, rejected: Rejected) -> Record | None:
        """None: it is not written. What routes also stands in its headers."""
        kind, record = output.kind, output.record
        topic = self._name(kind, output.task_queue)
        missing = self._limits.missing(topic)
        if missing:
            if kind == ports.COMMANDS:
                rejected.queues[output.task_queue] = missing
            elif kind != ports.CONTROL:  # where it cannot be had nobody listens
                raise TopicUnavailableError(missing)
            return None
        value = None if output.tombstone else self._encode(record)
        headers: list[tuple[str, bytes | str | None]] = list(headers_for(record))
        key = output.key.encode()
        limit = self._limits.limit(topic)
        size = len(value or b"") + OVERHEAD_BYTES
        if size > limit // 4:  # headers and key repeat fields: three times its size at most, in all
            size += len(key) + header_bytes(headers_for(record))
        if size > limit:
            rejected.workflows[record.workflow_id] = (
                f"{type(record).__name__} of {size} bytes, with its key, headers and batch, exceeds"
                f" the {limit} bytes that topic {topic} takes (`max.message.bytes`). Raise it on"
                " the topic, compress with a payload codec, or pass a reference instead of the data"
            )
        partition = -1
        if kind == ports.EXECUTIONS:
            # By workflow id, not by its key: a transaction of one partition then touches one
            # partition of it instead of all (a marker each).
            partition = partition_for(record.workflow_id.encode(), self._limits.partitions(topic))
        return Record(topic, key, value, headers, partition)

    def _name(self, kind: str, task_queue: str) -> str:
        name = self._names.get((kind, task_queue))
        if name is None:
            name = self._names[kind, task_queue] = self._named[kind](task_queue or self._task_queue)
        return name
