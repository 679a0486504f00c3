"""Log lines of workflow tasks that the engine failed: too many pending activities, a command that is none, nondeterminism.

Exceptions of workflow code have theirs from `odradek.activation`, with a traceback; these have the same form, under the same logger.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from odradek.engine.ports import FailedTask

logger = logging.getLogger("odradek.workflow")


def log_failed_tasks(failed: Iterable[FailedTask], namespace: str, task_queue: str) -> None:
    """One warning each. Called once their transaction is committed."""
    for each in failed:
        details = {
            "namespace": namespace,
            "task_queue": task_queue,
            "workflow_id": each.workflow_id,
            "run_id": each.run_id,
            "workflow_type": each.workflow_type,
        }
        logger.warning(
            "Failed workflow task of workflow %s with ID %s and run ID %s: %s: %s",
            *(each.workflow_type, each.workflow_id, each.run_id, each.cause, each.message),
            extra={"temporal_workflow": details, "__temporal_error_identifier": "WorkflowTaskFailure"},
        )
