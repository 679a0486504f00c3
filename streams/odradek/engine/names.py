"""The names that a request brings: which it must have, and how long they may be.

They become keys, headers and part of every row, so they have a limit of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.wire.events import CancelWorkflow, SignalWorkflow, StartWorkflow, TerminateWorkflow
from odradek.wire.limits import NAME_MAX, name_bytes, name_too_long

if TYPE_CHECKING:
    from odradek.wire.events import Request

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
# What a request must have, where it has the field. A start is looked at by `start.py`: its signal
# may be missing.
_NEEDED = (
    ("workflow_id", "WorkflowId"),
    ("signal_name", "SignalName"),
    ("query_type", "QueryType"),
)
# Requests of which something is kept.
_KEPT = (StartWorkflow, SignalWorkflow, CancelWorkflow, TerminateWorkflow)


def problem_of(request: Request) -> str:
    """Which name of a request is missing, impossible or too long, else ""."""
    if not isinstance(request, StartWorkflow):
        for field, name in _NEEDED:
            if getattr(request, field, None) == "":
                return f"{name} is not set on request."
        if "/" in request.run_id:  # no start takes one
            return "Invalid RunId."
    if isinstance(request, _KEPT):
        for field, name in _NAMES:
            value: str = getattr(request, field, "")
            if name_too_long(value):
                return f"{name} length {name_bytes(value)} exceeds {NAME_MAX} bytes"
    return ""
