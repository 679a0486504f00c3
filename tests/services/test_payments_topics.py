"""The payments service makes its topics, and goes on only once clients can see them: Faust ignores a topic that it does not see."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from services.payments import topics
from services.payments.wire_names import QueueNames

NAMES = QueueNames("default", "payments-task-queue")


class SlowCluster:
    """Creates at once, shows a topic after three looks and its leaders after two more."""

    def __init__(self, *, there_already: bool = False, never: bool = False) -> None:
        self.there_already = there_already
        self.never = never
        self.wanted: list[str] = []
        self.looks = 0

    def create_topics(self, new: list[Any]) -> dict[str, Future[None]]:
        self.wanted = [topic.topic for topic in new]
        futures = {name: Future[None]() for name in self.wanted}
        for future in futures.values():
            if self.there_already:
                future.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
            else:
                future.set_result(None)
        return futures

    def list_topics(self, timeout: float) -> Any:
        self.looks += 1
        if self.looks < 3 or self.never:
            return SimpleNamespace(topics={})
        leader = 1 if self.looks >= 5 else -1
        return SimpleNamespace(topics={name: SimpleNamespace(partitions={0: SimpleNamespace(leader=leader)}) for name in self.wanted})


@pytest.mark.parametrize("there_already", [False, True])
def test_waits_until_its_topics_show(monkeypatch: pytest.MonkeyPatch, there_already: bool) -> None:
    cluster = SlowCluster(there_already=there_already)
    monkeypatch.setattr(topics, "AdminClient", lambda _: cluster)
    topics.create_topics("address", NAMES, 4, 1)
    assert cluster.looks == 5
    assert sorted(cluster.wanted) == sorted([NAMES.commands, NAMES.control, NAMES.dead_letters, NAMES.members])


def test_says_which_topic_never_showed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "AdminClient", lambda _: SlowCluster(never=True))
    monkeypatch.setattr(topics, "ANSWER_WITHIN_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=r"payments-task-queue\.commands"):
        topics.create_topics("address", NAMES, 4, 1)
