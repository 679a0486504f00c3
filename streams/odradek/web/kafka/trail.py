"""The trail of a workflow: its records over all topics, decoded, in order of time.

Searched are the partitions where its key can be: `events` of its queue, `commands` of the queues
it gives activities to, `results`, `executions`, dead letters; from the time the run began.
Bounded by a deadline and a number of records; what was not searched is said. Requests that only
looked never take the place of those that did something: whoever watches a run writes many of
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.exceptions import TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config
from odradek.kafka.errors import translate
from odradek.kafka.settings import KafkaSettings
from odradek.web.errors import not_found
from odradek.web.kafka.facts import RecordView, Trail
from odradek.web.kafka.reading import Search, Stretch, headers_of, key_text, offsets_at, record_view
from odradek.wire.codec import Codec
from odradek.wire.events import READ_KINDS
from odradek.wire.headers import KIND, header, parse_headers
from odradek.wire.partitioner import partition_for

# A producer's clock may be behind ours.
_CLOCK_SLACK_MS = 60_000
_POLL_S = 0.2
# How often `follow` looks for new queues and topics.
_LOOK_AGAIN_S = 3.0
_ANSWER_S = 5.0
_PASSING = (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
_TOPIC_GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)


class RecordReader:
    """Finds and shows records. Blocking; called in threads."""

    def __init__(self, settings: KafkaSettings, admin: ClusterAdmin, codec: Codec) -> None:
        self._settings = settings
        self._admin = admin
        self._codec = codec
        self._topics = admin.topics

    def record(
        self, topic: str, partition: int, offset: int, *, timeout_s: float
    ) -> RecordView | None:
        """One record; None when there is no committed one at that offset. Only topics of this
        namespace are read.
        """
        parsed = self._topics.parse(topic)
        if parsed is None or parsed.namespace != self._settings.namespace:
            text = (
                f"{topic!r} is no topic of namespace {self._settings.namespace!r}: other topics of"
                " the cluster are not shown"
            )
            raise TopicMissingError(topic, text=text)
        facts = self._admin.describe([topic]).get(topic)
        if facts is None:
            queue = (
                f": task queue {parsed.task_queue!r} was never used, or was deleted"
                if parsed.task_queue
                else ""
            )
            raise TopicMissingError(topic, text=f"topic {topic} does not exist{queue}")
        if not 0 <= partition < facts.partitions:
            raise not_found(
                f"topic {topic} has no partition {partition}: it has {facts.partitions}, counted"
                " from 0"
            )
        start = self._admin.start_offsets(topic, [partition])[partition]
        end = self._admin.end_offsets(topic, [partition], committed=True)[partition]
        if not start <= offset < end:
            return None
        search = Search(self._settings, time.monotonic() + timeout_s)
        for message in search.records([Stretch(topic, partition, offset, offset + 1)]):
            return record_view(message, self._topics, self._codec)
        return None

    def bounds(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        """First offset that is still there, and the one behind the last, by topic and partition;
        without those that do not exist.
        """
        wanted: dict[str, set[int]] = {}
        for topic, partition in places:
            wanted.setdefault(topic, set()).add(partition)
        found: dict[tuple[str, int], tuple[int, int]] = {}
        for topic, facts in self._admin.describe(wanted).items():
            numbers = [number for number in wanted[topic] if 0 <= number < facts.partitions]
            starts, ends = (
                self._admin.start_offsets(topic, numbers),
                self._admin.end_offsets(topic, numbers, committed=True),
            )
            found |= {(topic, number): (starts[number], ends[number]) for number in numbers}
        return found

    def trail(
        self,
        workflow_id: str,
        *,
        task_queue: str | Collection[str],
        run_id: str = "",
        activity_queues: Collection[str] = (),
        kinds: Collection[str] = (),
        since_ms: int = 0,
        limit: int = 1_000,
        reads_limit: int | None = None,
        timeout_s: float = 10.0,
    ) -> Trail:
        """The records of a workflow, or of one run of it. Those of `events` that carry no run id
        are shown with any.

        task_queue: the workflow's queue, or all in which it may be.  kinds: of topics, () for
        all. limit: of records that are no requests that only looked; of these `reads_limit`
        (None: as many again), the rest is counted.
        """
        deadline_s = time.monotonic() + timeout_s
        names = [
            name
            for name in self._names(task_queue, activity_queues)
            if not kinds or self._kind(name) in kinds
        ]
        stretches = self._stretches(names, workflow_id, max(0, since_ms - _CLOCK_SLACK_MS))
        reads_limit = limit if reads_limit is None else reads_limit
        return self._trail(
            stretches,
            workflow_id,
            run_id,
            limit=limit,
            reads_limit=reads_limit,
            deadline_s=deadline_s,
        )

    def follow(
        self,
        workflow_id: str,
        *,
        queues: Callable[[], tuple[Collection[str], Collection[str]]],
        stopped: Callable[[], bool],
        run_id: str = "",
        since_ms: int = 0,
        timeout_s: float = 30.0,
        on_lost: Callable[[str], None],
    ) -> Iterator[RecordView]:
        """The trail so far, in order of time, then each record as it comes, until `stopped`.

        queues: task queues and activity queues to look in, asked again every few seconds: an
        activity may go to a queue that is new. timeout_s: for the trail so far. on_lost: told
        where records are missing: the search so far ended too early, or they were deleted before
        this reader came to them.
        """
        stretches = self._stretches(
            self._names(*queues()), workflow_id, max(0, since_ms - _CLOCK_SLACK_MS)
        )
        nexts = {(s.topic, s.partition): s.end for s in stretches}
        most, deadline_s = 1_000_000, time.monotonic() + timeout_s
        so_far = self._trail(
            stretches, workflow_id, run_id, limit=most, reads_limit=most, deadline_s=deadline_s
        )
        yield from so_far.records
        for missing in so_far.missing:
            on_lost(missing)
        consumer = Consumer(reader_config(self._settings))
        try:
            consumer.assign(
                [TopicPartition(topic, partition, end) for (topic, partition), end in nexts.items()]
            )
            looked_s = time.monotonic()
            while not stopped():
                message = consumer.poll(_POLL_S)
                if message is not None and (error := message.error()) is not None:
                    self._mend(consumer, message, error, nexts, on_lost)
                elif message is not None:
                    nexts[message.topic() or "", message.partition() or 0] = (
                        message.offset() or 0
                    ) + 1
                    if _belongs(message, workflow_id, run_id):
                        yield record_view(message, self._topics, self._codec)
                if time.monotonic() - looked_s >= _LOOK_AGAIN_S:
                    looked_s = time.monotonic()
                    new = [
                        place
                        for place in self._places(self._names(*queues()), workflow_id)
                        if place not in nexts
                    ]
                    nexts |= dict.fromkeys(new, 0)
                    if new:
                        consumer.incremental_assign(
                            [TopicPartition(topic, partition, 0) for topic, partition in new]
                        )
        except KafkaException as error:
            raise translate(error, self._settings, what="read records") from error
        finally:
            consumer.close()

    def _mend(
        self,
        consumer: Consumer,
        message: Message,
        error: KafkaError,
        nexts: dict[tuple[str, int], int],
        on_lost: Callable[[str], None],
    ) -> None:
        """A follower's place is gone: go on where its log begins now. librdkafka says so once,
        and the partition is silent from then on. nexts: the next offset of each place that is
        read. Raises our error for what does not pass by itself.
        """
        topic, partition = place = message.topic() or "", message.partition() or 0
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            low, _ = consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_ANSWER_S
            )
            begin = nexts.get(place, 0)
            if low > begin:
                told = (
                    f"record {begin} was"
                    if low == begin + 1
                    else f"records {begin:,} to {low - 1:,} were"
                )
                on_lost(f"{topic}/{partition}: {told} deleted before they were read")
            elif low < begin:
                on_lost(f"{topic}/{partition}: the topic was deleted and made anew")
            consumer.incremental_unassign([TopicPartition(topic, partition)])
            consumer.incremental_assign([TopicPartition(topic, partition, low)])
            nexts[place] = low
        elif error.code() in _TOPIC_GONE:
            if nexts.pop(place, None) is not None:  # looked for again with every new queue
                on_lost(f"{topic}/{partition}: the topic was deleted")
                consumer.incremental_unassign([TopicPartition(topic, partition)])
        elif error.code() not in _PASSING:
            raise translate(error, self._settings, topic=topic, what="read records")

    def _names(
        self, task_queue: str | Collection[str], activity_queues: Collection[str]
    ) -> list[str]:
        own = {task_queue} if isinstance(task_queue, str) else set(task_queue)
        every = sorted({*own, *activity_queues})
        names = [self._topics.events(queue) for queue in sorted(own)] + [
            self._topics.results,
            self._topics.executions,
        ]
        names += [self._topics.commands(queue) for queue in every]
        return names + [self._topics.dead_letters(queue) for queue in every]

    def _trail(
        self,
        stretches: list[Stretch],
        workflow_id: str,
        run_id: str,
        *,
        limit: int,
        reads_limit: int,
        deadline_s: float,
    ) -> Trail:
        search = Search(self._settings, deadline_s)
        found: list[RecordView] = []
        reads: list[RecordView] = []
        reads_left_out, full = 0, False
        for message in search.records(stretches):
            if not _belongs(message, workflow_id, run_id):
                continue
            if len(reads) >= reads_limit and header(headers_of(message), KIND) in READ_KINDS:
                reads_left_out += 1  # not even decoded
                continue
            record = record_view(message, self._topics, self._codec)
            if record.kind in READ_KINDS:
                if len(reads) < reads_limit:
                    reads.append(record)
                else:
                    reads_left_out += 1
            elif len(found) < limit:
                found.append(record)
            else:
                full = True
                break
        missing = [
            f"{s.topic}/{s.partition} from offset {s.start}: the search ran out of time"
            for s in search.unfinished
        ]
        missing += [
            f"{s.topic}/{s.partition} from offset {s.start}: deleted while it was searched"
            for s in search.purged
        ]
        if full:
            missing.append(f"more than {limit:,} records")
        found = sorted(
            found + reads, key=lambda record: (record.time_ms, record.topic, record.offset)
        )
        return Trail(
            workflow_id, found, not missing, missing, reads_left_out=reads_left_out, limited=full
        )

    def _kind(self, name: str) -> str:
        parsed = self._topics.parse(name)
        return parsed.kind if parsed is not None else ""

    def _places(self, names: Iterable[str], workflow_id: str) -> list[tuple[str, int]]:
        """Partitions where records of the key can be."""
        places: list[tuple[str, int]] = []
        for name, facts in self._admin.describe(names).items():
            kind = self._kind(name)
            if kind == "dead-letters":
                partitions: Iterable[int] = range(facts.partitions)
            elif kind == "commands":
                # A full service hands a command on to another partition.
                partitions = range(facts.partitions)
            else:
                # `executions` too: its key has the run id besides, its partition is the workflow
                # id's.
                partitions = [partition_for(workflow_id.encode(), facts.partitions)]
            places += [(name, partition) for partition in partitions]
        return places

    def _stretches(self, names: Iterable[str], workflow_id: str, since_ms: int) -> list[Stretch]:
        """Where records of the key can be, from the given time to the present end."""
        places = self._places(names, workflow_id)
        starts = (
            offsets_at(self._settings, dict.fromkeys(places, since_ms))
            if since_ms > 0
            else dict.fromkeys(places, 0)
        )
        stretches = []
        for name in {name for name, _ in places}:
            numbers = [partition for topic, partition in places if topic == name]
            lows = self._admin.start_offsets(name, numbers)
            for partition, end in self._admin.end_offsets(name, numbers, committed=True).items():
                start = starts.get((name, partition), -1)
                stretches.append(
                    Stretch(
                        name, partition, max(start, lows[partition]) if start >= 0 else end, end
                    )
                )
        return stretches


def _belongs(message: Message, workflow_id: str, run_id: str) -> bool:
    key, routing = key_text(message), parse_headers(headers_of(message))
    if (
        routing.workflow_id != workflow_id
        and key != workflow_id
        and not (not routing.workflow_id and key.startswith(f"{workflow_id}/"))
    ):
        return False
    return not run_id or not routing.run_id or routing.run_id == run_id
