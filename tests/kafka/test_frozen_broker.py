"""A broker that is there and does not answer: nothing takes silence for an answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from odradek.broker import QUICK_START, LocalBroker
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.admin import ClusterAdmin
from odradek.visibility.reader import VisibilityReader
from tests.support.until import until

CALLS: dict[str, Callable[[ClusterAdmin, str], object]] = {
    # librdkafka's AdminClient answers -1001 to list_offsets, and no error, when the time is over
    "uncommitted end": lambda admin, topic: admin.end_offsets(topic, [0, 1], committed=False),
    "committed end": lambda admin, topic: admin.end_offsets(topic, [0, 1], committed=True),
    "start": lambda admin, topic: admin.start_offsets(topic, [0, 1]),
    "group": lambda admin, topic: admin.committed_offsets("group", topic, [0, 1]),
    "topics": lambda admin, topic: admin.describe([topic]),
    "names": lambda admin, topic: admin.topic_names(),
    "cluster": lambda admin, topic: admin.cluster_id(),
    "retention": lambda admin, topic: admin.tombstone_retention_ms(topic),
}


def all_stopped(pid: int) -> bool:
    """Whether no thread of that process runs any more."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        return all(
            (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for task in tasks.iterdir()
        )
    except (FileNotFoundError, ProcessLookupError):  # one has ended just now
        return False


@contextmanager
def frozen(broker: LocalBroker) -> Iterator[None]:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    until(
        lambda: all_stopped(broker.pid or 0)
    )  # not at once: a thread that is on a core may answer yet
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def answered(call: Callable[[ClusterAdmin, str], object], admin: ClusterAdmin, topic: str) -> bool:
    """A busy machine may take longer than the short timeout of this test; a broker that has just
    begun serves no groups.
    """
    try:
        call(admin, topic)
    except BrokerUnreachableError:
        return False
    except KafkaException as error:
        if error.args[0].code() != KafkaError.NOT_COORDINATOR:
            raise
        return False
    return True


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(jvm_options=QUICK_START) as broker:
        yield broker


def test_each_call_says_that_no_broker_answers(broker: LocalBroker, namespace: str) -> None:
    settings = Settings(address=broker.bootstrap, namespace=namespace, partitions=2)
    admin = ClusterAdmin(settings, request_timeout_s=1.0)
    ClusterAdmin(settings).ensure([admin.topics.executions])
    topic = admin.topics.executions
    for call in CALLS.values():
        until(lambda call=call: answered(call, admin, topic))  # type: ignore[misc]
    with frozen(broker):
        for name, call in CALLS.items():
            with pytest.raises(BrokerUnreachableError):
                pytest.fail(f"{name}: {call(admin, topic)}")
    found: list[object] = []
    until(
        lambda: answered(
            lambda asked, of: found.append(CALLS["uncommitted end"](asked, of)), admin, topic
        )
    )
    assert found == [{0: 0, 1: 0}]


def test_the_read_side_and_so_the_servers_readiness_notice(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    """Not only once its connections are given up, after more than a minute."""
    settings = Settings(
        address=broker.bootstrap, namespace=namespace, partitions=2, state_dir=tmp_path
    )
    with VisibilityReader(settings) as reader:
        assert reader.wait_ready(60), reader.statistics()
        with frozen(broker):
            until(lambda: reader.outage, 45)
            until(lambda: reader.lag is None)
        until(lambda: not reader.outage, 60)
        until(lambda: reader.lag == 0, 60)
