"""Search attributes that a run may have: the names that are the system's are nobody else's, a
value is of the type that it says.

What an index could not hold is refused where it is given, at the start or the upsert: later
nobody would be told (Temporal's server: an error of the start, a failed workflow task). A value
that says no type is taken if it can be read: an index guesses its type, or has it not.

The system's names are what every list knows of a run without asking it (`WorkflowId`,
`ExecutionStatus`, ...), and what Temporal's servers alone write. Temporal's own check:
`common/searchattribute/validator.go` (system attributes) and its list of the worker
deployments'. Other predefined names (`TemporalChangeVersion`, `BuildIds`) are written by SDKs
too: those are free.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from odradek.wire.payload import Payload
from odradek.wire.problems import NAME as REPORTED_PROBLEMS
from odradek.wire.standard_json import loads

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
_RESERVED = SYSTEM | {
    "TemporalWorkerDeployment",
    "TemporalWorkerDeploymentVersion",
    "TemporalWorkflowVersioningBehavior",
}


def reserved_problem(names: Iterable[str]) -> str:
    """Why a run cannot have search attributes of these names, in Temporal's words; "" when it can."""
    for name in names:
        if name in _RESERVED:
            return f"{name} attribute can't be set in SearchAttributes"
    return ""


TYPES = frozenset({"Keyword", "KeywordList", "Text", "Int", "Double", "Bool", "Datetime"})
#: As Temporal's enum has them, which its servers read as well: `INDEXED_VALUE_TYPE_KEYWORD_LIST`.
_ENUM_NAMES = {
    f"INDEXED_VALUE_TYPE_{'KEYWORD_LIST' if name == 'KeywordList' else name.upper()}": name
    for name in TYPES
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64 = 2**63


def values_problem(attributes: Mapping[str, Payload]) -> str:
    """Why a run cannot have these values, in Temporal's words; "" when it can. What an index
    makes of those without a type: `rows.py`.
    """
    for name, payload in attributes.items():
        raw = payload.metadata.get("type")
        given = None if raw is None else raw.decode("utf-8", "replace")
        value_type = None if given is None else _ENUM_NAMES.get(given, given)
        if value_type is not None and value_type not in TYPES:
            return (
                f"search attribute {name} is of the unknown type {given!r}; types are"
                f" {', '.join(sorted(TYPES))}"
            )
        try:
            _check(value_type, payload)
        except (ValueError, OverflowError, RecursionError) as error:
            return (
                "invalid value for search attribute"
                f" {name}{'' if given is None else f' of type {given}'}: {error}"
            )
    return ""


def _check(value_type: str | None, payload: Payload) -> None:
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/null":
        return
    if encoding != b"json/plain":
        raise ValueError(f"its encoding is {encoding.decode('utf-8', 'replace')!r}, not json/plain")
    value = loads(
        payload.data.decode()
    )  # from bytes Python reads UTF-16 too, which nobody else does
    if value_type is not None:
        indexable_values(value_type, value)


def indexable_values(value_type: str, value: Any) -> tuple[Any, ...]:
    """What an index holds of an attribute, each once: one value, several of a KeywordList, none
    of None. Raises as `indexable`.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    if value_type != "KeywordList" and len(values) > 1:
        raise ValueError(f"it has one value, here are {len(values)}")
    return tuple(dict.fromkeys(indexable(value_type, each) for each in values))


def indexable(value_type: str, value: Any) -> Any:
    """A value as an index holds it; a Bool as 0 or 1, a Datetime in microseconds since 1970.
    Raises ValueError, OverflowError.
    """
    match value_type:
        case "Bool" if isinstance(value, bool):
            return int(value)
        case "Int" if type(value) is int and -_INT64 <= value < _INT64:
            return value
        case "Double" if type(value) in (int, float):
            number = float(value)
            if math.isfinite(
                number
            ):  # SQLite stores NaN as NULL, and no answer in JSON could hold an infinity
                return number
        case "Datetime" if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return (
                moment.astimezone(UTC) - _EPOCH
            ) // _MICROSECOND  # OverflowError if it is before the year 1 or after 9999 in UTC
        case "Keyword" | "Text" | "KeywordList" if isinstance(value, str):
            value.encode()  # half a surrogate pair cannot be stored
            return value
    shown = repr(value)
    raise ValueError(f"{shown if len(shown) <= 60 else shown[:57] + '...'} is no {value_type}")
