"""The processor with the real engine: outputs that do not fit fail their run alone, held runs
run nothing, signals in the first task.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from odradek.engine.activation import (
    Activation,
    Command,
    Commands,
    CompleteWorkflow,
    Completion,
    FailWorkflow,
    InitializeWorkflow,
    ResolveActivity,
    ScheduleActivity,
    SignalJob,
    StartTimer,
)
from odradek.processor import Processor
from odradek.wire.events import ActivityTaskCompleted, SignalWorkflow, StartWorkflow
from odradek.wire.history import ActivityTaskCompletedEvent
from odradek.wire.outcomes import COMPLETED, FAILED
from odradek.wire.payload import Failure, Payload
from tests.kafka.lane_records import QUEUE, Wire, key_for, until

Script = Callable[[str, Activation], list[Command]]


class Instance:
    def __init__(self, workflow_id: str, script: Script) -> None:
        self.workflow_id = workflow_id
        self.script = script

    def activate(self, activation: Activation) -> Completion:
        return Commands(self.script(self.workflow_id, activation))

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return None

    def close(self) -> None:
        pass


class Scripted:
    def __init__(self, script: Script) -> None:
        self.script = script

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> Instance:
        return Instance(workflow_id, self.script)


def _activity(data: bytes = b"", seq: int = 1, task_queue: str = "") -> ScheduleActivity:
    return ScheduleActivity(
        seq=seq,
        activity_id=str(seq),
        activity_type="a",
        task_queue=task_queue,
        input=[Payload(data=data)],
        start_to_close_timeout_ms=60_000,
    )


def _running(wire: Wire, script: Script) -> Processor:
    processor = Processor(
        wire.settings, task_queue=QUEUE, activator_factory=lambda: Scripted(script)
    )
    processor.start()
    processor.wait_ready(30)
    return processor


def _set_limit(bootstrap: str, topic: str, limit: int) -> None:
    entry = ConfigEntry(
        "max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(20)
    asked = ConfigResource(
        ConfigResource.Type.TOPIC, topic
    )  # the broker hears of it behind the answer
    until(
        lambda: (
            admin.describe_configs([asked])[asked].result(20)["max.message.bytes"].value
            == str(limit)
        )
    )


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    yield Wire(bootstrap, namespace, tmp_path, partitions=1)


def test_command_too_large_fails_its_run_alone(wire: Wire) -> None:
    """The topic takes 1 MB; two workflows of one batch, one of them asks for more."""

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        if isinstance(activation.jobs[0], InitializeWorkflow):
            return [_activity(os.urandom(2_000_000) if workflow_id == "large" else b"small")]
        (job,) = activation.jobs
        assert isinstance(job, ResolveActivity)
        return (
            [FailWorkflow(failure=job.failure)]
            if job.failure is not None
            else [CompleteWorkflow(result=[])]
        )

    processor = _running(wire, script)
    try:
        for name in ("small-1", "large", "small-2"):
            wire.send(StartWorkflow(name, "T", run_id=f"run-{name}"))
        wire.flush()
        tasks = until(lambda: len(found := wire.records(wire.commands)) == 2 and found)
        assert {task.workflow_id for task in tasks} == {"small-1", "small-2"}
        for task in tasks:
            wire.send(
                ActivityTaskCompleted(
                    task.workflow_id, task.run_id, task.scheduled_event_id, "1", 1
                )
            )
        wire.flush()
        results = until(lambda: len(found := wire.records(wire.topics.results)) == 3 and found)
        assert {result.workflow_id: result.status for result in results} == {
            "small-1": COMPLETED,
            "large": FAILED,
            "small-2": COMPLETED,
        }
        failure = next(result.failure for result in results if result.workflow_id == "large")
        assert "max.message.bytes" in f"{failure.message} {failure.cause and failure.cause.message}"
        assert processor.statistics().totals.refused == 0  # it never came to a transaction
    finally:
        processor.stop()


def test_timer_with_the_real_engine(wire: Wire) -> None:
    def script(workflow_id: str, activation: Activation) -> list[Command]:
        if isinstance(activation.jobs[0], InitializeWorkflow):
            return [StartTimer(seq=1, timer_id="1", duration_ms=200)]
        return [CompleteWorkflow(result=[])]

    processor = _running(wire, script)
    try:
        wire.send(StartWorkflow("w", "T"))
        wire.flush()
        (result,) = until(lambda: wire.records(wire.topics.results))
        assert result.status == COMPLETED
        assert not [key for table, key in wire.rows() if table == "user_timer"]
    finally:
        processor.stop()


def test_open_runs_are_counted_over_restarts(wire: Wire) -> None:
    def script(workflow_id: str, activation: Activation) -> list[Command]:
        signalled = any(isinstance(job, SignalJob) for job in activation.jobs)
        return [CompleteWorkflow(result=[])] if signalled else []

    def open_runs(processor: Processor) -> int:
        return sum(lane.open_runs for lane in processor.statistics().lanes.values())

    processor = _running(wire, script)
    for name in ("one", "two", "three"):
        wire.send(StartWorkflow(name, "T"))
    wire.flush()
    until(lambda: open_runs(processor) == 3)
    processor.stop()
    processor = _running(wire, script)
    try:
        assert open_runs(processor) == 3
        wire.send(SignalWorkflow("two", "end"))
        wire.flush()
        until(lambda: wire.records(wire.topics.results))
        until(lambda: open_runs(processor) == 2)
    finally:
        processor.stop()


@pytest.mark.parametrize("what", ["number", "size"])
def test_unwritable_row_fails_its_task_and_keeps_the_input(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The lane's own net, below the checks of commands: the step is done again with the task
    failing, and the input is in the history.
    """
    monkeypatch.setattr("odradek.engine.commands.command_problem", lambda command: None)
    broken = [True]

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        if isinstance(activation.jobs[0], InitializeWorkflow):
            return [_activity()]
        if not broken[0] or workflow_id != "w":
            return [CompleteWorkflow(result=[])]
        if what == "number":
            return [StartTimer(seq=1, timer_id="1", duration_ms=1 << 70)]
        return [
            StartTimer(
                seq=1,
                timer_id="1",
                duration_ms=60_000,
                summary=Payload(data=os.urandom(17 * 1024 * 1024)),
            )
        ]

    processor = _running(wire, script)
    try:
        other = key_for(wire, 0, "other")
        for workflow_id in ("w", other):
            wire.send(StartWorkflow(workflow_id, "T", run_id=f"run-{workflow_id}"))
        wire.flush()
        tasks = until(lambda: len(found := wire.records(wire.commands)) == 2 and found)
        for task in tasks:
            wire.send(
                ActivityTaskCompleted(
                    task.workflow_id, task.run_id, task.scheduled_event_id, "1", 1
                )
            )
        wire.flush()
        until(lambda: wire.records(wire.topics.results))
        until(lambda: wire.rows()["run", "run-w"].task_failure is not None)
        row = wire.rows()["run", "run-w"]
        assert row.quarantine_reason == "" and not wire.records(wire.topics.dead_letters(QUEUE))
        assert (
            "fit a long" if what == "number" else "max.message.bytes"
        ) in row.task_failure.message
        history = [
            found
            for (table, key), found in wire.rows().items()
            if table == "history" and key.startswith("run-w/")
        ]
        assert any(
            type(event.attributes) is ActivityTaskCompletedEvent
            for found in history
            for event in found.events
        )
        broken[0] = False
        until(lambda: len(wire.records(wire.topics.results)) == 2)
    finally:
        processor.stop()


def test_output_that_the_broker_refuses_ends_its_run_and_keeps_the_input(
    wire: Wire, bootstrap: str
) -> None:
    """A limit was lowered behind the checks: the transaction is aborted, and the lane owns anew
    and knows the new limit.
    """

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        if isinstance(activation.jobs[0], InitializeWorkflow):
            return [_activity()]
        (job,) = activation.jobs
        assert isinstance(job, ResolveActivity)
        return [CompleteWorkflow(result=[Payload(data=os.urandom(200_000))])]

    processor = _running(wire, script)
    try:
        wire.send(StartWorkflow("w", "T", run_id="run"))
        wire.flush()
        (task,) = until(lambda: wire.records(wire.commands))
        _set_limit(bootstrap, wire.topics.results, 50_000)
        wire.send(ActivityTaskCompleted("w", "run", task.scheduled_event_id, "1", 1))
        wire.flush()
        (result,) = until(lambda: wire.records(wire.topics.results))
        assert result.status == FAILED and "max.message.bytes" in result.failure.message
        totals = processor.statistics().totals
        assert (totals.refused, totals.dropped) == (1, 1)
        history = [found for (table, _), found in wire.rows().items() if table == "history"]
        kinds = [type(event.attributes).__name__ for found in history for event in found.events]
        assert kinds.count("ActivityTaskCompletedEvent") == 1 and "WorkflowTaskFailed" not in kinds
        assert not wire.records(wire.topics.dead_letters(QUEUE))
    finally:
        processor.stop()
