"""A run leaves `executions`: a key with a null value on the partition of its workflow id,
committed with its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Message

from odradek.engine.activation import (
    Activation,
    Command,
    CompleteWorkflow,
    InitializeWorkflow,
    StartTimer,
)
from odradek.processor import Processor
from odradek.wire.codec import decode
from odradek.wire.events import DeleteWorkflow, StartWorkflow
from odradek.wire.headers import parse_headers
from odradek.wire.outcomes import COMPLETED, OK, RUNNING, TERMINATED
from odradek.wire.partitioner import partition_for
from tests.kafka.lane_records import Wire
from tests.kafka.test_partition_rejected import Scripted
from tests.support.records import QUEUE
from tests.support.until import until

PARTITIONS = 4


def script(workflow_id: str, activation: Activation) -> list[Command]:
    """`open-…` waits for ever, others complete at once."""
    if workflow_id.startswith("open"):
        return (
            [StartTimer(seq=1, timer_id="1", duration_ms=86_400_000)]
            if isinstance(activation.jobs[0], InitializeWorkflow)
            else []
        )
    return [CompleteWorkflow(result=[])]


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    yield Wire(
        bootstrap, namespace, tmp_path, partitions=PARTITIONS, retention=timedelta(seconds=1)
    )


@pytest.fixture
def processor(wire: Wire) -> Iterator[Processor]:
    processor = Processor(
        wire.settings, task_queue=QUEUE, activator_factory=lambda: Scripted(script)
    )
    processor.start()
    try:
        processor.wait_ready(30)
        yield processor
    finally:
        processor.stop()


def _of(wire: Wire, workflow_id: str) -> list[Message]:
    return [
        m
        for m in wire.read(wire.topics.executions)
        if (m.key() or b"").startswith(f"{workflow_id}/".encode())
    ]


def _gone(wire: Wire, workflow_id: str) -> list[Message]:
    """Its records, once the last one is a tombstone."""
    messages = _of(wire, workflow_id)
    return messages if messages and messages[-1].value() is None else []


def _status(message: Message) -> str:
    value = message.value()
    return "" if value is None else str(decode(value).status)


def _check_tombstone(wire: Wire, messages: list[Message], workflow_id: str, run_id: str) -> None:
    last = messages[-1]
    assert last.key() == f"{workflow_id}/{run_id}".encode() and last.value() is None
    assert {m.partition() for m in messages} == {partition_for(workflow_id.encode(), PARTITIONS)}, (
        "as the run's summaries"
    )
    raw = last.headers()
    assert isinstance(raw, list)
    headers = parse_headers(raw)
    assert (headers.kind, headers.workflow_id, headers.run_id) == (
        "ExecutionSummary",
        workflow_id,
        run_id,
    )


@pytest.mark.promise("retention")
def test_end_of_retention_is_a_tombstone(wire: Wire, processor: Processor) -> None:
    ids = [f"w{n}" for n in range(6)]
    for id in ids:
        wire.send(StartWorkflow(id, "T", run_id=f"run-{id}"))
    wire.flush()
    for id in ids:
        messages = until(partial(_gone, wire, id), what=f"tombstone of {id}")
        assert _status(messages[-2]) == COMPLETED
        _check_tombstone(wire, messages, id, f"run-{id}")
    until(
        lambda: {table for table, _ in wire.rows()} == {"position"},
        what="rows are gone in the same transaction",
    )


@pytest.mark.promise("retention")
def test_deletion_of_an_open_run(wire: Wire, processor: Processor) -> None:
    wire.send(StartWorkflow("open-1", "T", run_id="run-1"))
    wire.send(StartWorkflow("open-2", "T", run_id="run-2"))
    wire.flush()
    until(lambda: len(_of(wire, "open-1")) == 1 and len(_of(wire, "open-2")) == 1)
    for _ in range(2):  # twice under one id: one verdict
        wire.send(DeleteWorkflow("open-1", request_id="delete", reply_to="me"))
    wire.flush()
    until(lambda: len(wire.records(wire.topics.replies)) == 2, what="both verdicts")
    assert [
        (reply.client_id, reply.status, reply.run_id) for reply in wire.records(wire.topics.replies)
    ] == [("me", OK, "run-1")] * 2
    messages = _of(wire, "open-1")
    assert [_status(m) for m in messages] == [RUNNING, TERMINATED, ""]
    _check_tombstone(wire, messages, "open-1", "run-1")
    (result,) = wire.records(wire.topics.results)
    assert (result.workflow_id, result.status) == ("open-1", TERMINATED)
    rows = wire.rows()
    assert {key for table, key in rows if table == "workflow"} == {"open-2"} and {
        key for table, key in rows if table == "run"
    } == {"run-2"}
