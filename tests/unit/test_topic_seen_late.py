"""A topic that was there a moment ago and is unknown to the broker that answers now: on a
cluster, brokers learn one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource

from odradek.config import Settings
from odradek.exceptions import TopicMissingError
from odradek.kafka import admin, clients
from odradek.kafka.admin import ClusterAdmin

TOPIC = "odradek.default.replies"


class Brokers:
    """In the place of AdminClient: each request is answered by the next of `knows`, the last one
    for ever.
    """

    def __init__(self, *knows: bool) -> None:
        self.knows = list(knows)
        self.asked = 0

    def poll(self, timeout: float) -> int:
        return 0

    def list_topics(self, topic: str, timeout: float) -> None:
        pass

    def describe_topics(self, topics: Any, **options: Any) -> dict[str, Future[Any]]:
        partition = SimpleNamespace(replicas=[1])
        return {
            TOPIC: self._answer(
                SimpleNamespace(topic_id="id", partitions=[partition], authorized_operations=None)
            )
        }

    def describe_configs(
        self, resources: list[ConfigResource], **options: Any
    ) -> dict[ConfigResource, Future[Any]]:
        answer = {
            "max.message.bytes": SimpleNamespace(value="7"),
            "delete.retention.ms": SimpleNamespace(value="7"),
        }
        return {resource: self._answer(answer) for resource in resources}

    def list_offsets(
        self, wanted: dict[TopicPartition, Any], **options: Any
    ) -> dict[TopicPartition, Future[Any]]:
        return {place: self._answer(SimpleNamespace(offset=7)) for place in wanted}

    def _answer(self, answer: Any) -> Future[Any]:
        self.asked += 1
        knows = self.knows.pop(0) if len(self.knows) > 1 else self.knows[0]
        done: Future[Any] = Future()
        if knows:
            done.set_result(answer)
        else:
            done.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        return done


READS: dict[str, Callable[[ClusterAdmin], Any]] = {
    "describe": lambda asked: [facts.partitions for facts in asked.describe([TOPIC]).values()],
    "settings": lambda asked: [asked.tombstone_retention_ms(TOPIC)],
    "largest record": lambda asked: [asked.max_message_bytes([TOPIC])[TOPIC]],
    "ends": lambda asked: [asked.end_offsets(TOPIC, [0], committed=False)[0]],
}


def made(monkeypatch: pytest.MonkeyPatch, *knows: bool) -> tuple[ClusterAdmin, Brokers]:
    brokers = Brokers(*knows)
    monkeypatch.setattr(clients, "AdminClient", lambda config: brokers)
    return ClusterAdmin(Settings(address="127.0.0.1:1"), request_timeout_s=5), brokers


@pytest.mark.parametrize("read", READS)
def test_the_slowest_broker_is_waited_for(monkeypatch: pytest.MonkeyPatch, read: str) -> None:
    asked, brokers = made(monkeypatch, True, False, False, True)
    assert asked.ensure([TOPIC])[TOPIC].partitions == 1
    assert READS[read](asked) in ([1], [7])
    assert brokers.asked == 4


@pytest.mark.parametrize("read", ["settings", "largest record", "ends"])
def test_a_topic_that_was_not_there_is_missing_at_once(
    monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    asked, brokers = made(monkeypatch, False)
    assert asked.describe([TOPIC]) == {}
    with pytest.raises(TopicMissingError):
        READS[read](asked)
    assert brokers.asked == 2


@pytest.mark.parametrize("read", ["settings", "ends"])
def test_one_that_is_gone_is_missing_before_long(
    monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    monkeypatch.setattr(admin, "_SEEN_LATE_S", 0.2)
    asked, _ = made(monkeypatch, True, False)
    assert asked.describe([TOPIC])
    with pytest.raises(TopicMissingError):
        READS[read](asked)
    assert asked.describe([TOPIC]) == {}
