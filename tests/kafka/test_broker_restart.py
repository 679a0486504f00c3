"""What is asked of a broker that was killed and is back: answers come in seconds, from clients
that lived through it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from odradek.broker import QUICK_START, LocalBroker
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import consumer_config
from odradek.kafka.producer import PlainProducer
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire, commit
from tests.support.records import QUEUE
from tests.support.until import until

#: Back-offs of reconnects are a second at most; the rest is for a machine under load, or that
#: stands still.
SOON_S = 30.0
#: Longer than the machine takes to see that the signal was applied.
TIMER_MS = 4_000
#: A request to the broker that was killed may use up its ten seconds; an AdminClient took a minute,
#: or for ever.
OFFSETS_SOON_S = 45.0


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalBroker]:
    with LocalBroker(jvm_options=QUICK_START) as running:
        yield running


def _counted(wire: Wire, workflow_id: str) -> int:
    return len(wire.counts().get(workflow_id, []))


def test_due_timer_fires_soon_after_the_broker_is_back(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    wire = Wire(broker.bootstrap, namespace, tmp_path / "state")
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.send(SignalWorkflow("w", f"timer:{TIMER_MS}"))
        wire.flush()
        due_s = time.monotonic() + TIMER_MS / 1_000 + 1
        until(lambda: _counted(wire, "w") >= 1)  # a look takes a second on a busy machine
        broker.kill()
        until(lambda: time.monotonic() > due_s)  # it falls due while nobody answers
        broker.start()
        until(lambda: _counted(wire, "w") == 2, SOON_S)
    finally:
        processor.stop()


def test_committed_offsets_are_told_soon_after_the_broker_is_back(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    """Asked all the while. An AdminClient did not answer any more after one restart in three,
    and ended the process at a later one.
    """
    wire = Wire(broker.bootstrap, namespace, tmp_path / "state")
    wire.admin.ensure_queue(QUEUE)
    group = wire.topics.processor_group(QUEUE)
    member = Consumer(consumer_config(wire.settings, group))
    commit(member, TopicPartition(wire.events, 0, 0))
    member.close()
    asked, ended = [0.0], threading.Event()

    def ask() -> None:
        while not ended.wait(0.02):
            try:
                assert wire.admin.committed_offsets(group, wire.events, range(2)) == {0: 0}
            except OdradekError:
                continue  # the broker is away
            asked[0] = time.monotonic()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(2):
            until(lambda: asked[0])
            broker.kill()
            broker.start()
            asked[0] = 0.0
            until(lambda: asked[0], OFFSETS_SOON_S)
    finally:
        ended.set()
        thread.join()


def test_plain_producer_keeps_the_order_of_records_over_a_restart(
    broker: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    """A retry may write a record twice; the first of each come in the order in which they were
    handed over.
    """
    wire = Wire(broker.bootstrap, namespace, tmp_path / "state", partitions=1)
    wire.admin.ensure_queue(QUEUE)
    producer, ended, sent, failed = PlainProducer(wire.settings), threading.Event(), [0], []

    def send() -> None:
        while not ended.wait(0.0005):
            producer.produce(
                wire.events,
                b"k",
                b"%d" % sent[0],
                on_delivery=lambda error: failed.append(error) if error is not None else None,
            )
            sent[0] += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        until(lambda: sent[0] > 200)
        broker.kill()
        broker.start()
        at_return = sent[0]
        until(lambda: sent[0] > at_return + 200)
    finally:
        ended.set()
        thread.join()
    assert producer.close(30) == 0
    assert failed == []
    firsts = list(dict.fromkeys(int(message.value() or b"") for message in wire.read(wire.events)))
    assert firsts == list(range(sent[0]))
