"""What a topic takes, for answers of activities: a broker that does not tell it ends no service."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.activities.host import ActivityHost
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, TopicError
from odradek.kafka.admin import DEFAULT_MAX_MESSAGE_BYTES


class Admin:
    """Answers what stands in `answers`, the first first; an error is raised."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)

    def max_message_bytes(self, topics: list[str]) -> dict[str, int]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(topics, answer)


def host(admin: Any) -> ActivityHost:
    made = object.__new__(ActivityHost)
    made._admin, made._limits, made._settings = admin, {}, Settings()
    return made


@pytest.mark.parametrize(
    "error",
    [
        TopicError("grant this principal the ACL DescribeConfigs"),
        BrokerUnreachableError("b:1"),
        KafkaException(KafkaError(KafkaError._FAIL)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_limit_that_cannot_be_asked_is_the_last_known_or_kafkas_default(error: Exception) -> None:
    assert host(Admin(error))._limit_of("t") == DEFAULT_MAX_MESSAGE_BYTES
    known = host(Admin(5_000, error))
    assert known._limit_of("t") == 5_000
    known._limits["t"] = 5_000, 0.0  # known for long enough
    assert known._limit_of("t") == 5_000
