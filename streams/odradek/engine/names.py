"""Lengths of the names that a request brings: they become keys, headers and part of every row, so they have a limit of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.wire.limits import NAME_MAX

if TYPE_CHECKING:
    from odradek.wire.events import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow

# Field of a record, and what Temporal calls it when it refuses one.
_NAMES = (
    ("workflow_id", "WorkflowId"),
    ("run_id", "RunId"),
    ("request_id", "RequestId"),
    ("workflow_type", "WorkflowType"),
    ("signal_name", "SignalName"),
    ("cron_schedule", "CronSchedule"),
    ("first_execution_run_id", "FirstExecutionRunId"),
    ("reply_to", "reply_to"),
)


def too_long(request: StartWorkflow | SignalWorkflow | CancelWorkflow | TerminateWorkflow) -> str:
    """Which name of a request is too long, else "". Temporal's `limit.maxIDLength`; characters here, not bytes."""
    for field, name in _NAMES:
        value: str = getattr(request, field, "")
        if len(value) > NAME_MAX:
            return f"{name} length {len(value)} exceeds {NAME_MAX}"
    return ""
