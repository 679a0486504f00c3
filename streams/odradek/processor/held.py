"""Runs that are held: no workflow code of theirs runs until an operator unparks them, whoever owns the partition.

A run is held when owners died over it in a row, or when a transaction was refused for what it made. The mark stands in the run's row
(`parked_reason`), so it survives owners and new code; the engine learns of it by an instance that fails each task without running anything.
"""

from __future__ import annotations

from collections.abc import Callable

from odradek.engine.activation import Activation, Activator, Completion, FailWorkflow, TaskFailed, WorkflowInstance
from odradek.wire.payload import SERVER, Failure

MARK = "held: "
_TEXT_MAX = 1_000

#: (workflow id, run id) -> why it is held, "" when it is not.
Held = Callable[[str, str], str]


def held_reason(why: str) -> str:
    """`parked_reason` of a run that is to be held."""
    return f"{MARK}{why.partition(chr(10))[0][:_TEXT_MAX]}"


def why_held(parked_reason: str) -> str:
    """Why a run is held, "" when it is parked for another reason or not at all. The engine puts a cause before the mark."""
    _, mark, why = parked_reason.partition(MARK)
    return why if mark else ""


class HoldingActivator:
    """An activator that gives held runs an instance which runs nothing."""

    def __init__(self, inner: Activator, held: Held) -> None:
        self._inner = inner
        self._held = held

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        why = self._held(workflow_id, run_id)
        if why:
            return _HeldInstance(why)
        return self._inner.create(workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type)


class _HeldInstance:
    def __init__(self, why: str) -> None:
        self._why = why

    def activate(self, activation: Activation) -> Completion:
        return TaskFailed(Failure(message=held_reason(self._why), kind=SERVER, source="odradek"), cause="FORCE_CLOSE_COMMAND", park=True)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return None

    def close(self) -> None:
        pass
