"""The broker dies and comes back under the read side: lists go on answering from the copy, and
nobody restarts anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.broker import QUICK_START, LocalBroker
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.visibility.reader import VisibilityReader
from odradek.wire.codec import encode
from odradek.wire.outcomes import ExecutionSummary
from tests.support.until import until


def write(settings: Settings, *names: str) -> None:
    topic = ClusterAdmin(settings).topics.executions
    producer = Producer(producer_config(settings))
    for name in names:
        summary = ExecutionSummary(
            "default", "queue", name, name, "Order", "RUNNING", 1_790_000_100_000
        )
        producer.produce(topic, key=f"{name}/{name}".encode(), value=encode(summary))
    assert producer.flush(60) == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_read_side_outlives_its_broker(tmp_path: Path) -> None:
    broker = LocalBroker(jvm_options=QUICK_START)
    broker.start()
    settings = Settings(address=broker.bootstrap, state_dir=tmp_path / "state", partitions=2)
    beside = settings.replace(state_dir=tmp_path / "beside")
    try:
        ClusterAdmin(settings).ensure([ClusterAdmin(settings).topics.executions])
        write(settings, "a", "b")
        with VisibilityReader(beside) as reader:
            assert reader.wait_ready(60), reader.statistics()
        with VisibilityReader(settings) as reader:
            assert reader.wait_ready(60), reader.statistics()
            broker.kill()
            until(lambda: reader.lag is None)
            assert reader.store.count().count == 2
            with VisibilityReader(
                beside
            ) as started_without:  # its copy answers at once, and says that it is not up to date
                assert started_without.store.count("WorkflowType = 'Order'").count == 2
                assert not started_without.ready and started_without.lag is None
                broker.start()
                write(settings, "c")
                for one in (reader, started_without):
                    until(lambda one=one: one.store.count().count == 3)  # type: ignore[misc]
                    assert one.wait_caught_up(60), one.statistics()
    finally:
        broker.stop()
