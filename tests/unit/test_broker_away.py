"""One broker of several is away, and librdkafka waits for it alone: requests go out again, to
who leads or is there by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka import admin, clients
from odradek.kafka.admin import ClusterAdmin

TOPIC = "odradek.default.replies"
SILENT = "silent"  # no answer ever
CALLS: dict[str, Callable[[ClusterAdmin], Any]] = {
    "cluster": lambda asked: asked.cluster_id(),
    "topics": lambda asked: asked.describe([TOPIC])[TOPIC].partitions,
    "settings": lambda asked: asked.tombstone_retention_ms(TOPIC),
    "group": lambda asked: asked.configure_group("g", {"x": "7"}),
    "ends": lambda asked: asked.end_offsets(TOPIC, [0, 1], committed=False),
    "purge": lambda asked: asked.delete_records({(TOPIC, 0): 7, (TOPIC, 1): 7}),
}
EXPECTED = {
    "cluster": "7",
    "topics": 1,
    "settings": 7,
    "group": None,
    "ends": {0: 7, 1: 7},
    "purge": {(TOPIC, 0): 7, (TOPIC, 1): 7},
}


class Brokers:
    """In the place of AdminClient. Partition 1 is led by the broker that is away, until the
    cluster has noticed, and then looked at.

    answers: of requests, the first first, the last one for ever: an error's code, SILENT, or ""
    for what was asked.
    """

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.leader = 2
        self.looks = True

    def poll(self, timeout: float) -> int:
        return 0

    def list_topics(self, topic: str, timeout: float) -> Any:
        self.asked.append("look")
        if not self.looks:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions = {0: SimpleNamespace(leader=1), 1: SimpleNamespace(leader=self.leader)}
        topics = {topic: SimpleNamespace(partitions=partitions)}
        return SimpleNamespace(
            brokers={1: None, 2: None}, topics=topics, controller_id=len(self.asked)
        )

    def _answer(self, what: str, answer: Any, silent: Any = None) -> Future[Any]:
        self.asked.append(what)
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        done: Future[Any] = Future()
        if isinstance(said, int):
            done.set_exception(KafkaException(KafkaError(said)))
        elif said != SILENT or silent is not None:
            done.set_result(silent if said == SILENT else answer)
        return done

    def describe_cluster(self, **options: Any) -> Future[Any]:
        return self._answer("cluster", SimpleNamespace(cluster_id="7"))

    def describe_topics(self, topics: Any, **options: Any) -> dict[str, Future[Any]]:
        partition = SimpleNamespace(replicas=[1])
        return {
            TOPIC: self._answer(
                "topics",
                SimpleNamespace(topic_id="id", partitions=[partition], authorized_operations=None),
            )
        }

    def describe_configs(self, resources: list[Any], **options: Any) -> dict[Any, Future[Any]]:
        return {
            resources[0]: self._answer(
                "settings", {"delete.retention.ms": SimpleNamespace(value="7")}
            )
        }

    def incremental_alter_configs(
        self, resources: list[Any], **options: Any
    ) -> dict[Any, Future[Any]]:
        return {resources[0]: self._answer("group", None)}

    def list_offsets(
        self, wanted: dict[TopicPartition, Any], **options: Any
    ) -> dict[TopicPartition, Future[Any]]:
        nothing = ListOffsetsResultInfo(-1001, -1, -1)
        first, *others = wanted
        answer = self._answer("ends", ListOffsetsResultInfo(7, -1, -1), nothing)
        return {first: answer, **dict.fromkeys(others, answer)}

    def delete_records(
        self, wanted: list[TopicPartition], **options: Any
    ) -> dict[TopicPartition, Future[Any]]:
        answer = self._answer("purge", SimpleNamespace(low_watermark=7))
        self.deleted = [place.partition for place in wanted]
        return dict.fromkeys(wanted, answer)


def made(
    monkeypatch: pytest.MonkeyPatch, *answers: int | str, timeout_s: float = 60.0
) -> tuple[ClusterAdmin, Brokers]:
    """A request has longer than this machine ever stands for, and is sent again soon all the same."""
    brokers = Brokers(*answers)
    monkeypatch.setattr(clients, "AdminClient", lambda config: brokers)
    monkeypatch.setattr(admin, "_UNLED_PAUSE_S", 0.02)
    asked = ClusterAdmin(Settings(address="127.0.0.1:1"), request_timeout_s=timeout_s)
    asked._again_s = min(asked._again_s, 0.5)
    return asked, brokers


@pytest.mark.parametrize("first", [SILENT, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
@pytest.mark.parametrize("call", CALLS)
def test_a_request_that_nobody_answers_is_sent_again_behind_a_look(
    monkeypatch: pytest.MonkeyPatch, call: str, first: int | str
) -> None:
    asked, brokers = made(monkeypatch, first, "")
    assert CALLS[call](asked) == EXPECTED[call]
    assert [what for what in brokers.asked if what != "look"] == [call, call]
    assert "look" in brokers.asked[brokers.asked.index(call) + 1 : -1]


def test_an_answer_that_comes_late_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine: nobody is away."""
    asked, brokers = made(monkeypatch, SILENT)
    first = brokers.describe_cluster()
    requests = iter([first, *(Future[Any]() for _ in range(9))])
    monkeypatch.setattr(brokers, "describe_cluster", lambda **options: next(requests))
    threading.Timer(0.6, first.set_result, [SimpleNamespace(cluster_id="7")]).start()
    assert asked.cluster_id() == "7"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("looks", [False, True])
def test_the_error_says_whether_others_answer(
    monkeypatch: pytest.MonkeyPatch, call: str, looks: bool
) -> None:
    asked, brokers = made(monkeypatch, SILENT, timeout_s=0.2)
    brokers.looks = looks
    monkeypatch.setattr(admin, "_ANSWER_GRACE_S", 0.01)
    with pytest.raises(
        BrokerUnreachableError,
        match="others at 127.0.0.1:1 do" if looks else "no Kafka broker answers",
    ):
        CALLS[call](asked)


def test_a_purge_meets_a_new_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, brokers = made(monkeypatch, KafkaError.NOT_LEADER_FOR_PARTITION, "")
    assert CALLS["purge"](asked) == EXPECTED["purge"]
    assert brokers.asked == ["look", "purge", "look", "purge"]


def test_what_has_no_leader_is_not_waited_for_and_the_others_are_purged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, brokers = made(monkeypatch, "", timeout_s=0.4)
    brokers.leader = 3  # none of those that are there
    with pytest.raises(BrokerUnreachableError, match=f"{TOPIC}/1: no leader"):
        CALLS["purge"](asked)
    assert brokers.deleted == [0]
    assert brokers.asked.count("purge") == 1


def test_a_look_makes_no_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(clients, "AdminClient", given.append)
    ClusterAdmin(Settings(address="127.0.0.1:1"))
    assert given[0]["allow.auto.create.topics"] is False
