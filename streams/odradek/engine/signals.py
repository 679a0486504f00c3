"""Signals, as events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.engine.timers import dispatch_first_task
from odradek.wire.history import WorkflowExecutionSignaled

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.payload import Payload


def add_signal(
    run: LiveRun,
    name: str,
    input: list[Payload],
    headers: dict[str, Payload],
    identity: str,
    request_id: str,
    offset: int,
    step: WorkflowStep | None = None,
) -> None:
    """Append a signal. With `step` given, one that comes during the start delay ends it (that of
    signal-with-start itself does not).
    """
    run.append(WorkflowExecutionSignaled(name, input, headers, identity, request_id), offset=offset)
    row = run.row
    # The backoff of a retry, of cron or of continue-as-new is not cut short.
    if (
        row.first_task_due_ms
        and step is not None
        and row.run_id == row.first_execution_run_id
        and not row.cron_schedule
    ):
        dispatch_first_task(step, run)
    run.needs_task = True
