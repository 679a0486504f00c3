"""Keeps topics that everybody of a namespace shares (`members`, `replies`, `schemas`, ...) under
processes that run for long.

They are made at the start and may be deleted after it. Whoever reads or writes them hardly
learns of it: a consumer is silent and goes on at its old offset in a topic that was made anew, a
producer keeps a record for half a minute and drops it. So one look of an AdminClient at all of
them tells: what is missing is made where that is allowed, and what was made anew, by whomever,
is told. On a thread of its own: off every hot path, in no callback of a Kafka client
(docs/decisions/0010).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaException

from odradek.exceptions import OdradekError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts

logger = logging.getLogger("odradek.kafka")

EVERY_S = 5.0  # between two looks
# between two attempts to make a topic that could not be made; somebody else's is seen with the next
# look
PAUSE_MAX_S = 60.0

OnAnew = Callable[[TopicFacts], None]


class TopicUpkeep(threading.Thread):
    """Looks after topics until `stop`.

    topics: as they are now (`ClusterAdmin.ensure`). on_anew: called on this thread with a topic
    that is not the one that was there before, its offsets begin at 0; what it raises is logged.
    asked: look only when `look` was called, once in `every_s` at most, for processes that mostly
    need nothing of it.
    """

    def __init__(
        self,
        admin: ClusterAdmin,
        topics: Iterable[TopicFacts],
        on_anew: OnAnew = lambda topic: None,
        *,
        asked: bool = False,
        every_s: float = EVERY_S,
    ) -> None:
        super().__init__(name="odradek-topics", daemon=True)
        self._admin = admin
        self._ids = {topic.name: topic.topic_id for topic in topics}
        self._on_anew = on_anew
        self._asked = asked
        self._every_s = every_s
        self._try_at = 0.0  # monotonic: not made before
        self._pause_s = every_s
        self._stopping = threading.Event()
        self._wanted = threading.Event()
        #: Which topic is missing, why, and what to do; None while all are there, as far as is
        #: known.
        self.missing: TopicMissingError | None = None

    def stop(self) -> None:
        """End soon; does not wait."""
        self._stopping.set()
        self._wanted.set()

    def look(self) -> None:
        """Have it look now, or as soon as it may. Costs nothing."""
        if not self._wanted.is_set():
            self._wanted.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            if self._asked:
                self._wanted.wait()
                if self._stopping.is_set():
                    return
            self._wanted.clear()
            self.look_once()
            self._stopping.wait(self._every_s)

    def look_once(self) -> None:
        """Look, and make what is missing. Raises nothing: what is not known now is asked for at
        the next look.
        """
        try:
            found = self._admin.describe(self._ids)
            lacking = [name for name in self._ids if name not in found]
            if lacking:
                found = {**found, **self._made(lacking)}
            else:
                self._pause_s, self._try_at = self._every_s, 0.0
                self._settle(None)
            self._compare(found)
        except (KafkaException, OdradekError) as error:
            logger.debug("whether all topics are there cannot be seen: %s", error)
        except Exception:  # a defect of ours: without this thread nobody makes them anew
            logger.exception("topics cannot be looked after, again in %g s", self._every_s)

    def _made(self, lacking: list[str]) -> Mapping[str, TopicFacts]:
        if (
            time.monotonic() < self._try_at
            and self.missing is not None
            and self.missing.topic in lacking
        ):
            return {}
        try:
            made = self._admin.ensure(lacking)
        except TopicMissingError as error:
            self._try_at, self._pause_s = (
                time.monotonic() + self._pause_s,
                min(2 * self._pause_s, PAUSE_MAX_S),
            )
            self._settle(error)
            return {}
        logger.warning("deleted under this process, and made anew: %s", ", ".join(lacking))
        self._settle(None)
        return made

    def _settle(self, missing: TopicMissingError | None) -> None:
        if missing is not None and str(missing) != str(self.missing):
            logger.warning("%s", missing)
        elif missing is None and self.missing is not None:
            logger.warning("topic %s is there again", self.missing.topic)
        self.missing = missing

    def _compare(self, found: Mapping[str, TopicFacts]) -> None:
        for name, facts in found.items():
            if self._ids[name] == facts.topic_id:
                continue
            self._ids[name] = facts.topic_id
            try:
                self._on_anew(facts)
            except Exception:
                logger.exception(
                    "what reads and writes %s could not be told that it was made anew", name
                )
