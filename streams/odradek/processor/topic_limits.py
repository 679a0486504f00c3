"""What topics take: whether one can be had, its limit and its partitions, looked up once and
remembered.

A transaction that meets a missing topic would hang for 30 s and take its neighbours with it, so
queue topics are created at their first use (unless `create_topics` is off). Topics may have been
made by hand: what would lose records by their settings is seen here too.

`max.message.bytes` counts a batch, and librdkafka does not divide one: a topic that takes less
than a batch of the producer is refused, with the cure.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from odradek.exceptions import (
    BrokerUnreachableError,
    OdradekError,
    TopicMissingError,
    TopicSettingError,
)
from odradek.kafka.admin import ClusterAdmin, TopicFacts, limit_in
from odradek.processor.errors import TopicUnavailableError
from odradek.wire.headers import Headers
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


class TopicLimits:
    """Shared by all partitions of a process: a look-up takes milliseconds, a hit nothing.

    batch_bytes: what batches of the producer have at most.
    """

    def __init__(
        self, admin: ClusterAdmin, topics: Topics, task_queue: str, *, batch_bytes: int
    ) -> None:
        self._admin = admin
        self._topics = topics
        #: What every partition writes: without one of them nothing can be applied.
        self._fixed = (
            topics.state(task_queue),
            topics.results,
            topics.executions,
            topics.dead_letters(task_queue),
        )
        self._events = topics.events(task_queue)
        self._batch_bytes = batch_bytes
        self._known: dict[str, _Known] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def limit(self, topic: str) -> int:
        """What a topic takes, in bytes; 0 while it cannot be had."""
        return self._look(topic).limit

    def require_limit(self, topic: str) -> int:
        """What a topic takes, in bytes. Raises TopicUnavailableError while it cannot be had."""
        known = self._look(topic)
        if known.missing:
            raise TopicUnavailableError(known.missing)
        return known.limit

    def missing(self, topic: str) -> str:
        """Why a topic cannot be had; "" when it can."""
        return self._look(topic).missing

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has that can be had."""
        return self._look(topic).partitions

    def require_fixed(self) -> None:
        """The topics that every partition needs are there (made, where that is allowed), may be
        written, and lose nothing by their settings. Raises what needs a person.
        """
        for topic in (*self._fixed, self._events):
            error = self._look(topic).error
            if error is not None:
                raise error

    def look_at(self, facts: TopicFacts) -> None:
        """A topic that partitions do not write: tell what its settings lose, where this principal may
        see them. Raises as `require_fixed`.
        """
        if facts.rights is not None and "DescribeConfigs" not in facts.rights:
            logger.info(
                "settings of topic %s are not looked at: this principal may not see them",
                facts.name,
            )
            return
        self._judge(facts, self._admin.topic_settings([facts.name])[facts.name])

    def invalidate(self) -> None:
        """A transaction failed: topics are looked up anew at their next use, one may be gone or
        forbidden.
        """
        with self._lock:
            for known in self._known.values():
                known.until = 0.0

    # --- inside

    def _look(self, topic: str) -> _Known:
        known = self._known.get(topic)
        if known is not None and time.monotonic() < known.until:
            return known
        with self._lock:  # partitions that need the same topic ask once
            known = self._known.get(topic)
            if known is not None and time.monotonic() < known.until:
                return known
            found = self._known[topic] = self._ask(topic, known)
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
        limit = limit_in(settings)
        if limit < self._batch_bytes:
            raise TopicSettingError(
                facts.name,
                setting="max.message.bytes",
                value=str(limit),
                wanted=f"{self._batch_bytes} or more",
                reason="it takes less than a batch of the producer has. Raise it, or lower"
                " `batch.size` in the setting `producer_config`",
            )

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


def header_bytes(headers: Headers) -> int:
    """Bytes of headers, without what Kafka puts around them."""
    return sum(len(name) + len(raw) for name, raw in headers)
