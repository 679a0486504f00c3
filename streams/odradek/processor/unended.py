"""Where readers of what lanes write stand still, because Kafka lost the end of a transaction there.

As `left_open` says: a lone broker that is killed right behind a commit may come back without the
markers of that transaction. On `state` the lane that restores notices. Everywhere else nobody
reads who could do something: a command is not begun, a result not seen, until the same
producer's next transaction on that partition ends. So this thread looks at the ends of the
topics that lanes write. Where the end of committed records stands still, with records behind it,
for longer than a transaction may be open, every lane of this process is told. Each writes a
record that says nothing there (`odradek.wire.nothing`), and the one whose transaction it was
ends it by that. Whose it is, no client can ask.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from confluent_kafka import KafkaException

from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin
from odradek.processor.outlet import Record
from odradek.wire import nothing
from odradek.wire.topics import COMMANDS, CONTROL, EVENTS, EXECUTIONS, RESULTS

logger = logging.getLogger(__name__)

#: Added to the time that a transaction may be open.
SLACK_SECONDS = 10.0
#: Looks between two times that the same end is told of, at most: 1, 2, 4 and so on.
_LOOKS_MAX = 32
#: All but dead letters: who lists them would show it as one. There the next dead letter does it.
_WRITTEN = frozenset({COMMANDS, CONTROL, EVENTS, EXECUTIONS, RESULTS})

Place = tuple[str, int]


def says_nothing_at(place: Place) -> Record:
    """The record to write there."""
    return Record(place[0], nothing.KEY, None, list(nothing.HEADERS), place[1])


class UnendedTransactions(threading.Thread):
    """Runs until `stop`. `tell(places)` is called with (topic, partition)s whose end stands
    still; again, ever less often, while it does: a lane may have been dropped over what it was
    told, or come to this process since.

    every_seconds: between two looks; longer than a transaction of a lane may be open.
    """

    def __init__(
        self, admin: ClusterAdmin, tell: Callable[[list[Place]], None], *, every_seconds: float
    ) -> None:
        super().__init__(name="odradek-unended", daemon=True)
        self._admin = admin
        self._tell = tell
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._seen: dict[Place, int] = {}  # where the last look found an end with records behind it
        self._looks: dict[Place, int] = {}  # at which it stood there, the first included

    def run(self) -> None:
        while not self._stopping.wait(
            self._every_seconds
        ):  # nothing at the start: one look alone says nothing
            try:
                self.look()
            except (
                KafkaException,
                OdradekError,
                TimeoutError,
            ) as error:  # a cluster in trouble: next time
                logger.info("whether transactions lack their end could not be seen: %s", error)
            except Exception:  # a defect of ours must not end it for good
                logger.exception("whether transactions lack their end could not be seen")

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Tell of the ends that stand where they stood at the last look."""
        seen = open_ends(self._admin)
        self._looks = {
            place: self._looks.get(place, 0) + 1
            for place, end in seen.items()
            if self._seen.get(place) == end
        }
        self._seen = seen
        told = [
            place
            for place, looks in self._looks.items()
            if looks.bit_count() == 1 or looks % _LOOKS_MAX == 0
        ]
        if not told:
            return
        text = "; ".join(
            f"{topic}/{partition} at {seen[topic, partition]}" for topic, partition in told
        )
        logger.warning(
            "readers of committed records stand still for %g s before a transaction without an end:"
            " %s. Each lane here gives it one, if it is its own. Kafka loses the ends of"
            " transactions when a broker that is alone is killed: docs/operate.md, Sizing",
            self._every_seconds,
            text,
        )
        self._tell(told)


def open_ends(admin: ClusterAdmin) -> dict[Place, int]:
    """Committed ends with records behind them, of topics that this process may write. Raises
    what the cluster raises.
    """
    found: dict[Place, int] = {}
    for topic, partitions in _written(admin).items():
        # In this order: what is committed in between only makes the first smaller than it is.
        committed = admin.end_offsets(topic, range(partitions), committed=True)
        ends = admin.end_offsets(topic, range(partitions), committed=False)
        found |= {
            (topic, partition): end for partition, end in committed.items() if end < ends[partition]
        }
    return found


def _written(admin: ClusterAdmin) -> dict[str, int]:
    topics = admin.topics
    names = []
    for name in admin.topic_names():
        parsed = topics.parse(name)
        if parsed is not None and parsed.namespace == topics.namespace and parsed.kind in _WRITTEN:
            names.append(name)
    facts = admin.describe(names)
    return {
        name: each.partitions
        for name, each in facts.items()
        if each.rights is None or "Write" in each.rights
    }
