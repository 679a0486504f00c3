"""Names of search attributes that the system gives values to, and that nobody else may.

They are what every list knows of a run without asking it (`WorkflowId`, `ExecutionStatus`, ...), and what Temporal's servers alone write.
Temporal's own check: `common/searchattribute/validator.go` (system attributes) and its list of the worker deployments'. Other predefined
names (`TemporalChangeVersion`, `BuildIds`) are written by SDKs too: those are free.
"""

from __future__ import annotations

from collections.abc import Iterable

from odradek.wire.problems import NAME as REPORTED_PROBLEMS

#: The columns of every run: `odradek.visibility.query.COLUMNS` has them with their types.
SYSTEM = frozenset(
    {
        "WorkflowId",
        "WorkflowType",
        "RunId",
        "ExecutionStatus",
        "TaskQueue",
        "StartTime",
        "CloseTime",
        "ExecutionTime",
        "ExecutionDuration",
        "HistoryLength",
        "HistorySizeBytes",
        "StateTransitionCount",
        "ParentWorkflowId",
        "ParentRunId",
        "RootWorkflowId",
        "RootRunId",
        "FirstExecutionRunId",
        "ParkedReason",
        REPORTED_PROBLEMS,
    }
)
_RESERVED = SYSTEM | {"TemporalWorkerDeployment", "TemporalWorkerDeploymentVersion", "TemporalWorkflowVersioningBehavior"}


def reserved_problem(names: Iterable[str]) -> str:
    """Why a run cannot have search attributes of these names, in Temporal's words; "" when it can."""
    for name in names:
        if name in _RESERVED:
            return f"{name} attribute can't be set in SearchAttributes"
    return ""
