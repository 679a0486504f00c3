"""When the workflow task of a run is tried next: a timer row, and beside it, for a parked run,
the mark by which a new owner finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from odradek.engine.keys import PARKED_DUE_MS, PARKED_PREFIX
from odradek.engine.ports import TIMER

if TYPE_CHECKING:
    from odradek.engine.ports import Tables
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.state import TimerRow


def set_task_timer(step: WorkflowStep, run: LiveRun, due_ms: int, *, parked: bool = False) -> None:
    """When the task is tried next; 0 for no timer. `parked`: with the mark. Call before
    `parked_reason` goes, or the mark stays.
    """
    row = run.row
    if parked:
        step.put_timer(run, "WORKFLOW_TASK", PARKED_DUE_MS)
    elif row.parked_reason:
        step.delete_timer(run, "WORKFLOW_TASK", PARKED_DUE_MS)
    if row.task_retry_due_ms != due_ms:
        if row.task_retry_due_ms != PARKED_DUE_MS:
            step.delete_timer(run, "WORKFLOW_TASK", row.task_retry_due_ms)
        row.task_retry_due_ms = due_ms
        run.dirty = True
    if due_ms:
        step.put_timer(run, "WORKFLOW_TASK", due_ms)


def marks(tables: Tables, *, after: str = "", limit: int) -> Iterator[tuple[str, TimerRow]]:
    """Marks of parked runs, in key order. A host gives them to a new engine as timers, once
    each: new code may be here.

    after: the last key that was given.
    """
    start = after + "\0" if after else PARKED_PREFIX
    return cast(
        "Iterator[tuple[str, TimerRow]]",
        tables.scan(TIMER, PARKED_PREFIX, start=start, limit=limit),
    )
