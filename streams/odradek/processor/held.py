"""Runs that are held: no workflow code of theirs runs until an operator unparks them, whoever
owns the partition.

A run is held when owners died over it in a row, or when a transaction was refused for what it
made. The mark stands in the run's row (`parked_reason`), so it survives owners and new code; the
engine learns of it by an instance that fails each task without running anything.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from odradek.engine import ports
from odradek.engine.activation import (
    Activation,
    Activator,
    Completion,
    FailWorkflow,
    TaskFailed,
    WorkflowInstance,
)
from odradek.engine.ports import OutletUnavailableError, Output, Refusal, Tables
from odradek.engine.summaries import summary_of
from odradek.processor.outlet import Record, TopicOutlet
from odradek.wire.codec import Codec
from odradek.wire.outcomes import RUNNING
from odradek.wire.payload import SERVER, Failure
from odradek.wire.problems import PARKED, TASK_FAILED, cause_value
from odradek.wire.rows import state_key
from odradek.wire.state import RunRow, WorkflowRow

MARK = "held: "
CAUSE = "FORCE_CLOSE_COMMAND"
#: `reported_problems` of a held run: what the engine says of it once an instance of ours has failed
#: its task.
HELD_PROBLEMS = [TASK_FAILED, cause_value(CAUSE), PARKED]
_TEXT_MAX = 1_000

#: (workflow id, run id) -> why it is held, "" when it is not.
Held = Callable[[str, str], str]


def held_reason(why: str, dead_letter: str = "") -> str:
    """`parked_reason` of a run that is to be held. `dead_letter`: where its input lay that was
    not applied.
    """
    hint = (
        f" (its input {dead_letter} was not applied and is a dead letter: redrive it once the run"
        " is unparked)"
        if dead_letter
        else ""
    )
    return f"{MARK}{why.partition(chr(10))[0][: _TEXT_MAX - len(hint)]}{hint}"


def why_held(parked_reason: str) -> str:
    """Why a run is held, "" when it is parked for another reason or not at all. The engine puts
    a cause before the mark.
    """
    _, mark, why = parked_reason.partition(MARK)
    return why if mark else ""


class HeldRuns:
    """Which runs of a lane are held. Never writes: it gives rows, the lane's transaction takes
    them.
    """

    def __init__(self) -> None:
        self.unparked: set[str] = set()  # workflow ids of held runs that an operator lets go on
        self.from_birth: dict[
            str, str
        ] = {}  # workflow id -> why; of a run that the input at hand would begin

    def hold(
        self, tables: Tables, workflow_id: str, run_id: str, reason: str, *, dead_letter: str = ""
    ) -> RunRow | None:
        """The row of the run (of the current one without a run id), held; None when there is no
        such open run.
        """
        run = _open_run(tables, workflow_id, run_id)
        if run is None:
            return None
        self.unparked.discard(run.workflow_id)
        return msgspec.structs.replace(
            run, parked_reason=held_reason(reason, dead_letter), reported_problems=HELD_PROBLEMS
        )

    def is_held(self, tables: Tables, workflow_id: str, run_id: str) -> bool:
        """Whether the run is open and held, let go on or not."""
        run = _open_run(tables, workflow_id, run_id)
        return run is not None and why_held(run.parked_reason) != ""

    def why(self, tables: Tables, workflow_id: str, run_id: str) -> str:
        """Why no code of the run may run; "" when it may."""
        if workflow_id in self.unparked:
            return ""
        run = tables.get(ports.RUN, run_id)
        if not isinstance(run, RunRow):
            return self.from_birth.get(workflow_id, "")
        return why_held(run.parked_reason) if run.parked_reason else ""


def _open_run(tables: Tables, workflow_id: str, run_id: str) -> RunRow | None:
    """The run, or the current one of the workflow id; None when there is none that is open."""
    if not run_id and workflow_id:
        current = tables.get(ports.WORKFLOW, workflow_id)
        run_id = current.run_id if isinstance(current, WorkflowRow) else ""
    run = tables.get(ports.RUN, run_id) if run_id else None
    return run if isinstance(run, RunRow) and run.status == RUNNING else None


def held_rows(codec: Codec, run: RunRow | None) -> dict[bytes, bytes | None]:
    """What `state` gets of a run that is held; nothing when there is none."""
    return {state_key(ports.RUN, run.run_id): codec.encode_row(run)} if run is not None else {}


def held_summary(
    outlet: TopicOutlet, namespace: str, task_queue: str, run: RunRow | None
) -> Record | None:
    """What lists have to learn of a run that was held; None when there is none, or it cannot be
    written (its next task says it then).
    """
    if run is None:
        return None
    record = summary_of(namespace, task_queue, run)
    try:
        value = outlet.check(ports.EXECUTIONS, "", record)
    except OutletUnavailableError:
        return None
    if isinstance(value, Refusal):
        return None
    return outlet.record(
        Output(ports.EXECUTIONS, "", f"{run.workflow_id}/{run.run_id}", record, value)
    )


class HoldingActivator:
    """An activator that gives held runs an instance which runs nothing."""

    def __init__(self, inner: Activator, held: Held) -> None:
        self._inner = inner
        self._held = held

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        why = self._held(workflow_id, run_id)
        if why:
            return _HeldInstance(why)
        return self._inner.create(
            workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type
        )


class _HeldInstance:
    def __init__(self, why: str) -> None:
        self._why = why

    def activate(self, activation: Activation) -> Completion:
        failure = Failure(message=held_reason(self._why), kind=SERVER, source="odradek")
        return TaskFailed(failure, cause=CAUSE, park=True, held=True, logged=True)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return None

    def close(self) -> None:
        pass
