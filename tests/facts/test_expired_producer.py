"""Fact: once the broker has forgotten an idle transactional id, whoever aborts first owns it, be
it a zombie. Fencing is forgotten too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.facts.conftest import Kafka
from tests.facts.expiring_broker import expiring_broker, wait_until_expired
from tests.facts.test_transactions import error_of


@pytest.fixture
def expiring(unique_name: object) -> Iterator[Kafka]:
    """A test's corner of a broker of its own."""
    with expiring_broker() as address:
        kafka = Kafka(address, unique_name)  # type: ignore[arg-type]
        yield kafka
        kafka.close()


def commit(producer: Producer, topic: str, value: bytes) -> None:
    producer.begin_transaction()
    producer.produce(topic, value)
    producer.commit_transaction(10)


def test_a_fenced_owner_that_aborts_after_expiry_commits_and_the_real_owner_is_fenced(
    expiring: Kafka,
) -> None:
    topic, lane = expiring.topic(), expiring.name("lane")
    former = expiring.producer(lane)
    commit(former, topic, b"in its time")
    owner = expiring.producer(lane)  # fences the former one, which has not noticed yet
    wait_until_expired(expiring.bootstrap, lane)

    with pytest.raises(KafkaException) as failure:
        commit(former, topic, b"of a zombie")
    assert error_of(failure).code() == KafkaError.INVALID_PRODUCER_ID_MAPPING
    assert (error_of(failure).txn_requires_abort(), error_of(failure).fatal()) == (True, False), (
        "an abort is all that the client asks for"
    )
    former.abort_transaction(10)
    commit(former, topic, b"of a zombie")

    with pytest.raises(KafkaException):
        commit(owner, topic, b"of the owner")
    with pytest.raises(KafkaException) as failure:
        owner.abort_transaction(10)
    assert (error_of(failure).code(), error_of(failure).fatal()) == (KafkaError._FENCED, True)
    reader = expiring.reader(topic)
    assert [expiring.next(reader).value() for _ in range(2)] == [b"in its time", b"of a zombie"]
