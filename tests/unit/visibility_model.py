"""The query language as plain Python over plain rows: what SQL must agree with. Written from the
language's rules, not from its code.

A condition is True, False or None (unknown: the row has no such value); a filter finds the rows
for which it is True.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from odradek.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from odradek.converter import encode_search_attributes
from odradek.wire.outcomes import ExecutionSummary

MS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

KEYS: dict[str, Callable[[str], SearchAttributeKey[Any]]] = {
    "Keyword": SearchAttributeKey.for_keyword,
    "Text": SearchAttributeKey.for_text,
    "Int": SearchAttributeKey.for_int,
    "Double": SearchAttributeKey.for_float,
    "Bool": SearchAttributeKey.for_bool,
    "Datetime": SearchAttributeKey.for_datetime,
    "KeywordList": SearchAttributeKey.for_keyword_list,
}
STATUSES = {
    "RUNNING": "Running",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "Canceled",
    "TERMINATED": "Terminated",
    "CONTINUED_AS_NEW": "ContinuedAsNew",
    "TIMED_OUT": "TimedOut",
}


@dataclass
class Run:
    """A row of the model. `attributes`: name -> (type, value)."""

    summary: ExecutionSummary
    attributes: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def with_payloads(self) -> ExecutionSummary:
        """The record, with the attributes encoded as the client encodes them."""
        pairs = [
            SearchAttributePair(KEYS[kind](name), value)
            for name, (kind, value) in self.attributes.items()
        ]
        self.summary.search_attributes = encode_search_attributes(TypedSearchAttributes(pairs))
        return self.summary

    def value(self, name: str) -> tuple[str, Any]:
        """Type and value of a column or attribute; (type, None) when the run has none. Times and
        durations in nanoseconds.
        """
        s = self.summary
        columns: dict[str, tuple[str, Any]] = {
            "WorkflowId": ("Keyword", s.workflow_id),
            "WorkflowType": ("Keyword", s.workflow_type),
            "RunId": ("Keyword", s.run_id),
            "ExecutionStatus": ("Status", STATUSES[s.status]),
            "TaskQueue": ("Keyword", s.task_queue),
            "StartTime": ("Datetime", s.start_time_ms * MS),
            "CloseTime": ("Datetime", s.close_time_ms * MS or None),
            "ExecutionTime": ("Datetime", s.execution_time_ms * MS or None),
            "ExecutionDuration": (
                "Duration",
                (s.close_time_ms - (s.execution_time_ms or s.start_time_ms)) * MS
                if s.close_time_ms
                else None,
            ),
            "HistoryLength": ("Int", s.history_length),
            "HistorySizeBytes": ("Int", s.history_size_bytes),
            "StateTransitionCount": ("Int", s.state_transition_count),
            "ParentWorkflowId": ("Keyword", s.parent_workflow_id or None),
            "ParentRunId": ("Keyword", s.parent_run_id or None),
            "RootWorkflowId": ("Keyword", s.root_workflow_id or None),
            "RootRunId": ("Keyword", s.root_run_id or None),
            "FirstExecutionRunId": ("Keyword", s.first_execution_run_id or None),
            "ParkedReason": ("Keyword", s.quarantine_reason or None),
            "TemporalReportedProblems": ("KeywordList", s.reported_problems or None),
        }
        if name in columns:
            return columns[name]
        kind, value = self.attributes.get(name, ("", None))
        if kind == "Datetime":
            value = (value - EPOCH) // timedelta(microseconds=1) * 1_000
        if kind == "KeywordList" and not value:
            value = None
        return kind, value


Filter = tuple[Any, ...]
"""("and"|"or", [filters]) | ("not", filter) | (operator, name, kind, values)"""


def matches(run: Run, expression: Filter) -> bool | None:
    """Kleene's logic over the conditions."""
    match expression[0]:
        case "not":
            inner = matches(run, expression[1])
            return None if inner is None else not inner
        case "and":
            results = [matches(run, term) for term in expression[1]]
            return False if False in results else None if None in results else True
        case "or":
            results = [matches(run, term) for term in expression[1]]
            return True if True in results else None if None in results else False
    operator, name, literal_kind, values = expression
    kind, value = run.value(name)
    if operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) is (operator == "IS NULL")
    if value is None or (kind != literal_kind and {kind, literal_kind} != {"Int", "Double"}):
        return None  # another type under this name
    if kind == "KeywordList":
        return _list_matches(operator, value, values)
    if kind == "Text":
        found = bool(_words(value) & _words(values[0]))
        return found if operator == "=" else not found
    return _scalar_matches(operator, value, values)


def _list_matches(operator: str, value: list[str], values: list[str]) -> bool:
    negated = operator == "!=" or operator.startswith("NOT ")
    prefix = "STARTS_WITH" in operator
    found = any(item.startswith(values[0]) if prefix else item in values for item in value)
    return found is not negated


def _scalar_matches(operator: str, value: Any, values: list[Any]) -> bool:
    simple: dict[str, Callable[[], bool]] = {
        "=": lambda: value == values[0],
        "!=": lambda: value != values[0],
        "<": lambda: value < values[0],
        "<=": lambda: value <= values[0],
        ">": lambda: value > values[0],
        ">=": lambda: value >= values[0],
        "IN": lambda: value in values,
        "NOT IN": lambda: value not in values,
        "BETWEEN": lambda: values[0] <= value <= values[1],
        "NOT BETWEEN": lambda: not values[0] <= value <= values[1],
        "STARTS_WITH": lambda: value.startswith(values[0]),
        "NOT STARTS_WITH": lambda: not value.startswith(values[0]),
    }
    return simple[operator]()


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"\w+", text)}


# --- as text


def render(expression: Filter) -> str:
    """The filter in the query language, with every parenthesis."""
    match expression[0]:
        case "not":
            return f"NOT ({render(expression[1])})"
        case "and" | "or":
            return (
                "("
                + f" {expression[0].upper()} ".join(render(term) for term in expression[1])
                + ")"
            )
    operator, name, kind, values = expression
    quoted = name if re.fullmatch(r"[A-Za-z]\w*", name) else "`" + name.replace("`", "``") + "`"
    if operator in ("IS NULL", "IS NOT NULL"):
        return f"{quoted} {operator}"
    texts = [_literal(kind, value) for value in values]
    if operator in ("IN", "NOT IN"):
        return f"{quoted} {operator} ({', '.join(texts)})"
    if operator in ("BETWEEN", "NOT BETWEEN"):
        return f"{quoted} {operator} {texts[0]} AND {texts[1]}"
    return f"{quoted} {operator} {texts[0]}"


def _literal(kind: str, value: Any) -> str:
    match kind:
        case "Bool":
            return "TRUE" if value else "false"
        case "Int" | "Double":
            return repr(value)
        case "Datetime":
            return f"'{time_text(value)}'"
        case "Duration":
            return f"'{value}ns'" if value % 1_000_000_000 else f"'{value // 1_000_000_000}s'"
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def time_text(nanoseconds: int) -> str:
    """RFC 3339, in a zone of its own for every other value."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    shift = 2 if seconds % 2 else 0
    moment = EPOCH + timedelta(seconds=seconds, hours=shift)
    fraction = f".{rest:09d}" if rest else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{'+02:00' if shift else 'Z'}"


def sort_key(run: Run, name: str, now_ms: int) -> tuple[int, Any]:
    """SQLite's order: no value first, then numbers, then texts. The smallest item of a list.
    Open runs have lasted until now.
    """
    kind, value = run.value(name)
    if name == "ExecutionDuration" and value is None:
        value = max(0, now_ms - (run.summary.execution_time_ms or run.summary.start_time_ms)) * MS
    if value is None:
        return 0, 0
    if kind == "KeywordList":
        value = min(value)
    return (2, value) if isinstance(value, str) else (1, value)
