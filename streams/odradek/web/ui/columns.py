"""Columns of the list of runs: which there are, which are shown, and by what each is sorted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from odradek.web.api.lists import RunView

COOKIE = "odradek_columns"


@dataclass(frozen=True, slots=True)
class RunColumn:
    """A column. `name`: of the query language, also what is sorted by; `kind`: how its cells are
    drawn, a macro of the table.
    """

    name: str
    label: str
    kind: str
    field: str
    numeric: bool = False


FIXED = (
    RunColumn("ExecutionStatus", "Status", "status", "status"),
    RunColumn("WorkflowId", "Workflow ID", "workflow", "workflow_id"),
    RunColumn("RunId", "Run ID", "id", "run_id"),
    RunColumn("WorkflowType", "Type", "text", "workflow_type"),
    RunColumn("TaskQueue", "Task queue", "queue", "task_queue"),
    RunColumn("StartTime", "Started", "time", "start_time_ms"),
    RunColumn("CloseTime", "Closed", "time", "close_time_ms"),
    RunColumn("ExecutionDuration", "Duration", "duration", "", numeric=True),
    RunColumn("HistoryLength", "Events", "number", "history_length", numeric=True),
    RunColumn("HistorySizeBytes", "Size", "size", "history_size_bytes", numeric=True),
    RunColumn(
        "StateTransitionCount", "Transitions", "number", "state_transition_count", numeric=True
    ),
    RunColumn("ParentWorkflowId", "Parent", "id", "parent_workflow_id"),
    RunColumn("FirstExecutionRunId", "First run", "id", "first_execution_run_id"),
    RunColumn("ParkedReason", "Quarantined", "text", "parked_reason"),
    RunColumn("TemporalReportedProblems", "Problems", "list", "reported_problems"),
)
DEFAULT = (
    "ExecutionStatus",
    "WorkflowId",
    "WorkflowType",
    "TaskQueue",
    "StartTime",
    "ExecutionDuration",
)


def columns_of(attribute_names: Iterable[str]) -> list[RunColumn]:
    """All there are: the fixed ones, and each search attribute that runs have."""
    fixed = {column.name for column in FIXED}
    return [
        *FIXED,
        *(
            RunColumn(name, name, "attribute", name)
            for name in attribute_names
            if name not in fixed
        ),
    ]


def chosen(names: Sequence[str], available: Sequence[RunColumn]) -> list[RunColumn]:
    """The columns of these names, in this order; the default ones when there is none among them."""
    by_name: dict[str, RunColumn] = {}
    for column in available:
        by_name.setdefault(column.name, column)  # a search attribute takes no fixed column's place
    picked = [by_name[name] for name in dict.fromkeys(names) if name in by_name]
    return picked or [by_name[name] for name in DEFAULT]


def aligned(columns: Iterable[RunColumn], runs: Sequence[RunView]) -> list[RunColumn]:
    """The same, search attributes of which these runs have numbers alone as columns of numbers:
    a column does not say what it holds.
    """
    return [
        replace(column, numeric=_holds_numbers(column.field, runs))
        if column.kind == "attribute"
        else column
        for column in columns
    ]


def _holds_numbers(name: str, runs: Iterable[RunView]) -> bool:
    found = [
        run.search_attributes[name].get("value") for run in runs if name in run.search_attributes
    ]
    return bool(found) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found
    )
