"""The processor with the real engine and a scripted activator: start, command out, result in,
completed; replies; a restart between.
"""

from __future__ import annotations

from pathlib import Path

from odradek.engine.activation import (
    Activation,
    Commands,
    CompleteWorkflow,
    Completion,
    FailWorkflow,
    ResolveActivity,
    ScheduleActivity,
)
from odradek.processor import Processor
from odradek.wire.events import ActivityTaskCompleted, AwaitResult, StartWorkflow
from odradek.wire.outcomes import COMPLETED, OK, Reply, WorkflowResult
from odradek.wire.payload import Failure, Payload
from odradek.wire.tasks import ActivityTask
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.until import until

RESULT = [Payload({"encoding": b"json/plain"}, b'"done"')]


class OneActivity:
    """A workflow that runs one activity and returns its result."""

    def activate(self, activation: Activation) -> Completion:
        for job in activation.jobs:
            if isinstance(job, ResolveActivity):
                return Commands([CompleteWorkflow(result=job.result)])
        return Commands(
            [
                ScheduleActivity(
                    seq=1,
                    activity_id="1",
                    activity_type="charge",
                    task_queue="",
                    start_to_close_timeout_ms=60_000,
                )
            ]
        )

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return None

    def close(self) -> None:
        pass


class Scripted:
    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> OneActivity:
        return OneActivity()


def _processor(wire: Wire) -> Processor:
    processor = Processor(
        wire.settings, task_queue=QUEUE, activator_factory=Scripted, workflow_types=["Order"]
    )
    processor.start()
    processor.wait_ready(30)
    return processor


def test_start_activity_result_completed(bootstrap: str, namespace: str, tmp_path: Path) -> None:
    wire = Wire(bootstrap, namespace, tmp_path)
    processor = _processor(wire)
    try:
        wire.send(
            StartWorkflow(
                "order-1",
                "Order",
                request_id="r1",
                run_id="run-1",
                reply_to="me",
                await_result=True,
            )
        )
        wire.flush()
        (task,) = until(lambda: wire.records(wire.commands))
        assert isinstance(task, ActivityTask)
        assert (task.workflow_id, task.run_id, task.activity_type, task.attempt) == (
            "order-1",
            "run-1",
            "charge",
            1,
        )
    finally:
        processor.stop()

    processor = _processor(wire)  # another owner: the run is replayed from its rows
    try:
        wire.send(
            ActivityTaskCompleted("order-1", "run-1", task.scheduled_event_id, "1", 1, RESULT)
        )
        wire.send(
            ActivityTaskCompleted("order-1", "run-1", task.scheduled_event_id, "1", 1, RESULT)
        )  # twice: no-op
        wire.send(AwaitResult("order-1", "run-1", request_id="r2", reply_to="me"))
        wire.flush()
        (result,) = until(lambda: wire.records(wire.topics.results))
        assert isinstance(result, WorkflowResult)
        assert (result.workflow_id, result.status, result.result) == ("order-1", COMPLETED, RESULT)
        replies = until(lambda: len(found := wire.records(wire.topics.replies)) >= 2 and found)
        by_kind = {reply.kind: reply for reply in replies if isinstance(reply, Reply)}
        assert by_kind["StartWorkflow"].status == OK
        assert by_kind["StartWorkflow"].started
        assert by_kind["AwaitResult"].result is not None
        assert by_kind["AwaitResult"].result.status == COMPLETED
        assert len(wire.records(wire.commands)) == 1
    finally:
        processor.stop()
