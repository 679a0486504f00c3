"""The processor with the real engine: outputs that do not fit fail their run alone, held runs
run nothing, signals in the first task.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from odradek.engine import engine as engine_module
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
    TaskFailed,
)
from odradek.engine.engine import WorkflowEngine
from odradek.engine.ports import EngineLimits
from odradek.engine.step import WorkflowStep
from odradek.kafka.windows import BATCH_BYTES
from odradek.processor import Processor, transaction
from odradek.processor.errors import Refused
from odradek.processor.held import held_reason
from odradek.processor.lane import Lane
from odradek.processor.lane_state import LaneState
from odradek.processor.outlet import Record
from odradek.wire.codec import encode_row
from odradek.wire.events import ActivityTaskCompleted, SignalWorkflow, StartWorkflow, UnparkWorkflow
from odradek.wire.history import ActivityTaskCompletedEvent, WorkflowTaskFailed
from odradek.wire.outcomes import COMPLETED, FAILED
from odradek.wire.payload import Failure, Payload
from odradek.wire.rows import state_key
from odradek.wire.state import HistoryRow, RunRow
from tests.kafka.lane_records import Wire, key_for
from tests.support.metrics import totals, watched
from tests.support.records import QUEUE
from tests.support.until import until

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
    watched(processor).start()
    processor.wait_ready(30)
    return processor


def _time_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first transaction with several parts."""
    monkeypatch.setattr(transaction, "LONG_SECONDS", 0.0)
    produce, late = transaction.Transactions._produce, [False]

    def slow(self: transaction.Transactions, parts: list[list[Record]], report: Any) -> None:
        produce(self, parts, report)
        if len(parts) > 1 and not late[0]:
            late[0] = True
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))

    monkeypatch.setattr(transaction.Transactions, "_produce", slow)


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
        assert totals(processor).refused == 0  # it never came to a transaction
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


def test_a_timer_that_the_engine_cannot_apply_is_kept_also_of_a_closed_run(
    bootstrap: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is kept of the run stays for ever."""
    wire = Wire(bootstrap, namespace, tmp_path, partitions=1, retention=timedelta(milliseconds=200))
    tried = threading.Event()
    working = engine_module._try

    def broken(step: WorkflowStep, work: Any) -> Any:
        if work.timers:
            tried.set()
            raise engine_module._Broken("rows")
        return working(step, work)

    monkeypatch.setattr(engine_module, "_try", broken)
    processor = _running(wire, lambda *_: [CompleteWorkflow(result=[])])
    try:
        wire.send(StartWorkflow("w", "T"))
        wire.flush()
        until(lambda: tried.is_set() and bool(wire.records(wire.topics.results)))
        wire.send(StartWorkflow("other", "T"))
        wire.flush()
        until(lambda: len(wire.records(wire.topics.results)) == 2)
        run_id = next(
            result.run_id
            for result in wire.records(wire.topics.results)
            if result.workflow_id == "w"
        )
        assert [
            key for table, key in wire.rows() if table == "timer" and f"/{run_id}/RETENTION/" in key
        ]
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


def test_held_run_waits_for_an_operator(wire: Wire) -> None:
    """Marked by an earlier owner: no code of it runs for inputs or at a restart, nothing is
    lost, `unpark` lets it go on.
    """
    ran: list[str] = []

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        ran.extend(
            job.signal_name
            for job in activation.jobs
            if isinstance(job, SignalJob) and not activation.is_replaying
        )
        if any(isinstance(job, ResolveActivity | SignalJob) for job in activation.jobs):
            return [CompleteWorkflow(result=[])]
        return [_activity()]

    processor = _running(wire, script)
    wire.send(StartWorkflow("w", "T", run_id="run"))
    wire.flush()
    until(lambda: wire.records(wire.commands))
    processor.stop()
    row = wire.rows()["run", "run"]
    held = msgspec.structs.replace(row, parked_reason=held_reason("owners died over it"))
    wire.send_raw(state_key("run", "run"), encode_row(held), topic=wire.state, partition=0)
    wire.flush()

    processor = _running(wire, script)
    try:
        wire.send(SignalWorkflow("w", "one"))
        wire.send(SignalWorkflow(key_for(wire, 0, "other"), "x"))
        wire.flush()
        until(lambda: totals(processor).inputs == 2)
        assert ran == []
    finally:
        processor.stop()
    processor = _running(wire, script)  # a restart tries parked runs again; not held ones
    try:
        run = wire.rows()["run", "run"]
        assert isinstance(run, RunRow)
        assert "owners died over it" in run.parked_reason
        assert ran == []
        wire.send(UnparkWorkflow("w"))
        wire.flush()
        (result,) = until(lambda: wire.records(wire.topics.results))
        assert result.status == COMPLETED
        assert ran == ["one"]
    finally:
        processor.stop()


@pytest.mark.promise("quarantine")
def test_parked_runs_are_tried_by_themselves_and_by_a_new_owner(wire: Wire) -> None:
    """By the lane's timers, again and again; and a new owner tries each of them once, a few at a
    time, with inputs in between.
    """
    tries: list[str] = []
    spins, takes_s = [True], [0.0]

    class Spinning(Instance):
        def activate(self, activation: Activation) -> Completion:
            tries.append(self.workflow_id)
            if spins[0] and self.workflow_id != "other":
                time.sleep(takes_s[0])
                return TaskFailed(Failure(message="spins", type="DeadlockError"), park=True)
            return Commands([CompleteWorkflow(result=[])])

    class Activator(Scripted):
        def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> Instance:
            return Spinning(workflow_id, self.script)

    def started(retry_ms: int) -> Processor:
        def new_engine(activator: Any, limits: EngineLimits) -> WorkflowEngine:
            limits = msgspec.structs.replace(limits, parked_retry_initial_ms=retry_ms)
            return WorkflowEngine(
                activator, namespace=wire.settings.namespace, task_queue=QUEUE, limits=limits
            )

        processor = Processor(
            wire.settings,
            task_queue=QUEUE,
            activator_factory=lambda: Activator(lambda *_: []),
            engine_factory=new_engine,
        )
        watched(processor).start()
        processor.wait_ready(30)
        return processor

    processor = started(500)
    try:
        wire.send(StartWorkflow("w", "T", run_id="run"))
        wire.flush()
        until(lambda: len(tries) >= 3, 30)  # 0.5 s, then 1 s
        assert totals(processor).parked == 1
        spins[0] = False
        until(
            lambda: [result.workflow_id for result in wire.records(wire.topics.results)] == ["w"],
            30,
        )
        spins[0] = True
    finally:
        processor.stop()

    processor = started(3_600_000)
    names = [f"p{number:02d}" for number in range(25)]
    try:
        for name in names:
            wire.send(StartWorkflow(name, "T", run_id=f"run-{name}"))
        wire.flush()
        until(lambda: totals(processor).parked == 25)
    finally:
        processor.stop()
    wire.send(StartWorkflow("other", "T", run_id="run-other"))
    wire.flush()
    tries.clear()
    takes_s[0] = 0.15  # long enough for the input to be there before the last of them
    processor = started(3_600_000)
    try:
        until(lambda: len(tries) == 26)
        assert sorted(tries) == ["other", *names] and "other" in tries[:-1], (
            "an input waits for a few of them, not for all"
        )
        assert totals(processor).parked == 0, "they were parked already"
        spins[0] = False
    finally:
        processor.stop()
    processor = started(3_600_000)
    try:
        until(
            lambda: (
                {result.workflow_id for result in wire.records(wire.topics.results)}
                == {"w", "other", *names}
            )
        )
        assert not [
            key
            for table, key in wire.rows()
            if table == "timer" and not key.endswith("/RETENTION/0")
        ]
    finally:
        processor.stop()


@pytest.mark.promise("failing-task")
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
        assert row.parked_reason == "" and not wire.records(wire.topics.dead_letters(QUEUE))
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


@pytest.mark.promise("failing-task")
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
        found = totals(processor)
        assert (found.refused, found.dropped) == (1, 1)
        history = [found for (table, _), found in wire.rows().items() if table == "history"]
        kinds = [type(event.attributes).__name__ for found in history for event in found.events]
        assert kinds.count("ActivityTaskCompletedEvent") == 1 and "WorkflowTaskFailed" not in kinds
        assert not wire.records(wire.topics.dead_letters(QUEUE))
    finally:
        processor.stop()


@pytest.mark.parametrize(
    ("parts_max", "dropped", "late"),
    [(100, 0, False), (3, 1, False), (3, 2, False), (100, 1, True)],
    ids=["parts", "small batches", "small batches for a while", "parts were too slow"],
)
def test_a_narrow_topic_costs_a_lane_neither_work_done_twice_nor_its_batches(
    bootstrap: str,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    parts_max: int,
    dropped: int,
    late: bool,
) -> None:
    """`commands` of another queue takes ten activities at a time: of many runs, and of one that
    wants forty.
    """
    monkeypatch.setattr(transaction, "PARTS_MAX", parts_max)
    if late:
        _time_out_once(monkeypatch)
    stepped, step = [0], WorkflowEngine.step

    def counted(self: WorkflowEngine, tables: Any, outlet: Any, batch: Any) -> Any:
        stepped[0] += len(batch.inputs)
        return step(self, tables, outlet, batch)

    monkeypatch.setattr(WorkflowEngine, "step", counted)
    other = wire.topics.commands("else")
    wire.admin.ensure_queue(QUEUE)
    wire.admin.ensure([other])
    _set_limit(bootstrap, other, 30_000)

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        return [
            _activity(os.urandom(2_500), seq, "else")
            for seq in range(40 if workflow_id == "fan" else 1)
        ]

    for number in range(0 if dropped else 400):
        wire.send(StartWorkflow(f"w{number}", "T", run_id=f"run-{number}"))
    wire.send(StartWorkflow("fan", "T", run_id="run-fan"))
    wire.flush()
    processor = _running(wire, script)
    try:
        expected = 40 if dropped else 440
        until(lambda: len(wire.records(other)) == expected)
        if dropped == 2:
            monkeypatch.setattr(transaction, "NARROW_SECONDS", 0.0)
        until(lambda: totals(processor).dropped == dropped)
        assert totals(processor).refused == 0
        if not dropped:
            assert stepped == [401], "each input once"
        [lane] = processor._group.lanes.values()
        until(
            lambda: (
                lane.state is LaneState.RUNNING
                and lane._transactions.batch == (30_000 if dropped == 1 else BATCH_BYTES)
            )
        )
    finally:
        processor.stop()


def test_a_limit_that_another_lane_found_lowered_is_nobodys_fault(
    bootstrap: str, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is refused, and by the time its lane looks the topic is known to take less."""
    abort = Lane._abort

    def other_lane_first(self: Lane, refusal: Refused) -> None:
        self._services.outlet.doubt()
        self._services.outlet.limit(wire.commands)
        abort(self, refusal)

    monkeypatch.setattr(Lane, "_abort", other_lane_first)

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        first = isinstance(activation.jobs[0], InitializeWorkflow)
        return (
            [_activity()] if first else [_activity(os.urandom(5_000), seq) for seq in range(2, 62)]
        )

    processor = _running(wire, script)
    try:
        wire.send(StartWorkflow("w", "T", run_id="run-w"))
        wire.flush()
        [task] = until(lambda: wire.records(wire.commands))
        _set_limit(bootstrap, wire.commands, 100_000)
        wire.send(ActivityTaskCompleted("w", "run-w", task.scheduled_event_id, "1", 1))
        wire.flush()
        until(lambda: len(wire.records(wire.commands)) == 61)
        found = totals(processor)
        assert (found.refused, found.dropped, found.dead_letters) == (1, 1, 0)
        histories = [row for row in wire.rows().values() if isinstance(row, HistoryRow)]
        assert not [
            event
            for row in histories
            for event in row.events
            if isinstance(event.attributes, WorkflowTaskFailed)
        ]
    finally:
        processor.stop()


def test_a_part_that_is_refused_before_the_last_blames_as_any_other(
    bootstrap: str, wire: Wire
) -> None:
    """Records behind it cannot be produced any more, which is no reason by itself."""
    limits = [60_000, 30_000]

    def script(workflow_id: str, activation: Activation) -> list[Command]:
        if isinstance(activation.jobs[0], InitializeWorkflow):
            return [_activity()]
        return [_activity(os.urandom(5_000), seq) for seq in range(2, 42)]

    wire.admin.ensure_queue(QUEUE)
    wire.admin.ensure([wire.commands])
    _set_limit(bootstrap, wire.commands, limits[0])
    processor = _running(wire, script)
    try:
        wire.send(StartWorkflow("w", "T", run_id="run-w"))
        wire.flush()
        [task] = until(lambda: wire.records(wire.commands))
        _set_limit(bootstrap, wire.commands, limits[1])
        wire.send(ActivityTaskCompleted("w", "run-w", task.scheduled_event_id, "1", 1))
        wire.flush()
        until(lambda: len(wire.records(wire.commands)) == 41)
        found = totals(processor)
        assert (found.refused, found.dropped, found.dead_letters) == (1, 1, 0)
    finally:
        processor.stop()
