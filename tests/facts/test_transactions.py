"""Facts about Kafka's transactions that the lanes stand on."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka


def error_of(failure: pytest.ExceptionInfo[KafkaException]) -> KafkaError:
    error = failure.value.args[0]
    assert isinstance(error, KafkaError)
    return error


def test_init_transactions_decides_the_open_transaction_of_a_dead_owner(kafka: Kafka) -> None:
    topic, lane = kafka.topic(), kafka.name("lane")
    dead = kafka.producer(lane)
    dead.begin_transaction()
    dead.produce(topic, b"never committed")
    assert dead.flush(10) == 0
    kafka.produce(topic, b"plain, behind it")
    reader = kafka.reader(topic)
    assert kafka.silent(reader, 1.0), "the open transaction should hold the reader"

    started_s = time.monotonic()
    kafka.producer(lane)
    assert kafka.next(reader).value() == b"plain, behind it"
    # Measured 0.06 to 0.6 s; without the new owner it is the transaction's timeout (60 s by
    # default) and up to 10 s more.
    assert time.monotonic() - started_s < 30


def test_the_commit_of_a_fenced_owner_is_refused_for_ever(kafka: Kafka) -> None:
    topic, lane = kafka.topic(), kafka.name("lane")
    zombie = kafka.producer(lane)
    zombie.begin_transaction()
    zombie.produce(topic, b"the zombie's")
    assert zombie.flush(10) == 0
    owner = kafka.producer(lane)

    with pytest.raises(KafkaException) as failure:
        zombie.commit_transaction(10)
    assert (error_of(failure).code(), error_of(failure).fatal()) == (KafkaError._FENCED, True)
    with pytest.raises(KafkaException) as failure:
        zombie.begin_transaction()
    assert error_of(failure).fatal()

    owner.begin_transaction()
    owner.produce(topic, b"the owner's")
    owner.commit_transaction(10)
    assert kafka.next(kafka.reader(topic)).value() == b"the owner's"


def test_only_the_uncommitted_end_covers_what_lies_behind_an_open_transaction(kafka: Kafka) -> None:
    topic = kafka.topic()
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"open")
    assert producer.flush(10) == 0
    kafka.produce(topic, b"a result that came in time")
    assert kafka.end(topic, IsolationLevel.READ_COMMITTED) == 0
    assert kafka.end(topic, IsolationLevel.READ_UNCOMMITTED) == 2
    producer.abort_transaction(10)


def test_position_steps_over_a_trailing_control_record(kafka: Kafka) -> None:
    topic = kafka.topic()
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"one")
    producer.commit_transaction(10)
    # The record and its commit marker; the coordinator writes markers after the commit has
    # returned.
    end = 2
    kafka.wait_until(lambda: kafka.end(topic, IsolationLevel.READ_UNCOMMITTED) == end)
    reader = kafka.reader(topic)
    message = kafka.next(reader)

    def stands_at_end() -> bool:
        assert kafka.silent(reader, 0.05)
        [position] = reader.position(reader.assignment())
        return int(position.offset) >= end

    assert message.offset() == 0
    kafka.wait_until(stands_at_end)


def test_a_record_over_the_topics_limit_is_abortable_and_takes_its_neighbours_along(
    kafka: Kafka,
) -> None:
    roomy, narrow = kafka.topic(), kafka.topic(max_message_bytes=1000)
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(roomy, b"innocent neighbour")
    producer.produce(narrow, b"x" * 5000)
    with pytest.raises(KafkaException) as failure:
        producer.commit_transaction(10)
    assert error_of(failure).code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert (error_of(failure).txn_requires_abort(), error_of(failure).fatal()) == (True, False)

    producer.abort_transaction(10)
    producer.begin_transaction()
    producer.produce(roomy, b"the next transaction works")
    producer.commit_transaction(10)
    assert kafka.next(kafka.reader(roomy)).value() == b"the next transaction works"


def test_an_unknown_topic_hangs_the_commit_and_then_abort_is_refused(kafka: Kafka) -> None:
    """Unbounded, the commit takes `topic.metadata.propagation.max.ms` (30 s) to fail: see the
    slow test below.
    """
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(kafka.name("never-created"), b"lost")
    with pytest.raises(KafkaException) as failure:
        producer.commit_transaction(2)
    assert (error_of(failure).code(), error_of(failure).retriable()) == (
        KafkaError._TIMED_OUT,
        True,
    )
    with pytest.raises(KafkaException) as failure:
        producer.abort_transaction(2)
    assert error_of(failure).code() == KafkaError._CONFLICT


@pytest.mark.slow
def test_an_unknown_topic_hangs_the_commit_for_thirty_seconds(kafka: Kafka) -> None:
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(kafka.name("never-created"), b"lost")
    started_s = time.monotonic()
    with pytest.raises(KafkaException) as failure:
        producer.commit_transaction(60)
    assert error_of(failure).txn_requires_abort()
    assert 25 < time.monotonic() - started_s < 45


def test_a_commit_that_timed_out_may_well_be_committed_and_cannot_be_aborted(kafka: Kafka) -> None:
    for _ in range(10):
        topic = kafka.topic()
        if _abort_of_a_late_commit(kafka, topic) == KafkaError._CONFLICT:
            # else (_STATE) its end was never sent, and it cannot be aborted either: as little to
            # believe
            break
    else:
        pytest.fail("no commit out of 10 timed out behind its request")
    assert kafka.next(kafka.reader(topic)).value() == b"outcome unknown"


def _abort_of_a_late_commit(kafka: Kafka, topic: str) -> int:
    """What `abort_transaction` says once a commit took longer than half a millisecond."""
    producer = kafka.producer(kafka.name("lane"))
    for _ in range(20):
        producer.begin_transaction()
        producer.produce(topic, b"outcome unknown")
        assert producer.flush(10) == 0
        try:
            producer.commit_transaction(0.0005)
        except KafkaException as failure:
            assert failure.args[0].code() == KafkaError._TIMED_OUT
            break
    else:
        pytest.fail("no commit out of 20 took longer than half a millisecond")
    with pytest.raises(KafkaException) as refused:
        producer.abort_transaction(5)
    code: int = error_of(refused).code()
    assert code in (KafkaError._CONFLICT, KafkaError._STATE)
    return code


@pytest.mark.slow
def test_an_owner_slower_than_the_transaction_timeout_is_fenced_though_nobody_took_over(
    kafka: Kafka,
) -> None:
    topic = kafka.topic()
    slow = kafka.producer(kafka.name("lane"), **{"transaction.timeout.ms": 1000})
    slow.begin_transaction()
    slow.produce(topic, b"too late")
    assert slow.flush(10) == 0
    kafka.produce(topic, b"waits for the broker's clock")
    # The broker looks every 10 s (transaction.abort.timed.out.transaction.cleanup.interval.ms).
    assert kafka.next(kafka.reader(topic), timeout_s=30).value() == b"waits for the broker's clock"
    with pytest.raises(KafkaException) as failure:
        slow.commit_transaction(10)
    assert (error_of(failure).code(), error_of(failure).fatal()) == (KafkaError._FENCED, True)


def test_the_admin_client_cannot_fence_or_abort() -> None:
    """When one of these appears, taking over a lane may get simpler: read the hazards again."""
    for name in (
        "fence_producers",
        "abort_transaction",
        "describe_transactions",
        "list_transactions",
    ):
        assert not hasattr(AdminClient, name)


def test_no_batch_of_several_records_is_larger_than_the_producers_batch_size(kafka: Kafka) -> None:
    """So a lane's producer whose `batch.size` is what its topics take (`max.message.bytes`) is
    never refused for good records.
    """
    limit = 10_000
    topic = kafka.topic(max_message_bytes=limit)
    producer = kafka.producer(kafka.name("lane"), **{"batch.size": limit, "linger.ms": 5})
    sizes = [random.randrange(3_000) for _ in range(500)] + [limit - 200] * 20 + [1] * 3_000
    producer.begin_transaction()
    for number, size in enumerate(sizes):
        producer.produce(
            topic, random.randbytes(size), key=b"%d" % number, headers=[("kind", b"x")], partition=0
        )
    producer.commit_transaction(20)


@pytest.mark.slow
def test_a_broker_refuses_its_own_markers_where_no_record_may_be_old_and_the_transactional_id_is_stuck(
    kafka: Kafka,
) -> None:
    """A marker is stamped when it is asked for, and the log looks a moment later; the
    coordinator takes that for a defect and gives up.
    """
    topic, lane = kafka.topic(message_timestamp_before_max_ms=0), kafka.name("lane")
    producer = kafka.producer(lane)
    for _ in range(5_000):  # one written within its millisecond is taken
        producer.begin_transaction()
        producer.produce(topic, b"of the future", timestamp=int(time.time() * 1000) + 60_000)
        try:
            producer.commit_transaction(10)
        except KafkaException:
            break
    else:
        pytest.fail("every marker was taken")
    config = {"bootstrap.servers": kafka.bootstrap, "transactional.id": lane, "log_level": 0}
    with pytest.raises(KafkaException) as failure:
        Producer(config).init_transactions(5)
    assert error_of(failure).code() == KafkaError.CONCURRENT_TRANSACTIONS


def test_more_in_sync_replicas_than_there_are_replicas_are_no_obstacle(kafka: Kafka) -> None:
    """The broker asks for no more than there are (`Partition.effectiveMinIsr`); old ones took no
    record.
    """
    topic = kafka.topic(min_insync_replicas=2)
    kafka.produce(topic, b"plain")
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"in a transaction")
    producer.commit_transaction(10)
    reader = kafka.reader(topic)
    assert [kafka.next(reader).value() for _ in range(2)] == [b"plain", b"in a transaction"]
