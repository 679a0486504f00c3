"""What a step came to, as records: rows of `state`, outputs, forwards, dead letters. Encoded and
checked before a transaction begins.
"""

from __future__ import annotations

import logging

from odradek.engine.ports import Effects, RowChange
from odradek.kafka.log_filter import RepeatedLines
from odradek.log_limit import LogLimit
from odradek.processor.errors import Refused
from odradek.processor.inputs import Letter
from odradek.processor.outlet import Record
from odradek.processor.services import LaneServices
from odradek.processor.work import (
    Work,
    headers_of,
    key_of,
    log_ids,
    now_ms,
    offset_of,
    timer_row_key,
    value_of,
)
from odradek.wire import dead_letters
from odradek.wire.dead_letters import NOT_APPLIED, REJECTED
from odradek.wire.headers import FORWARDED_FROM, place
from odradek.wire.partitioner import partition_for
from odradek.wire.state import TimerRow

logger = logging.getLogger(__name__)
_log_limit = LogLimit()
#: Of events on a wrong partition. Senders that count other partitions than the lanes do so for as
#: long as they live.
forwards = logging.getLogger(f"{__name__}.forwards")
forwards.addFilter(RepeatedLines())

TRACE_BYTES_MAX = 8_192


def encode_rows(
    services: LaneServices, changes: list[RowChange], timers: list[TimerRow]
) -> dict[bytes, bytes | None]:
    """Each row once, the last change of a key; the same bytes go to `state` and to the store.
    Timers handed over are consumed.

    Raises Refused for a row larger than `state` takes, WireError for one that cannot be written.
    """
    last: dict[str, object] = {}
    for timer in timers:
        last[f"timer/{timer_row_key(timer)}"] = None
    for change in changes:
        last[f"{change.table}/{change.key}"] = change.row
    encode, limit = services.codec.encode_row, services.state_limit
    rows: dict[bytes, bytes | None] = {}
    for key, row in last.items():
        if row is None:
            rows[key.encode()] = None
            continue
        value = encode(row)  # type: ignore[arg-type]  # a Row
        if len(value) > limit:
            takes = f"the {limit} bytes that {services.state_topic} takes (`max.message.bytes`)"
            raise Refused(
                f"state row {key} of {len(value)} bytes exceeds {takes}",
                in_transaction=False,
                of_records=True,
            )
        rows[key.encode()] = value
    return rows


def size_of(rows: dict[bytes, bytes | None], records: list[Record]) -> int:
    """Bytes of keys and values, about what a transaction with them takes."""
    size = sum([len(key) + len(value or b"") for key, value in rows.items()])
    return size + sum([len(record.key or b"") + len(record.value or b"") for record in records])


def output_records(
    services: LaneServices, work: Work, effects: Effects, partition: int, partitions: int
) -> list[Record]:
    """Everything but rows, ready to produce. partition: the lane's, of so many partitions of
    `events`.
    """
    records = [services.outlet.record(output) for output in effects.outputs]
    for message, workflow_id in work.sorted.forwards:
        key = workflow_id.encode()
        target = partition_for(key, partitions)
        came_from = place(services.events_topic, partition, offset_of(message))
        headers = [*headers_of(message), (FORWARDED_FROM, came_from)]
        lies, ids = (partition, services.events_topic), {"workflow_id": workflow_id}
        logger.debug(
            "event of workflow %s lay on partition %d of %s, forwarded to %d",
            workflow_id,
            *lies,
            target,
            extra=ids,
        )
        if partition < partitions:  # of a partition too many its lane has said so
            text = (
                "an event on partition %d of %s belongs on %d, and is forwarded: its sender counts"
                " other partitions"
            )
            forwards.warning(text, *lies, target, extra=ids)
        records.append(Record(services.events_topic, key, value_of(message), headers, target))
    letters = work.sorted.letters
    if effects.dead_letters:
        by_offset = {message.offset(): message for message in work.messages}
        letters = letters + [
            Letter(
                by_offset[each.offset],
                REJECTED if each.rejected else NOT_APPLIED,
                each.reason,
                None,
                each.trace,
            )
            for each in effects.dead_letters
        ]
    records.extend(dead_letter(services, letter, partition) for letter in letters)
    return records


def dead_letter(services: LaneServices, letter: Letter, partition: int) -> Record:
    """An input of the lane of `partition` that will not be applied, as it came, with the reason
    in headers. Logged.
    """
    message = letter.message
    where = f"{services.events_topic}/{partition}/{offset_of(message)}"
    more = _log_limit.more((services.events_topic, letter.reason))
    if more is not None:
        logger.warning(
            "dead letter: %s: %s: %s%s",
            where,
            letter.reason,
            letter.text,
            more,
            extra=log_ids(message),
        )
    headers = dead_letters.dead_letter_headers(
        letter.reason,
        topic=services.events_topic,
        partition=partition,
        offset=offset_of(message),
        time_ms=now_ms(),
        message=letter.text,
        error=letter.error,
        original=headers_of(message),
    )
    if letter.trace:
        headers.append(
            (dead_letters.STACK_TRACE, letter.trace[-TRACE_BYTES_MAX:].encode("utf-8", "replace"))
        )
    return services.outlet.dead_letter(key_of(message), value_of(message), headers)
