"""`TemporalReportedProblems`: the search attribute of runs whose workflow task keeps failing.
Its values, and how payloads carry it.

The engine writes the values into `ExecutionSummary.reported_problems`; what is shown outside
(Temporal's HTTP API, `describe`, lists) has them among the search attributes, as Temporal does:
a KeywordList in json/plain. The name belongs to the system: a run's own attribute of that name
is not shown.
"""

from __future__ import annotations

import json

from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload

NAME = "TemporalReportedProblems"
TASK_FAILED = "category=WorkflowTaskFailed"
#: Ours: nothing tries the run again by itself.
QUARANTINED = "category=Quarantined"
CAUSE = "cause=WorkflowTaskFailedCause"


def cause_value(cause: str) -> str:
    """`NON_DETERMINISTIC_ERROR` -> `cause=WorkflowTaskFailedCauseNonDeterministicError`,
    Temporal's spelling in this attribute.
    """
    return CAUSE + cause.title().replace("_", "")


def shown_search_attributes(summary: ExecutionSummary) -> dict[str, Payload]:
    """The run's search attributes with this one, if it has problems."""
    attributes = summary.search_attributes
    if not summary.reported_problems and NAME not in attributes:
        return attributes
    shown = {name: payload for name, payload in attributes.items() if name != NAME}
    if summary.reported_problems:
        data = json.dumps(
            summary.reported_problems, separators=(",", ":"), ensure_ascii=False
        ).encode()
        shown[NAME] = Payload({"encoding": b"json/plain", "type": b"KeywordList"}, data)
    return shown


def take_problems(attributes: dict[str, Payload]) -> list[str]:
    """Turn back: the values out of shown search attributes, where they stand no more then.
    ValueError for no list.
    """
    payload = attributes.pop(NAME, None)
    if payload is None:
        return []
    try:
        values = json.loads(payload.data)
    except RecursionError as error:
        raise ValueError(f"{NAME} is nested too deeply") from error
    if not isinstance(values, list):
        raise ValueError(f"{NAME} is no list")
    return [str(value) for value in values]
