"""Ids that log lines of a thread carry (namespace, task queue, partition), for handlers that
show them: `odradek.cli.logs`.

Workflow and activity code have ids of their own (`workflow.logger`, `activity.logger`); these
are for the hosts' lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_fields: ContextVar[Mapping[str, Any]] = ContextVar("odradek_log_fields")


def set_log_fields(**fields: Any) -> None:
    """Of this thread, or this task and what it starts, from now on."""
    _fields.set(fields)


def log_fields() -> Mapping[str, Any]:
    """What was set here."""
    return _fields.get({})
