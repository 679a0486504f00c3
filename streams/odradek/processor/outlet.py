"""Outputs before the transaction: encoded, their topic there, their size within what the topic takes.

What fails here is an event of its run, so one bad output never stops a batch; a transaction that
meets a missing topic would hang for 30 s and take its neighbours with it. Topics are looked up
once and remembered; queue topics are created at their first use (unless `create_topics` is off:
then an activity waits, with the reason).

Topics may have been made by hand: their settings come with their limit, so what would lose
records is seen here too.

What a topic takes also bounds the batches of a lane's producer: `max.message.bytes` counts a
batch, and librdkafka does not divide one. What every lane writes bounds them always; records for
others that take less go in parts, each on its way when the one before has arrived.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from odradek.engine import ports
from odradek.engine.ports import OutletUnavailableError, Output, Refusal
from odradek.exceptions import (
    BrokerUnreachableError,
    OdradekError,
    TopicMissingError,
    TopicSettingError,
)
from odradek.kafka.admin import ClusterAdmin, TopicFacts, limit_in
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.wire.codec import Codec
from odradek.wire.errors import TopicNameError, WireError
from odradek.wire.headers import Headers, headers_for
from odradek.wire.partitioner import partition_for
from odradek.wire.record_size import record_size
from odradek.wire.topic_configs import setting_problems
from odradek.wire.topics import Topics

logger = logging.getLogger(__name__)

# Around a value stand its key, headers and the batch: the topic's limit is one of batches. This is
# for what is always there.
OVERHEAD_BYTES = 1_024
KNOWN_FOR_SECONDS = (
    600.0  # a limit that somebody lowers meanwhile shows as a refused record, which is dealt with
)
MISSING_FOR_SECONDS = 2.0
UNBOUNDED = 2**31 - 1  # bytes; the largest that Kafka lets a topic take


@dataclass(slots=True)
class Record:
    """A record, ready to produce. partition -1: by key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | str | None]]
    partition: int = -1


@dataclass(slots=True)
class _Known:
    """What is known of a topic, until when (monotonic). `missing` says why it cannot be had,
    `error` what a person has to mend.
    """

    limit: int
    until: float
    missing: str = ""
    partitions: int = 0
    error: OdradekError | None = None


class TopicOutlet:
    """`Outlet` over real topics. Shared by all lanes of a process: a look-up takes milliseconds,
    a hit nothing.
    """

    def __init__(self, admin: ClusterAdmin, codec: Codec, topics: Topics, task_queue: str) -> None:
        self._admin = admin
        self._encode = codec.encode
        self._topics = topics
        self._task_queue = task_queue
        #: What every lane writes: without one of them nothing can be applied.
        self._fixed = (
            topics.state(task_queue),
            topics.results,
            topics.executions,
            topics.dead_letters(task_queue),
        )
        self._events = topics.events(task_queue)
        #: How often a topic was found to take less than before. Somebody who remembers it learns
        #: whether one does by now.
        self.lowered = 0
        self._known: dict[str, _Known] = {}
        #: What each topic took when it was last to be had, in bytes, and the least of it. Replaced,
        #: never changed: read without the lock.
        self._took: dict[str, int] = {}
        self._narrowest = UNBOUNDED
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._names: dict[tuple[str, str], str] = {}
        self._named: dict[str, Callable[[str], str]] = {
            ports.COMMANDS: topics.commands,
            ports.CONTROL: topics.control,
            ports.EVENTS: topics.events,
            ports.RESULTS: lambda _: topics.results,
            ports.EXECUTIONS: lambda _: topics.executions,
            ports.DEAD_LETTERS: topics.dead_letters,
        }

    # --- Outlet

    def check(self, kind: str, task_queue: str, record: Any) -> bytes | Refusal:
        """The encoded record, or why it cannot be written. Never raises for what a workflow can cause.

        Raises OutletUnavailableError for a topic that every lane writes, and for a schema registry.
        """
        try:
            topic = self._name(kind, task_queue)
            value = self._encode(record)
        except SchemaRegistryUnreachableError as error:
            raise OutletUnavailableError(str(error)) from error
        except (TopicNameError, WireError) as error:
            return Refusal(str(error))
        known = self._look(topic)
        if known.missing:
            if topic in self._fixed:
                raise OutletUnavailableError(known.missing)
            return Refusal(known.missing, retryable=True)
        size = len(value) + OVERHEAD_BYTES
        if (
            len(value) > known.limit // 4
        ):  # key and headers repeat fields of the value: three times its size at most, all in all
            size += _around(record)
        if size > known.limit:
            what = f"{type(record).__name__} of {size} bytes, with its key, headers and batch,"
            return Refusal(
                f"{what} exceeds the {known.limit} bytes that topic {topic} takes"
                " (`max.message.bytes`). Raise it on the topic, compress with a payload codec, or"
                " pass a reference instead of the data",
                size=size,
                limit=known.limit,
            )
        return value

    # --- for the lane

    def record(self, output: Output) -> Record:
        """A checked output as a record. What routes also stands in its headers."""
        headers: list[tuple[str, bytes | str | None]] = list(headers_for(output.record))
        if output.headers:
            headers += [(name, text.encode()) for name, text in output.headers.items()]
        topic, partition = self._name(output.kind, output.task_queue), output.partition
        if output.kind == ports.EXECUTIONS:
            # By workflow id, not by its key: a transaction of one lane then touches one partition
            # of it instead of all (a marker each).
            known = self._look(topic)
            if known.missing:  # since the check
                raise OutletUnavailableError(known.missing)
            partition = partition_for(output.record.workflow_id.encode(), known.partitions)
        return Record(topic, output.key.encode(), output.value, headers, partition)

    def dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> Record:
        """For this queue's `dead-letters`. A value that is too large for it is left out: where
        it stood is in the headers.

        Raises OutletUnavailableError.
        """
        topic = self._topics.dead_letters(self._task_queue)
        size = (
            len(value or b"") + len(key or b"") + sum(len(name) + len(raw) for name, raw in headers)
        )
        if size + OVERHEAD_BYTES > self.require_limit(topic):
            logger.error(
                "a dead letter of %d bytes exceeds what %s takes: its value is left out",
                size,
                topic,
            )
            value = None
        return Record(topic, key, value, list(headers))

    def limit(self, topic: str) -> int:
        """What a topic takes, in bytes; 0 while it cannot be had."""
        return self._look(topic).limit

    def require_limit(self, topic: str) -> int:
        """What a topic takes, in bytes. Raises OutletUnavailableError while it cannot be had."""
        known = self._look(topic)
        if known.missing:
            raise OutletUnavailableError(known.missing)
        return known.limit

    def require_fixed(self) -> None:
        """The topics that every lane needs are there (made, where that is allowed), may be
        written, and lose nothing by their settings. Raises what needs a person.
        """
        for topic in (*self._fixed, self._events):
            error = self._look(topic).error
            if error is not None:
                raise error

    def look_at(self, facts: TopicFacts) -> None:
        """A topic that lanes do not write: tell what its settings lose, where this principal may
        see them. Raises as `require_fixed`.
        """
        if facts.rights is not None and "DescribeConfigs" not in facts.rights:
            logger.info(
                "settings of topic %s are not looked at: this principal may not see them",
                facts.name,
            )
            return
        self._judge(facts, self._admin.topic_settings([facts.name])[facts.name])

    def batch_limit(self) -> int:
        """What the batches of a lane may have, in bytes: no more than any topic takes that every
        lane writes or forwards to.

        Asks only for what was never to be had: an owner has to fence first, whatever the cluster
        says of topics just now.
        """
        for topic in (*self._fixed, self._events):
            if topic not in self._took and self._look(topic).missing:
                break
        took = self._took
        return min(
            (took[topic] for topic in (*self._fixed, self._events) if topic in took),
            default=UNBOUNDED,
        )

    def last_limit(self, topic: str) -> int:
        """What a topic took when it was last to be had, in bytes. Asks nobody."""
        return self._took.get(topic, UNBOUNDED)

    def parts(self, batch: int, records: list[Record]) -> list[list[Record]]:
        """Records for a producer that makes batches of up to `batch` bytes of what it has been
        given. What a part has of a topic, the topic takes in one batch; almost always it is all
        one part. Each topic's order is kept.
        """
        if self._narrowest >= batch:
            return [records]
        narrow = {topic: limit for topic, limit in self._took.items() if limit < batch}
        parts: list[list[Record]] = [[]]
        reached: dict[str, tuple[int, int]] = {}  # topic -> its last part, bytes there
        for record in records:
            limit = narrow.get(record.topic)
            if limit is None:
                parts[0].append(record)
                continue
            size = record_size(record.key, record.value, record.headers)
            part, filled = reached.get(record.topic, (0, 0))
            if filled and filled + size > limit:
                part, filled = part + 1, 0
                if part == len(parts):
                    parts.append([])
            reached[record.topic] = part, filled + size
            parts[part].append(record)
        return parts

    def narrowed(self, lowered: int) -> bool:
        """A batch was refused: whether any topic takes less than when `lowered` was this number.
        Asks anew, unless that is known.
        """
        if self.lowered == lowered:
            self.doubt()
            for topic in self._took:
                self._look(topic)
        return self.lowered != lowered

    def doubt(self) -> None:
        """A transaction failed: topics are looked up anew at their next use, one may be gone or
        forbidden.
        """
        with self._lock:
            for known in self._known.values():
                known.until = 0.0

    # --- inside

    def _name(self, kind: str, task_queue: str) -> str:
        name = self._names.get((kind, task_queue))
        if name is None:
            name = self._names[kind, task_queue] = self._named[kind](task_queue or self._task_queue)
        return name

    def _look(self, topic: str) -> _Known:
        known = self._known.get(topic)
        if known is not None and time.monotonic() < known.until:
            return known
        with self._lock:  # lanes that need the same topic ask once
            known = self._known.get(topic)
            if known is not None and time.monotonic() < known.until:
                return known
            found = self._known[topic] = self._ask(topic, known)
            if not found.missing and found.limit != (before := self._took.get(topic)):
                self._took = {**self._took, topic: found.limit}
                self._narrowest = min(self._took.values())
                self.lowered += before is not None and found.limit < before
            return found

    def _ask(self, topic: str, known: _Known | None) -> _Known:
        try:
            facts = self._facts(topic).require("Write")
            settings = self._admin.topic_settings([topic])[topic]
            self._judge(facts, settings)
            limit = limit_in(settings)
            return _Known(limit, time.monotonic() + KNOWN_FOR_SECONDS, partitions=facts.partitions)
        except BrokerUnreachableError as error:
            return self._guess(topic, known, error)
        except OdradekError as error:
            logger.warning("topic %s cannot be had: %s", topic, error)
            return _Known(0, time.monotonic() + MISSING_FOR_SECONDS, str(error), error=error)
        except Exception as error:
            return self._guess(topic, known, error)

    def _judge(self, facts: TopicFacts, settings: Mapping[str, str]) -> None:
        """Raises TopicSettingError for a setting that loses records or takes none; tells once of
        others that may.
        """
        parsed = self._topics.parse(facts.name)
        for problem in setting_problems(
            parsed.kind if parsed else "", settings, replicas=facts.replicas
        ):
            error = TopicSettingError(
                facts.name,
                setting=problem.setting,
                value=problem.value,
                wanted=problem.wanted,
                reason=problem.reason,
            )
            if problem.stops:
                raise error
            if str(error) not in self._told:
                self._told.add(str(error))
                logger.warning("%s", error)

    def _facts(self, topic: str) -> TopicFacts:
        if topic != self._events:
            return self._admin.ensure([topic])[topic]
        found = self._admin.describe(
            [topic]
        )  # never made anew: what stood in it would be missed by nobody
        if topic not in found:
            raise TopicMissingError(topic, reason="it was there when this process started")
        return found[topic]

    def _guess(self, topic: str, known: _Known | None, error: Exception) -> _Known:
        """A broker in trouble: what was known is better than nothing, a refused record is dealt
        with.
        """
        logger.warning("topic %s cannot be looked up: %s", topic, error)
        if known is not None and not known.missing:
            return _Known(
                known.limit, time.monotonic() + MISSING_FOR_SECONDS, partitions=known.partitions
            )
        return _Known(
            0, time.monotonic() + MISSING_FOR_SECONDS, f"topic {topic} cannot be looked up: {error}"
        )


def _around(record: Any) -> int:
    """Bytes of a record's headers and of its key, which is a workflow id, alone or with a run id."""
    key = len(getattr(record, "workflow_id", "").encode()) + len(
        getattr(record, "run_id", "").encode()
    )
    return header_bytes(headers_for(record)) + key


def header_bytes(headers: Headers) -> int:
    """Bytes of headers, without what Kafka puts around them."""
    return sum(len(name) + len(raw) for name, raw in headers)
