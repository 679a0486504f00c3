"""Names and result types of workflows, signals, queries and updates, whether given as text or as
decorated methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.handlers import QueryDefinition, SignalDefinition, UpdateDefinition

workflow_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    WorkflowDefinition.name_and_result_type
)
signal_name: Callable[[str | Callable[..., Any]], str] = SignalDefinition.name_of
query_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    QueryDefinition.name_and_result_type
)
update_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    UpdateDefinition.name_and_result_type
)
