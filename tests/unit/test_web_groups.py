"""Which kind of group a queue has, while brokers answer in part or not at all."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.client_config import topics_of
from odradek.web.kafka.groups import CLASSIC, SHARE, ActivityGroups

SETTINGS = Settings(activity_group="share")
GROUP = topics_of(SETTINGS).activities_group("q")


class Brokers:
    """What both calls answer: groups by their state, or errors."""

    def __init__(self) -> None:
        self.states: dict[str, ConsumerGroupState] = {GROUP: ConsumerGroupState.STABLE}
        self.errors: list[Any] = []
        self.down = False

    def list_consumer_groups(self, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if not self.down:
            valid = [
                SimpleNamespace(group_id=name, state=state) for name, state in self.states.items()
            ]
            future.set_result(SimpleNamespace(valid=valid, errors=self.errors))
        return future

    def list_groups(self, group: str, timeout: float) -> list[Any]:
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return []


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers()
    monkeypatch.setattr(ActivityGroups, "_admin", lambda self: found)
    return found


def test_a_group_that_may_have_members_has_some(brokers: Brokers) -> None:
    for state in ConsumerGroupState:
        brokers.states[GROUP] = state
        empty = state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
        assert ActivityGroups(SETTINGS)._list() == {GROUP: not empty}


def test_without_an_answer_a_kind_stays_what_it_was(brokers: Brokers) -> None:
    now = [0.0]
    groups = ActivityGroups(SETTINGS, timeout_s=-0.99, clock_s=lambda: now[0])
    assert groups.kind("q") == CLASSIC
    for make in (
        lambda: setattr(brokers, "errors", [KafkaError(KafkaError._TRANSPORT)]),
        lambda: setattr(brokers, "down", True),
    ):
        make()
        now[0] += 60
        assert groups.kind("q") == CLASSIC
        with pytest.raises(BrokerUnreachableError):
            groups.kind("another")
        with pytest.raises(BrokerUnreachableError):
            groups.exists(GROUP)  # a part of the list would be a wrong one
    brokers.down, brokers.errors, brokers.states = False, [], {}
    assert groups.kind("q") == SHARE
