"""What a topic takes, for answers of activities: a broker that does not tell it ends no service."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.activities.host import ActivityHost
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, TopicError
from odradek.kafka.windows import ANY, ASK_AGAIN_S, Windows


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
def test_a_limit_that_cannot_be_asked_is_the_last_known_or_nobody_says(error: Exception) -> None:
    assert host(Admin(error))._limit_of("t") == 0
    known = host(Admin(5_000, error))
    assert known._limit_of("t") == 5_000
    known._limits["t"] = 5_000, 0.0  # known for long enough
    assert known._limit_of("t") == 5_000


def test_a_guess_that_works_stays_about_what_it_is_while_nobody_says() -> None:
    """The topic takes 30,000 bytes, records of 5,000 come in company."""
    service, now, topic, place = (
        host(Admin(*[TopicError("no DescribeConfigs")] * 50)),
        [0.0],
        "t",
        ("t", ANY),
    )

    def ask(name: str) -> int:
        service._limits.clear()  # asked for long enough ago
        return service._limit_of(name)

    windows: Windows[int] = Windows(
        lambda _: 5_000, batch=1_000_000, limits={}, held_max=1_000_000, clock=lambda: now[0]
    )
    on_the_way = [number for number in range(100) if windows.enter(place, number)]
    while (limit := windows.limit(topic)) is None or limit > 30_000:
        for number in on_the_way:
            assert windows.refused(place, number)
            windows.settle(topic, ask)
        on_the_way = list(windows.ready(place))
    now[0] += ASK_AGAIN_S
    windows.ask_again(ask)
    assert windows.limit(topic) == 2 * limit
