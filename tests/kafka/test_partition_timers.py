"""Due timers never overtake inputs that were in the partition when they fell due. Partition
order decides, no clock does.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import transactional_producer_config
from odradek.wire.codec import encode
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire, key_for, open_transaction_of
from tests.support.records import QUEUE
from tests.support.until import until


def _order(wire: Wire, workflow_id: str) -> list[str]:
    """What the workflow counted, in order."""
    return [
        task.activity_type
        for task in wire.records(wire.commands)
        if task.workflow_id == workflow_id
    ]


@pytest.mark.promise("timers")
def test_timer_fires_once(wire: Wire) -> None:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.send(SignalWorkflow("w", "timer:300"))
        wire.flush()
        until(lambda: _order(wire, "w") == ["timer:300", "fired"])
        assert not [key for table, key in wire.rows() if table == "timer"]
    finally:
        processor.stop()
    processor = make_processor(
        wire.settings, QUEUE
    )  # the position stands behind the input, also after a transaction of timers alone
    processor.start()
    try:
        wire.send(SignalWorkflow("w", "count"))
        wire.flush()
        until(lambda: len(_order(wire, "w")) >= 3)
    finally:
        processor.stop()
    assert _order(wire, "w") == ["timer:300", "fired", "count"]


@pytest.mark.promise("timers")
def test_timer_survives_its_owner(wire: Wire) -> None:
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    wire.send(SignalWorkflow("w", "timer:700"))
    wire.flush()
    until(lambda: _order(wire, "w"))
    processor.stop()
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        until(lambda: _order(wire, "w") == ["timer:700", "fired"])
    finally:
        processor.stop()


@pytest.mark.promise("attempts")
def test_outage_longer_than_the_timer(wire: Wire) -> None:
    """Results that lie in the partition when the processor comes back win over timers that fell
    due long ago.
    """
    for name, timer_ms in (("w0", 600), ("w1", 3_000), ("w2", 20_000)):
        due = time.monotonic() + timer_ms / 1_000 + 1
        if _stopped_before(wire, name, timer_ms):
            break
    for _ in range(500):  # more than one batch
        wire.send(SignalWorkflow(name, "result"))
    wire.flush()
    until(lambda: time.monotonic() > due)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        until(lambda: len(_order(wire, name)) == 502)
    finally:
        processor.stop()
    assert _order(wire, name) == [f"timer:{timer_ms}"] + ["result"] * 500 + ["fired"]


def _stopped_before(wire: Wire, name: str, timer_ms: int) -> bool:
    """Whether a processor that has a timer was stopped before it fired; a busy machine may need
    longer.
    """
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    wire.send(SignalWorkflow(name, f"timer:{timer_ms}"))
    wire.flush()
    until(lambda: _order(wire, name))
    processor.stop()
    return "fired" not in _order(wire, name)


@pytest.mark.promise("timers")
def test_timer_waits_for_a_record_behind_an_open_transaction(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is there, no read_committed reader sees it: the last stable offset would say
    that nothing is due before the timer.
    """
    asked, ask_ends = [0], ClusterAdmin.ask_ends

    def counted(*arguments: Any, **options: Any) -> None:
        asked[0] += 1
        ask_ends(*arguments, **options)

    monkeypatch.setattr(ClusterAdmin, "ask_ends", counted)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        for timer in ("timer:800", "timer:4000", "timer:20000"):
            workflow_id = key_for(wire, 1, timer)
            foreign = open_transaction_of(wire.settings, f"{wire.settings.namespace}-foreign")
            before = asked[0]
            wire.send(SignalWorkflow(workflow_id, timer))
            wire.flush()
            until(lambda id=workflow_id: _order(wire, id))  # type: ignore[misc]
            foreign.produce(
                wire.events,
                encode(SignalWorkflow(workflow_id, "from-the-transaction")),
                workflow_id.encode(),
                1,
            )
            assert foreign.flush(30) == 0
            wire.send(SignalWorkflow(workflow_id, "behind"))
            wire.flush()
            if asked[0] == before:  # else it was due before all that lay there
                break
            foreign.abort_transaction(30)
        until(
            lambda: asked[0] > before,
            what="the timer is due, its end was asked",
        )
        time.sleep(0.3)  # nothing to wait for: that nothing happens is the point
        monkeypatch.setattr("odradek.processor.partition.BLOCKED_AFTER_MS", 100)
        until(
            lambda: "behind an open transaction" in processor.lane_statuses()[1].error,
            what="the alarm",
        )
        assert _order(wire, workflow_id) == [timer]
        foreign.commit_transaction(30)
        until(lambda: len(_order(wire, workflow_id)) == 4)
        assert _order(wire, workflow_id) == [timer, "from-the-transaction", "behind", "fired"]
        until(lambda: processor.lane_statuses()[1].error == "")
    finally:
        processor.stop()


def test_timer_passes_a_trailing_control_record(wire: Wire) -> None:
    """The partition ends with a transaction marker: the position of the last input never reaches
    the end, the consumer's does.
    """
    workflow_id = key_for(wire, 1)
    processor = make_processor(wire.settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        foreign = Producer(
            transactional_producer_config(wire.settings, f"{wire.settings.namespace}-foreign")
        )
        foreign.init_transactions(30)
        for fired, finish in enumerate((foreign.commit_transaction, foreign.abort_transaction)):
            wire.send(SignalWorkflow(workflow_id, "timer:300"))
            wire.flush()
            foreign.begin_transaction()
            foreign.produce(
                wire.events, encode(SignalWorkflow(workflow_id, "x")), workflow_id.encode(), 1
            )
            foreign.flush(30)
            finish(30)
            until(lambda fired=fired: _order(wire, workflow_id).count("fired") == fired + 1)  # type: ignore[misc]
    finally:
        processor.stop()
