"""What a query may name: the columns that every run has, and the search attributes that some
have. With their types and operators.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias


class ValueType(Enum):
    """Type of a column or search attribute. The value is Temporal's name of it, where Temporal
    has it.
    """

    KEYWORD = "Keyword"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    KEYWORD_LIST = "KeywordList"
    STATUS = "Status"
    DURATION = "Duration"


_EQUALITY = ("=", "!=")
_ORDERED = ("=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN")
_NULLS = ("IS NULL", "IS NOT NULL")

#: Operators by type. IS NULL and IS NOT NULL come with every one.
OPERATORS_OF: dict[ValueType, tuple[str, ...]] = {
    ValueType.KEYWORD: (*_ORDERED, "STARTS_WITH", "NOT STARTS_WITH"),
    ValueType.TEXT: _EQUALITY,
    ValueType.INT: _ORDERED,
    ValueType.DOUBLE: _ORDERED,
    ValueType.BOOL: (*_EQUALITY, "IN", "NOT IN"),
    ValueType.DATETIME: _ORDERED,
    ValueType.KEYWORD_LIST: (*_EQUALITY, "IN", "NOT IN", "STARTS_WITH", "NOT STARTS_WITH"),
    ValueType.STATUS: (*_EQUALITY, "IN", "NOT IN"),
    ValueType.DURATION: _ORDERED,
}


def operators_of(value_types: Iterable[ValueType]) -> tuple[str, ...]:
    """Operators that one of the types takes, IS NULL included, in a fixed order."""
    wanted = {operator for value_type in value_types for operator in OPERATORS_OF[value_type]}
    return (
        tuple(
            operator
            for operator in (*_ORDERED, "STARTS_WITH", "NOT STARTS_WITH")
            if operator in wanted
        )
        + _NULLS
    )


@dataclass(frozen=True, slots=True)
class Column:
    """What every run has. `sql`: its column of `executions`.

    unit_ns: nanoseconds of one unit of a time or duration as stored.  open_since: what an order
    takes for a NULL, the time that has passed since then.  counted: `run_counts` has it too, so
    that counts over it are kept ready.  hashed: it has no index of its own but one of its hash,
    the column `tie`.  sparse: the index of the few rows that have a value; a query that finds
    none but such rows is read from it. A list stands in its column as a JSON array of texts.
    """

    name: str
    value_type: ValueType
    sql: str
    nullable: bool = False
    unit_ns: int = 1
    counted: bool = False
    hashed: bool = False
    sparse: str = ""
    open_since: str = ""


@dataclass(frozen=True, slots=True)
class AttributeKey:
    """A search attribute as stored: name and type have one number. `words_id`: under which
    number the words of a Text stand.
    """

    id: int
    name: str
    value_type: ValueType
    words_id: int = 0


@dataclass(frozen=True, slots=True)
class Attribute:
    """A name that runs gave to search attributes, with each type they gave it (one, if nobody
    made a mistake).
    """

    name: str
    keys: tuple[AttributeKey, ...]


Field: TypeAlias = Column | Attribute

MS_NS = 1_000_000
ATTRIBUTE_TIME_NS = 1_000  # search attributes keep microseconds, what Python's datetime has

COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("WorkflowId", ValueType.KEYWORD, "workflow_id"),
        Column("WorkflowType", ValueType.KEYWORD, "workflow_type", counted=True),
        Column("RunId", ValueType.KEYWORD, "run_id", hashed=True),
        Column("ExecutionStatus", ValueType.STATUS, "status", counted=True),
        Column("TaskQueue", ValueType.KEYWORD, "task_queue", counted=True),
        Column("StartTime", ValueType.DATETIME, "start_time_ms", unit_ns=MS_NS),
        Column("CloseTime", ValueType.DATETIME, "close_time_ms", nullable=True, unit_ns=MS_NS),
        Column(
            "ExecutionTime", ValueType.DATETIME, "execution_time_ms", nullable=True, unit_ns=MS_NS
        ),
        Column(
            "ExecutionDuration",
            ValueType.DURATION,
            "execution_duration_ms",
            nullable=True,
            unit_ns=MS_NS,
            open_since="coalesce(e.execution_time_ms, e.start_time_ms)",
        ),
        Column("HistoryLength", ValueType.INT, "history_length"),
        Column("HistorySizeBytes", ValueType.INT, "history_size_bytes"),
        Column("StateTransitionCount", ValueType.INT, "state_transition_count"),
        Column("ParentWorkflowId", ValueType.KEYWORD, "parent_workflow_id", nullable=True),
        Column("ParentRunId", ValueType.KEYWORD, "parent_run_id", nullable=True),
        Column("RootWorkflowId", ValueType.KEYWORD, "root_workflow_id", nullable=True),
        Column("RootRunId", ValueType.KEYWORD, "root_run_id", nullable=True),
        Column(
            "FirstExecutionRunId", ValueType.KEYWORD, "first_execution_run_id", nullable=True
        ),  # the chain's first run
        Column(
            "ParkedReason", ValueType.KEYWORD, "quarantine_reason", nullable=True
        ),  # of a run whose code cannot go on
        Column(  # of a run whose workflow task keeps failing
            "TemporalReportedProblems",
            ValueType.KEYWORD_LIST,
            "reported_problems",
            nullable=True,
            sparse="executions_by_problems",
        ),
    )
}

_PREDEFINED = {
    "TemporalNamespaceDivision": ValueType.KEYWORD,
    "TemporalScheduledById": ValueType.KEYWORD,
    "TemporalScheduledStartTime": ValueType.DATETIME,
    "TemporalSchedulePaused": ValueType.BOOL,
    "TemporalChangeVersion": ValueType.KEYWORD_LIST,
    "TemporalPauseInfo": ValueType.KEYWORD_LIST,
    "BinaryChecksums": ValueType.KEYWORD_LIST,
    "BuildIds": ValueType.KEYWORD_LIST,
    "TemporalWorkerDeployment": ValueType.KEYWORD,
    "TemporalWorkerDeploymentVersion": ValueType.KEYWORD,
    "TemporalWorkflowVersioningBehavior": ValueType.KEYWORD,
    "TemporalUsedWorkerDeploymentVersions": ValueType.KEYWORD_LIST,
}
#: Search attributes that Temporal defines: queries may name them though no run has one, as those of
#: its web UI do. No run has the key 0.
PREDEFINED: dict[str, Attribute] = {
    name: Attribute(name, (AttributeKey(0, name, kind),)) for name, kind in _PREDEFINED.items()
}


def tie_of(key: bytes) -> int:
    """63 bits of a hash of what stands behind the last `/`: of a run's key as of its run id, the
    column `tie`.
    """
    return (
        int.from_bytes(hashlib.blake2b(key.rpartition(b"/")[2], digest_size=8).digest(), "big") >> 1
    )


#: Temporal's names of statuses, as queries and groups have them, by the wire's, in the order of its
#: enum, from 1 on.
STATUS_NAMES = {
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "Canceled",
    "TERMINATED": "Terminated",
    "CONTINUED_AS_NEW": "ContinuedAsNew",
    "TIMED_OUT": "TimedOut",
}


class Catalog(Protocol):
    """Which search attributes runs have. The store knows."""

    def attribute(self, name: str) -> Attribute | None:
        """The attribute of this name, None when no run ever had it."""
        ...

    def attribute_names(self) -> Sequence[str]:
        """All names, sorted."""
        ...


class NoAttributes:
    """The catalog of a store whose runs have none."""

    def attribute(self, name: str) -> Attribute | None:
        """None."""
        return None

    def attribute_names(self) -> Sequence[str]:
        """None."""
        return []


# What people who come from other systems, or from our own records, type first.
_HABITS = {
    "status": "ExecutionStatus",
    "state": "ExecutionStatus",
    "type": "WorkflowType",
    "id": "WorkflowId",
    "queue": "TaskQueue",
    "duration": "ExecutionDuration",
    "started": "StartTime",
    "closed": "CloseTime",
    "endtime": "CloseTime",
    "parent": "ParentWorkflowId",
    "root": "RootWorkflowId",
    "parked": "ParkedReason",
    "problems": "TemporalReportedProblems",
    "reportedproblems": "TemporalReportedProblems",
    "failing": "TemporalReportedProblems",
    "events": "HistoryLength",
}


def near_names(name: str, catalog: Catalog, count: int = 3) -> list[str]:
    """Known names near to one that is not known: same letters in another case, with `_`, or
    nearly the same.
    """
    known = [*COLUMNS, *catalog.attribute_names()]
    plain = {_plain(candidate): candidate for candidate in reversed(known)}
    wanted = _plain(name)
    if wanted in plain:
        return [plain[wanted]]
    if wanted in _HABITS:
        return [_HABITS[wanted]]
    return [plain[near] for near in difflib.get_close_matches(wanted, plain, n=count, cutoff=0.6)]


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold().removesuffix("ms")
