"""Dead letters: list, show, and put back where they came from.

A dead letter stays where it lies (the topic forgets it after its retention). Put back twice it
is one request, as far as its reader remembers (`processor/inputs.py`, `engine/requests.py`).
Only topics of this namespace are written to, with the key, value and headers it came with, and
one that says which dead letter it was: by that it is found again where it was put.
"""

from __future__ import annotations

import threading
import time

from confluent_kafka import Message

from odradek.exceptions import TopicMissingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.errors import unreachable
from odradek.kafka.producer import PlainProducer
from odradek.kafka.settings import KafkaSettings
from odradek.web.kafka.facts import DeadLetters, DeadLetterView, Place
from odradek.web.kafka.reading import Search, Stretch, headers_of, key_text, offsets_at, record_view
from odradek.wire.codec import Codec
from odradek.wire.dead_letters import original_headers, parse_dead_letter
from odradek.wire.headers import REDRIVEN_FROM, header, parse_headers, place
from odradek.wire.partitioner import partition_for
from odradek.wire.topics import COMMANDS, EVENTS

_FIRST_STRETCH = 200
_REDRIVABLE = (EVENTS, COMMANDS)
# How far is searched for what was put back: what lies behind is not worth a page's waiting time.
_SEARCH_RECORDS, _SEARCH_S = 20_000, 3.0
_CLOCK_SLACK_MS = 60_000

# `list` is a method here.
_Letters = list[DeadLetterView]
_Messages = list[Message]
#: By mark, where records were put back.
_Marks = dict[str, list[Place]]


class RedriveRefusedError(Exception):
    """A dead letter that cannot be put back: an output that stood nowhere, or one of another
    kind of topic.
    """


class DeadLetterReader:
    """Blocking; called in threads."""

    def __init__(
        self, settings: KafkaSettings, admin: ClusterAdmin, codec: Codec, producer: PlainProducer
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._codec = codec
        self._producer = producer
        self._topics = admin.topics

    def list(
        self,
        task_queue: str,
        *,
        before: int | None = None,
        limit: int = 50,
        timeout_s: float = 10.0,
    ) -> DeadLetters:
        """The latest dead letters of a queue, those before offset `before` when given. A queue
        without any has an empty list.
        """
        topic = self._topics.dead_letters(task_queue)
        facts = self._admin.describe([topic]).get(topic)
        if facts is None:
            return DeadLetters([], None, True)
        start = self._admin.start_offsets(topic, [0])[0]
        end = self._admin.end_offsets(topic, [0], committed=True)[0]
        end = end if before is None else min(before, end)
        search = Search(self._settings, time.monotonic() + timeout_s)
        found: _Messages = []
        size = max(limit * 2, _FIRST_STRETCH)
        low = end
        while low > start and len(found) < limit and not search.unfinished:
            high, low = low, max(start, low - size)
            found = [*search.records([Stretch(topic, 0, low, high)]), *found]
            size *= 2
        letters = self._marked(found[-limit:])
        first = letters[0].place.offset if letters else start
        complete = not search.unfinished
        return DeadLetters(
            letters[::-1],
            first if complete and first > start and len(letters) == limit else None,
            complete,
        )

    def get(
        self, task_queue: str, offset: int, *, timeout_s: float = 10.0
    ) -> DeadLetterView | None:
        """One dead letter; None when there is none."""
        message = self._message(task_queue, offset, timeout_s)
        return None if message is None else self._marked([message])[0]

    def redrive(self, task_queue: str, offset: int, *, timeout_s: float = 10.0) -> Place | None:
        """Put one back; where it stands now (offset -1 if it could not be found there any more).
        None when there is none.

        Raises RedriveRefusedError, TopicMissingError, and what the producer raises.
        """
        deadline_s = time.monotonic() + timeout_s
        message = self._message(task_queue, offset, timeout_s)
        if message is None:
            return None
        letter = parse_dead_letter(headers_of(message))
        parsed = self._topics.parse(letter.topic)
        if (
            parsed is None
            or parsed.namespace != self._settings.namespace
            or parsed.kind not in _REDRIVABLE
        ):
            raise RedriveRefusedError(
                f"it came from {letter.topic or 'nowhere'!r}: only records of `events` and"
                " `commands` of this namespace are put back"
            )
        facts = self._admin.describe([letter.topic]).get(letter.topic)
        if facts is None:
            raise TopicMissingError(letter.topic, reason="the dead letter came from it")
        done = threading.Event()
        problems: list[BaseException] = []

        def delivered(error: BaseException | None) -> None:
            if error is not None:
                problems.append(error)
            done.set()

        key, mark = (
            _bytes(message.key()),
            place(message.topic() or "", message.partition() or 0, message.offset() or 0),
        )
        headers = original_headers(headers_of(message))
        # One that was put back before and died again keeps its first mark: ids that nobody gave
        # derive from it. The last one tells of now.
        marks = [*[raw for name, raw in headers if name == REDRIVEN_FROM][:1], mark]
        headers = [(name, raw) for name, raw in headers if name != REDRIVEN_FROM] + [
            (REDRIVEN_FROM, raw) for raw in marks
        ]
        partition = self._partition(facts, key, letter.partition)
        end = self._admin.end_offsets(letter.topic, [partition], committed=False)[partition]
        self._producer.refresh(
            letter.topic, max(0.1, deadline_s - time.monotonic())
        )  # it may have been made anew
        self._producer.produce(
            letter.topic,
            key,
            _bytes(message.value()),
            headers,
            partition=partition,
            on_delivery=delivered,
        )
        if not done.wait(max(0.1, deadline_s - time.monotonic())):
            raise unreachable(
                self._settings,
                f"the brokers did not confirm the record within {timeout_s:g} s; it may still"
                " arrive",
            )
        if problems:
            raise problems[0]
        return Place(
            letter.topic, partition, self._offset_of(letter.topic, partition, end, mark, deadline_s)
        )

    def _partition(self, facts: TopicFacts, key: bytes | None, origin: int) -> int:
        """Where a record is put back: by its key, as it came and not as it is shown; without one
        where it stood, if that is there.
        """
        if key is not None:
            return partition_for(key, facts.partitions)
        return origin if 0 <= origin < facts.partitions else 0

    def _offset_of(
        self, topic: str, partition: int, start: int, mark: bytes, deadline_s: float
    ) -> int:
        """Where the record with a mark stands, at or behind an offset; -1 when it is not found
        in time.
        """
        end = self._admin.end_offsets(topic, [partition], committed=True)[partition]
        for message in Search(self._settings, deadline_s).records(
            [Stretch(topic, partition, start, end)]
        ):
            if header(headers_of(message), REDRIVEN_FROM).encode() == mark:
                return message.offset() or 0
        return -1

    def _marked(self, messages: _Messages) -> _Letters:
        """Dead letters, with where they were put back, if a short search tells."""
        letters = [self._view(message) for message in messages]
        since: dict[tuple[str, int], int] = {}
        for letter, message in zip(letters, messages, strict=True):
            parsed = self._topics.parse(letter.origin.topic)
            facts = (
                self._admin.describe([letter.origin.topic]).get(letter.origin.topic)
                if parsed is not None
                else None
            )
            if (
                parsed is None
                or facts is None
                or parsed.namespace != self._settings.namespace
                or parsed.kind not in _REDRIVABLE
            ):
                continue
            partition = self._partition(facts, _bytes(message.key()), letter.origin.partition)
            letter.target = Place(letter.origin.topic, partition, -1)
            where = letter.origin.topic, partition
            since[where] = min(since.get(where, letter.time_ms), letter.time_ms)
        found = self._put_back(since)
        if found is not None:
            for letter in letters:
                at = f"{letter.place.topic}/{letter.place.partition}/{letter.place.offset}"
                letter.redriven = found.get(at, [])[::-1]
        return letters

    def _put_back(self, since: dict[tuple[str, int], int]) -> _Marks | None:
        """By mark, where records were put back since a time; None when that would be a long
        search.
        """
        if not since:
            return {}
        starts = offsets_at(
            self._settings,
            {where: max(0, time_ms - _CLOCK_SLACK_MS) for where, time_ms in since.items()},
        )
        stretches = []
        for (topic, partition), start in starts.items():
            end = self._admin.end_offsets(topic, [partition], committed=True)[partition]
            low = self._admin.start_offsets(topic, [partition])[partition]
            stretches.append(Stretch(topic, partition, max(start, low) if start >= 0 else end, end))
        if sum(max(0, stretch.end - stretch.start) for stretch in stretches) > _SEARCH_RECORDS:
            return None
        search = Search(self._settings, time.monotonic() + _SEARCH_S)
        found: _Marks = {}
        for message in search.records(stretches):
            if mark := header(headers_of(message), REDRIVEN_FROM):
                found.setdefault(mark, []).append(
                    Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
                )
        return None if search.unfinished else found

    def _message(self, task_queue: str, offset: int, timeout_s: float) -> Message | None:
        topic = self._topics.dead_letters(task_queue)
        if topic not in self._admin.describe([topic]):
            return None
        start = self._admin.start_offsets(topic, [0])[0]
        if not start <= offset < self._admin.end_offsets(topic, [0], committed=True)[0]:
            return None
        search = Search(self._settings, time.monotonic() + timeout_s)
        for message in search.records([Stretch(topic, 0, offset, offset + 1)]):
            return message
        if search.unfinished:
            raise unreachable(
                self._settings, f"the record could not be read within {timeout_s:g} s"
            )
        return None

    def _view(self, message: Message) -> DeadLetterView:
        letter = parse_dead_letter(headers_of(message))
        routing = parse_headers(headers_of(message))
        return DeadLetterView(
            place=Place(message.topic() or "", message.partition() or 0, message.offset() or 0),
            reason=letter.reason,
            message=letter.message,
            origin=Place(letter.topic, letter.partition, letter.offset),
            time_ms=letter.time_ms,
            error_type=letter.error_type,
            stack_trace=letter.stack_trace,
            workflow_id=routing.workflow_id or key_text(message),
            record=record_view(message, self._topics, self._codec),
        )


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
