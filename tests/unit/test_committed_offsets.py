"""Offsets of a group, asked of a broker that has just come back: it coordinates nothing yet, and
says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, OdradekError
from odradek.kafka import clients
from odradek.kafka.admin import ClusterAdmin


class Reader:
    """Answers what stands in `answers`, the first first; an error code is raised."""

    answers: ClassVar[list[int | str]] = []
    made = 0

    def __init__(self, config: dict[str, Any]) -> None:
        type(self).made += 1

    def committed(self, wanted: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return [TopicPartition(place.topic, place.partition, 7) for place in wanted]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> ClusterAdmin:
    monkeypatch.setattr(clients, "Consumer", Reader)
    Reader.made = 0
    return ClusterAdmin(Settings(address="127.0.0.1:1"), request_timeout_s=60)


@pytest.mark.parametrize(
    "code", [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
)
def test_it_is_asked_again_until_it_does(asked: ClusterAdmin, code: int) -> None:
    Reader.answers = [code, code, "offsets"]
    assert asked.committed_offsets("g", "t", [0, 3]) == {0: 7, 3: 7}
    assert Reader.made == 3  # each connects anew


def test_not_for_ever(asked: ClusterAdmin) -> None:
    asked._timeout_s = 0.3
    Reader.answers = [KafkaError.NOT_COORDINATOR]
    with pytest.raises(BrokerUnreachableError, match="NOT_COORDINATOR"):
        asked.committed_offsets("g", "t", [0])


def test_what_does_not_pass_is_told_at_once(asked: ClusterAdmin) -> None:
    Reader.answers = [KafkaError.GROUP_AUTHORIZATION_FAILED]
    with pytest.raises(OdradekError):
        asked.committed_offsets("g", "t", [0])
    assert Reader.made == 1
