"""Reading a stretch of a partition: committed records, from an offset to an end that is noted
before, under a deadline.

A consumer of its own each time: assigned by hand, member of no group, gone afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.kafka.client_config import reader_config
from odradek.kafka.errors import translate
from odradek.kafka.settings import KafkaSettings
from odradek.web.kafka.facts import RecordView
from odradek.web.kafka.views import header_texts, record_value
from odradek.web.shown_json import parse_shown
from odradek.wire.codec import Codec
from odradek.wire.errors import WireError
from odradek.wire.headers import KIND
from odradek.wire.json_input import decode_json, is_json
from odradek.wire.topics import DEAD_LETTERS, EVENTS, Topics

_POLL_S = 0.2
_BATCH = 500


@dataclass(slots=True)
class Stretch:
    """Offsets `start` to `end` (exclusive) of a partition."""

    topic: str
    partition: int
    start: int
    end: int


@dataclass(slots=True)
class Search:
    """Reads stretches. `unfinished`: those that the deadline cut, `purged`: those whose start
    was deleted meanwhile; both filled while iterating.
    """

    settings: KafkaSettings
    deadline_s: float  # on time.monotonic()
    unfinished: list[Stretch] = field(default_factory=list)
    purged: list[Stretch] = field(default_factory=list)

    def records(self, stretches: list[Stretch]) -> Iterator[Message]:
        """Every committed record of the stretches, each partition in order. Raises our Kafka
        errors.
        """
        left = {(s.topic, s.partition): s for s in stretches if s.start < s.end}
        if not left:
            return
        consumer = Consumer(reader_config(self.settings, partition_eof=True))
        try:
            consumer.assign([TopicPartition(s.topic, s.partition, s.start) for s in left.values()])
            while left:
                if time.monotonic() >= self.deadline_s:
                    self.unfinished = list(left.values())
                    return
                for message in consumer.consume(_BATCH, _POLL_S):
                    place = (message.topic() or "", message.partition() or 0)
                    stretch = left.get(place)
                    if stretch is None:
                        continue
                    error = message.error()
                    if error is not None:
                        self._check(error, place[0])
                        if (
                            error.code() == KafkaError._AUTO_OFFSET_RESET
                        ):  # services purge commands while we look at them
                            self.purged.append(left.pop(place))
                            consumer.incremental_unassign([TopicPartition(*place)])
                        elif (
                            error.code() == KafkaError._PARTITION_EOF
                        ):  # noted ends may lie behind control records
                            del left[place]
                        continue
                    offset = message.offset() or 0
                    if offset < stretch.end:
                        stretch.start = offset + 1
                        yield message
                    if offset + 1 >= stretch.end:
                        del left[place]
                        consumer.incremental_unassign([TopicPartition(*place)])
        except KafkaException as error:
            raise translate(error, self.settings, what="read records") from error
        finally:
            consumer.close()

    def _check(self, error: KafkaError, topic: str) -> None:
        passing = (
            KafkaError._PARTITION_EOF,
            KafkaError._AUTO_OFFSET_RESET,
            KafkaError._TRANSPORT,
            KafkaError._ALL_BROKERS_DOWN,
        )
        if error.code() not in passing:
            raise translate(error, self.settings, topic=topic, what="read records")


def offsets_at(
    settings: KafkaSettings, times_ms: dict[tuple[str, int], int], *, timeout_s: float = 5.0
) -> dict[tuple[str, int], int]:
    """The first offset of each place at or after a time; -1 where all is older. Raises our Kafka
    errors.
    """
    consumer = Consumer(reader_config(settings))
    try:
        wanted = [
            TopicPartition(topic, partition, time_ms)
            for (topic, partition), time_ms in times_ms.items()
        ]
        answers = consumer.offsets_for_times(wanted, timeout=timeout_s)
        return {(answer.topic, answer.partition): answer.offset for answer in answers}
    except KafkaException as error:
        raise translate(error, settings, what="look offsets up by time") from error
    finally:
        consumer.close()


class RecordCounter:
    """How many records lie in a short stretch. Offsets alone tell too many: the marker that ends
    a transaction takes one, so an idle topic would show a backlog for ever. A stretch that does
    not change is read once. Blocking, any thread.
    """

    #: Longer stretches are told by their offsets: a few markers too many do no harm there.
    LONGEST = 64
    _TIMEOUT_S = 3.0

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._counts: dict[
            tuple[str, int], tuple[int, int, int]
        ] = {}  # place -> start, end, records

    def count(self, stretches: list[Stretch]) -> dict[int, int]:
        """Records by partition; all stretches are of one topic."""
        counts = {s.partition: max(0, s.end - s.start) for s in stretches}
        unknown = []
        for stretch in stretches:
            if not 0 < counts[stretch.partition] <= self.LONGEST:
                continue
            start, end, records = self._counts.get((stretch.topic, stretch.partition), (-1, -1, 0))
            if (start, end) == (stretch.start, stretch.end):
                counts[stretch.partition] = records
            else:
                unknown.append(stretch)
        if unknown:
            bounds = {s.partition: (s.start, s.end) for s in unknown}
            read = dict.fromkeys(bounds, 0)
            search = Search(self._settings, time.monotonic() + self._TIMEOUT_S)
            for message in search.records(
                [Stretch(s.topic, s.partition, s.start, s.end) for s in unknown]
            ):
                read[message.partition() or 0] += 1
            unfinished = {s.partition for s in search.unfinished}
            for partition, records in read.items():
                if partition not in unfinished:
                    counts[partition] = records
                    self._counts[unknown[0].topic, partition] = (*bounds[partition], records)
        return counts


def record_view(message: Message, topics: Topics, codec: Codec) -> RecordView:
    """A message as it is shown."""
    topic = message.topic() or ""
    parsed = topics.parse(topic)
    raw = message.value()
    value = raw.encode() if isinstance(raw, str) else raw
    headers = header_texts(headers_of(message))
    kind, shown, problem = headers.get(KIND, ""), None, ""
    plain = (
        value is not None
        and parsed is not None
        and parsed.kind in (EVENTS, DEAD_LETTERS)
        and is_json(value)
    )
    if value is not None:
        try:
            record = decode_json(value, _bytes(message.key())) if plain else codec.decode(value)
            kind, shown = type(record).__name__, record_value(record)
        except (WireError, RecursionError) as error:
            shown, problem = _json_or_text(value) if plain else record_value(value), str(error)
    return RecordView(
        topic=topic,
        topic_kind=parsed.kind if parsed is not None else "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        time_ms=max(0, message.timestamp()[1]),
        key=key_text(message),
        kind=kind if value is not None else "tombstone",
        headers=headers,
        value=shown,
        size_bytes=len(value or b""),
        error=problem,
    )


def _json_or_text(value: bytes) -> Any:
    try:
        return parse_shown(value)
    except ValueError:
        return value.decode("utf-8", "replace")


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def headers_of(message: Message) -> list[tuple[str, str | bytes | None]]:
    """A message's headers as a list, which is what consumers give."""
    headers = message.headers() or []
    return list(headers.items()) if isinstance(headers, dict) else headers


def key_text(message: Message) -> str:
    """A message's key as text."""
    key = message.key()
    return key if isinstance(key, str) else (key or b"").decode("utf-8", "replace")
