"""The member of a classic group, over a consumer that plays Kafka: when it asks for what. The
rest is tested on a broker.
"""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from odradek.activities.commands import COUNT_AGAIN_S, CommandConsumer
from odradek.activities.ownership import StartGate
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.member import FILE_NAME, RebalanceMark

TOPIC = "commands"


class Broker:
    """Three partitions, without a record. `given`: what the next `poll` assigns, inside of itself."""

    def __init__(self) -> None:
        self.partitions = 3
        self.down = False
        self.silent = 0  # so many questions for offsets have no answer
        self.given: list[int] | None = None
        self.counted = 0
        self.refusal = 0  # code of the error that a commit meets
        self.polling = False
        self.time_s = 100.0

    def subscribe(
        self, topics: list[str], *, on_assign: Any, on_revoke: Any, **others: Any
    ) -> None:
        self.on_assign, self.on_revoke = on_assign, on_revoke

    def poll(self, timeout: float) -> Message | None:
        if self.given is not None:
            given, self.given, self.polling = self.given, None, True
            self.on_assign(self, [TopicPartition(TOPIC, number) for number in given])
            self.polling = False
        return None

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert not self.polling, "in a callback: the process would end"
        self.counted += 1
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(
            topics={
                topic: SimpleNamespace(error=None, partitions=dict.fromkeys(range(self.partitions)))
            }
        )

    def get_watermark_offsets(self, place: TopicPartition, **options: Any) -> tuple[int, int]:
        if self.silent:
            self.silent -= 1
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 0, 0

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return places

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return places

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        pass

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        pass

    def pause(self, places: list[TopicPartition]) -> None:
        pass

    def close(self) -> None:
        """As the client: what it has is given back."""
        self.on_revoke(self, [TopicPartition(TOPIC, 0)])

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        if self.refusal:
            raise KafkaException(KafkaError(self.refusal))
        return offsets


@pytest.fixture
def broker() -> Broker:
    return Broker()


def member(broker: Broker, mark: RebalanceMark) -> CommandConsumer:
    made = CommandConsumer(
        lambda: cast(Consumer, broker),
        cast(ClusterAdmin, None),
        TOPIC,
        instance_id="host-0",
        gate=StartGate(60.0, lambda: broker.time_s),
        clock=lambda: broker.time_s,
        on_revoking=lambda leaving: None,
        mark=mark,
    )
    made.subscribe()
    return made


@pytest.fixture
def commands(broker: Broker) -> CommandConsumer:
    return member(broker, RebalanceMark(None, 3.0))


def turn(commands: CommandConsumer, broker: Broker, after_s: float = 0.0) -> None:
    broker.time_s += after_s
    commands.poll(0, 100)
    commands.tick()


def test_partitions_are_counted_behind_an_assignment_and_once(
    commands: CommandConsumer, broker: Broker
) -> None:
    turn(commands, broker)
    assert broker.counted == 0  # nobody has assigned anything
    broker.given = [1]
    turn(commands, broker)
    assert (broker.counted, commands.partitions_total, commands.hand_on_to()) == (1, 3, [0, 2])
    turn(commands, broker, 1.0)
    assert broker.counted == 1
    broker.partitions, broker.given = 5, []  # added ones, all of them another member's
    turn(commands, broker)
    assert (broker.counted, commands.hand_on_to()) == (2, [0, 2, 3, 4])


def test_count_is_tried_again_and_stays_what_it_was_meanwhile(
    commands: CommandConsumer, broker: Broker
) -> None:
    broker.given = [0]
    turn(commands, broker)
    broker.down, broker.given, broker.partitions = True, [1], 4
    turn(commands, broker)
    assert (broker.counted, commands.partitions_total) == (2, 3)
    turn(commands, broker, COUNT_AGAIN_S - 1.0)
    assert broker.counted == 2
    broker.down = False
    turn(commands, broker, 1.5)
    assert (broker.counted, commands.partitions_total, commands.hand_on_to()) == (3, 4, [2, 3])


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (KafkaError.ILLEGAL_GENERATION, logging.INFO),
        (KafkaError.REBALANCE_IN_PROGRESS, logging.INFO),
        (KafkaError._TRANSPORT, logging.WARNING),
    ],
)
def test_last_commit_of_a_rolling_deploy_is_no_warning(
    commands: CommandConsumer,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    code: int,
    level: int,
) -> None:
    """The group is shared out anew while the member leaves: what was done is delivered again,
    nobody has to look.
    """
    broker.given = [0]
    turn(commands, broker)
    commands.owned[0].prefix.add(0).acknowledged = True
    broker.refusal = code
    with caplog.at_level(logging.DEBUG, "odradek.activities"):
        commands.commit_finally()
    assert [
        record.levelno for record in caplog.records if "last offsets" in record.getMessage()
    ] == [level]


def test_a_take_over_that_waits_for_its_broker_says_so_once(
    commands: CommandConsumer,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("odradek.activities.commands.time.sleep", lambda seconds: None)
    for given in ([0, 1], [2]):
        broker.given, broker.silent = given, 5
        turn(commands, broker)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["no offsets yet" in line for line in said] == [True, True]
    assert sorted(commands.owned) == [0, 1, 2]


@pytest.mark.parametrize(
    ("moves_s_ago", "left"), [(None, "[0, 1]"), (4.0, "[0]"), (1.0, '"rebalancing"')]
)
def test_one_that_leaves_marks_no_move_but_one_that_was_under_way(
    broker: Broker, tmp_path: Path, moves_s_ago: float | None, left: str
) -> None:
    """What moves while it drains, which may take an hour, is over after a while, as before."""
    commands = member(broker, RebalanceMark(tmp_path, 3.0, lambda: broker.time_s))
    broker.given, broker.partitions = [0, 1], 2
    turn(commands, broker)
    turn(commands, broker, 4.0)
    assert (tmp_path / FILE_NAME).read_text() == "[0, 1]"
    commands.drain()
    if moves_s_ago is not None:
        broker.on_revoke(broker, [TopicPartition(TOPIC, 1)])
        broker.given = []
        turn(commands, broker)
        turn(commands, broker, moves_s_ago)
    commands.close()
    assert (tmp_path / FILE_NAME).read_text() == left


@pytest.mark.parametrize(("refusal", "known"), [(0, 1), (KafkaError.ILLEGAL_GENERATION, 0)])
def test_what_is_committed_while_partitions_are_given_back_is_known(
    commands: CommandConsumer, broker: Broker, refusal: int, known: int
) -> None:
    """An attempt that is about to begin must begin here if nobody else gets its command."""
    broker.given = [0]
    turn(commands, broker)
    owner = commands.owned[0]
    owner.prefix.add(0).acknowledged = True
    broker.refusal = refusal
    broker.on_revoke(broker, [TopicPartition(TOPIC, 0)])
    assert not owner.owned and owner.prefix.committed_offset == known
