"""Which ends without an end are told to the lanes, and what is written there is skipped by
readers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.processor.unended import Place, UnendedTransactions, says_nothing_at
from odradek.wire.nothing import says_nothing
from odradek.wire.topics import Topics

TOPICS = Topics("ns")
COMMANDS = TOPICS.commands("q")


@dataclass
class Cluster:
    """Ends of topics: topic -> partition -> (committed end, end)."""

    ends: dict[str, dict[int, tuple[int, int]]]
    rights: dict[str, frozenset[str]] = field(default_factory=dict)
    topics: Topics = TOPICS

    def topic_names(self) -> list[str]:
        return [
            *self.ends,
            "somebody.elses",
            Topics("other").results,
            TOPICS.state("q"),
            TOPICS.replies,
        ]

    def describe(self, names: list[str]) -> dict[str, TopicFacts]:
        return {
            name: TopicFacts(name, "id", len(self.ends[name]), self.rights.get(name))
            for name in names
        }

    def end_offsets(self, topic: str, partitions: range, *, committed: bool) -> dict[int, int]:
        return {
            partition: self.ends[topic][partition][0 if committed else 1]
            for partition in partitions
        }


def _watch(cluster: Cluster) -> tuple[UnendedTransactions, list[list[Place]]]:
    told: list[list[Place]] = []
    return UnendedTransactions(cast(ClusterAdmin, cluster), told.append, every_seconds=20), told


def test_an_end_that_stands_still_is_told_and_ever_less_often_again() -> None:
    """A lane may have been dropped over what it was told, or come to this process since."""
    cluster = Cluster({COMMANDS: {0: (5, 5), 1: (7, 9)}, TOPICS.results: {0: (3, 4)}})
    watch, told = _watch(cluster)
    watch.look()
    assert told == []
    watch.look()
    assert told == [[(COMMANDS, 1), (TOPICS.results, 0)]]
    looks = []
    for look in range(2, 100):
        watch.look()
        if told[len(looks) + 1 :]:
            looks.append(look)
    assert looks == [2, 4, 8, 16, 32, 64, 96] and told[1:] == told[:1] * len(looks)


def test_an_end_that_moves_is_not() -> None:
    cluster = Cluster({COMMANDS: {0: (5, 9)}})
    watch, told = _watch(cluster)
    for end in range(6, 12):
        watch.look()
        cluster.ends[COMMANDS][0] = (end, end + 4)
    assert told == []


def test_one_that_moved_and_stands_again_is_told_again() -> None:
    cluster = Cluster({COMMANDS: {0: (5, 9)}})
    watch, told = _watch(cluster)
    watch.look()
    watch.look()
    cluster.ends[COMMANDS][0] = (9, 9)
    watch.look()
    cluster.ends[COMMANDS][0] = (9, 11)
    watch.look()
    watch.look()
    assert told == [[(COMMANDS, 0)], [(COMMANDS, 0)]]


def test_topics_that_may_not_be_written_are_left_alone() -> None:
    cluster = Cluster({COMMANDS: {0: (5, 9)}}, rights={COMMANDS: frozenset({"Describe", "Read"})})
    watch, told = _watch(cluster)
    watch.look()
    watch.look()
    assert told == []


def test_what_is_written_says_nothing() -> None:
    record = says_nothing_at((COMMANDS, 1))
    assert (record.topic, record.partition) == (COMMANDS, 1)
    assert says_nothing(record.value, record.headers)
    assert not says_nothing(None, [])
    assert not says_nothing(b"", record.headers)
